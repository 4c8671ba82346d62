//! `ifcfg-*`: the shell files of Red Hat's and SUSE's network scripts.

use super::profile::{Addressing, Matching, Profile, Reader};
use crate::known::Known;
use crate::linux::source::{Setting, Source, is_no, last};
use crate::view::View;

/// Names that the scripts themselves leave out.
const LEFT_OUT: &[&str] = &[
    "~",
    ".bak",
    ".old",
    ".orig",
    ".rpmnew",
    ".rpmorig",
    ".rpmsave",
    ".swp",
    ".template",
];

/// The files in `/etc/sysconfig/network-scripts`.
pub(crate) fn red_hat(view: &View) -> Known<Vec<Profile>> {
    let files = Source::all(view, "/etc/sysconfig/network-scripts", is_profile)?;
    // An alias adds an address to an interface that has a file of its own.
    let files = files.iter().filter(|file| !file.name().contains(&b':'));
    Ok(files.filter_map(red_hat_profile).collect())
}

/// The files in `/etc/sysconfig/network`.
pub(crate) fn suse(view: &View) -> Known<Vec<Profile>> {
    let files = Source::all(view, "/etc/sysconfig/network", is_profile)?;
    Ok(files.iter().filter_map(suse_profile).collect())
}

fn is_profile(name: &[u8]) -> bool {
    name.starts_with(b"ifcfg-")
        && name != b"ifcfg-lo"
        && !LEFT_OUT.iter().any(|end| name.ends_with(end.as_bytes()))
}

/// The interface that the file's name says.
fn interface(file: &Source) -> String {
    let name = file.name().strip_prefix(b"ifcfg-").unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

/// The last assignment to `key` that is not empty.
fn filled<'a>(settings: &'a [Setting], key: &str) -> Option<&'a Setting> {
    last(settings, key).filter(|setting| !setting.value.is_empty())
}

/// Assignments of addresses: `IPADDR`, `IPADDR0`, `IPADDR_1`.
fn addresses(settings: &[Setting]) -> impl Iterator<Item = &Setting> {
    settings.iter().filter(|setting| {
        let number = setting.key.strip_prefix("IPADDR");
        !setting.value.is_empty()
            && number.is_some_and(|rest| {
                let rest = rest.strip_prefix('_').unwrap_or(rest);
                rest.bytes().all(|byte| byte.is_ascii_digit())
            })
    })
}

fn red_hat_profile(file: &Source) -> Option<Profile> {
    let settings = file.shell();
    let kind = filled(&settings, "TYPE").map(|setting| setting.value.to_ascii_lowercase());
    if matches!(kind.as_deref(), Some("wireless" | "modem" | "loopback")) {
        return None;
    }
    let mut profile = Profile::new(Reader::RedHat, file.whole());
    let device = filled(&settings, "DEVICE").map(|setting| setting.value.clone());
    for key in ["HWADDR", "MACADDR"] {
        let line = filled(&settings, key).map(|setting| file.seen(setting.line));
        profile.mac.extend(line);
    }
    profile.matching = match device {
        Some(name) if name == "lo" => return None,
        Some(name) => Matching::Names(vec![name]),
        None if !profile.mac.is_empty() => Matching::Property,
        None => Matching::Names(vec![interface(file)]),
    };
    address(&mut profile, file, &settings);
    let layers = [
        "MASTER",
        "TEAM_MASTER",
        "BRIDGE",
        "BONDING_OPTS",
        "TEAM_CONFIG",
        "PHYSDEV",
        "VLAN",
    ];
    let by_key = layers.iter().find_map(|key| filled(&settings, key));
    let by_kind = filled(&settings, "TYPE").filter(|setting| {
        let layered = ["bond", "bridge", "team", "vlan", "ovsbridge", "ovsport"];
        layered.contains(&setting.value.to_ascii_lowercase().as_str())
    });
    profile.layer = by_key.or(by_kind).map(|setting| file.seen(setting.line));
    profile.starts = !filled(&settings, "ONBOOT").is_some_and(|setting| is_no(&setting.value));
    Some(profile)
}

