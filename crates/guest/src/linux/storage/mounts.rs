//! Rules about what is mounted and opened when the system starts.

#[cfg(test)]
mod tests;

use super::Storage;
use super::place::{Place, place};
use crate::linux::fstab::{self, Entry, Fstab};
use crate::volume::{self, Content, Device, FileSystem};
use crate::{Facts, Judgement, Remedy, Rule, Seen, Severity, Source};

const BY_UUID: Remedy = Remedy {
    linux: &["blkid", "sed -i '{edits}' /etc/fstab", "findmnt --verify"],
    ..Remedy::NONE
};
const LEAVE_OUT: Remedy = Remedy {
    linux: &["sed -i '{lines}' /etc/fstab"],
    ..Remedy::NONE
};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "linux-fstab-by-name",
        severity: Severity::WillNotBoot,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0086024961",
        text: "/etc/fstab mounts a volume by a device name that the cloud's machine does not have. \
               The system waits for it and stops in emergency mode. UUID=… in its place is right \
               everywhere.",
        remedy: BY_UUID,
        check: by_name,
    },
    Rule {
        id: "linux-fstab-other-disk",
        severity: Severity::WillNotBoot,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0030713179 and 0030713216",
        text: "/etc/fstab mounts a volume that is not on this disk. Unless the line says nofail or \
               noauto, the system waits for it and stops in emergency mode.",
        remedy: LEAVE_OUT,
        check: other_disk,
    },
    Rule {
        id: "linux-fstab-network",
        severity: Severity::Degraded,
        source: Source::Peer,
        cite: "systemd.mount(5)",
        text: "/etc/fstab mounts a file system over the network. A server that cannot reach it waits \
               for minutes at each start; nofail or x-systemd.automount prevents this.",
        remedy: LEAVE_OUT,
        check: network,
    },
    Rule {
        id: "linux-fstab-broken",
        severity: Severity::WillNotBoot,
        source: Source::Peer,
        cite: "Alibaba Cloud, image check items",
        text: "/etc/fstab has no line for the root, a line that cannot be understood before it, or a \
               type that is not the volume's.",
        remedy: Remedy {
            linux: &["findmnt --verify --verbose", "blkid", "vi /etc/fstab"],
            ..Remedy::NONE
        },
        check: broken,
    },
    Rule {
        id: "linux-swap-other-disk",
        severity: Severity::Degraded,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0086024961",
        text: "Swap space is named by a device name or is not on this disk. Each start waits 90 \
               seconds for it.",
        remedy: LEAVE_OUT,
        check: swap,
    },
    Rule {
        id: "linux-hibernated",
        severity: Severity::Degraded,
        source: Source::Peer,
        cite: "util-linux, libblkid",
        text: "A hibernated system is stored in the swap space. Its file systems are not up to date, \
               and the cloud's machine cannot resume it.",
        remedy: Remedy {
            linux: &["shutdown -h now"],
            ..Remedy::NONE
        },
        check: hibernated,
    },
    Rule {
        id: "linux-crypttab",
        severity: Severity::WillNotBoot,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0030713198",
        text: "/etc/crypttab opens an encrypted volume when the system starts. Without a key on the \
               disk somebody has to type the passphrase at the console at each start. Take the entry \
               out, or copy its data to a plain volume.",
        remedy: Remedy {
            linux: &["vi /etc/crypttab"],
            ..Remedy::NONE
        },
        check: crypttab,
    },
];

fn storage(facts: &Facts) -> Option<&Storage> {
    facts.configured().map(|config| &config.storage)
}

/// The table of mounts, if there is one.
fn table<'a>(facts: &'a Facts, judgement: &mut Judgement) -> Option<&'a Fstab> {
    judgement.known(&storage(facts)?.fstab)?.as_ref()
}

/// Whether the system starts without what `entry` mounts.
fn is_optional(entry: &Entry) -> bool {
    ["nofail", "nobootwait", "x-systemd.automount"]
        .iter()
        .any(|option| entry.has(option))
        || entry.option("comment") == Some(b"systemd.automount")
}

