//! netplan's YAML files.

use std::collections::BTreeMap;

use super::profile::{Addressing, MAX_PROFILES, Matching, Profile, Reader};
use crate::Seen;
use crate::budget::MAX_YAML;
use crate::known::Known;
use crate::linux::source::{Source, first, is_yes};
use crate::linux::yaml::{self, Node};
use crate::text::printable;
use crate::view::View;

/// Any of these is there when netplan is installed.
pub(super) const PROGRAMS: &[&str] = &[
    "/usr/sbin/netplan",
    "/usr/bin/netplan",
    "/usr/lib/systemd/system-generators/netplan",
    "/lib/netplan/generate",
    "/usr/libexec/netplan/generate",
];

/// What netplan's files say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Netplan {
    pub(crate) profiles: Vec<Profile>,
    /// NetworkManager has all interfaces that have no definition.
    pub(crate) network_manager: bool,
}

/// The definition of one interface, as far as files have been read; later ones add to it.
#[derive(Default)]
struct Definition {
    seen: Seen,
    layered: bool,
    name: Option<String>,
    is_matched: bool,
    mac: Option<Seen>,
    by_driver: bool,
    dhcp: bool,
    addresses: Vec<Seen>,
    renderer: Option<String>,
}

/// Reads netplan's files, later ones after earlier ones. Nothing when netplan is not installed.
pub(crate) fn collect(view: &View) -> Known<Netplan> {
    if first(view, PROGRAMS)?.is_none() {
        return Ok(Netplan::default());
    }
    let mut files: BTreeMap<Vec<u8>, Source> = BTreeMap::new();
    for directory in ["/usr/lib/netplan", "/etc/netplan"] {
        for file in Source::all(view, directory, |name| name.ends_with(b".yaml"))? {
            files.insert(file.name().to_vec(), file);
        }
    }
    let mut renderer = None;
    let mut definitions: BTreeMap<String, Definition> = BTreeMap::new();
    for file in files.values() {
        let path = printable(&file.path);
        if file.content.len() as u64 > MAX_YAML {
            return Err(format!("{path} has more than {MAX_YAML} bytes"));
        }
        let document = yaml::parse(&file.content).map_err(|error| format!("{path}, {error}"))?;
        let Some(network) = document.as_ref().and_then(|node| node.get("network")) else {
            continue;
        };
        network
            .whole()
            .map_err(|error| format!("{path}, {error}"))?;
        renderer = text(network, "renderer").or(renderer);
        for (section, layered) in [
            ("ethernets", false),
            ("bonds", true),
            ("bridges", true),
            ("vlans", true),
        ] {
            let section = network.get(section).map_or(&[][..], Node::entries);
            for (id, line, node) in section.iter().filter(|(id, ..)| id != "renderer") {
                let definition = definitions.entry(id.clone()).or_default();
                definition.seen = file.seen(*line);
                definition.layered = layered;
                definition.add(file, node);
            }
        }
    }
    if definitions.len() > MAX_PROFILES {
        return Err(format!(
            "netplan sets up more than {MAX_PROFILES} interfaces"
        ));
    }
    Ok(Netplan {
        network_manager: renderer.as_deref() == Some("NetworkManager"),
        profiles: definitions
            .into_iter()
            .map(|(id, definition)| definition.profile(id, renderer.as_deref()))
            .collect(),
    })
}

fn text(node: &Node, key: &str) -> Option<String> {
    node.get(key).and_then(Node::text).map(str::to_owned)
}

