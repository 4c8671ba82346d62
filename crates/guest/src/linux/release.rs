//! Which distribution it is: release files, the most telling ones first.

mod table;

use std::collections::BTreeMap;

use table::{File, RELEASES};

use crate::budget::MAX_RELEASE;
use crate::text::{cut, printable};
use crate::tree::Result;
use crate::view::View;
use crate::{Evidence, Os};

/// Values of an os-release file, or of one like it.
#[derive(Debug, Default)]
struct Values {
    path: &'static str,
    values: BTreeMap<String, String>,
}

/// The distribution; `None` when no file tells.
pub(super) fn read(view: &View) -> Result<Option<Os>> {
    let mut os = Os {
        kind: "Linux".to_owned(),
        ..Os::default()
    };
    for path in ["/etc/os-release", "/usr/lib/os-release"] {
        let Some(values) = Values::read(view, path)? else {
            continue;
        };
        let Some(id) = values.get("ID") else {
            continue;
        };
        os.id = shown(id);
        os.like = values
            .get("ID_LIKE")
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        os.name = values.get("PRETTY_NAME").or(values.get("NAME")).map(shown);
        os.version = version(&values);
        for key in [
            "ID",
            "VERSION_ID",
            "VERSION",
            "NAME",
            "VARIANT_ID",
            "CPE_NAME",
        ] {
            values.tell(key, &mut os);
        }
        break;
    }
    if os.id.is_empty() {
        by_lsb(view, &mut os)?;
    }
    if os.id.is_empty() {
        by_files(view, &mut os)?;
    }
    if os.id.is_empty() {
        return Ok(None);
    }
    refine(view, &mut os)?;
    relate(view, &mut os)?;
    Ok(Some(os))
}

impl Values {
    fn read(view: &View, path: &'static str) -> Result<Option<Self>> {
        let Some(content) = view.read(path, MAX_RELEASE)? else {
            return Ok(None);
        };
        let values = String::from_utf8_lossy(&content)
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .filter_map(|line| {
                let (key, value) = line.split_once('=')?;
                Some((key.trim().to_owned(), unquoted(value.trim())))
            })
            .collect();
        Ok(Some(Self { path, values }))
    }

    /// The value of `key`, unless it is empty.
    fn get(&self, key: &str) -> Option<&str> {
        self.values
            .get(key)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Adds `key` to what says which system it is.
    fn tell(&self, key: &str, os: &mut Os) {
        if let Some(value) = self.get(key) {
            tell(os, self.path, key, value);
        }
    }
}

fn tell(os: &mut Os, path: &str, key: &str, value: &str) {
    os.evidence.push(Evidence {
        path: path.to_owned(),
        key: key.to_owned(),
        value: shown(value),
    });
}

fn shown(value: &str) -> String {
    cut(&printable(value))
}

/// A value without the quotes and escapes of a shell.
fn unquoted(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut quote = None;
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', None | Some('"')) => plain.extend(letters.next()),
            ('"' | '\'', None) => quote = Some(letter),
            (letter, Some(mark)) if letter == mark => quote = None,
            (letter, None) if letter.is_whitespace() => break,
            _ => plain.push(letter),
        }
    }
    plain
}

/// The version in an os-release file: `VERSION` is more exact for some.
fn version(values: &Values) -> Option<String> {
    let id = values.get("VERSION_ID").map(shown);
    let long = values.get("VERSION").unwrap_or_default();
    match values.get("ID")?.to_ascii_lowercase().as_str() {
        // 22.04.4 LTS (Jammy Jellyfish)
        "ubuntu" => long
            .split_whitespace()
            .next()
            .filter(|word| id.as_ref().is_some_and(|id| word.starts_with(id.as_str())))
            .map(shown)
            .or(id),
        // 2.0 (SP9x86_64) is 2.9.
        "euleros" => match service_pack(long) {
            Some(pack) => Some(format!("2.{pack}")),
            None => id,
        },
        // 22.03 (LTS-SP1)
        "openeuler" => match (id, service_pack(long)) {
            (Some(id), Some(pack)) => Some(format!("{id} SP{pack}")),
            (id, _) => id,
        },
        // V10 (Lance): the service packs have names.
        "kylin" => {
            let pack = match long {
                _ if long.contains("Tercel") => Some(1),
                _ if long.contains("Sword") => Some(2),
                _ if long.contains("Lance") => Some(3),
                _ => service_pack(long),
            };
            match (id, pack) {
                (Some(id), Some(pack)) => Some(format!("{id} SP{pack}")),
                (id, _) => id,
            }
        }
        _ => id,
    }
}

/// The number behind `SP`.
fn service_pack(text: &str) -> Option<u32> {
    text.match_indices("SP").find_map(|(at, _)| {
        let rest = text.get(at + 2..)?;
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        rest.get(..digits)?.parse().ok()
    })
}

fn by_lsb(view: &View, os: &mut Os) -> Result<()> {
    let Some(values) = Values::read(view, "/etc/lsb-release")? else {
        return Ok(());
    };
    if let (Some(id), Some(release)) = (values.get("DISTRIB_ID"), values.get("DISTRIB_RELEASE")) {
        os.id = shown(&id.to_ascii_lowercase());
        os.version = Some(shown(release));
        os.name = values.get("DISTRIB_DESCRIPTION").map(shown);
        values.tell("DISTRIB_ID", os);
        values.tell("DISTRIB_RELEASE", os);
    }
    Ok(())
}