/// Entries that are mounted from a disk.
fn local(table: &Fstab) -> impl Iterator<Item = &Entry> {
    let entries = table.entries.iter();
    entries.filter(|entry| !entry.is_swap() && !is_remote(entry))
}

/// Those of them that are mounted at start.
fn at_start(table: &Fstab) -> impl Iterator<Item = &Entry> {
    local(table).filter(|entry| !entry.has("noauto"))
}

fn is_remote(entry: &Entry) -> bool {
    const KINDS: &[&[u8]] = &[
        b"nfs",
        b"nfs4",
        b"cifs",
        b"smb3",
        b"smbfs",
        b"glusterfs",
        b"ceph",
        b"lustre",
        b"ocfs2",
        b"gfs2",
        b"9p",
        b"vboxsf",
        b"vmhgfs",
        b"fuse.sshfs",
        b"fuse.vmhgfs-fuse",
        b"afs",
    ];
    KINDS.contains(&entry.kind.as_slice()) || entry.has("_netdev")
}

fn by_name(facts: &Facts, judgement: &mut Judgement) {
    let Some(table) = table(facts, judgement) else {
        return;
    };
    let mut edits = Vec::new();
    for entry in at_start(table) {
        let needed = [b"/".as_slice(), b"/usr", b"/boot", b"/var"].contains(&entry.at.as_slice());
        match place(entry, facts) {
            Place::ByName if needed || !is_optional(entry) => {
                judgement.found(Severity::WillNotBoot, entry.seen());
            }
            Place::ByName => judgement.found(Severity::Degraded, entry.seen()),
            Place::VirtioName => judgement.found(Severity::Advice, entry.seen()),
            Place::Here | Place::Elsewhere | Place::Hidden => continue,
        }
        edits.extend(by_uuid(entry, facts));
    }
    judgement.value("edits", edits.join(";"));
}

/// A command for sed that puts the UUID of what `entry` mounts in its first field.
fn by_uuid(entry: &Entry, facts: &Facts) -> Option<String> {
    let volume = volume::find(&Device::parse(&entry.spec), &facts.volumes)?;
    let uuid = facts.volumes.get(volume)?.uuid.as_ref()?;
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    let is_plain = !uuid.is_empty() && uuid.chars().all(plain);
    is_plain.then(|| format!("{}s/^[^[:space:]]*/UUID={uuid}/", entry.line))
}

fn other_disk(facts: &Facts, judgement: &mut Judgement) {
    let Some(table) = table(facts, judgement) else {
        return;
    };
    let mut lines = Vec::new();
    for entry in local(table) {
        match place(entry, facts) {
            Place::Elsewhere if is_optional(entry) || entry.has("noauto") => {
                judgement.found(Severity::Degraded, entry.seen());
            }
            Place::Elsewhere => judgement.found(Severity::WillNotBoot, entry.seen()),
            Place::Hidden => {
                hidden(entry, judgement);
                continue;
            }
            Place::Here | Place::ByName | Place::VirtioName => continue,
        }
        lines.push(entry.line);
    }
    judgement.value("lines", comment_out(&lines));
}

fn hidden(entry: &Entry, judgement: &mut Judgement) {
    judgement.unknown(format!(
        "line {} of /etc/fstab may mean a volume whose name cannot be read",
        entry.line
    ));
}

/// A script for sed that comments `lines` out.
fn comment_out(lines: &[u32]) -> String {
    let commands: Vec<String> = lines.iter().map(|line| format!("{line}s/^/#/")).collect();
    commands.join(";")
}

fn network(facts: &Facts, judgement: &mut Judgement) {
    let Some(table) = table(facts, judgement) else {
        return;
    };
    let mut lines = Vec::new();
    for entry in &table.entries {
        if is_remote(entry) && !entry.has("noauto") && !is_optional(entry) {
            judgement.found(Severity::Degraded, entry.seen());
            lines.push(entry.line);
        }
    }
    judgement.value("lines", comment_out(&lines));
}

