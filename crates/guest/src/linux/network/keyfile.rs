//! NetworkManager: its connections, and what it does with interfaces that have none.

use super::profile::{Addressing, Matching, Profile, Reader};
use crate::known::Known;
use crate::linux::source::{Setting, Source, is_no, last_in};
use crate::view::View;

/// The connections in key files.
pub(crate) fn profiles(view: &View) -> Known<Vec<Profile>> {
    let mut profiles = Vec::new();
    for directory in [
        "/etc/NetworkManager/system-connections",
        "/usr/lib/NetworkManager/system-connections",
    ] {
        let files = Source::all(view, directory, |name| {
            !name.starts_with(b".") && !name.ends_with(b"~")
        })?;
        profiles.extend(files.iter().filter_map(profile));
    }
    Ok(profiles)
}

fn profile(file: &Source) -> Option<Profile> {
    let settings = file.ini();
    let get = |section: &str, key: &str| {
        last_in(&settings, section, key).filter(|setting| !setting.value.is_empty())
    };
    let kind = get("connection", "type")?;
    let mut profile = Profile::new(Reader::NetworkManager, file.whole());
    match kind.value.as_str() {
        "ethernet" | "802-3-ethernet" => {}
        "bond" | "bridge" | "vlan" | "team" => profile.layer = Some(file.seen(kind.line)),
        _ => return None,
    }
    for key in ["master", "controller"] {
        if let Some(part) = get("connection", key) {
            profile.layer = Some(file.seen(part.line));
        }
    }
    for section in ["ethernet", "802-3-ethernet"] {
        let line = get(section, "mac-address").map(|setting| file.seen(setting.line));
        profile.mac.extend(line);
    }
    let names = get("connection", "interface-name").or_else(|| get("match", "interface-name"));
    profile.matching = match names {
        Some(names) => Matching::Names(words(&names.value)),
        None if !profile.mac.is_empty() => Matching::Property,
        None => Matching::Any,
    };
    match get("ipv4", "method").map(|method| (method.line, method.value.as_str())) {
        None | Some((_, "auto")) => profile.addressing = Addressing::Dhcp,
        Some((line, "manual")) => {
            profile.addressing = Addressing::Static;
            profile.fixed.push(file.seen(line));
            let is_address = |is: &&Setting| is.section == "ipv4" && is.key.starts_with("address");
            let lines = settings.iter().filter(is_address);
            profile
                .fixed
                .extend(lines.map(|setting| file.seen(setting.line)));
        }
        Some(_) => {}
    }
    profile.starts = !get("connection", "autoconnect").is_some_and(|is| is_no(&is.value));
    Some(profile)
}

/// Words between `;`, `,` or blanks.
fn words(text: &str) -> Vec<String> {
    text.split([';', ',', ' '])
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// What NetworkManager does with interfaces that have no connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Defaults {
    /// `no-auto-default`: it makes no connection for them.
    pub(crate) off: bool,
    /// It leaves Ethernet to others; netplan with its renderer changes that.
    pub(crate) unmanaged: bool,
}

impl Defaults {
    /// Reads NetworkManager's configuration. What stands in a later file replaces the earlier one.
    pub(crate) fn collect(view: &View) -> Known<Self> {
        let mut files = Vec::new();
        for directory in [
            "/usr/lib/NetworkManager/conf.d",
            "/etc/NetworkManager/conf.d",
        ] {
            files.extend(Source::all(view, directory, |name| {
                name.ends_with(b".conf")
            })?);
        }
        // A file in /etc hides the one of the same name in /usr/lib.
        let all = files.clone();
        files.retain(|file| {
            let is_newer = |other: &Source| other.name() == file.name() && other.path < file.path;
            !all.iter().any(is_newer)
        });
        files.sort_by(|a, b| a.name().cmp(b.name()));
        let main = Source::read(view, "/etc/NetworkManager/NetworkManager.conf")?;
        let mut defaults = Self::default();
        for file in main.iter().chain(&files) {
            let settings = file.ini();
            if let Some(none) = last_in(&settings, "main", "no-auto-default") {
                defaults.off = words(&none.value).iter().any(|word| word == "*");
            }
            if let Some(left) = last_in(&settings, "keyfile", "unmanaged-devices") {
                let words = words(&left.value);
                defaults.unmanaged = words
                    .iter()
                    .any(|word| word == "*" || word == "type:ethernet")
                    && !words.iter().any(|word| word == "except:type:ethernet");
            }
        }
        Ok(defaults)
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::tree::memory::MemoryTree;

    fn view(tree: MemoryTree) -> View {
        View::new(Rc::new(tree), 0)
    }

    #[test]
    fn connections_are_for_a_name_a_mac_or_any_interface() {
        let dir = "/etc/NetworkManager/system-connections/";
        let view = view(
            MemoryTree::new()
                .file(
                    &format!("{dir}a.nmconnection"),
                    "[connection]\ntype=ethernet\ninterface-name=ens192\n[ethernet]\n\
                     mac-address=00:50:56:00:00:01\ncloned-mac-address=x\n[ipv4]\n\
                     address1=192.0.2.1/24,192.0.2.254\nmethod=manual\n",
                )
                .file(
                    &format!("{dir}b.nmconnection"),
                    "[connection]\ntype=ethernet\n[ipv4]\nmethod=auto\n",
                )
                .file(
                    &format!("{dir}c.nmconnection"),
                    "[connection]\ntype=wifi\n[wifi-security]\npsk=secret\n",
                )
                .file(
                    &format!("{dir}d"),
                    "[connection]\ntype=vlan\nautoconnect=false\n",
                ),
        );
        let profiles = profiles(&view).unwrap();
        let [fixed, any, vlan] = profiles.as_slice() else {
            panic!("{profiles:?}");
        };
        let lines =
            |seen: &[crate::Seen]| seen.iter().map(|is| is.line.unwrap()).collect::<Vec<_>>();
        assert_eq!(lines(&fixed.mac), [5]);
        assert_eq!(lines(&fixed.fixed), [9, 8]);
        assert!(any.fits_any() && !fixed.fits_any());
        assert!(vlan.layer.is_some() && !vlan.starts);
        assert!(!format!("{profiles:?}").contains("secret"));
    }

    #[test]
    fn later_files_decide_what_happens_to_unknown_interfaces() {
        let collected = |tree| Defaults::collect(&view(tree)).unwrap();
        let server = || {
            MemoryTree::new().file(
                "/usr/lib/NetworkManager/conf.d/00-server.conf",
                "[main]\nno-auto-default=*\n",
            )
        };
        assert!(collected(server()).off);
        let hidden = server().file("/etc/NetworkManager/conf.d/00-server.conf", "");
        assert!(!collected(hidden).off);
        let ubuntu = MemoryTree::new().file(
            "/usr/lib/NetworkManager/conf.d/10-globally-managed-devices.conf",
            "[keyfile]\nunmanaged-devices=*,except:type:wifi,except:type:gsm\n",
        );
        assert!(collected(ubuntu).unmanaged);
        assert_eq!(collected(MemoryTree::new()), Defaults::default());
    }
}
