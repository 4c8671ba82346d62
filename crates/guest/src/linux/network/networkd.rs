//! systemd-networkd: `.network` and `.link` files.

use std::collections::BTreeMap;

use super::profile::{Addressing, Matching, Profile, Reader};
use crate::Seen;
use crate::known::Known;
use crate::linux::source::{Setting, Source, is_yes};
use crate::view::View;

/// Beginnings of names that no Ethernet interface has.
const NO_ETHERNET: &[&str] = &[
    "host", "ve-", "vb-", "vt-", "vz-", "wl", "ww", "lo", "docker", "veth", "virbr", "tun", "tap",
    "wg", "ib", "usb",
];

/// The profiles, and the lines of `.link` files that find an interface by its MAC address.
pub(crate) fn collect(view: &View) -> Known<(Vec<Profile>, Vec<Seen>)> {
    // By name: a file in /etc hides the one of the same name in /usr/lib, and an empty one masks
    // it.
    let mut files: BTreeMap<Vec<u8>, Source> = BTreeMap::new();
    for directory in ["/usr/lib/systemd/network", "/etc/systemd/network"] {
        let is_ours = |name: &[u8]| {
            [&b".network"[..], b".link", b".netdev"]
                .iter()
                .any(|end| name.ends_with(end))
        };
        for entry in view.list(directory)? {
            if is_ours(&entry.name) {
                files.remove(&entry.name);
            }
        }
        for file in Source::all(view, directory, is_ours)? {
            files.insert(file.name().to_vec(), file);
        }
    }
    let mut links = Vec::new();
    let mut profiles = Vec::new();
    for (name, file) in &files {
        let settings = file.ini();
        if name.ends_with(b".link") {
            links.extend(macs(file, &settings));
        } else if name.ends_with(b".network") {
            profiles.extend(profile(file, &settings));
        }
    }
    Ok((profiles, links))
}

/// Lines that match a MAC address.
fn macs(file: &Source, settings: &[Setting]) -> Vec<Seen> {
    settings
        .iter()
        .filter(|is| is.section == "Match" && !is.value.is_empty())
        .filter(|is| ["MACAddress", "PermanentMACAddress"].contains(&is.key.as_str()))
        .map(|is| file.seen(is.line))
        .collect()
}

fn profile(file: &Source, settings: &[Setting]) -> Option<Profile> {
    let get = |section: &str, key: &str| {
        settings
            .iter()
            .rev()
            .find(|is| is.section == section && is.key == key && !is.value.is_empty())
    };
    let elsewhere = ["Virtualization", "Kind", "SSID", "WLANInterfaceType"];
    if elsewhere.iter().any(|key| get("Match", key).is_some()) {
        return None;
    }
    let mut profile = Profile::new(Reader::Networkd, file.whole());
    profile.mac = macs(file, settings);
    profile.matching = match get("Match", "Name") {
        Some(names) => {
            let names: Vec<String> = names
                .value
                .split_ascii_whitespace()
                .map(str::to_owned)
                .collect();
            let foreign = |name: &String| NO_ETHERNET.iter().any(|start| name.starts_with(start));
            if names.iter().all(foreign) {
                return None;
            }
            if names.iter().any(|name| name.starts_with('!')) {
                Matching::Any
            } else {
                Matching::Names(names)
            }
        }
        None if get("Match", "Type").is_some_and(|kind| kind.value != "ether") => return None,
        None if get("Match", "Path")
            .or_else(|| get("Match", "Driver"))
            .is_some() =>
        {
            Matching::Property
        }
        None if !profile.mac.is_empty() => Matching::Property,
        None => Matching::Any,
    };
    let layers = ["Bond", "Bridge", "VLAN", "MACVLAN"];
    profile.layer = layers
        .iter()
        .find_map(|key| get("Network", key))
        .map(|setting| file.seen(setting.line));
    let dhcp = get("Network", "DHCP").map(|setting| setting.value.as_str());
    let addresses: Vec<Seen> = settings
        .iter()
        .filter(|is| ["Network", "Address"].contains(&is.section.as_str()) && is.key == "Address")
        .map(|is| file.seen(is.line))
        .collect();
    if dhcp.is_some_and(|value| is_yes(value) || ["ipv4", "v4", "both"].contains(&value)) {
        profile.addressing = Addressing::Dhcp;
    } else if !addresses.is_empty() {
        profile.addressing = Addressing::Static;
        profile.fixed = addresses;
    }
    Some(profile)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::tree::memory::MemoryTree;

    #[test]
    fn files_in_etc_hide_those_of_the_distribution() {
        let tree = MemoryTree::new()
            .file(
                "/usr/lib/systemd/network/a.network",
                "[Match]\nName=*\n[Network]\nDHCP=yes\n",
            )
            .link("/etc/systemd/network/a.network", "/dev/null")
            .file(
                "/usr/lib/systemd/network/80-container-host0.network",
                "[Match]\nName=host0\n[Network]\nDHCP=yes\n",
            )
            .file(
                "/etc/systemd/network/b.network",
                "[Match]\nMACAddress=00:50:56:00:00:01\n[Network]\nAddress=192.0.2.1/24\n",
            )
            .file(
                "/etc/systemd/network/c.network",
                "[Match]\nName=en* eth*\n[Network]\nDHCP=ipv4\n",
            )
            .file(
                "/etc/systemd/network/d.link",
                "[Match]\nPermanentMACAddress=00:50\n[Link]\nName=lan0\n",
            );
        let (profiles, links) = collect(&View::new(Rc::new(tree), 0)).unwrap();
        let [fixed, any] = profiles.as_slice() else {
            panic!("{profiles:?}");
        };
        assert_eq!(fixed.mac[0].line, Some(2));
        assert_eq!(fixed.fixed[0].line, Some(4));
        assert!(any.fits_any());
        assert_eq!(links[0].line, Some(2));
    }
}
