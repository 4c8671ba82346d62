//! Rules about what the old platform has left.

use super::Leftovers;
use crate::known::Known;
use crate::linux::login::ways;
use crate::linux::source::files;
use crate::{Facts, Judgement, Remedy, Rule, Seen, Severity, Source};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "linux-vmware-tools",
        severity: Severity::Degraded,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0032307025",
        text: "VMware's tools are installed. They have nothing to do in the cloud; those of the tar \
               archive also bring drivers of their own.",
        remedy: Remedy {
            red_hat: &["yum remove open-vm-tools"],
            debian: &["apt purge open-vm-tools"],
            suse: &["zypper rm open-vm-tools"],
            linux: &["vmware-uninstall-tools.pl"],
            ..Remedy::NONE
        },
        check: vmware,
    },
    Rule {
        id: "linux-pv-driver",
        severity: Severity::Degraded,
        source: Source::Vendor,
        cite: "Huawei Cloud, Image Management Service, uninstalling the PV driver",
        text: "Huawei's drivers for Xen are installed. On KVM they fill the logs with errors.",
        remedy: Remedy {
            linux: &["/etc/.uvp-monitor/uninstall"],
            ..Remedy::NONE
        },
        check: pv_driver,
    },
    Rule {
        id: "linux-foreign-agent",
        severity: Severity::Degraded,
        source: Source::Peer,
        cite: "libguestfs, virt-v2v",
        text: "The guest agent of another platform is installed. One that sets up accounts or the \
               network disturbs what cloud-init does. Uninstall it.",
        remedy: Remedy::NONE,
        check: agents,
    },
    Rule {
        id: "linux-xorg",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0032307025",
        text: "X is told to use the driver of a graphics card that the cloud's machine does not have, \
               so no desktop appears.",
        remedy: Remedy {
            linux: &["mv /etc/X11/xorg.conf /etc/X11/xorg.conf.old"],
            ..Remedy::NONE
        },
        check: xorg,
    },
    Rule {
        id: "linux-clone-identity",
        severity: Severity::Advice,
        source: Source::Peer,
        cite: "virt-sysprep(1)",
        text: "The disk has the identity of one server. Two servers made of the image are twins: they \
               ask for the same address and have the same host keys.",
        remedy: Remedy {
            linux: &[
                "truncate -s 0 /etc/machine-id",
                "rm -f /var/lib/dbus/machine-id /var/lib/systemd/random-seed",
                "rm -f {others}",
            ],
            ..Remedy::NONE
        },
        check: identities,
    },
    Rule {
        id: "linux-agents-identity",
        severity: Severity::Advice,
        source: Source::Peer,
        cite: "virt-sysprep(1)",
        text: "The server is registered with a service that knows it by an identity on the disk. All \
               servers made of the image would share it.",
        remedy: Remedy {
            red_hat: &["subscription-manager clean"],
            debian: &["pro detach"],
            suse: &["SUSEConnect -d --cleanup"],
            ..Remedy::NONE
        },
        check: registrations,
    },
    Rule {
        id: "linux-qemu-ga",
        severity: Severity::Advice,
        source: Source::Peer,
        cite: "libguestfs, virt-v2v",
        text: "QEMU's guest agent is not installed, so the host cannot ask the guest to freeze its \
               file systems for a snapshot.",
        remedy: Remedy {
            red_hat: &["yum install qemu-guest-agent"],
            debian: &["apt install qemu-guest-agent"],
            suse: &["zypper install qemu-guest-agent"],
            ..Remedy::NONE
        },
        check: qemu_agent,
    },
    Rule {
        id: "linux-clock",
        severity: Severity::Advice,
        source: Source::Peer,
        cite: "Alibaba Cloud, image check items",
        text: "The system takes the hardware's clock for local time. In the cloud it runs in UTC, so \
               the time is wrong until NTP sets it.",
        remedy: Remedy {
            linux: &["timedatectl set-local-rtc 0"],
            old_red_hat: &["hwclock --systohc --utc"],
            old_suse: &["hwclock --systohc --utc"],
            ..Remedy::NONE
        },
        check: clock,
    },
    Rule {
        id: "linux-logs",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0125076462",
        text: "Histories of shells or old logs are on the disk, and would be on all servers made of \
               the image.",
        remedy: Remedy {
            linux: &[
                "rm -f /root/.*_history /home/*/.*_history",
                "find /var/log -name '*.gz' -o -name '*.[0-9]' | xargs rm -f",
            ],
            ..Remedy::NONE
        },
        check: logs,
    },
];

