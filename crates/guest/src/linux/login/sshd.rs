//! The SSH server: its program, its configuration, its keys.

use std::collections::BTreeMap;

use crate::Seen;
use crate::budget::MAX_FILE;
use crate::known::Known;
use crate::linux::source::{Source, first, glob};
use crate::linux::units::Units;
use crate::view::View;

/// Names of the service.
pub(crate) const SERVICES: &[&str] = &["sshd", "ssh", "openssh", "dropbear"];

/// Users, groups or addresses of one list; sshd itself refuses more.
const MAX_WORDS: usize = 256;

/// Files of one configuration.
const MAX_FILES: usize = 64;

/// What is set outside of `Match` blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    /// The first value of each keyword, which is the one that counts; keywords in small letters.
    first: BTreeMap<String, (String, Seen)>,
    /// `ListenAddress`.
    pub(crate) addresses: Vec<(String, Seen)>,
    /// `AllowUsers` and `AllowGroups`, word by word.
    pub(crate) users: Vec<(String, Seen)>,
    pub(crate) groups: Vec<(String, Seen)>,
    /// `AuthorizedKeysFile`.
    pub(crate) keys: Option<String>,
    /// `HostKey`.
    host_keys: Vec<String>,
}

/// The SSH server.
#[derive(Clone, Debug)]
pub(crate) struct Sshd {
    pub(crate) program: Known<Option<Seen>>,
    pub(crate) config: Known<Config>,
    pub(crate) host_keys: Known<Vec<Seen>>,
    /// What makes host keys when the system starts.
    pub(crate) key_maker: Known<Option<Seen>>,
}

impl Sshd {
    pub(crate) fn collect(view: &View, units: Option<&Units>) -> Self {
        let config = Config::collect(view);
        let named = config.as_ref().map_or(&[][..], |config| &config.host_keys);
        Self {
            program: first(
                view,
                &[
                    "/usr/sbin/sshd",
                    "/usr/bin/sshd",
                    "/sbin/sshd",
                    "/usr/local/sbin/sshd",
                    "/usr/sbin/dropbear",
                ],
            ),
            host_keys: host_keys(view, named),
            key_maker: key_maker(view, units),
            config,
        }
    }
}

impl Config {
    fn collect(view: &View) -> Known<Self> {
        let mut config = Self::default();
        let main = match Source::read(view, "/etc/ssh/sshd_config")? {
            Some(file) => file,
            // SUSE and others ship the defaults here.
            None => match Source::read(view, "/usr/etc/ssh/sshd_config")? {
                Some(file) => file,
                None => return Ok(config),
            },
        };
        // Files that are being read, with the lines to go on at: an included one comes first.
        let mut open = vec![(main, 0)];
        let mut room = MAX_FILES;
        while let Some((file, from)) = open.pop() {
            let Some((next, names)) = config.read(&file, from) else {
                continue;
            };
            let included = included(view, &names)?;
            room = room.checked_sub(included.len().max(1)).ok_or_else(|| {
                format!("/etc/ssh/sshd_config includes more than {MAX_FILES} files")
            })?;
            open.push((file, next));
            open.extend(included.into_iter().rev().map(|file| (file, 0)));
        }
        Ok(config)
    }

    /// Reads `file` from a line on, up to an `Include`: where to go on, and what it names.
    fn read(&mut self, file: &Source, from: usize) -> Option<(usize, String)> {
        for (line, text) in file.lines().skip(from) {
            let Some((keyword, value)) = words(text) else {
                continue;
            };
            match keyword.as_str() {
                // What is set for some connections only is not looked at.
                "match" => return None,
                "include" => return Some((usize::try_from(line).ok()?, value)),
                _ => self.set(&keyword, &value, || file.seen(line)),
            }
        }
        None
    }

    fn set(&mut self, keyword: &str, value: &str, seen: impl Fn() -> Seen) {
        let list = match keyword {
            "listenaddress" => &mut self.addresses,
            "allowusers" => &mut self.users,
            "allowgroups" => &mut self.groups,
            "hostkey" => {
                self.host_keys.push(value.to_owned());
                return;
            }
            "authorizedkeysfile" => {
                self.keys.get_or_insert_with(|| value.to_owned());
                return;
            }
            "passwordauthentication" | "permitrootlogin" => {
                let first = self.first.entry(keyword.to_owned());
                first.or_insert_with(|| (value.to_ascii_lowercase(), seen()));
                return;
            }
            _ => return,
        };
        let all = value.split_ascii_whitespace();
        let room = MAX_WORDS.saturating_sub(list.len());
        list.extend(all.take(room).map(|word| (word.to_owned(), seen())));
    }

    /// Where `keyword` is set to `value`.
    pub(crate) fn is(&self, keyword: &str, value: &str) -> Option<&Seen> {
        self.first
            .get(keyword)
            .filter(|(is, _)| is == value)
            .map(|(_, seen)| seen)
    }
}

/// The files that `Include` names.
fn included(view: &View, value: &str) -> Known<Vec<Source>> {
    let mut files = Vec::new();
    for pattern in value.split_ascii_whitespace().take(MAX_FILES) {
        let pattern = if pattern.starts_with('/') {
            pattern.to_owned()
        } else {
            format!("/etc/ssh/{pattern}")
        };
        if let Some((directory, pattern)) = pattern.rsplit_once('/') {
            files.extend(Source::all(view, directory, |name| {
                glob(pattern.as_bytes(), name)
            })?);
        }
    }
    Ok(files)
}

