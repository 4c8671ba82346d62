//! Guests for the tests of rules.

use std::rc::Rc;

use super::boot::LinuxBoot;
use super::boot::entry::Entry;
use super::command_line::CommandLine;
use super::config::Config;
use crate::tree::memory::MemoryTree;
use crate::view::View;
use crate::volume::{Content, Health, Stack, Volume};
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

/// A volume in the first partition.
pub(crate) fn volume(stack: Stack, content: Content, uuid: &str) -> Volume {
    Volume {
        partition: Some(1),
        stack,
        size: 1 << 30,
        content,
        uuid: Some(uuid.into()),
        label: None,
        partuuid: None,
        partlabel: None,
        part_type: None,
        priority: 0,
        health: Health::default(),
        closed: None,
    }
}

/// A system that starts with this command line.
pub(crate) fn on(command_line: &str) -> LinuxBoot {
    let entry = Entry {
        path: b"/boot/grub2/grub.cfg".to_vec(),
        line: 1,
        command_line: CommandLine::parse(command_line.as_bytes()),
        ..Entry::default()
    };
    LinuxBoot {
        entries: Ok(vec![entry]),
        default: Some(0),
        timeout: None,
        kernels: Ok(Vec::new()),
        default_kernel: None,
        resume: Ok(Vec::new()),
        blocked: Ok(Vec::new()),
    }
}
