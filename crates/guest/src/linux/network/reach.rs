//! Rules about whether anything sets up the cloud's interface.

use super::keyfile::Defaults;
use super::profile::{Addressing, Matching, Profile};
use crate::linux::config::Config;
use crate::linux::login::ways;
use crate::linux::units::{State, Units};
use crate::{Facts, Judgement, Remedy, Rule, Seen, Severity, Source};

const ANY_INTERFACE: Remedy = Remedy {
    red_hat: &["nmcli connection add type ethernet con-name any ifname \"*\" ipv4.method auto"],
    old_red_hat: &["printf 'DEVICE=eth0\\nBOOTPROTO=dhcp\\nONBOOT=yes\\n' \
         > /etc/sysconfig/network-scripts/ifcfg-eth0"],
    debian: &[
        "echo 'network: {version: 2, ethernets: {all: {match: {name: \"e*\"}, dhcp4: true}}}' \
         > {netplan}",
        "printf 'auto eth0\\niface eth0 inet dhcp\\n' > {interfaces}",
        "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&net.ifnames=0 /' {grub}",
        "update-grub",
    ],
    suse: &[
        "printf \"BOOTPROTO='dhcp'\\nSTARTMODE='auto'\\n\" > /etc/sysconfig/network/ifcfg-eth0",
        "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&net.ifnames=0 /' /etc/default/grub",
        "grub2-mkconfig -o /boot/grub2/grub.cfg",
    ],
    old_suse: &[
        "printf \"BOOTPROTO='dhcp'\\nSTARTMODE='auto'\\n\" > /etc/sysconfig/network/ifcfg-eth0",
    ],
    ..Remedy::NONE
};

/// Services that set up the network.
const SERVICES: &[&str] = &[
    "NetworkManager",
    "systemd-networkd",
    "networking",
    "wicked",
    "network",
];

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "linux-net-name",
        severity: Severity::NoNetwork,
        source: Source::Peer,
        cite: "libguestfs, virt-v2v",
        text: "DHCP is set up only for interfaces with names that the old hypervisor's devices had. \
               The cloud's interface has another name.",
        remedy: ANY_INTERFACE,
        check: name,
    },
    Rule {
        id: "linux-net-none",
        severity: Severity::NoNetwork,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0030713198",
        text: "Nothing sets up a network interface when the system starts.",
        remedy: ANY_INTERFACE,
        check: none,
    },
];

/// Values for the commands of Debian's family, which sets networks up in one of two ways.
fn ways_of_debian(config: &Config, judgement: &mut Judgement) {
    let netplan = config.network.netplan;
    let pick = |yes: bool, path: &'static str| if yes { path } else { "" };
    judgement.value("netplan", pick(netplan, "/etc/netplan/90-any.yaml"));
    judgement.value(
        "interfaces",
        pick(!netplan, "/etc/network/interfaces.d/eth0"),
    );
    judgement.value("grub", pick(!netplan, "/etc/default/grub"));
}

/// What brings up interfaces that nothing else is set up for.
fn sets_up_any(config: &Config, units: &Units, judgement: &mut Judgement) -> bool {
    let Some(Defaults { off, unmanaged }) = judgement.known(&config.network.defaults) else {
        return false;
    };
    let manager = units.best(&["NetworkManager", "network-manager"]) == State::Enabled;
    (manager && !off && !unmanaged) || units.best(&["dhcpcd", "connman"]) == State::Enabled
}

fn name(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = facts.configured() else {
        return;
    };
    let Some(units) = judgement.known(&config.units) else {
        return;
    };
    ways_of_debian(config, judgement);
    let used = config.network.in_use(units);
    if used.iter().any(|profile| profile.fits_any()) {
        return;
    }
    config.network.unread(judgement);
    let mut places = Vec::new();
    let mut seen = Vec::new();
    for profile in used {
        if let Matching::Names(names) = &profile.matching
            && profile.addressing == Addressing::Dhcp
            && profile.layer.is_none()
        {
            places.extend(names.iter().map(|name| place(name)));
            seen.push(profile.seen.clone().with(names.join(" ")));
        }
    }
    if places.contains(&Place::General) {
        return;
    }
    let severity = if places.contains(&Place::Likely) || sets_up_any(config, units, judgement) {
        Severity::Advice
    } else {
        ways::unless_rendered(Severity::NoNetwork, facts, config)
    };
    for seen in seen {
        judgement.found(severity, seen);
    }
}

/// What a name says about the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Any machine: `eth0`, patterns.
    General,
    /// A slot that machines under KVM use: `ens3`.
    Likely,
    /// A place on the old machine: `ens192`, `enp3s0`, `eno1`, `em1`.
    Foreign,
}