/// Reads the files of [`RELEASES`] until one tells.
fn by_files(view: &View, os: &mut Os) -> Result<()> {
    for File { path, systems } in RELEASES {
        let Some(content) = view.read(path, MAX_RELEASE)? else {
            continue;
        };
        let content = String::from_utf8_lossy(&content);
        let first = content.lines().next().unwrap_or_default().trim();
        let Some((_, id)) = systems.iter().find(|(words, _)| first.contains(words)) else {
            continue;
        };
        os.id = (*id).to_owned();
        os.name = Some(shown(first));
        os.version = match *id {
            "sles" | "opensuse" => suse_version(&content),
            "debian" | "alpine" => Some(shown(first)),
            "euleros" => service_pack(first).map(|pack| format!("2.{pack}")),
            "neokylin" => first
                .split_whitespace()
                .find(|word| word.starts_with('V'))
                .map(shown),
            _ => release_version(first),
        };
        tell(os, path, "", first);
        return Ok(());
    }
    Ok(())
}

/// `VERSION = 11` and `PATCHLEVEL = 4` of an old SUSE.
fn suse_version(content: &str) -> Option<String> {
    let value = |key: &str| {
        content.lines().find_map(|line| {
            let (is, value) = line.split_once('=')?;
            (is.trim() == key).then(|| shown(value.trim()))
        })
    };
    let version = value("VERSION")?;
    Some(match value("PATCHLEVEL") {
        Some(level) if level != "0" => format!("{version}.{level}"),
        _ => version,
    })
}

/// Major and minor number behind the word `release`: `7.9` of `CentOS Linux release 7.9.2009`.
fn release_version(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("release ")?;
    let word = rest.split_whitespace().next()?;
    let mut numbers = word.split('.').take(2).map(str::parse::<u32>);
    let major = numbers.next()?.ok()?;
    let update = |mark: &str| {
        let (_, rest) = rest.split_once(mark)?;
        rest.trim_end_matches(')').parse().ok()
    };
    // Red Hat Enterprise Linux AS release 4 (Nahant Update 8)
    let minor = match numbers.next() {
        Some(minor) => minor.ok(),
        None => update("Update "),
    };
    Some(match minor {
        Some(minor) => format!("{major}.{minor}"),
        None => major.to_string(),
    })
}

/// Adds the minor version where another file knows it.
fn refine(view: &View, os: &mut Os) -> Result<()> {
    let first_line = |path: &str| -> Result<Option<String>> {
        let content = view.read(path, MAX_RELEASE)?;
        Ok(content.map(|content| {
            let text = String::from_utf8_lossy(&content);
            shown(text.lines().next().unwrap_or_default().trim())
        }))
    };
    let coarse = os.version.clone().unwrap_or_default();
    let (path, finer) = match os.id.to_ascii_lowercase().as_str() {
        "debian" => {
            let path = "/etc/debian_version";
            let finer = first_line(path)?.filter(|line| {
                line.split('.').all(|part| part.parse::<u32>().is_ok())
                    && (line.split('.').next() == Some(coarse.as_str()) || coarse.is_empty())
            });
            (path, finer)
        }
        "centos" => {
            let path = "/etc/centos-release";
            let line = first_line(path)?;
            (path, line.as_deref().and_then(release_version))
        }
        "ubuntu" => {
            let path = "/etc/lsb-release";
            let finer = Values::read(view, path)?.and_then(|values| {
                let text = values.get("DISTRIB_DESCRIPTION")?;
                text.split_whitespace()
                    .find(|word| word.starts_with(coarse.as_str()) && !coarse.is_empty())
                    .map(shown)
            });
            (path, finer)
        }
        "euleros" => {
            let path = "/etc/euleros-release";
            let pack = first_line(path)?.as_deref().and_then(service_pack);
            let finer = pack.map(|pack| format!("2.{pack}"));
            (path, finer.filter(|_| coarse == "2.0"))
        }
        "uos" => {
            let path = "/etc/os-version";
            let finer = Values::read(view, path)?.and_then(|values| {
                Some(format!("{coarse} {}", shown(values.get("MinorVersion")?)))
            });
            (path, finer)
        }
        _ => return Ok(()),
    };
    let is_finer = |finer: &String| finer.len() >= coarse.len() && *finer != coarse;
    if let Some(finer) = finer.filter(is_finer) {
        tell(os, path, "", &finer);
        os.version = Some(finer);
    }
    Ok(())
}

/// Adds what the packages tell: some systems have editions of either kind under one name, and
/// appliances keep the name of what they are built on.
fn relate(view: &View, os: &mut Os) -> Result<()> {
    let packages = "/var/lib/dpkg/status";
    let either = matches!(os.id.to_ascii_lowercase().as_str(), "kylin" | "uos");
    if either && view.exists(packages)? {
        os.like.insert(0, "debian".to_owned());
        tell(os, packages, "", "packages of Debian's kind");
    }
    let appliance = "/etc/pve";
    if os.id == "debian" && view.exists(appliance)? {
        tell(os, appliance, "", "Proxmox VE");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
