//! Rules about what the guest expects of its disks.

use super::Storage;
use super::lvm::KnownDevice;
use crate::linux::fstab::{Entry, Fstab};
use crate::linux::units::State;
use crate::volume::{self, Content, Device, FileSystem, Stack, Volume};
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
    Rule {
        id: "linux-lvm-root",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0030713198",
        text: "The root is on LVM, where the cloud cannot inject files: passwords and keys reach the \
               server by cloud-init or not at all.",
        remedy: Remedy::NONE,
        check: lvm_root,
    },
    Rule {
        id: "linux-lvm-devices-file",
        severity: Severity::WillNotBoot,
        source: Source::Peer,
        cite: "lvmdevices(8)",
        text: "LVM looks only at devices in its devices file, and the file knows this disk by an \
               identity that the old hypervisor gave it. In the cloud LVM does not find the volume \
               group.",
        remedy: Remedy {
            red_hat: &[
                "mv /etc/lvm/devices/system.devices /etc/lvm/devices/system.devices.old",
                "dracut -f --regenerate-all",
            ],
            suse: &[
                "mv /etc/lvm/devices/system.devices /etc/lvm/devices/system.devices.old",
                "dracut -f --regenerate-all",
            ],
            debian: &[
                "mv /etc/lvm/devices/system.devices /etc/lvm/devices/system.devices.old",
                "update-initramfs -u -k all",
            ],
            any: &["mv /etc/lvm/devices/system.devices /etc/lvm/devices/system.devices.old"],
        },
        check: devices_file,
    },
    Rule {
        id: "linux-lvm-filter",
        severity: Severity::WillNotBoot,
        source: Source::Peer,
        cite: "lvm.conf(5)",
        text: "A filter in LVM's configuration accepts no name that the disk has in the cloud, so LVM \
               does not find the volume group.",
        remedy: Remedy {
            red_hat: &[
                "# take filter and global_filter out of /etc/lvm/lvm.conf",
                "dracut -f --regenerate-all",
            ],
            suse: &[
                "# take filter and global_filter out of /etc/lvm/lvm.conf",
                "dracut -f",
            ],
            debian: &[
                "# take filter and global_filter out of /etc/lvm/lvm.conf",
                "update-initramfs -u -k all",
            ],
            any: &["# take filter and global_filter out of /etc/lvm/lvm.conf"],
        },
        check: filter,
    },
    Rule {
        id: "linux-multipath",
        severity: Severity::Degraded,
        source: Source::Peer,
        cite: "multipath.conf(5)",
        text: "The guest reaches its disk by multipath. The cloud's disk has one path and another \
               identity, so the mapping may not appear.",
        remedy: Remedy {
            red_hat: &[
                "mpathconf --disable",
                "rm -f /etc/multipath/wwids",
                "dracut -f --omit multipath",
            ],
            debian: &["apt purge multipath-tools-boot"],
            suse: &["systemctl disable multipathd", "dracut -f"],
            any: &[],
        },
        check: multipath,
    },
    Rule {
        id: "linux-md-conf",
        severity: Severity::Advice,
        source: Source::Peer,
        cite: "mdadm.conf(5)",
        text: "mdadm's configuration names devices that have other names in the cloud. UUIDs work \
               everywhere.",
        remedy: Remedy {
            any: &[
                "mdadm --detail --scan",
                "# put these lines in place of the ones named above",
            ],
            ..Remedy::NONE
        },
        check: arrays,
    },
    Rule {
        id: "linux-growpart",
        severity: Severity::Advice,
        source: Source::Peer,
        cite: "Alibaba Cloud, image check items",
        text: "Nothing enlarges the root when a server gets a larger system disk.",
        remedy: Remedy {
            red_hat: &["dnf install cloud-utils-growpart"],
            debian: &["apt install cloud-guest-utils"],
            suse: &["zypper install growpart"],
            any: &[],
        },
        check: growpart,
    },
];

fn storage(facts: &Facts) -> Option<&Storage> {
    facts.linux.as_ref().map(|config| &config.storage)
}

