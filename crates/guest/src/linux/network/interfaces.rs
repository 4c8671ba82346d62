//! `/etc/network/interfaces`.

use super::profile::{Addressing, MAX_PROFILES, Matching, Profile, Reader};
use crate::known::Known;
use crate::linux::source::{Source, glob};
use crate::view::View;

/// Lines that take in further files.
const MAX_INCLUDES: usize = 64;
/// Words that begin something else than an option of the interface before.
const STANZAS: &[&str] = &[
    "iface",
    "auto",
    "mapping",
    "source",
    "source-directory",
    "rename",
    "no-auto-down",
    "template",
    "no-scripts",
];

pub(crate) fn profiles(view: &View) -> Known<Vec<Profile>> {
    let Some(main) = Source::read(view, "/etc/network/interfaces")? else {
        return Ok(Vec::new());
    };
    let mut files = Vec::new();
    let mut room = MAX_INCLUDES;
    for (_, text) in main.lines() {
        let text = String::from_utf8_lossy(text);
        let Some((keyword @ ("source" | "source-directory"), path)) =
            text.split_once(char::is_whitespace)
        else {
            continue;
        };
        room = room
            .checked_sub(1)
            .ok_or("/etc/network/interfaces includes too many files")?;
        files.extend(included(view, keyword, path.trim())?);
    }
    let is_further = |file: &Source| {
        let mut lines = file.lines();
        lines.any(|(_, text)| text.starts_with(b"source ") || text.starts_with(b"source-"))
    };
    if let Some(file) = files.iter().find(|file| is_further(file)) {
        let path = crate::text::printable(&file.path);
        return Err(format!("{path} includes further files"));
    }
    files.insert(0, main);
    let mut names = Names::default();
    let mut profiles = Vec::new();
    for file in &files {
        read(file, &mut names, &mut profiles);
    }
    if profiles.len() > MAX_PROFILES || names.0.len() > MAX_PROFILES {
        return Err(format!(
            "/etc/network/interfaces sets up more than {MAX_PROFILES} interfaces"
        ));
    }
    for profile in &mut profiles {
        let Matching::Names(name) = &profile.matching else {
            continue;
        };
        let patterns = names.patterns_of(name.first().map_or("", String::as_str));
        profile.starts = !patterns.is_empty();
        if profile.starts {
            profile.matching = Matching::Names(patterns);
        }
    }
    Ok(profiles)
}

/// The files that a line takes in.
fn included(view: &View, keyword: &str, path: &str) -> Known<Vec<Source>> {
    let absolute = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/etc/network/{path}")
    };
    match keyword {
        "source-directory" => {
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
            Source::all(view, &absolute, |name| name.iter().all(plain))
        }
        "source" => match absolute.rsplit_once('/') {
            Some((directory, pattern)) => {
                Source::all(view, directory, |name| glob(pattern.as_bytes(), name))
            }
            None => Ok(Vec::new()),
        },
        _ => Ok(Vec::new()),
    }
}

/// Interfaces that are brought up at start or when they appear: names, and patterns `/e*=name`.
#[derive(Default)]
struct Names(Vec<String>);

impl Names {
    /// What of these brings up the interface `name`.
    fn patterns_of(&self, name: &str) -> Vec<String> {
        self.0
            .iter()
            .filter_map(|word| match word.strip_prefix('/') {
                Some(pattern) => {
                    let (pattern, target) = pattern.split_once('=').unwrap_or((pattern, name));
                    let fits = target == name
                        && (target != pattern || glob(pattern.as_bytes(), name.as_bytes()));
                    fits.then(|| pattern.rsplit('/').next().unwrap_or(pattern).to_owned())
                }
                None => (word == name).then(|| word.clone()),
            })
            .collect()
    }
}

fn read(file: &Source, names: &mut Names, profiles: &mut Vec<Profile>) {
    let mut open: Option<Profile> = None;
    for (line, text) in file.lines() {
        let text = String::from_utf8_lossy(text);
        let mut words = text.split_ascii_whitespace();
        let Some(keyword) = words.next().filter(|word| !word.starts_with('#')) else {
            continue;
        };
        if STANZAS.contains(&keyword) || keyword.starts_with("allow-") {
            profiles.extend(open.take());
        }
        match keyword {
            "auto" | "allow-auto" | "allow-hotplug" => names.0.extend(words.map(str::to_owned)),
            "iface" => open = stanza(file, line, words),
            _ => {
                if let Some(profile) = &mut open {
                    option(profile, file, line, keyword);
                }
            }
        }
    }
    profiles.extend(open);
}

/// `iface NAME inet METHOD`.
fn stanza<'a>(
    file: &Source,
    line: u32,
    mut words: impl Iterator<Item = &'a str>,
) -> Option<Profile> {
    let (name, family) = (words.next()?, words.next()?);
    let method = words.next()?;
    if name == "lo" || family != "inet" || name.starts_with("wl") {
        return None;
    }
    let mut profile = Profile::new(Reader::Ifupdown, file.seen(line));
    profile.matching = Matching::Names(vec![name.to_owned()]);
    match method {
        "dhcp" => profile.addressing = Addressing::Dhcp,
        "static" => {
            profile.addressing = Addressing::Static;
            profile.fixed.push(file.seen(line));
        }
        _ => {}
    }
    Some(profile)
}

fn option(profile: &mut Profile, file: &Source, line: u32, keyword: &str) {
    let layers = ["bridge", "bond", "vlan"];
    if keyword == "hwaddress" {
        profile.mac.push(file.seen(line));
    } else if keyword == "address" && profile.addressing == Addressing::Static {
        profile.fixed.push(file.seen(line));
    } else if layers.iter().any(|start| keyword.starts_with(start)) {
        profile.layer = Some(file.seen(line));
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::tree::memory::MemoryTree;

    fn read(files: &[(&str, &str)]) -> Vec<Profile> {
        let tree = files.iter().fold(MemoryTree::new(), |tree, (path, text)| {
            tree.file(path, text)
        });
        profiles(&View::new(Rc::new(tree), 0)).unwrap()
    }

    #[test]
    fn stanzas_of_included_files_count() {
        let profiles = read(&[
            (
                "/etc/network/interfaces",
                "source /etc/network/interfaces.d/*\nauto lo\niface lo inet loopback\n\
                 allow-hotplug ens192\niface ens192 inet static\n\taddress 192.0.2.1/24\n\
                 \thwaddress ether 00:50:56:00:00:01\niface ens192 inet6 auto\niface off inet dhcp\n",
            ),
            (
                "/etc/network/interfaces.d/br",
                "auto br0\niface br0 inet dhcp\n bridge_ports eth0\n",
            ),
        ]);
        let [fixed, off, bridge] = profiles.as_slice() else {
            panic!("{profiles:?}");
        };
        let lines: Vec<_> = fixed.fixed.iter().map(|is| is.line.unwrap()).collect();
        assert_eq!(lines, [5, 6]);
        assert_eq!(fixed.mac[0].line, Some(7));
        assert!(fixed.starts && !off.starts && bridge.starts);
        assert!(bridge.layer.is_some() && !bridge.fits_any());
    }

    #[test]
    fn patterns_bring_up_whatever_they_match() {
        let profiles = read(&[(
            "/etc/network/interfaces",
            "auto /e*=nic\niface nic inet dhcp\n",
        )]);
        assert!(profiles[0].fits_any(), "{profiles:?}");
    }
}
