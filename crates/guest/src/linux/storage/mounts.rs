//! Rules about what is mounted and opened when the system starts.

use super::Storage;
use super::place::{Place, place};
use crate::linux::fstab::{self, Entry, Fstab};
use crate::volume::{self, Content, Device, FileSystem};
use crate::{Facts, Judgement, Remedy, Rule, Seen, Severity, Source};

const BY_UUID: Remedy = Remedy {
    any: &[
        "blkid",
        "# in /etc/fstab: put UUID=… into the first field of the lines named above",
        "findmnt --verify",
        "mount -a",
    ],
    ..Remedy::NONE
};
const LEAVE_OUT: Remedy = Remedy {
    any: &["sed -i '{lines}' /etc/fstab"],
    ..Remedy::NONE
};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "linux-fstab-by-name",
        severity: Severity::WillNotBoot,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0086024961",
        text: "/etc/fstab mounts a volume by a device name that the cloud's machine does not have. \
               The system waits for it and stops in emergency mode.",
        remedy: BY_UUID,
        check: by_name,
    },
    Rule {
        id: "linux-fstab-other-disk",
        severity: Severity::WillNotBoot,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0030713179 and 0030713216",
        text: "/etc/fstab mounts a volume that is not on this disk. Unless the line says nofail, the \
               system waits for it and stops in emergency mode.",
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
            any: &["findmnt --verify --verbose", "blkid", "vi /etc/fstab"],
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
        cite: "swap space's signature",
        text: "A hibernated system is stored in the swap space. Its file systems are not up to date, \
               and the cloud's machine cannot resume it.",
        remedy: Remedy {
            any: &["shutdown -h now"],
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
               disk somebody has to type the passphrase at the console at each start.",
        remedy: Remedy {
            any: &["# take the entry out of /etc/crypttab, or copy its data to a plain volume"],
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

fn is_optional(entry: &Entry) -> bool {
    ["nofail", "nobootwait", "x-systemd.automount"]
        .iter()
        .any(|option| entry.has(option))
        || entry.option("comment") == Some(b"systemd.automount")
}

/// Entries that are mounted at start from a disk.
fn local(table: &Fstab) -> impl Iterator<Item = &Entry> {
    table
        .entries
        .iter()
        .filter(|entry| !entry.has("noauto") && !entry.is_swap() && !is_remote(entry))
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
    for entry in local(table) {
        let needed = [b"/".as_slice(), b"/usr", b"/boot", b"/var"].contains(&entry.at.as_slice());
        match place(entry, facts) {
            Place::ByName if needed || !is_optional(entry) => {
                judgement.found(Severity::WillNotBoot, entry.seen());
            }
            Place::ByName => judgement.found(Severity::Degraded, entry.seen()),
            Place::VirtioName => judgement.found(Severity::Advice, entry.seen()),
            Place::Here | Place::Elsewhere | Place::Hidden => {}
        }
    }
}

fn other_disk(facts: &Facts, judgement: &mut Judgement) {
    let Some(table) = table(facts, judgement) else {
        return;
    };
    let mut lines = Vec::new();
    for entry in local(table) {
        match place(entry, facts) {
            Place::Elsewhere if is_optional(entry) => {
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
    let Some(table) = table(facts, judgement) else {
        return;
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
    for entry in local(table) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::testing::{facts, judged, on, volume};
    use crate::tree::memory::MemoryTree;
    use crate::volume::Stack;

    /// A disk with a root, `UUID=1`, and swap space, `UUID=2`.
    fn mounting(lines: &str) -> Facts {
        let fstab = format!("UUID=1 / ext4 defaults 0 1\n{lines}");
        let mut facts = facts(MemoryTree::new().file("/etc/fstab", fstab));
        facts.volumes = vec![
            volume(Stack::Plain, Content::FileSystem(FileSystem::Ext), "1"),
            volume(Stack::Plain, Content::Swap { hibernated: false }, "2"),
        ];
        facts
    }

    fn judge(id: &str, lines: &str) -> Option<Severity> {
        let (severity, unknown) = judged(RULES, id, &mounting(lines));
        assert!(!unknown, "{lines}");
        severity
    }

    #[test]
    fn names_of_devices_matter_by_what_is_mounted() {
        let by_name = |lines| judge("linux-fstab-by-name", lines);
        assert_eq!(
            by_name("/dev/sda2 /data ext4\n"),
            Some(Severity::WillNotBoot)
        );
        assert_eq!(
            by_name("/dev/sda2 /data ext4 nofail\n"),
            Some(Severity::Degraded)
        );
        assert_eq!(
            by_name("/dev/sda2 /var ext4 nofail\n"),
            Some(Severity::WillNotBoot)
        );
        assert_eq!(
            by_name("/dev/disk/by-path/x /data ext4\n"),
            Some(Severity::WillNotBoot)
        );
        assert_eq!(by_name("/dev/vda2 /data ext4\n"), Some(Severity::Advice));
        assert_eq!(by_name("/dev/sda2 /data ext4 noauto\n"), None);
        assert_eq!(
            by_name("tmpfs /tmp tmpfs\n/dev/sr0 /cd iso9660 noauto\n"),
            None
        );
    }

    #[test]
    fn what_is_on_no_volume_of_the_disk_is_elsewhere() {
        let elsewhere = |lines| judge("linux-fstab-other-disk", lines);
        assert_eq!(elsewhere("UUID=9 /data xfs\n"), Some(Severity::WillNotBoot));
        assert_eq!(
            elsewhere("LABEL=x /data xfs nofail\n"),
            Some(Severity::Degraded)
        );
        assert_eq!(
            elsewhere("/dev/vg/data /data xfs\n"),
            Some(Severity::WillNotBoot)
        );
        assert_eq!(
            elsewhere("/dev/vdb /data xfs\n"),
            Some(Severity::WillNotBoot)
        );
        assert_eq!(
            elsewhere("/dev/md0 /data xfs\n"),
            Some(Severity::WillNotBoot)
        );
        assert_eq!(elsewhere("UUID=9 /data xfs _netdev\n"), None);
        assert_eq!(elsewhere("UUID=9 none swap\n"), None);
        assert_eq!(elsewhere("/data /srv none bind\n"), None);
    }

    #[test]
    fn what_may_be_inside_of_a_closed_volume_is_unknown() {
        let mut facts = mounting("UUID=9 /data xfs\n");
        let encrypted = volume(Stack::Plain, Content::Encrypted("LUKS"), "3");
        facts.volumes.push(encrypted);
        let judged = judged(RULES, "linux-fstab-other-disk", &facts);
        assert_eq!(judged, (None, true));
    }

    #[test]
    fn the_command_comments_out_the_lines_that_were_found() {
        let facts = mounting("UUID=8 /a xfs\nUUID=1 /b ext4\nUUID=9 /c xfs\n");
        let rule = RULES
            .iter()
            .find(|rule| rule.id == "linux-fstab-other-disk");
        let (findings, _) = rule.unwrap().judge(&facts);
        assert_eq!(findings[0].fix, ["sed -i '2s/^/#/;4s/^/#/' /etc/fstab"]);
    }

    #[test]
    fn network_mounts_and_swap_may_be_missing_when_the_line_says_so() {
        let network = |lines| judge("linux-fstab-network", lines);
        assert_eq!(network("server:/x /x nfs\n"), Some(Severity::Degraded));
        assert_eq!(network("server:/x /x nfs nofail\n"), None);
        assert_eq!(network("server:/x /x nfs x-systemd.automount\n"), None);
        let swap = |lines| judge("linux-swap-other-disk", lines);
        assert_eq!(swap("/dev/sda2 none swap\n"), Some(Severity::Degraded));
        assert_eq!(swap("UUID=9 none swap\n"), Some(Severity::Degraded));
        assert_eq!(swap("UUID=2 none swap\n/swap.img none swap\n"), None);
    }

    #[test]
    fn a_table_without_root_or_with_a_wrong_type_is_broken() {
        let broken = |lines| judge("linux-fstab-broken", lines);
        assert_eq!(broken(""), None);
        assert_eq!(
            broken("nonsense\n"),
            Some(Severity::Degraded),
            "after the root"
        );
        assert_eq!(broken("UUID=1 /data xfs\n"), Some(Severity::WillNotBoot));
        assert_eq!(broken("UUID=1 /data ext3\nUUID=2 /x auto\n"), None);
        let mut rootless = facts(MemoryTree::new().file("/etc/fstab", "UUID=1 /data ext4\n"));
        assert_eq!(
            judged(RULES, "linux-fstab-broken", &rootless),
            (None, false)
        );
        rootless.linux_boot = Some(on("root=UUID=1 ro"));
        assert_eq!(
            judged(RULES, "linux-fstab-broken", &rootless),
            (Some(Severity::WillNotBoot), false)
        );
        rootless.linux_boot = Some(on("root=UUID=1 rw"));
        assert_eq!(
            judged(RULES, "linux-fstab-broken", &rootless),
            (None, false)
        );
    }

    #[test]
    fn passphrases_stop_the_start_and_keys_do_not() {
        let crypttab = |line: &str| {
            let facts = facts(MemoryTree::new().file("/etc/crypttab", line));
            judged(RULES, "linux-crypttab", &facts).0
        };
        assert_eq!(
            crypttab("data UUID=9 none luks\n"),
            Some(Severity::WillNotBoot)
        );
        assert_eq!(
            crypttab("data UUID=9 none luks,nofail\n"),
            Some(Severity::Degraded)
        );
        assert_eq!(
            crypttab("data UUID=9 /etc/key luks\n"),
            Some(Severity::Degraded)
        );
        assert_eq!(crypttab("data UUID=9 none luks,noauto\n"), None);
    }

    #[test]
    fn a_hibernated_system_is_found_and_files_that_cannot_be_read_are_unknown() {
        let mut facts = facts(MemoryTree::new().broken("/etc/fstab"));
        facts.volumes = vec![volume(
            Stack::Plain,
            Content::Swap { hibernated: true },
            "2",
        )];
        assert_eq!(
            judged(RULES, "linux-hibernated", &facts),
            (Some(Severity::Degraded), false)
        );
        assert_eq!(judged(RULES, "linux-fstab-by-name", &facts), (None, true));
    }
}