fn broken(facts: &Facts, judgement: &mut Judgement) {
    let none = Fstab::default();
    let table = match storage(facts).and_then(|storage| judgement.known(&storage.fstab)) {
        Some(table) => table.as_ref().unwrap_or(&none),
        None => return,
    };
    let root = table.mount(b"/");
    if root.is_none() && needs_root_line(facts) {
        judgement.found(
            Severity::WillNotBoot,
            Seen::at(fstab::PATH).with("no line mounts /"),
        );
    }
    for (line, text) in &table.broken {
        let severity = match root {
            Some(root) if *line < root.line => Severity::WillNotBoot,
            _ => Severity::Degraded,
        };
        judgement.found(severity, Seen::line(fstab::PATH, *line, text));
    }
    for entry in at_start(table) {
        let volume = volume::find(&Device::parse(&entry.spec), &facts.volumes);
        let content = volume
            .and_then(|at| facts.volumes.get(at))
            .map(|volume| &volume.content);
        if content.is_some_and(|content| contradicts(&entry.kind, content)) {
            let severity = if is_optional(entry) {
                Severity::Degraded
            } else {
                Severity::WillNotBoot
            };
            judgement.found(severity, entry.seen());
        }
    }
}

/// Whether the root stays read-only when no line of fstab mounts it again: not when the kernel
/// mounts it for writing, nor where the system finds its root without help.
fn needs_root_line(facts: &Facts) -> bool {
    let Some(line) = facts
        .linux_boot
        .as_ref()
        .and_then(|boot| boot.command_line())
    else {
        return false;
    };
    let writable = line.has("rw") || line.value("rootflags").is_some_and(|flags| flags == b"rw");
    line.has("root") && !writable && !line.has("ostree") && !line.has("mount.usr")
}

/// Whether fstab's type is another one than the volume's.
fn contradicts(kind: &[u8], content: &Content) -> bool {
    let wanted = match kind {
        b"ext2" | b"ext3" | b"ext4" => FileSystem::Ext,
        b"xfs" => FileSystem::Xfs,
        b"btrfs" => FileSystem::Btrfs,
        b"ntfs" | b"ntfs-3g" | b"ntfs3" => FileSystem::Ntfs,
        b"vfat" | b"msdos" => FileSystem::Fat,
        _ => return false,
    };
    match content {
        Content::FileSystem(found) => *found != wanted,
        Content::Swap { .. } => true,
        _ => false,
    }
}

fn swap(facts: &Facts, judgement: &mut Judgement) {
    let Some(table) = table(facts, judgement) else {
        return;
    };
    let mut lines = Vec::new();
    for entry in &table.entries {
        if !entry.is_swap() || entry.has("noauto") {
            continue;
        }
        match place(entry, facts) {
            Place::ByName | Place::Elsewhere => judgement.found(Severity::Degraded, entry.seen()),
            Place::VirtioName => judgement.found(Severity::Advice, entry.seen()),
            Place::Hidden => {
                hidden(entry, judgement);
                continue;
            }
            Place::Here => continue,
        }
        lines.push(entry.line);
    }
    judgement.value("lines", comment_out(&lines));
}

fn hibernated(facts: &Facts, judgement: &mut Judgement) {
    for volume in facts
        .volumes
        .iter()
        .filter(|_| facts.configured().is_some())
    {
        if volume.content == (Content::Swap { hibernated: true }) {
            judgement.found(Severity::Degraded, Seen::at(volume.name()));
        }
    }
}

fn crypttab(facts: &Facts, judgement: &mut Judgement) {
    let Some(entries) = storage(facts).and_then(|storage| judgement.known(&storage.crypttab))
    else {
        return;
    };
    for entry in entries {
        let severity = if entry.nofail || entry.has_key {
            Severity::Degraded
        } else {
            Severity::WillNotBoot
        };
        judgement.found(severity, entry.seen.clone());
    }
}
