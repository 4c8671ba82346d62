//! Services: which exist, and which start with the system. Plain data, for rules to ask.

use std::collections::{BTreeMap, BTreeSet};

use crate::Seen;
use crate::known::Known;
use crate::tree::Kind;
use crate::view::View;

use super::source::below;

/// Directories of unit files, the ones that win first.
const UNITS: &[&str] = &[
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// Directories of links to System V scripts, for the run levels in which servers are.
const RUN_LEVELS: &[&str] = &[
    "/etc/rc2.d",
    "/etc/rc3.d",
    "/etc/rc5.d",
    "/etc/rcS.d",
    "/etc/rc.d/rc2.d",
    "/etc/rc.d/rc3.d",
    "/etc/rc.d/rc5.d",
    "/etc/init.d/rc3.d",
    "/etc/init.d/rc5.d",
    "/etc/init.d/boot.d",
];
/// Directories of System V scripts.
const SCRIPTS: &[&str] = &["/etc/init.d", "/etc/rc.d/init.d"];
/// Run levels of OpenRC.
const OPENRC: &[&str] = &[
    "/etc/runlevels/sysinit",
    "/etc/runlevels/boot",
    "/etc/runlevels/default",
];

/// Whether a service starts with the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Absent,
    Disabled,
    Enabled,
    /// It exists and cannot be started.
    Masked,
}

/// The services of a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Units {
    /// Where the file of a unit or a script is, by the name of the unit or script.
    files: BTreeMap<String, Vec<u8>>,
    /// What starts with the system.
    enabled: BTreeSet<String>,
    masked: BTreeSet<String>,
}

impl Units {
    /// Reads the directories of systemd, System V, upstart and OpenRC.
    pub(crate) fn collect(view: &View) -> Known<Self> {
        let mut units = Self::default();
        for directory in UNITS {
            units.systemd(view, directory)?;
        }
        for directory in SCRIPTS {
            for entry in view.list(directory)? {
                if entry.kind != Kind::Directory {
                    units.file(&entry.name, below(directory, &entry.name));
                }
            }
        }
        for directory in RUN_LEVELS {
            for entry in view.list(directory)? {
                if let [b'S', b'0'..=b'9', b'0'..=b'9', name @ ..] = entry.name.as_slice() {
                    units.enabled.insert(text(name));
                }
            }
        }
        for directory in OPENRC {
            for entry in view.list(directory)? {
                units.enabled.insert(text(&entry.name));
            }
        }
        units.upstart(view)?;
        Ok(units)
    }

    /// The units in one directory: what exists, what is masked, what other units pull in.
    fn systemd(&mut self, view: &View, directory: &str) -> Known<()> {
        for entry in view.list(directory)? {
            let path = below(directory, &entry.name);
            if entry.kind == Kind::Directory {
                let pulls = |end: &[u8]| entry.name.ends_with(end);
                if pulls(b".wants") || pulls(b".requires") {
                    let wanted = view.list(&path)?;
                    self.enabled
                        .extend(wanted.iter().map(|unit| text(&unit.name)));
                }
                continue;
            }
            // An earlier directory has decided about this unit.
            if self.files.contains_key(&text(&entry.name)) {
                continue;
            }
            if is_masked(view, &path, entry.kind)? {
                self.masked.insert(text(&entry.name));
            }
            self.file(&entry.name, path);
        }
        Ok(())
    }

    /// Jobs of upstart: they start unless an override says `manual`.
    fn upstart(&mut self, view: &View) -> Known<()> {
        let entries = view.list("/etc/init")?;
        for entry in &entries {
            let Some(name) = entry.name.strip_suffix(b".conf") else {
                continue;
            };
            self.file(name, below("/etc/init", &entry.name));
            let path = [b"/etc/init/", name, b".override"].concat();
            let manual = view
                .read(&path, crate::budget::MAX_RELEASE)?
                .is_some_and(|content| {
                    content
                        .split(|&byte| byte == b'\n')
                        .any(|line| line.trim_ascii() == b"manual")
                });
            if !manual {
                self.enabled.insert(text(name));
            }
        }
        Ok(())
    }

    fn file(&mut self, name: &[u8], path: Vec<u8>) {
        self.files.entry(text(name)).or_insert(path);
    }