fn leftovers(facts: &Facts) -> Option<&Leftovers> {
    facts.configured().map(|config| &config.leftovers)
}

/// Advice for each of what was seen.
fn advise<'a>(
    facts: &'a Facts,
    judgement: &mut Judgement,
    field: impl Fn(&'a Leftovers) -> &'a Known<Vec<Seen>>,
) {
    let seen = leftovers(facts).and_then(|leftovers| judgement.known(field(leftovers)));
    for seen in seen.into_iter().flatten() {
        judgement.found(Severity::Advice, seen.clone());
    }
}

/// What was seen, if anything.
fn one<'a>(
    facts: &'a Facts,
    judgement: &mut Judgement,
    field: impl Fn(&'a Leftovers) -> &'a Known<Option<Seen>>,
) -> Option<&'a Seen> {
    judgement.known(field(leftovers(facts)?))?.as_ref()
}

fn vmware(facts: &Facts, judgement: &mut Judgement) {
    if let Some(seen) = one(facts, judgement, |is| &is.vmware_archive) {
        judgement.found(Severity::Degraded, seen.clone());
        judgement.note("Uninstall those of the archive by vmware-uninstall-tools.pl.");
    } else if let Some(seen) = one(facts, judgement, |is| &is.vmware) {
        judgement.found(Severity::Advice, seen.clone());
    }
}

fn pv_driver(facts: &Facts, judgement: &mut Judgement) {
    if let Some(seen) = one(facts, judgement, |is| &is.pv_driver) {
        judgement.found(Severity::Degraded, seen.clone());
    }
}

fn agents(facts: &Facts, judgement: &mut Judgement) {
    let agents = leftovers(facts).and_then(|leftovers| judgement.known(&leftovers.agents));
    for agent in agents.into_iter().flatten() {
        let severity = if agent.provisions {
            Severity::Degraded
        } else {
            Severity::Advice
        };
        judgement.found(severity, agent.seen.clone());
    }
}

fn xorg(facts: &Facts, judgement: &mut Judgement) {
    advise(facts, judgement, |is| &is.xorg);
}

fn identities(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = facts.configured() else {
        return;
    };
    let Some(seen) = judgement.known(&config.leftovers.identities) else {
        return;
    };
    // Host keys may go only where something makes new ones.
    let makes_keys = matches!(config.login.sshd.key_maker, Ok(Some(_)))
        || ways::cloud_init_works(facts, config) == Ok(true);
    let is_key = |seen: &Seen| seen.path.starts_with("/etc/ssh/");
    if !makes_keys && seen.iter().any(is_key) {
        judgement.note("The host keys stay, for nothing would make new ones.");
    }
    // The command has these two anyway, and the machine's name is emptied, not removed.
    let named = [
        "/etc/machine-id",
        "/var/lib/dbus/machine-id",
        "/var/lib/systemd/random-seed",
    ];
    let others = files(
        seen.iter()
            .filter(|seen| !named.contains(&seen.path.as_str()) && (makes_keys || !is_key(seen))),
    );
    judgement.value("others", others);
    for seen in seen {
        judgement.found(Severity::Advice, seen.clone());
    }
}

fn registrations(facts: &Facts, judgement: &mut Judgement) {
    advise(facts, judgement, |is| &is.registrations);
}

fn qemu_agent(facts: &Facts, judgement: &mut Judgement) {
    let agent = leftovers(facts).and_then(|leftovers| judgement.known(&leftovers.qemu_agent));
    if agent == Some(&None) {
        judgement.found(
            Severity::Advice,
            Seen::at("/usr/bin/qemu-ga").with("missing"),
        );
    }
}