impl Definition {
    /// Adds what `node` of `file` says.
    fn add(&mut self, file: &Source, node: &Node) {
        if let Some((_, matched)) = node.entry("match") {
            self.is_matched = true;
            self.name = text(matched, "name").or(self.name.take());
            self.by_driver |= matched.get("driver").is_some();
            if let Some((line, _)) = matched.entry("macaddress") {
                self.mac = Some(file.seen(line));
            }
        }
        if let Some(dhcp) = text(node, "dhcp4") {
            self.dhcp = is_yes(&dhcp);
        }
        if let Some((line, addresses)) = node.entry("addresses")
            && !addresses.items().is_empty()
        {
            self.addresses.push(file.seen(line));
            let lines = addresses.items().iter().map(|item| item.line);
            self.addresses.extend(
                lines
                    .filter(|&item| item != line)
                    .map(|item| file.seen(item)),
            );
        }
        self.renderer = text(node, "renderer").or(self.renderer.take());
    }

    fn profile(self, id: String, renderer: Option<&str>) -> Profile {
        let reader = match self.renderer.as_deref().or(renderer) {
            Some("NetworkManager") => Reader::NetplanNetworkManager,
            _ => Reader::NetplanNetworkd,
        };
        let mut profile = Profile::new(reader, self.seen.clone());
        profile.matching = match self.name {
            Some(name) => Matching::Names(vec![name]),
            None if self.mac.is_some() || self.by_driver => Matching::Property,
            None if self.is_matched => Matching::Any,
            None => Matching::Names(vec![id]),
        };
        profile.mac.extend(self.mac);
        profile.layer = self.layered.then_some(self.seen);
        if self.dhcp {
            profile.addressing = Addressing::Dhcp;
        } else if !self.addresses.is_empty() {
            profile.addressing = Addressing::Static;
            profile.fixed = self.addresses;
        }
        profile
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::tree::memory::MemoryTree;

    fn read(files: &[(&str, &str)]) -> Known<Netplan> {
        let tree = MemoryTree::new().file("/usr/sbin/netplan", "");
        let tree = files.iter().fold(tree, |tree, (name, text)| {
            tree.file(&format!("/etc/netplan/{name}"), text)
        });
        collect(&View::new(Rc::new(tree), 0))
    }

    #[test]
    fn definitions_match_by_mac_by_pattern_or_are_names() {
        let netplan = read(&[(
            "50-cloud-init.yaml",
            "network:\n  ethernets:\n    ens160:\n      dhcp4: true\n      match:\n        \
             macaddress: 00:50:56:12:34:56\n      set-name: ens160\n    all:\n      \
             match: {name: \"en*\"}\n      dhcp4: yes\n    ens3:\n      dhcp4: no\n      addresses:\n      \
             - 192.0.2.1/24\n  version: 2\n",
        )])
        .unwrap();
        let [all, by_mac, fixed] = netplan.profiles.as_slice() else {
            panic!("{netplan:?}");
        };
        assert!(all.fits_any());
        assert_eq!(by_mac.matching, Matching::Property);
        assert_eq!(
            by_mac.mac[0],
            Seen::line(
                "/etc/netplan/50-cloud-init.yaml",
                6,
                "macaddress: 00:50:56:12:34:56"
            )
        );
        assert_eq!(fixed.matching, Matching::Names(vec!["ens3".into()]));
        let lines: Vec<_> = fixed.fixed.iter().map(|is| is.line.unwrap()).collect();
        assert_eq!(lines, [13, 14]);
    }

    #[test]
    fn later_files_change_what_earlier_ones_said() {
        let netplan = read(&[
            (
                "00.yaml",
                "network:\n  ethernets:\n    eth0: {addresses: [192.0.2.1/24]}\n",
            ),
            (
                "99.yaml",
                "network:\n  renderer: NetworkManager\n  ethernets:\n    eth0: {dhcp4: true}\n",
            ),
        ])
        .unwrap();
        assert!(netplan.network_manager);
        assert_eq!(netplan.profiles[0].addressing, Addressing::Dhcp);
        assert_eq!(netplan.profiles[0].reader, Reader::NetplanNetworkManager);
    }

    #[test]
    fn a_file_that_cannot_be_understood_is_named() {
        let error = read(&[("a.yaml", "network: [1\n")]).unwrap_err();
        assert!(error.starts_with("/etc/netplan/a.yaml, line "), "{error}");
    }
}