    /// Whether `name` starts: the service, socket or timer of this name, the System V script, the
    /// job of upstart or OpenRC. The best answer of these counts, but a mask beats them all.
    pub(crate) fn state(&self, name: &str) -> State {
        if self.masked.contains(&format!("{name}.service")) {
            return State::Masked;
        }
        let mut state = State::Absent;
        for end in [".service", ".socket", ".timer", ""] {
            let unit = format!("{name}{end}");
            if self.masked.contains(&unit) || !self.files.contains_key(&unit) {
                continue;
            }
            if self.enabled.contains(&unit) {
                return State::Enabled;
            }
            state = State::Disabled;
        }
        state
    }

    /// The best state of `names`, which are one service by the names of several distributions.
    pub(crate) fn best(&self, names: &[&str]) -> State {
        let all: Vec<State> = names.iter().map(|name| self.state(name)).collect();
        [State::Enabled, State::Masked, State::Disabled]
            .into_iter()
            .find(|state| all.contains(state))
            .unwrap_or(State::Absent)
    }

    /// The file of the first of `names` that exists.
    pub(crate) fn path(&self, names: &[&str]) -> Option<&[u8]> {
        names.iter().find_map(|name| self.paths(name).next())
    }

    /// All files of the service `name`.
    pub(crate) fn paths(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        [".service", ".socket", ""]
            .into_iter()
            .filter_map(move |end| self.files.get(&format!("{name}{end}")))
            .map(Vec::as_slice)
    }

    /// The first of `names` that exists, with its state.
    pub(crate) fn seen(&self, names: &[&str]) -> Option<Seen> {
        let state = match self.best(names) {
            State::Absent => return None,
            State::Disabled => "disabled",
            State::Enabled => "enabled",
            State::Masked => "masked",
        };
        Some(Seen::at(self.path(names)?).with(state))
    }
}

/// A unit is masked by a link to `/dev/null` or by an empty file.
fn is_masked(view: &View, path: &[u8], kind: Kind) -> Known<bool> {
    Ok(match kind {
        Kind::Link => view.read_link(path)?.as_deref() == Some(b"/dev/null"),
        Kind::File => view.stat(path)?.is_some_and(|stat| stat.size == 0),
        _ => false,
    })
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::tree::memory::MemoryTree;

    fn units(tree: MemoryTree) -> Units {
        Units::collect(&View::new(Rc::new(tree), 0)).unwrap()
    }

    #[test]
    fn links_enable_and_links_to_null_mask() {
        let units = units(
            MemoryTree::new()
                .file("/usr/lib/systemd/system/sshd.service", "[Service]")
                .file("/usr/lib/systemd/system/ssh.socket", "[Socket]")
                .file("/usr/lib/systemd/system/a.service", "[Service]")
                .file("/usr/lib/systemd/system/b.service", "[Service]")
                .link("/etc/systemd/system/a.service", "/dev/null")
                .link("/etc/systemd/system/multi-user.target.wants/a.service", "x")
                .link(
                    "/etc/systemd/system/multi-user.target.wants/gone.service",
                    "x",
                )
                .link("/etc/systemd/system/sockets.target.wants/ssh.socket", "x"),
        );
        assert_eq!(units.state("sshd"), State::Disabled);
        assert_eq!(units.state("ssh"), State::Enabled);
        assert_eq!(units.state("a"), State::Masked);
        assert_eq!(units.state("b"), State::Disabled);
        assert_eq!(units.state("gone"), State::Absent);
        assert_eq!(units.best(&["sshd", "ssh"]), State::Enabled);
        assert_eq!(
            units.seen(&["b"]),
            Some(Seen::at("/usr/lib/systemd/system/b.service").with("disabled"))
        );
    }

    #[test]
    fn run_levels_enable_scripts_and_overrides_stop_jobs() {
        let units = units(
            MemoryTree::new()
                .file("/etc/rc.d/init.d/network", "#!/bin/sh")
                .file("/etc/rc.d/init.d/off", "#!/bin/sh")
                .link("/etc/rc.d/rc3.d/S10network", "../init.d/network")
                .link("/etc/rc.d/rc3.d/K10off", "../init.d/off")
                .file("/etc/init.d/net.eth0", "x")
                .link("/etc/runlevels/default/net.eth0", "/etc/init.d/net.eth0")
                .file("/etc/init/ssh.conf", "start on runlevel")
                .file("/etc/init/x.conf", "start on runlevel")
                .file("/etc/init/x.override", "# off\nmanual\n"),
        );
        assert_eq!(units.state("network"), State::Enabled);
        assert_eq!(units.state("off"), State::Disabled);
        assert_eq!(units.state("net.eth0"), State::Enabled);
        assert_eq!(units.state("ssh"), State::Enabled);
        assert_eq!(units.state("x"), State::Disabled);
    }
}