fn clock(facts: &Facts, judgement: &mut Judgement) {
    if let Some(seen) = one(facts, judgement, |is| &is.local_clock) {
        judgement.found(Severity::Advice, seen.clone());
    }
}

fn logs(facts: &Facts, judgement: &mut Judgement) {
    advise(facts, judgement, |is| &is.logs);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::testing::{enabled, facts, judged, with_cloud_init};
    use crate::tree::memory::MemoryTree;

    fn judge(id: &str, tree: MemoryTree) -> Option<Severity> {
        judged(RULES, id, &facts(tree)).0
    }

    #[test]
    fn tools_of_the_archive_weigh_more_than_those_of_the_distribution() {
        let tools = || MemoryTree::new().file("/usr/bin/vmtoolsd", "");
        assert_eq!(judge("linux-vmware-tools", tools()), Some(Severity::Advice));
        let archive = tools().file("/usr/bin/vmware-uninstall-tools.pl", "");
        assert_eq!(
            judge("linux-vmware-tools", archive),
            Some(Severity::Degraded)
        );
        assert_eq!(judge("linux-vmware-tools", MemoryTree::new()), None);
    }

    #[test]
    fn agents_that_set_up_accounts_weigh_more() {
        let azure = |provisions: &str| {
            MemoryTree::new().file("/usr/sbin/waagent", "").file(
                "/etc/waagent.conf",
                format!("Provisioning.Enabled={provisions}\n"),
            )
        };
        assert_eq!(
            judge("linux-foreign-agent", azure("y")),
            Some(Severity::Degraded)
        );
        assert_eq!(
            judge("linux-foreign-agent", azure("n")),
            Some(Severity::Advice)
        );
        assert_eq!(judge("linux-foreign-agent", MemoryTree::new()), None);
    }

    #[test]
    fn host_keys_are_removed_only_where_new_ones_are_made() {
        let mended = |tree: MemoryTree| {
            let tree = tree
                .file("/etc/ssh/ssh_host_rsa_key", "x")
                .file("/var/lib/dhcp/dhclient.leases", "lease {}");
            let facts = facts(tree);
            let rule = RULES.iter().find(|rule| rule.id == "linux-clone-identity");
            let (mut findings, _) = rule.unwrap().judge(&facts);
            let finding = findings.remove(0);
            (
                finding.why.contains("host keys stay"),
                finding.fix[2].clone(),
            )
        };
        let lease = "/var/lib/dhcp/dhclient.leases";
        assert_eq!(mended(MemoryTree::new()), (true, format!("rm -f {lease}")));
        let all = format!("rm -f /etc/ssh/ssh_host_rsa_key {lease}");
        assert_eq!(
            mended(with_cloud_init(MemoryTree::new())),
            (false, all.clone())
        );
        assert_eq!(
            mended(enabled(MemoryTree::new(), "sshdgenkeys")),
            (false, all)
        );
    }

    #[test]
    fn what_is_left_is_advice() {
        let tree = || {
            MemoryTree::new()
                .file("/etc/adjtime", "0 0 0\n0\nLOCAL\n")
                .file("/root/.bash_history", "ls\n")
                .file("/etc/pki/consumer/cert.pem", "x")
                .file(
                    "/etc/X11/xorg.conf",
                    "Section \"Device\"\nDriver \"vmware\"\n",
                )
        };
        for id in [
            "linux-clock",
            "linux-logs",
            "linux-agents-identity",
            "linux-xorg",
        ] {
            assert_eq!(judge(id, tree()), Some(Severity::Advice), "{id}");
            assert_eq!(judge(id, MemoryTree::new()), None, "{id}");
        }
        assert_eq!(judge("linux-qemu-ga", tree()), Some(Severity::Advice));
        let agent = tree().file("/usr/bin/qemu-ga", "");
        assert_eq!(judge("linux-qemu-ga", agent), None);
        let uvp = tree().file("/usr/bin/uvp-monitor", "");
        assert_eq!(judge("linux-pv-driver", uvp), Some(Severity::Degraded));
        assert_eq!(judge("linux-pv-driver", tree()), None);
    }
}
