//! Rules about the network.

use super::Network;
use super::keyfile::Defaults;
use super::profile::{Addressing, Manager, Matching, Profile};
use crate::linux::config::Config;
use crate::linux::login::ways;
use crate::linux::source::{is_yes, quoted};
use crate::linux::units::{State, Units};
use crate::{Facts, Family, Judgement, Remedy, Rule, Seen, Severity, Source};

const ANY_INTERFACE: Remedy = Remedy {
    red_hat: &[
        "nmcli connection add type ethernet con-name any ifname \"*\" ipv4.method auto",
        "# without NetworkManager: DEVICE=eth0, BOOTPROTO=dhcp and ONBOOT=yes in ifcfg-eth0, and",
        "grubby --update-kernel=ALL --args='net.ifnames=0 biosdevname=0'",
    ],
    debian: &[
        "# with netplan, in /etc/netplan/90-any.yaml:",
        "# network: {version: 2, ethernets: {all: {match: {name: \"e*\"}, dhcp4: true}}}",
        "# with /etc/network/interfaces: set up eth0 and boot with net.ifnames=0",
    ],
    suse: &[
        "printf \"BOOTPROTO='dhcp'\\nSTARTMODE='auto'\\n\" > /etc/sysconfig/network/ifcfg-eth0",
        "# and boot with net.ifnames=0",
    ],
    any: &[],
};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "linux-net-mac",
        severity: Severity::NoNetwork,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0132216287",
        text: "The network is set up for an interface with a certain MAC address. Every server gets \
               another one.",
        remedy: Remedy {
            red_hat: &[
                "sed -i '/^HWADDR=/d;/^MACADDR=/d;/^UUID=/d' {file}",
                "# of a connection of NetworkManager's:",
                "nmcli connection modify NAME 802-3-ethernet.mac-address \"\"",
            ],
            debian: &[
                "# in {file}: delete match: and set-name:, or hwaddress",
                "netplan generate",
            ],
            suse: &["sed -i '/^LLADDR=/d' {file}"],
            any: &["# take the MAC address out of {file}"],
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
            red_hat: &[
                "rm -f {file}",
                "# on release 6 also:",
                "ln -sf /dev/null /etc/udev/rules.d/75-persistent-net-generator.rules",
            ],
            debian: &["rm -f {file}", "update-initramfs -u"],
            suse: &[
                "rm -f {file}",
                "# on release 11 also:",
                "ln -sf /dev/null /etc/udev/rules.d/75-persistent-net-generator.rules",
                "mkinitrd",
            ],
            any: &["rm -f {file}"],
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
                "sed -i 's/^BOOTPROTO=.*/BOOTPROTO=dhcp/;/^IPADDR/d;/^NETMASK/d;/^PREFIX/d;/^GATEWAY/d;/^DNS/d' {file}",
                "# of a connection of NetworkManager's:",
                "nmcli connection modify NAME ipv4.method auto ipv4.addresses \"\" ipv4.gateway \"\"",
            ],
            debian: &[
                "# in {file}: dhcp4: true without addresses, gateway4 and routes; or inet dhcp",
            ],
            suse: &["sed -i \"s/^BOOTPROTO=.*/BOOTPROTO='dhcp'/;/^IPADDR/d\" {file}"],
            any: &["# in {file}: DHCP in place of the address"],
        },
        check: fixed,
    },
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
    Rule {
        id: "linux-net-zeroconf",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0122876047",
        text: "The system adds a route for link-local addresses, which can hide the metadata service \
               at 169.254.169.254.",
        remedy: Remedy {
            any: &["echo NOZEROCONF=yes >> /etc/sysconfig/network"],
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
            red_hat: &["echo 'PERSISTENT_DHCLIENT=\"y\"' >> {file}"],
            suse: &[
                "sed -i 's/^DHCLIENT_USE_LAST_LEASE=.*/DHCLIENT_USE_LAST_LEASE=\"no\"/' {file}",
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

fn config(facts: &Facts) -> Option<&Config> {
    facts.linux.as_ref()
}

/// `severity`, or advice where cloud-init writes the configuration anew for each server.
fn unless_rendered(severity: Severity, facts: &Facts, config: &Config) -> Severity {
    if ways::renders_network(facts, config) {
        Severity::Advice
    } else {
        severity
    }
}

/// Profiles that could not be read leave a rule open that would else be kept.
fn unread(network: &Network, judgement: &mut Judgement) {
    if let Some(reason) = &network.unread {
        judgement.unknown(reason.clone());
    }
}

fn file_of(seen: &Seen) -> String {
    quoted(&seen.path)
}

fn mac(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = config(facts) else {
        return;
    };
    let network = &config.network;
    unread(network, judgement);
    let severity = if network.profiles.iter().any(Profile::fits_any) {
        Severity::Advice
    } else {
        unless_rendered(Severity::NoNetwork, facts, config)
    };
    let started = network.profiles.iter().filter(|profile| profile.starts);
    let lines = started.flat_map(|profile| &profile.mac);
    for seen in lines.chain(&network.links) {
        judgement.value("file", file_of(seen));
        judgement.found(severity, seen.clone());
    }
}

fn udev(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = config(facts) else {
        return;
    };
    let severity = unless_rendered(Severity::NoNetwork, facts, config);
    for seen in judgement.known(&config.network.udev).into_iter().flatten() {
        judgement.value("file", file_of(seen));
        judgement.found(severity, seen.clone());
    }
}

fn fixed(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = config(facts) else {
        return;
    };
    unread(&config.network, judgement);
    let severity = unless_rendered(Severity::NoNetwork, facts, config);
    for profile in config
        .network
        .profiles
        .iter()
        .filter(|profile| profile.starts)
    {
        for seen in &profile.fixed {
            judgement.value("file", file_of(seen));
            judgement.found(severity, seen.clone());
        }
    }
}

/// What brings up interfaces that nothing else is set up for.
fn sets_up_any(config: &Config, units: &Units, judgement: &mut Judgement) -> bool {
    let Some(Defaults { off, unmanaged }) = judgement.known(&config.network.defaults) else {
        return false;
    };
    let manager = units.best(&["NetworkManager", "network-manager"]) == State::Enabled;
    (manager && !off && !unmanaged) || units.best(&["dhcpcd", "connman"]) == State::Enabled
}

/// Whether what reads `profile` starts with the system.
fn is_read(profile: &Profile, units: &Units) -> bool {
    let enabled = |names: &[&str]| units.best(names) == State::Enabled;
    match profile.manager {
        Manager::RedHat => enabled(&["NetworkManager", "network"]),
        Manager::Suse => enabled(&["wicked", "network"]),
        Manager::NetworkManager | Manager::NetplanNetworkManager => {
            enabled(&["NetworkManager", "network-manager"])
        }
        Manager::Networkd => enabled(&["systemd-networkd"]),
        // netplan's generator starts it.
        Manager::NetplanNetworkd => matches!(
            units.state("systemd-networkd"),
            State::Enabled | State::Disabled
        ),
        Manager::Ifupdown => enabled(&["networking", "network-interface"]),
    }
}

fn name(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = config(facts) else {
        return;
    };
    let network = &config.network;
    unread(network, judgement);
    let Some(units) = judgement.known(&config.units) else {
        return;
    };
    let by_name: Vec<(&Profile, &[String])> = network
        .profiles
        .iter()
        .filter(|profile| profile.starts && profile.addressing == Addressing::Dhcp)
        .filter_map(|profile| match &profile.matching {
            Matching::Names(names) => Some((profile, names.as_slice())),
            Matching::Any | Matching::Property => None,
        })
        .collect();
    let fits = network.profiles.iter().any(Profile::fits_any);
    let places: Vec<Place> = by_name
        .iter()
        .flat_map(|(_, names)| names.iter().map(|name| place(name)))
        .collect();
    if fits || places.contains(&Place::General) {
        return;
    }
    let severity = if places.contains(&Place::Likely) || sets_up_any(config, units, judgement) {
        Severity::Advice
    } else {
        unless_rendered(Severity::NoNetwork, facts, config)
    };
    for (profile, names) in by_name {
        judgement.found(severity, profile.seen.clone().with(names.join(" ")));
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
    let Some(config) = config(facts) else {
        return;
    };
    let network = &config.network;
    let Some(units) = judgement.known(&config.units) else {
        return;
    };
    let is_set_up = network.profiles.iter().any(|profile| {
        profile.starts && profile.addressing != Addressing::None && is_read(profile, units)
    });
    if is_set_up || sets_up_any(config, units, judgement) {
        return;
    }
    if let Some(reason) = &network.unread {
        judgement.unknown(reason.clone());
        return;
    }
    if units.best(&["netctl", "netifrc", "network-config"]) == State::Enabled {
        judgement.unknown("the network is set up by a service whose configuration is not read");
        return;
    }
    let severity = unless_rendered(Severity::NoNetwork, facts, config);
    let services = [
        "NetworkManager",
        "systemd-networkd",
        "networking",
        "wicked",
        "network",
    ];
    let mut seen: Vec<Seen> = services
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

fn layers(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = config(facts) else {
        return;
    };
    unread(&config.network, judgement);
    let severity = unless_rendered(Severity::Degraded, facts, config);
    for profile in config
        .network
        .profiles
        .iter()
        .filter(|profile| profile.starts)
    {
        if let Some(seen) = &profile.layer {
            judgement.found(severity, seen.clone());
        }
    }
}

/// Whether the system is of CentOS' kind up to release 7, where the network scripts are.
fn has_network_scripts(facts: &Facts) -> bool {
    let Some(os) = &facts.os else {
        return false;
    };
    let major = os.version.as_deref().and_then(|version| {
        let mut numbers = version.split('.').map(str::parse::<u32>);
        Some((numbers.next()?.ok()?, numbers.next().and_then(Result::ok)))
    });
    match os.id.to_ascii_lowercase().as_str() {
        "centos" | "rhel" | "ol" | "scientific" => matches!(major, Some((0..=7, _))),
        // The releases up to 2.0 SP5 are built like CentOS 7.
        "euleros" => matches!(major, Some((2, None | Some(0..=5)))),
        _ => false,
    }
}

fn zeroconf(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = config(facts).filter(|_| has_network_scripts(facts)) else {
        return;
    };
    if let Some(asked) = judgement.known(&config.network.zeroconf)
        && !is_yes(&asked.value)
    {
        judgement.found(Severity::Advice, asked.seen.clone());
    }
}

fn lease(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = config(facts) else {
        return;
    };
    if has_network_scripts(facts) {
        let files = judgement.known(&config.network.persistent);
        for asked in files
            .into_iter()
            .flatten()
            .filter(|asked| !is_yes(&asked.value))
        {
            judgement.value("file", file_of(&asked.seen));
            judgement.found(Severity::Advice, asked.seen.clone());
        }
    } else if facts.family() == Family::Suse
        && let Some(Some(asked)) = judgement.known(&config.network.last_lease)
        && !asked.value.eq_ignore_ascii_case("no")
    {
        judgement.value("file", file_of(&asked.seen));
        judgement.found(Severity::Advice, asked.seen.clone());
    }
}

fn multiqueue(facts: &Facts, judgement: &mut Judgement) {
    let kernel = facts.linux_boot.as_ref().and_then(|boot| boot.kernel());
    let Some((kernel, version)) = kernel.and_then(|is| Some((is, is.version.as_deref()?))) else {
        return;
    };
    let numbers: Vec<u32> = version
        .split(['.', '-', '+'])
        .map_while(|part| part.parse().ok())
        .take(3)
        .collect();
    if numbers >= vec![2, 6, 35] {
        judgement.found(Severity::Advice, Seen::at(&kernel.path).with(version));
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::Os;
    use crate::tree::memory::MemoryTree;
    use crate::view::View;

    const WANTS: &str = "/etc/systemd/system/multi-user.target.wants";
    const UNITS: &str = "/usr/lib/systemd/system";

    fn facts(tree: MemoryTree) -> Facts {
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

    fn enabled(tree: MemoryTree, name: &str) -> MemoryTree {
        tree.file(&format!("{UNITS}/{name}.service"), "[Service]")
            .link(&format!("{WANTS}/{name}.service"), "x")
    }

    /// The severity of rule `id`, if it is broken, and whether it is undecided.
    fn judged(id: &str, facts: &Facts) -> (Option<Severity>, bool) {
        let rule = RULES.iter().find(|rule| rule.id == id).unwrap();
        let (findings, unknown) = rule.judge(facts);
        (
            findings.first().map(|finding| finding.severity),
            unknown.is_some(),
        )
    }

    fn interfaces(text: &str) -> MemoryTree {
        enabled(
            MemoryTree::new().file("/etc/network/interfaces", text),
            "networking",
        )
    }

    /// cloud-init that runs and asks OpenStack.
    fn with_cloud_init(tree: MemoryTree) -> MemoryTree {
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

    #[test]
    fn names_of_the_old_machine_leave_the_new_one_without_network() {
        let named = |name: &str| {
            facts(interfaces(&format!(
                "auto {name}\niface {name} inet dhcp\n"
            )))
        };
        for name in ["ens192", "enp3s0", "eno1", "em1", "p1p1"] {
            assert_eq!(
                judged("linux-net-name", &named(name)),
                (Some(Severity::NoNetwork), false),
                "{name}"
            );
        }
        assert_eq!(judged("linux-net-name", &named("eth0")), (None, false));
        assert_eq!(
            judged("linux-net-name", &named("ens3")),
            (Some(Severity::Advice), false)
        );
        assert_eq!(judged("linux-net-none", &named("ens192")), (None, false));
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
            judged("linux-net-name", &facts(ifcfg())),
            (Some(Severity::Advice), false)
        );
        let strict = ifcfg().file(
            "/etc/NetworkManager/conf.d/x.conf",
            "[main]\nno-auto-default=*\n",
        );
        assert_eq!(
            judged("linux-net-name", &facts(strict)),
            (Some(Severity::NoNetwork), false)
        );
        let bare = enabled(MemoryTree::new(), "NetworkManager");
        assert_eq!(judged("linux-net-none", &facts(bare)), (None, false));
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
        assert_eq!(judged("linux-net-none", &facts(present)), (None, false));
        let masked = netplan()
            .file(&unit, "[Service]")
            .link("/etc/systemd/system/systemd-networkd.service", "/dev/null");
        assert_eq!(
            judged("linux-net-none", &facts(masked)),
            (Some(Severity::NoNetwork), false)
        );
        assert_eq!(
            judged("linux-net-none", &facts(MemoryTree::new())),
            (Some(Severity::NoNetwork), false)
        );
    }

    #[test]
    fn cloud_init_takes_the_weight_off_unless_it_leaves_the_network_alone() {
        let fixed = || interfaces("auto eth0\niface eth0 inet static\n address 192.0.2.1/24\n");
        assert_eq!(
            judged("linux-net-static", &facts(fixed())),
            (Some(Severity::NoNetwork), false)
        );
        let rendered = facts(with_cloud_init(fixed()));
        assert_eq!(
            judged("linux-net-static", &rendered),
            (Some(Severity::Advice), false)
        );
        let left_alone = with_cloud_init(fixed()).file(
            "/etc/cloud/cloud.cfg.d/99.cfg",
            "network: {config: disabled}\n",
        );
        assert_eq!(
            judged("linux-net-static", &facts(left_alone)),
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
            judged("linux-net-mac", &broken),
            (Some(Severity::NoNetwork), true)
        );
        assert_eq!(judged("linux-net-static", &broken), (None, true));
    }

    #[test]
    fn another_profile_for_any_interface_makes_a_mac_harmless() {
        let both = facts(interfaces(
            "auto a /e*=nic\niface a inet dhcp\n hwaddress ether 00:50\niface nic inet dhcp\n",
        ));
        assert_eq!(
            judged("linux-net-mac", &both),
            (Some(Severity::Advice), false)
        );
    }

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
        assert_eq!(judged("linux-net-lease", &old), (None, false), "release 9");
        old.os = Some(Os {
            id: "centos".into(),
            version: Some("7.9".into()),
            ..Os::default()
        });
        assert_eq!(
            judged("linux-net-lease", &old),
            (Some(Severity::Advice), false)
        );
        assert_eq!(
            judged("linux-net-zeroconf", &old),
            (Some(Severity::Advice), false)
        );
    }
}
