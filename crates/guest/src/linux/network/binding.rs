//! Rules about what binds the network to the old machine.

use super::profile::Profile;
use crate::linux::config::Config;
use crate::linux::login::ways;
use crate::linux::source::files;
use crate::{Facts, Judgement, Remedy, Rule, Seen, Severity, Source};

const REMOVE_RULES: &str = "rm -f /etc/udev/rules.d/*persistent*net*";
/// Where the rules stand in files with other names.
const COMMENT_RULES: &str = "sed -i '/NAME:*=[^=]/s/^/#/' {others}";
/// What writes them anew at each start.
const MASK_GENERATOR: &str = "ln -sf /dev/null /etc/udev/rules.d/75-persistent-net-generator.rules";

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "linux-net-mac",
        severity: Severity::NoNetwork,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0132216287",
        text: "The network is set up for an interface with a certain MAC address. Every server gets \
               another one.",
        remedy: Remedy {
            red_hat: &["sed -i '/^HWADDR=/d;/^MACADDR=/d;/^UUID=/d;/^mac-address=/d' {files}"],
            debian: &[
                "sed -i '/^ *match:/d;/macaddress:/d;/set-name:/d;/hwaddress/d' {files}",
                "{check}",
            ],
            suse: &["sed -i '/^LLADDR=/d' {files}"],
            linux: &["vi {files}"],
            ..Remedy::NONE
        },
        check: mac,
    },
    Rule {
        id: "linux-net-udev-rules",
        severity: Severity::NoNetwork,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0069904570 and 0030713216",
        text: "A udev rule keeps an interface's name for the old MAC address. The new interface gets \
               another name, which nothing sets up.",
        remedy: Remedy {
            red_hat: &[REMOVE_RULES, COMMENT_RULES],
            old_red_hat: &[REMOVE_RULES, COMMENT_RULES, MASK_GENERATOR],
            debian: &[REMOVE_RULES, COMMENT_RULES, "update-initramfs -u -k all"],
            suse: &[REMOVE_RULES, COMMENT_RULES, "dracut -f --regenerate-all"],
            old_suse: &[REMOVE_RULES, COMMENT_RULES, MASK_GENERATOR, "mkinitrd"],
            linux: &[REMOVE_RULES, COMMENT_RULES],
            ..Remedy::NONE
        },
        check: udev,
    },
    Rule {
        id: "linux-net-static",
        severity: Severity::NoNetwork,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0030713176 and 0030713198",
        text: "An interface has a fixed address. The cloud assigns addresses by DHCP and drops \
               packets from any other.",
        remedy: Remedy {
            red_hat: &[
                "sed -i 's/^BOOTPROTO=.*/BOOTPROTO=dhcp/;s/^method=manual/method=auto/' {files}",
                "sed -i '/^IPADDR/d;/^NETMASK/d;/^PREFIX/d;/^GATEWAY/d;/^DNS/d;/^address/d' {files}",
            ],
            debian: &["vi {files}"],
            suse: &["sed -i \"s/^BOOTPROTO=.*/BOOTPROTO='dhcp'/;/^IPADDR/d\" {files}"],
            linux: &["vi {files}"],
            ..Remedy::NONE
        },
        check: fixed,
    },
    Rule {
        id: "linux-net-bond-bridge",
        severity: Severity::Degraded,
        source: Source::Peer,
        cite: "cloudbase, coriolis",
        text: "Bonds, bridges or VLANs are built on interfaces by their names. The cloud's server has \
               one plain interface.",
        remedy: Remedy::NONE,
        check: layers,
    },
];

/// The profiles that take effect, or the rule is unknown.
fn in_use<'a>(config: &'a Config, judgement: &mut Judgement) -> Vec<&'a Profile> {
    config.network.unread(judgement);
    judgement
        .known(&config.units)
        .map(|units| config.network.in_use(units))
        .unwrap_or_default()
}

fn mac(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = facts.configured() else {
        return;
    };
    let used = in_use(config, judgement);
    let severity = if used.iter().any(|profile| profile.fits_any()) {
        Severity::Advice
    } else {
        ways::unless_rendered(Severity::NoNetwork, facts, config)
    };
    let lines = used.iter().flat_map(|profile| &profile.mac);
    let netplan = lines
        .clone()
        .any(|seen| seen.path.starts_with("/etc/netplan/"));
    judgement.value("check", if netplan { "netplan generate" } else { "" });
    report(judgement, severity, lines.chain(&config.network.links));
}