/// The table of mounts, if there is one.
fn fstab<'a>(facts: &'a Facts, judgement: &mut Judgement) -> Option<&'a Fstab> {
    judgement.known(&storage(facts)?.fstab)?.as_ref()
}

/// Where what an entry of fstab names is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// On this disk, or nowhere because it is no device.
    Here,
    /// By a name that depends on the machine.
    ByName,
    /// `/dev/vda`: right on the machines that most flavors have.
    VirtioName,
    Elsewhere,
    /// Perhaps inside of a volume that could not be opened.
    Hidden,
}

fn place(entry: &Entry, facts: &Facts) -> Place {
    if mapping(&entry.spec).is_some_and(|name| is_mapping(name, facts)) {
        return Place::Here;
    }
    let device = Device::parse(&entry.spec);
    match &device {
        Device::None => Place::Here,
        Device::Hardware => Place::ByName,
        Device::Name { disk: 1.., .. } => Place::Elsewhere,
        Device::Name { driver, .. } if driver == "vd" => Place::VirtioName,
        Device::Name { .. } => Place::ByName,
        Device::Other if entry.spec.starts_with(b"/dev/md") => {
            let is_array = |volume: &Volume| matches!(volume.stack, Stack::Array { .. });
            if facts.volumes.iter().any(is_array) {
                Place::Here
            } else {
                missing(facts)
            }
        }
        Device::Other => Place::Here,
        _ if volume::find(&device, &facts.volumes).is_some() => Place::Here,
        Device::Uuid(uuid) if is_serial(uuid) && has_common_serial(facts) => Place::Hidden,
        _ => missing(facts),
    }
}

/// Whether this is how the serial number of a FAT is written.
fn is_serial(uuid: &str) -> bool {
    let is = |half: &str| half.len() == 4 && half.bytes().all(|byte| byte.is_ascii_hexdigit());
    uuid.split_once('-')
        .is_some_and(|(high, low)| is(high) && is(low))
}

/// Whether a FAT has the serial number that `mkfs.fat --invariant` gives to all: it tells no volume
/// from another.
fn has_common_serial(facts: &Facts) -> bool {
    let is = |volume: &Volume| volume.uuid.as_deref() == Some("1234-ABCD");
    facts.volumes.iter().any(is)
}

/// What is not among the volumes is on another disk, if all of this disk's are known.
fn missing(facts: &Facts) -> Place {
    let is_closed = |volume: &Volume| {
        matches!(
            volume.content,
            Content::Encrypted(_) | Content::PhysicalVolume(None) | Content::Other(_)
        ) || (volume.closed.is_some() && volume.uuid.is_none())
    };
    if facts.volumes.iter().any(is_closed) {
        Place::Hidden
    } else {
        Place::Elsewhere
    }
}

/// The name below `/dev/mapper`.
fn mapping(spec: &[u8]) -> Option<&[u8]> {
    spec.strip_prefix(b"/dev/mapper/")
}

/// Whether the mapping `name` is an encrypted volume or multipath: other rules are about these.
fn is_mapping(name: &[u8], facts: &Facts) -> bool {
    let crypttab = storage(facts).and_then(|storage| storage.crypttab.as_ref().ok());
    is_multipath(name)
        || crypttab.is_some_and(|entries| entries.iter().any(|entry| entry.name == name))
}

fn is_multipath(name: &[u8]) -> bool {
    name.starts_with(b"mpath") || name.starts_with(b"3600")
}

fn seen(entry: &Entry) -> Seen {
    Seen::line("/etc/fstab", entry.line, &entry.text)
}