fn place(name: &str) -> Place {
    if name.starts_with("eth") || name.contains(['*', '?', '[']) {
        return Place::General;
    }
    let slot = name.strip_prefix("ens").and_then(|slot| slot.parse().ok());
    match slot {
        Some(0_u32..32) => Place::Likely,
        _ => Place::Foreign,
    }
}

fn none(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = facts.configured() else {
        return;
    };
    let network = &config.network;
    ways_of_debian(config, judgement);
    let Some(units) = judgement.known(&config.units) else {
        return;
    };
    let started = |profile: &&Profile| profile.starts && profile.addressing != Addressing::None;
    let readers: Vec<State> = network
        .profiles
        .iter()
        .filter(started)
        .map(|profile| profile.reader.state(units))
        .collect();
    if readers.contains(&State::Enabled) || sets_up_any(config, units, judgement) {
        return;
    }
    if let Some(reason) = &network.unread {
        judgement.unknown(reason.clone());
        return;
    }
    if readers.contains(&State::Absent) {
        judgement.unknown("there is a configuration, and no known service that reads it");
        return;
    }
    if units.best(&["netctl", "netctl-auto", "net.eth0"]) == State::Enabled {
        judgement.unknown("the network is set up by a service whose configuration is not read");
        return;
    }
    let severity = ways::unless_rendered(Severity::NoNetwork, facts, config);
    let mut seen: Vec<Seen> = SERVICES
        .iter()
        .filter_map(|name| units.seen(&[name]))
        .collect();
    if seen.is_empty() {
        seen.push(Seen::at("/etc/systemd/system").with("no service for the network"));
    }
    for seen in seen {
        judgement.found(severity, seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::testing::{enabled, facts, judged};
    use crate::tree::memory::MemoryTree;
    const UNITS: &str = "/usr/lib/systemd/system";

    fn interfaces(text: &str) -> MemoryTree {
        let tree = MemoryTree::new().file("/etc/network/interfaces", text);
        enabled(tree, "networking")
    }

    #[test]
    fn names_of_the_old_machine_leave_the_new_one_without_network() {
        let named = |name: &str| {
            facts(interfaces(&format!(
                "auto {name}\niface {name} inet dhcp\n"
            )))
        };
        for name in ["ens192", "enp3s0", "eno1", "em1", "p1p1"] {
            assert_eq!(
                judged(RULES, "linux-net-name", &named(name)),
                (Some(Severity::NoNetwork), false),
                "{name}"
            );
        }
        assert_eq!(
            judged(RULES, "linux-net-name", &named("eth0")),
            (None, false)
        );
        assert_eq!(
            judged(RULES, "linux-net-name", &named("ens3")),
            (Some(Severity::Advice), false)
        );
        assert_eq!(
            judged(RULES, "linux-net-none", &named("ens192")),
            (None, false)
        );
    }

    #[test]
    fn network_manager_brings_up_interfaces_that_it_does_not_know() {
        let ifcfg = || {
            enabled(
                MemoryTree::new().file(
                    "/etc/sysconfig/network-scripts/ifcfg-ens192",
                    "DEVICE=ens192\nBOOTPROTO=dhcp\n",
                ),
                "NetworkManager",
            )
        };
        assert_eq!(
            judged(RULES, "linux-net-name", &facts(ifcfg())),
            (Some(Severity::Advice), false)
        );
        let strict = ifcfg().file(
            "/etc/NetworkManager/conf.d/x.conf",
            "[main]\nno-auto-default=*\n",
        );
        assert_eq!(
            judged(RULES, "linux-net-name", &facts(strict)),
            (Some(Severity::NoNetwork), false)
        );
        let bare = enabled(MemoryTree::new(), "NetworkManager");
        assert_eq!(judged(RULES, "linux-net-none", &facts(bare)), (None, false));
    }

    #[test]
    fn a_service_that_does_not_start_sets_nothing_up() {
        let netplan = || {
            MemoryTree::new().file("/usr/sbin/netplan", "").file(
                "/etc/netplan/a.yaml",
                "network:\n  ethernets:\n    all: {match: {name: 'e*'}, dhcp4: true}\n",
            )
        };
        let unit = format!("{UNITS}/systemd-networkd.service");
        let present = netplan().file(&unit, "[Service]");
        assert_eq!(
            judged(RULES, "linux-net-none", &facts(present)),
            (None, false)
        );
        let masked = netplan()
            .file(&unit, "[Service]")
            .link("/etc/systemd/system/systemd-networkd.service", "/dev/null");
        assert_eq!(
            judged(RULES, "linux-net-none", &facts(masked)),
            (Some(Severity::NoNetwork), false)
        );
        assert_eq!(
            judged(RULES, "linux-net-none", &facts(MemoryTree::new())),
            (Some(Severity::NoNetwork), false)
        );
    }
}