fn udev(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = facts.configured() else {
        return;
    };
    let severity = ways::unless_rendered(Severity::NoNetwork, facts, config);
    let Some(lines) = judgement.known(&config.network.udev) else {
        return;
    };
    let is_removed = |seen: &&Seen| seen.path.contains("persistent") && seen.path.contains("net");
    let others = lines.iter().filter(|seen| !is_removed(seen));
    judgement.value("others", files(others));
    report(judgement, severity, lines.iter());
}

fn fixed(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = facts.configured() else {
        return;
    };
    let severity = ways::unless_rendered(Severity::NoNetwork, facts, config);
    let used = in_use(config, judgement);
    let lines = used.iter().flat_map(|profile| &profile.fixed);
    if let Some(seen) = lines.clone().next() {
        judgement.note(match seen.path.starts_with("/etc/netplan/") {
            true => "Write dhcp4: true in place of addresses, gateway4 and routes.",
            false => "Set the interface up by DHCP.",
        });
    }
    report(judgement, severity, lines);
}

fn layers(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = facts.configured() else {
        return;
    };
    let severity = ways::unless_rendered(Severity::Degraded, facts, config);
    let used = in_use(config, judgement);
    report(
        judgement,
        severity,
        used.iter().filter_map(|profile| profile.layer.as_ref()),
    );
}

/// Reports `lines`, whose files the commands name.
fn report<'a>(
    judgement: &mut Judgement,
    severity: Severity,
    lines: impl Iterator<Item = &'a Seen> + Clone,
) {
    judgement.value("files", files(lines.clone()));
    for seen in lines {
        judgement.found(severity, seen.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::testing::{enabled, facts, judged, with_cloud_init};
    use crate::tree::memory::MemoryTree;

    fn interfaces(text: &str) -> MemoryTree {
        let tree = MemoryTree::new().file("/etc/network/interfaces", text);
        enabled(tree, "networking")
    }

    #[test]
    fn cloud_init_takes_the_weight_off_unless_it_leaves_the_network_alone() {
        let fixed = || interfaces("auto eth0\niface eth0 inet static\n address 192.0.2.1/24\n");
        assert_eq!(
            judged(RULES, "linux-net-static", &facts(fixed())),
            (Some(Severity::NoNetwork), false)
        );
        let rendered = facts(with_cloud_init(fixed()));
        assert_eq!(
            judged(RULES, "linux-net-static", &rendered),
            (Some(Severity::Advice), false)
        );
        let left_alone = with_cloud_init(fixed()).file(
            "/etc/cloud/cloud.cfg.d/99.cfg",
            "network: {config: disabled}\n",
        );
        assert_eq!(
            judged(RULES, "linux-net-static", &facts(left_alone)),
            (Some(Severity::NoNetwork), false)
        );
    }

    #[test]
    fn what_cannot_be_read_is_unknown_and_hides_nothing() {
        let broken = facts(
            interfaces("auto e\niface e inet dhcp\n hwaddress ether 00:50\n")
                .broken("/etc/NetworkManager/system-connections/x"),
        );
        assert_eq!(
            judged(RULES, "linux-net-mac", &broken),
            (Some(Severity::NoNetwork), true)
        );
        assert_eq!(judged(RULES, "linux-net-static", &broken), (None, true));
    }

    #[test]
    fn a_leftover_of_a_service_that_does_not_start_binds_nothing() {
        let leftover = enabled(MemoryTree::new(), "systemd-networkd")
            .file("/usr/lib/systemd/system/networking.service", "[Unit]")
            .file(
                "/etc/systemd/network/a.network",
                "[Match]\nName=e*\n[Network]\nDHCP=yes\n",
            )
            .file(
                "/etc/network/interfaces",
                "auto eth0\niface eth0 inet static\n address 192.0.2.1/24\n",
            );
        let judged = judged(RULES, "linux-net-static", &facts(leftover));
        assert_eq!(judged, (None, false));
    }

    #[test]
    fn another_profile_for_any_interface_makes_a_mac_harmless() {
        let both = facts(interfaces(
            "auto a /e*=nic\niface a inet dhcp\n hwaddress ether 00:50\niface nic inet dhcp\n",
        ));
        assert_eq!(
            judged(RULES, "linux-net-mac", &both),
            (Some(Severity::Advice), false)
        );
    }
}
