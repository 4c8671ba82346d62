//! Guests for the tests of rules.

use std::rc::Rc;

use super::config::Config;
use crate::tree::memory::MemoryTree;
use crate::view::View;
use crate::{Facts, Os, Rule, Severity};

/// A Rocky Linux 9.2 with the files of `tree`.
pub(crate) fn facts(tree: MemoryTree) -> Facts {
    Facts {
        os: Some(Os {
            id: "rocky".into(),
            version: Some("9.2".into()),
            ..Os::default()
        }),
        linux: Some(Config::collect(&View::new(Rc::new(tree), 0))),
        ..Facts::default()
    }
}

/// With a service that starts with the system.
pub(crate) fn enabled(tree: MemoryTree, name: &str) -> MemoryTree {
    let wants = "/etc/systemd/system/multi-user.target.wants";
    tree.file(
        &format!("/usr/lib/systemd/system/{name}.service"),
        "[Service]",
    )
    .link(&format!("{wants}/{name}.service"), "x")
}

/// With a cloud-init that runs and asks OpenStack.
pub(crate) fn with_cloud_init(tree: MemoryTree) -> MemoryTree {
    [
        "cloud-init-local",
        "cloud-init",
        "cloud-config",
        "cloud-final",
    ]
    .iter()
    .fold(tree.file("/usr/bin/cloud-init", ""), |tree, name| {
        enabled(tree, name)
    })
}

/// The worst severity at which the rule `id` is broken, and whether it is undecided.
pub(crate) fn judged(rules: &[Rule], id: &str, facts: &Facts) -> (Option<Severity>, bool) {
    let rule = rules.iter().find(|rule| rule.id == id).unwrap();
    let (findings, unknown) = rule.judge(facts);
    let worst = findings.iter().map(|finding| finding.severity).min();
    (worst, unknown.is_some())
}
