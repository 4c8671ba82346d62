//! Rules about the DHCP client, routes and queues.

use crate::linux::source::{files, is_yes};
use crate::linux::version::numbers;
use crate::{Facts, Family, Judgement, Remedy, Rule, Seen, Severity, Source};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "linux-net-zeroconf",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0122876047",
        text: "The system adds a route for link-local addresses, which can hide the metadata service \
               at 169.254.169.254.",
        remedy: Remedy {
            linux: &["echo NOZEROCONF=yes >> /etc/sysconfig/network"],
            ..Remedy::NONE
        },
        check: zeroconf,
    },
    Rule {
        id: "linux-net-lease",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0030713176",
        text: "The DHCP client gives up when there is no answer for a while, or asks for the address \
               of its last lease.",
        remedy: Remedy {
            red_hat: &["echo 'PERSISTENT_DHCLIENT=\"y\"' | tee -a {files}"],
            suse: &[
                "sed -i 's/^DHCLIENT_USE_LAST_LEASE=.*/DHCLIENT_USE_LAST_LEASE=\"no\"/' {files}",
            ],
            ..Remedy::NONE
        },
        check: lease,
    },
    Rule {
        id: "linux-net-multiqueue",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0085214115",
        text: "The kernel can use several queues of one interface. The image's property \
               hw_vif_multiqueue_enabled lets servers have them.",
        remedy: Remedy::NONE,
        check: multiqueue,
    },
];

/// Whether the system is of CentOS' kind up to release 7, where the network scripts are.
fn has_network_scripts(facts: &Facts) -> bool {
    let Some(os) = &facts.os else {
        return false;
    };
    let version = os.version.as_deref().map(numbers).unwrap_or_default();
    match os.id.to_ascii_lowercase().as_str() {
        "centos" | "rhel" | "ol" | "scientific" => matches!(version.as_slice(), [0..=7, ..]),
        // The releases up to 2.0 SP5 are built like CentOS 7.
        "euleros" => matches!(version.as_slice(), [2] | [2, 0..=5, ..]),
        _ => false,
    }
}

fn zeroconf(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = facts.configured().filter(|_| has_network_scripts(facts)) else {
        return;
    };
    if let Some(asked) = judgement.known(&config.network.zeroconf)
        && !is_yes(&asked.value)
    {
        judgement.found(Severity::Advice, asked.seen.clone());
    }
}

fn lease(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = facts.configured() else {
        return;
    };
    let mut seen = Vec::new();
    if has_network_scripts(facts) {
        let asked = judgement.known(&config.network.persistent);
        let asked = asked.into_iter().flatten();
        seen.extend(asked.filter(|asked| !is_yes(&asked.value)));
    } else if facts.family() == Family::Suse {
        let asked = judgement.known(&config.network.last_lease);
        let asked = asked.and_then(Option::as_ref);
        seen.extend(asked.filter(|asked| !asked.value.eq_ignore_ascii_case("no")));
    }
    judgement.value("files", files(seen.iter().map(|asked| &asked.seen)));
    for asked in seen {
        judgement.found(Severity::Advice, asked.seen.clone());
    }
}

fn multiqueue(facts: &Facts, judgement: &mut Judgement) {
    let kernel = facts.linux_boot.as_ref().and_then(|boot| boot.kernel());
    let Some((kernel, version)) = kernel.and_then(|is| Some((is, is.version.as_deref()?))) else {
        return;
    };
    if numbers(version) >= vec![2, 6, 35] {
        judgement.found(Severity::Advice, Seen::at(&kernel.path).with(version));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Os;
    use std::collections::BTreeMap;

    use crate::linux::boot::LinuxBoot;
    use crate::linux::kernel::Kernel;
    use crate::linux::testing::{facts, judged, on};
    use crate::tree::memory::MemoryTree;

    #[test]
    fn scripts_of_release_7_are_asked_for_leases_and_routes() {
        let mut old = facts(
            MemoryTree::new()
                .file("/etc/sysconfig/network", "HOSTNAME=x\n")
                .file(
                    "/etc/sysconfig/network-scripts/ifcfg-eth0",
                    "DEVICE=eth0\nBOOTPROTO=dhcp\n",
                ),
        );
        assert_eq!(
            judged(RULES, "linux-net-lease", &old),
            (None, false),
            "release 9"
        );
        old.os = Some(Os {
            id: "centos".into(),
            version: Some("7.9".into()),
            ..Os::default()
        });
        assert_eq!(
            judged(RULES, "linux-net-lease", &old),
            (Some(Severity::Advice), false)
        );
        assert_eq!(
            judged(RULES, "linux-net-zeroconf", &old),
            (Some(Severity::Advice), false)
        );
    }

    #[test]
    fn several_queues_need_a_kernel_of_2_6_35() {
        let mut facts = facts(MemoryTree::new());
        for (version, expected) in [
            ("2.6.32-754.el6.x86_64", None),
            ("2.6.35", Some(Severity::Advice)),
            ("5.14.0-284.el9.x86_64", Some(Severity::Advice)),
        ] {
            facts.linux_boot = Some(LinuxBoot {
                kernels: Ok(vec![Kernel {
                    path: b"/boot/vmlinuz".to_vec(),
                    version: Some(version.into()),
                    machine: None,
                    drivers: BTreeMap::new(),
                    initramfs: None,
                    inside: None,
                    spare: None,
                }]),
                default_kernel: Some(0),
                ..on("ro")
            });
            let judged = judged(RULES, "linux-net-multiqueue", &facts);
            assert_eq!(judged, (expected, false), "{version}");
        }
    }
}
