//! Kernels that the cloud's documents warn of.

use crate::linux::boot::rules::boot;
use crate::linux::version;
use crate::{Facts, Judgement, Os, Seen, Severity};

/// The first kernels with a fix for CVE-2019-11477, which broke TCP: what their versions begin
/// with, and the systems that have them.
const BROKEN_FIX: &[(&str, &[&str])] = &[
    (
        "3.10.0-957.21.3.el7",
        &["centos", "rhel", "ol", "scientific"],
    ),
    ("4.4.0-151-", &["ubuntu"]),
    ("4.15.0-52-", &["ubuntu"]),
    ("4.9.0-9-", &["debian"]),
    ("5.1.11-200.", &["fedora"]),
    ("4.12.14-lp150.12.64", &["opensuse-leap"]),
];

pub(super) fn check(facts: &Facts, judgement: &mut Judgement) {
    let Some(boot) = boot(facts) else {
        return;
    };
    let (Some(kernel), Some(os)) = (boot.kernel(), &facts.os) else {
        judgement.unknown("which kernel starts is not known");
        return;
    };
    let Some(version) = &kernel.version else {
        judgement.unknown("the version of the kernel is not known");
        return;
    };
    if let Some(fault) = fault(os, version) {
        judgement.note(fault);
        judgement.found(Severity::Advice, Seen::at(&kernel.path).with(version));
    }
}

/// What is wrong with kernel `version` of `os`.
fn fault(os: &Os, version: &str) -> Option<&'static str> {
    let id = os.id.to_ascii_lowercase();
    let numbers = version::numbers(version);
    let seven = id == "centos" && version.contains(".el7");
    if seven && numbers.as_slice() < [3, 10, 0, 1160, 25, 1].as_slice() {
        return Some("Before 3.10.0-1160.25.1 it can panic when a network card is added.");
    }
    if numbers.starts_with(&[3, 16]) && numbers.get(2).is_some_and(|patch| *patch >= 47) {
        return Some("From 3.16.47 on it does not work with the network cards Hi1822.");
    }
    let broken = BROKEN_FIX
        .iter()
        .any(|(begin, ids)| version.starts_with(begin) && ids.contains(&id.as_str()));
    broken.then_some("Its fix of CVE-2019-11477 lets connections hang.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_that_are_named_are_bad() {
        let os = |id: &str| Os {
            id: id.to_owned(),
            ..Os::default()
        };
        for (id, version, bad) in [
            ("centos", "3.10.0-1160.el7.x86_64", true),
            ("centos", "3.10.0-1160.25.1.el7.x86_64", false),
            ("centos", "2.6.32-754.el6.x86_64", false),
            ("rhel", "3.10.0-957.21.3.el7.x86_64", true),
            ("rhel", "3.10.0-957.27.2.el7.x86_64", false),
            ("debian", "3.16.0-11-amd64", false),
            ("debian", "3.16.51-1-amd64", true),
            ("debian", "4.9.0-9-amd64", true),
            ("ubuntu", "4.4.0-151-generic", true),
            ("ubuntu", "4.4.0-1510-generic", false),
            ("opensuse-leap", "4.12.14-lp150.12.64-default", true),
            ("rocky", "5.14.0-284.11.1.el9_2.x86_64", false),
        ] {
            assert_eq!(fault(&os(id), version).is_some(), bad, "{id} {version}");
        }
    }
}