fn suse_profile(file: &Source) -> Option<Profile> {
    let settings = file.shell();
    let mut profile = Profile::new(Reader::Suse, file.whole());
    let name = interface(file);
    let line = filled(&settings, "LLADDR").map(|setting| file.seen(setting.line));
    profile.mac.extend(line);
    profile.matching = if name.starts_with("eth-id-") {
        profile.mac.push(file.whole());
        Matching::Property
    } else if name.starts_with("eth-bus-") {
        Matching::Property
    } else if name.starts_with("wlan") {
        return None;
    } else {
        Matching::Names(vec![name])
    };
    address(&mut profile, file, &settings);
    let layers = ["BONDING_MASTER", "BRIDGE", "ETHERDEVICE", "VLAN_ID"];
    profile.layer = layers
        .iter()
        .find_map(|key| filled(&settings, key))
        .map(|setting| file.seen(setting.line));
    profile.starts = !filled(&settings, "STARTMODE")
        .is_some_and(|setting| ["off", "manual"].contains(&setting.value.as_str()));
    Some(profile)
}

/// How the interface gets its address, by `BOOTPROTO` and `IPADDR`.
fn address(profile: &mut Profile, file: &Source, settings: &[Setting]) {
    let protocol = filled(settings, "BOOTPROTO");
    let value = protocol.map(|setting| setting.value.to_ascii_lowercase());
    let value = value.as_deref().unwrap_or("none");
    if value.starts_with("dhcp") || value == "bootp" {
        profile.addressing = Addressing::Dhcp;
    } else if ["none", "static"].contains(&value) {
        let lines: Vec<_> = addresses(settings)
            .map(|setting| file.seen(setting.line))
            .collect();
        if !lines.is_empty() {
            profile.addressing = Addressing::Static;
            profile.fixed.extend(lines);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::Seen;
    use crate::tree::memory::MemoryTree;

    fn view(files: &[(&str, &str)]) -> View {
        let tree = files.iter().fold(MemoryTree::new(), |tree, (path, text)| {
            tree.file(path, text)
        });
        View::new(Rc::new(tree), 0)
    }

    #[test]
    fn red_hat_files_bind_to_macs_and_addresses() {
        let dir = "/etc/sysconfig/network-scripts/";
        let profiles = red_hat(&view(&[
            (&format!("{dir}ifcfg-lo"), "DEVICE=lo\nIPADDR=127.0.0.1\n"),
            (
                &format!("{dir}ifcfg-a"),
                "BOOTPROTO=none\nDEVICE=\"ens192\"\nHWADDR=00:50\nIPADDR=192.0.2.1\n",
            ),
            (
                &format!("{dir}ifcfg-eth0"),
                "BOOTPROTO=dhcp\nONBOOT=no\nHWADDR=\n",
            ),
            (&format!("{dir}ifcfg-eth0.bak"), "IPADDR=192.0.2.1\n"),
            (&format!("{dir}ifcfg-eth0:1"), "IPADDR=192.0.2.1\n"),
            (&format!("{dir}ifcfg-eth1"), "MASTER=bond0\nSLAVE=yes\n"),
        ]))
        .unwrap();
        let [fixed, dhcp, slave] = profiles.as_slice() else {
            panic!("{profiles:?}");
        };
        let at = |line, text: &str| Seen::line(format!("{dir}ifcfg-a"), line, text);
        assert_eq!(fixed.mac, [at(3, "HWADDR=00:50")]);
        assert_eq!(fixed.fixed, [at(4, "IPADDR=192.0.2.1")]);
        assert_eq!(fixed.matching, Matching::Names(vec!["ens192".into()]));
        assert!(fixed.starts && !dhcp.starts && dhcp.mac.is_empty());
        assert_eq!(dhcp.addressing, Addressing::Dhcp);
        assert_eq!(slave.addressing, Addressing::None);
        assert!(slave.layer.is_some());
    }

    #[test]
    fn suse_files_are_named_after_interfaces_or_macs() {
        let dir = "/etc/sysconfig/network/";
        let profiles = suse(&view(&[
            (
                &format!("{dir}ifcfg-eth0"),
                "BOOTPROTO='static'\nSTARTMODE='auto'\nIPADDR='192.0.2.20/24'\n",
            ),
            (
                &format!("{dir}ifcfg-eth-id-00:50:56:00:00:01"),
                "BOOTPROTO='dhcp'\nSTARTMODE='off'\n",
            ),
            (&format!("{dir}ifcfg.template"), "IPADDR=1\n"),
            (&format!("{dir}config"), "IPADDR=1\n"),
        ]))
        .unwrap();
        let [by_mac, fixed] = profiles.as_slice() else {
            panic!("{profiles:?}");
        };
        assert_eq!((by_mac.mac.len(), by_mac.starts), (1, false));
        assert_eq!(fixed.fixed[0].line, Some(3));
    }
}