/// The keyword in small letters, and what follows it.
fn words(text: &[u8]) -> Option<(String, String)> {
    let text = String::from_utf8_lossy(text);
    if text.starts_with('#') {
        return None;
    }
    let (keyword, value) = text.split_once(|c: char| c.is_ascii_whitespace() || c == '=')?;
    let value = value.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '=');
    Some((
        keyword.to_ascii_lowercase(),
        value.trim_matches('"').to_owned(),
    ))
}

/// Host keys: the usual ones, and those that the configuration names.
fn host_keys(view: &View, named: &[String]) -> Known<Vec<Seen>> {
    let mut seen = Vec::new();
    for entry in view.list("/etc/ssh")? {
        if entry.name.starts_with(b"ssh_host_") && entry.name.ends_with(b"_key") {
            seen.push(Seen::at([b"/etc/ssh/", entry.name.as_slice()].concat()));
        }
    }
    for path in named.iter().take(16) {
        let known = seen.iter().any(|seen| seen.path == *path);
        if !known && view.exists(path)? {
            seen.push(Seen::at(path));
        }
    }
    Ok(seen)
}

/// The service's own file when it makes keys or pulls in what makes them, else a service for it.
fn key_maker(view: &View, units: Option<&Units>) -> Known<Option<Seen>> {
    let Some(units) = units else {
        return Err("the services could not be read".to_owned());
    };
    for name in SERVICES {
        for path in units.paths(name) {
            let Some(content) = view.read(path, MAX_FILE)? else {
                continue;
            };
            let text = String::from_utf8_lossy(&content).to_ascii_lowercase();
            let words = ["keygen", "gen-keys", "genkeys", "hostkeys", "host_keys"];
            if words.iter().any(|word| text.contains(word)) {
                return Ok(Some(Seen::at(path)));
            }
        }
    }
    let makers = [
        "sshd-keygen",
        "ssh-keygen",
        "sshdgenkeys",
        "regenerate_ssh_host_keys",
        "ssh-hostkeys",
        "sshkeys",
    ];
    Ok(makers.iter().find_map(|name| {
        let starts = units.state(name) == crate::linux::units::State::Enabled;
        units.seen(&[name]).filter(|_| starts)
    }))
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::tree::memory::MemoryTree;

    fn collected(tree: MemoryTree) -> Sshd {
        let view = View::new(Rc::new(tree), 0);
        let units = Units::collect(&view).unwrap();
        Sshd::collect(&view, Some(&units))
    }

    #[test]
    fn the_first_value_counts_and_match_blocks_do_not() {
        let sshd = collected(
            MemoryTree::new()
                .file(
                    "/etc/ssh/sshd_config",
                    "Include /etc/ssh/sshd_config.d/*.conf\nPasswordAuthentication yes\n\
                     ListenAddress 192.0.2.1\nallowusers ops root@10.*\nMatch User x\n\
                     PermitRootLogin no\n",
                )
                .file(
                    "/etc/ssh/sshd_config.d/50.conf",
                    "# x\nPasswordAuthentication=No\nMatch all\nPermitRootLogin no\n",
                ),
        );
        let config = sshd.config.unwrap();
        let seen = config.is("passwordauthentication", "no").unwrap();
        assert_eq!(
            (seen.path.as_str(), seen.line),
            ("/etc/ssh/sshd_config.d/50.conf", Some(2))
        );
        assert_eq!(config.is("permitrootlogin", "no"), None);
        assert_eq!(config.addresses[0].0, "192.0.2.1");
        assert_eq!(config.users.len(), 2);
    }

    #[test]
    fn included_files_may_include_others_and_loops_end() {
        let main = "Include sshd_config.d/*.conf\nPermitRootLogin yes\n";
        let nested = |first: &str, other: &str| {
            let tree = MemoryTree::new()
                .file("/etc/ssh/sshd_config", main)
                .file("/etc/ssh/sshd_config.d/50-redhat.conf", first)
                .file("/etc/crypto/opensshserver.config", other);
            collected(tree).config
        };
        let first = "Include /etc/crypto/*.config\nPermitRootLogin no\n";
        let config = nested(first, "Ciphers x\n").unwrap();
        assert!(config.is("permitrootlogin", "no").is_some());
        let config = nested(first, "PermitRootLogin without-password\n").unwrap();
        assert!(config.is("permitrootlogin", "without-password").is_some());
        assert!(nested(first, first).is_err());
    }

    #[test]
    fn a_service_that_makes_keys_is_found_in_its_file() {
        let unit = "/usr/lib/systemd/system/sshd.service";
        let keyless =
            collected(MemoryTree::new().file(unit, "[Service]\nExecStart=/usr/sbin/sshd\n"));
        assert_eq!(keyless.key_maker, Ok(None));
        assert_eq!(keyless.host_keys, Ok(Vec::new()));
        let rocky = collected(
            MemoryTree::new()
                .file(unit, "[Unit]\nWants=sshd-keygen.target\n")
                .file("/etc/ssh/ssh_host_rsa_key", "x")
                .file("/etc/ssh/ssh_host_rsa_key.pub", "x"),
        );
        assert!(rocky.key_maker.unwrap().is_some());
        assert_eq!(
            rocky.host_keys.unwrap(),
            [Seen::at("/etc/ssh/ssh_host_rsa_key")]
        );
    }
}