fn is_optional(entry: &Entry) -> bool {
    entry.has("nofail")
        || entry.has("x-systemd.automount")
        || entry.has("comment=systemd.automount")
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
    let Some(table) = fstab(facts, judgement) else {
        return;
    };
    for entry in local(table) {
        let needed = [b"/".as_slice(), b"/usr", b"/boot", b"/var"].contains(&entry.at.as_slice());
        match place(entry, facts) {
            Place::ByName if needed || !is_optional(entry) => {
                judgement.found(Severity::WillNotBoot, seen(entry));
            }
            Place::ByName => judgement.found(Severity::Degraded, seen(entry)),
            Place::VirtioName => judgement.found(Severity::Advice, seen(entry)),
            Place::Here | Place::Elsewhere | Place::Hidden => {}
        }
    }
}

fn other_disk(facts: &Facts, judgement: &mut Judgement) {
    let Some(table) = fstab(facts, judgement) else {
        return;
    };
    let mut lines = Vec::new();
    for entry in local(table) {
        match place(entry, facts) {
            Place::Elsewhere if is_optional(entry) => {
                judgement.found(Severity::Degraded, seen(entry));
            }
            Place::Elsewhere => judgement.found(Severity::WillNotBoot, seen(entry)),
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
    let Some(table) = fstab(facts, judgement) else {
        return;
    };
    let mut lines = Vec::new();
    for entry in &table.entries {
        if is_remote(entry) && !entry.has("noauto") && !is_optional(entry) {
            judgement.found(Severity::Degraded, seen(entry));
            lines.push(entry.line);
        }
    }
    judgement.value("lines", comment_out(&lines));
}

fn broken(facts: &Facts, judgement: &mut Judgement) {
    let Some(table) = fstab(facts, judgement) else {
        return;
    };
    let root = table.mount(b"/");
    if root.is_none() && needs_root_line(facts) {
        judgement.found(
            Severity::WillNotBoot,
            Seen::at("/etc/fstab").with("no line mounts /"),
        );
    }
    for (line, text) in &table.broken {
        let severity = match root {
            Some(root) if *line < root.line => Severity::WillNotBoot,
            _ => Severity::Degraded,
        };
        judgement.found(severity, Seen::line("/etc/fstab", *line, text));
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
            judgement.found(severity, seen(entry));
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
    let Some(table) = fstab(facts, judgement) else {
        return;
    };
    let mut lines = Vec::new();
    for entry in &table.entries {
        if !entry.is_swap() || entry.has("noauto") {
            continue;
        }
        match place(entry, facts) {
            Place::ByName | Place::Elsewhere => judgement.found(Severity::Degraded, seen(entry)),
            Place::VirtioName => judgement.found(Severity::Advice, seen(entry)),
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
    for volume in &facts.volumes {
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

/// The volume with the root, when it is a logical one, and its group.
fn root_group(facts: &Facts) -> Option<(&Volume, &str)> {
    let root = facts.volumes.get(facts.root?)?;
    match &root.stack {
        Stack::Logical { group, .. } => Some((root, group)),
        Stack::Plain | Stack::Array { .. } => None,
    }
}

fn lvm_root(facts: &Facts, judgement: &mut Judgement) {
    if let Some((root, _)) = root_group(facts).filter(|_| facts.linux.is_some()) {
        judgement.found(Severity::Advice, Seen::at(root.name()));
    }
}

fn devices_file(facts: &Facts, judgement: &mut Judgement) {
    let Some(lvm) = storage(facts).and_then(|storage| judgement.known(&storage.lvm)) else {
        return;
    };
    if !lvm.uses_devices.unwrap_or_else(|| uses_devices_file(facts)) {
        return;
    }
    for device in &lvm.devices {
        let travels =
            !["sys_wwid", "sys_serial", "mpath_uuid", "devname"].contains(&device.id_type.as_str());
        if travels {
            continue;
        }
        let severity = match group_of(device, facts) {
            Some(is_root) if !is_root => Severity::Degraded,
            _ if root_group(facts).is_some() => Severity::WillNotBoot,
            _ => Severity::Degraded,
        };
        judgement.found(severity, device.seen.clone());
    }
}

/// Whether the physical volume of `device` is of the root's group; `None` when it is not known.
fn group_of(device: &KnownDevice, facts: &Facts) -> Option<bool> {
    let root = root_group(facts).map(|(_, group)| group);
    facts.volumes.iter().find_map(|volume| {
        let Content::PhysicalVolume(Some(group)) = &volume.content else {
            return None;
        };
        let uuid = volume.uuid.as_deref()?.replace('-', "");
        (uuid == device.volume).then_some(Some(group.as_str()) == root)
    })
}

/// Whether LVM of this system uses a devices file when its configuration does not say.
fn uses_devices_file(facts: &Facts) -> bool {
    let Some(os) = &facts.os else {
        return false;
    };
    let since = match os.id.to_ascii_lowercase().as_str() {
        "rhel" | "centos" | "rocky" | "almalinux" | "ol" => 9,
        "fedora" => 35,
        _ => return false,
    };
    major(os.version.as_deref()).is_some_and(|major| major >= since)
}

/// The number before the first dot.
fn major(version: Option<&str>) -> Option<u32> {
    version?.split('.').next()?.parse().ok()
}

fn filter(facts: &Facts, judgement: &mut Judgement) {
    let Some((root, _)) = root_group(facts) else {
        return;
    };
    let Some(lvm) = storage(facts).and_then(|storage| judgement.known(&storage.lvm)) else {
        return;
    };
    let mut names = Vec::new();
    match root.partition {
        Some(number) => names.push(format!("/dev/vda{number}")),
        None => names.push("/dev/vda".to_owned()),
    }
    for volume in &facts.volumes {
        if volume.partition == root.partition && volume.stack == Stack::Plain {
            let partuuid = volume.partuuid.iter();
            names.extend(partuuid.map(|id| format!("/dev/disk/by-partuuid/{id}")));
        }
    }
    for filter in &lvm.filters {
        match filter.accepts(&names) {
            Ok(true) => {}
            Ok(false) => judgement.found(Severity::WillNotBoot, filter.seen.clone()),
            Err(reason) => judgement.unknown(reason),
        }
    }
}

fn multipath(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = &facts.linux else {
        return;
    };
    let boot = facts.linux_boot.as_ref().and_then(|boot| boot.entry());
    if let Some(entry) = boot {
        let root = entry.command_line.value("root").and_then(mapping);
        if root.is_some_and(is_multipath) {
            judgement.found(Severity::Degraded, entry.seen());
        }
    }
    if let Some(table) = fstab(facts, judgement) {
        for entry in &table.entries {
            if mapping(&entry.spec).is_some_and(is_multipath) {
                judgement.found(Severity::Degraded, seen(entry));
            }
        }
    }
    for wwid in judgement.known(&config.storage.wwids).into_iter().flatten() {
        judgement.found(Severity::Degraded, wwid.clone());
    }
    let Some(units) = judgement.known(&config.units) else {
        return;
    };
    if units.state("multipathd") == State::Enabled {
        // Ubuntu's servers have it enabled without using it.
        let is_ubuntu = facts.os.as_ref().is_some_and(|os| os.id == "ubuntu");
        let severity = if is_ubuntu {
            Severity::Advice
        } else {
            Severity::Degraded
        };
        if let Some(seen) = units.seen(&["multipathd"]) {
            judgement.found(severity, seen);
        }
    }
}

fn arrays(facts: &Facts, judgement: &mut Judgement) {
    let Some(lines) = storage(facts).and_then(|storage| judgement.known(&storage.arrays)) else {
        return;
    };
    for line in lines {
        judgement.found(Severity::Advice, line.clone());
    }
}

fn growpart(facts: &Facts, judgement: &mut Judgement) {
    let Some(grower) = storage(facts).and_then(|storage| judgement.known(&storage.grower)) else {
        return;
    };
    let grows_itself = facts
        .os
        .as_ref()
        .is_some_and(|os| ["flatcar", "coreos"].contains(&os.id.as_str()));
    if grower.is_none() && !grows_itself {
        judgement.found(
            Severity::Advice,
            Seen::at("/usr/bin/growpart").with("missing"),
        );
    }
}
