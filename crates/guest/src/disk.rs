//! The disk as a whole: encryption, the state of its file systems, what is missing, room to grow.

use diskimg::partitions::{PartitionTable, Scheme};

use crate::known::Known;
use crate::media::{Media, le64};
use crate::volume::{Content, FileSystem, Stack, Volume};
use crate::{Facts, Judgement, Remedy, Rule, Seen, Severity, Source};

/// Bytes that must be free where the system is, for agents and drivers of the cloud.
const FREE: u64 = 300_000_000;

/// Whether the backup of a GPT is in the last sector; `None` without a GPT.
pub(crate) fn gpt_backup(media: &Media, table: &PartitionTable) -> Option<Known<bool>> {
    if table.scheme != Scheme::Gpt {
        return None;
    }
    let last = (media.size() / table.sector_size).saturating_sub(1);
    let mut header = [0; 32];
    let read = media.read_at(last.saturating_mul(table.sector_size), &mut header);
    Some(read.map(|()| header.starts_with(b"EFI PART") && le64(&header, 24) == last))
}

/// Rules about the disk.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "inspect-incomplete",
        severity: Severity::Advice,
        source: Source::Own,
        cite: "",
        text: "Part of the disk could not be looked into.",
        remedy: Remedy::NONE,
        check: incomplete,
    },
    Rule {
        id: "disk-encrypted",
        severity: Severity::WillNotBoot,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0030713198",
        text: "The system is encrypted: at each start someone has to type a passphrase at the \
               console, and the cloud cannot set it up.",
        remedy: Remedy::NONE,
        check: encrypted,
    },
    Rule {
        id: "disk-gpt-tail",
        severity: Severity::Advice,
        source: Source::Own,
        cite: "UEFI Specification, chapter 5",
        text: "The backup of the partition table is not at the end of the disk.",
        remedy: Remedy {
            linux: &["sgdisk -e /dev/sda"],
            ..Remedy::NONE
        },
        check: gpt_tail,
    },
    Rule {
        id: "disk-root-not-last",
        severity: Severity::Advice,
        source: Source::Peer,
        cite: "Alibaba Cloud, image check items",
        text: "Another partition stands behind the one with the system, so the system does not \
               grow when the server gets a larger disk.",
        remedy: Remedy::NONE,
        check: root_not_last,
    },
    Rule {
        id: "disk-free-space",
        severity: Severity::Degraded,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0000001447815605",
        text: "Less than 300 MB are free where the system is, which agents and drivers of the \
               cloud need.",
        remedy: Remedy::NONE,
        check: free_space,
    },
    Rule {
        id: "fs-dirty",
        severity: Severity::Degraded,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0030713198",
        text: "A file system was in use when the disk was copied, or was cut off. Files may be \
               older than they were, or damaged.",
        remedy: Remedy {
            linux: &["shutdown -h now"],
            ..Remedy::NONE
        },
        check: dirty,
    },
    Rule {
        id: "fs-errors",
        severity: Severity::WillNotBoot,
        source: Source::Peer,
        cite: "virt-v2v",
        text: "A file system has errors recorded, or is longer than its volume, so that Linux \
               refuses to mount it. Check it from a rescue system.",
        remedy: Remedy {
            linux: &["fsck -f {device}"],
            ..Remedy::NONE
        },
        check: errors,
    },
    Rule {
        id: "btrfs-missing-device",
        severity: Severity::WillNotBoot,
        source: Source::Peer,
        cite: "btrfs(5)",
        text: "A Btrfs has devices that are not on this disk.",
        remedy: Remedy {
            linux: &["btrfs device remove DEVICE /"],
            ..Remedy::NONE
        },
        check: btrfs_devices,
    },
    Rule {
        id: "md-missing-member",
        severity: Severity::WillNotBoot,
        source: Source::Vendor,
        cite: "Image Management Service API, constraints of image files",
        text: "A software RAID has members that are not on this disk.",
        remedy: Remedy {
            linux: &["mdadm --grow /dev/md0 --force --raid-devices=1"],
            ..Remedy::NONE
        },
        check: array_members,
    },
    Rule {
        id: "lvm-missing-pv",
        severity: Severity::WillNotBoot,
        source: Source::Vendor,
        cite: "Image Management Service API, constraints of image files",
        text: "A logical volume lies on physical volumes that are not on this disk.",
        remedy: Remedy {
            linux: &["pvmove /dev/sdb1", "vgreduce {group} /dev/sdb1"],
            ..Remedy::NONE
        },
        check: physical_volumes,
    },
];

impl Facts {
    /// What could not be looked into, and why.
    pub(crate) fn unread(&self) -> Vec<String> {
        let closed = self.volumes.iter().filter_map(|volume| {
            let name = volume.name();
            match (&volume.closed, &volume.content) {
                (Some(reason), _) => Some(format!("{name}: {reason}")),
                (None, Content::Encrypted(method)) => {
                    Some(format!("{name} is encrypted by {method}"))
                }
                (None, Content::Other(kind)) => {
                    Some(format!("{name} holds {kind}, which is not read"))
                }
                // What can be read of it may be everything, or nothing that matters.
                _ => volume
                    .health
                    .devices
                    .map(|devices| format!("{name} lies on {devices} devices, not joined here")),
            }
        });
        self.incomplete.iter().cloned().chain(closed).collect()
    }
}

fn incomplete(facts: &Facts, judgement: &mut Judgement) {
    let reasons = facts.unread();
    if !reasons.is_empty() {
        judgement.unknown(reasons.join("; "));
    }
}

/// What is missing on `volume` keeps the system from starting, or does not.
fn severity(facts: &Facts, index: usize) -> Severity {
    let unknown = facts.root.is_none() && !facts.wanted.data_disk;
    match unknown || facts.mounted.iter().any(|(_, volume)| *volume == index) {
        true => Severity::WillNotBoot,
        false => Severity::Degraded,
    }
}

fn encrypted(facts: &Facts, judgement: &mut Judgement) {
    for volume in &facts.volumes {
        if let Content::Encrypted(method) = volume.content {
            let severity = match facts.root {
                None if !facts.wanted.data_disk => Severity::WillNotBoot,
                _ => Severity::Advice,
            };
            judgement.found(severity, Seen::at(volume.name()).with(method));
            judgement.note(match method {
                "BitLocker" => {
                    "Before the last shutdown run manage-bde -off C: and wait until it is done."
                }
                _ => "Copy the system to a volume that is not encrypted.",
            });
        }
    }
}

fn gpt_tail(facts: &Facts, judgement: &mut Judgement) {
    if let Some(backup) = &facts.gpt_backup
        && judgement.known(backup) == Some(&false)
    {
        judgement.found(Severity::Advice, Seen::at("last sector"));
    }
}

fn root_not_last(facts: &Facts, judgement: &mut Judgement) {
    let root = facts.root.and_then(|root| facts.volumes.get(root));
    let (Some(number), Some(table)) = (root.and_then(|root| root.partition), &facts.table) else {
        return;
    };
    // A volume group may lie on several partitions, of which the last one counts.
    let group = match root.map(|root| &root.stack) {
        Some(Stack::Logical { group, .. }) => Some(group),
        _ => None,
    };
    let of_group = facts
        .volumes
        .iter()
        .filter_map(|volume| match &volume.content {
            Content::PhysicalVolume(name) if name.as_ref() == group => volume.partition,
            _ => None,
        });
    let numbers: Vec<u32> = of_group
        .filter(|_| group.is_some())
        .chain([number])
        .collect();
    let own = table
        .entries
        .iter()
        .filter(|entry| numbers.contains(&entry.number));
    let Some(own) = own.max_by_key(|entry| entry.start) else {
        return;
    };
    let number = own.number;
    let behind = table
        .entries
        .iter()
        .filter(|entry| entry.start > own.start)
        .min_by_key(|entry| entry.start);
    if let Some(behind) = behind {
        let text = format!(
            "partition {} stands behind partition {number}",
            behind.number
        );
        judgement.found(Severity::Advice, Seen::at("partition table").with(text));
    }
}

fn free_space(facts: &Facts, judgement: &mut Judgement) {
    let root = facts.root.and_then(|root| facts.volumes.get(root));
    if let (Some(root), Some(free)) = (root, facts.free)
        && free < FREE
    {
        let text = format!("{free} bytes are free");
        judgement.found(Severity::Degraded, Seen::at(root.name()).with(text));
    }
}

fn dirty(facts: &Facts, judgement: &mut Judgement) {
    for volume in &facts.volumes {
        // Windows has a rule of its own.
        let windows = volume.content == Content::FileSystem(FileSystem::Ntfs);
        let Some(how) = volume.health.dirty.as_ref().filter(|_| !windows) else {
            continue;
        };
        let journal = match volume.health.journal {
            Some(true) => "; they were applied for this inspection",
            Some(false) => "; files were read without them",
            None => "",
        };
        let seen = Seen::at(volume.name()).with(format!("{how}{journal}"));
        judgement.found(Severity::Degraded, seen);
    }
}

fn errors(facts: &Facts, judgement: &mut Judgement) {
    for (index, volume) in facts.volumes.iter().enumerate() {
        let seen = |text: &str| Seen::at(volume.name()).with(text);
        if volume.health.longer.is_some() || volume.health.errors.is_some() {
            judgement.word("device", &device(volume), "DEVICE");
        }
        if let Some(claimed) = volume.health.longer {
            let text = format!("it claims {claimed} bytes, its volume has {}", volume.size);
            judgement.found(severity(facts, index), seen(&text));
        }
        if let Some(errors) = &volume.health.errors {
            judgement.found(Severity::Degraded, seen(errors));
        }
    }
}

/// The volume as a command names it.
fn device(volume: &Volume) -> String {
    match &volume.uuid {
        Some(uuid) => format!("UUID={uuid}"),
        None => "DEVICE".to_owned(),
    }
}

fn btrfs_devices(facts: &Facts, judgement: &mut Judgement) {
    for (index, volume) in facts.volumes.iter().enumerate() {
        let Some(devices) = volume.health.devices else {
            continue;
        };
        let same = |other: &&Volume| other.uuid == volume.uuid && other.content == volume.content;
        let here = facts.volumes.iter().filter(same).count() as u64;
        if here < devices {
            let text = format!("it has {devices} devices, {here} of them on this disk");
            judgement.found(severity(facts, index), Seen::at(volume.name()).with(text));
        }
    }
}

fn array_members(facts: &Facts, judgement: &mut Judgement) {
    for (index, volume) in facts.volumes.iter().enumerate() {
        if let Stack::Array { missing, .. } = volume.stack
            && missing > 0
        {
            let text = format!("members on other disks: {missing}");
            judgement.found(severity(facts, index), Seen::at(volume.name()).with(text));
        }
    }
}

fn physical_volumes(facts: &Facts, judgement: &mut Judgement) {
    for (index, volume) in facts.volumes.iter().enumerate() {
        if let Stack::Logical { group, missing, .. } = &volume.stack
            && !missing.is_empty()
        {
            judgement.word("group", group, "GROUP");
            let text = format!("on other disks: {}", missing.join(", "));
            judgement.found(severity(facts, index), Seen::at(volume.name()).with(text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Health;

    /// A disk with a root on the second of three partitions.
    fn facts(change: impl FnOnce(&mut Vec<Volume>)) -> Facts {
        let volume = |number| {
            let mut volume = Volume::new(Some(number), Stack::Plain);
            volume.content = Content::FileSystem(FileSystem::Ext);
            volume.uuid = Some(format!("uuid-{number}"));
            volume
        };
        let mut volumes = vec![volume(1), volume(2), volume(3)];
        change(&mut volumes);
        Facts {
            volumes,
            root: Some(1),
            mounted: vec![(Vec::new(), 1), (b"/boot".to_vec(), 0)],
            ..Facts::default()
        }
    }

    /// The severities that rule `id` finds in `facts`, or why it is unknown.
    fn judge(id: &str, facts: &Facts) -> Result<Vec<Severity>, String> {
        let rule = RULES.iter().find(|rule| rule.id == id).unwrap();
        let (findings, unknown) = rule.judge(facts);
        match unknown {
            Some(unknown) => Err(unknown.reason),
            None => Ok(findings.iter().map(|finding| finding.severity).collect()),
        }
    }

    /// What rule `id` finds when `change` is made to the volume of the root, and to one that is
    /// not mounted.
    fn both(id: &str, change: impl Fn(&mut Volume)) -> [Vec<Severity>; 2] {
        [1, 2].map(|index| judge(id, &facts(|volumes| change(&mut volumes[index]))).unwrap())
    }

    #[test]
    fn a_sound_disk_keeps_every_rule() {
        for rule in RULES {
            assert_eq!(judge(rule.id, &facts(|_| {})), Ok(vec![]), "{}", rule.id);
        }
    }

    #[test]
    fn what_the_root_lacks_keeps_it_from_booting_and_what_others_lack_does_not() {
        use Severity::{Degraded, WillNotBoot};
        let logical = |missing: &[&str]| Stack::Logical {
            group: "vg".into(),
            name: "root".into(),
            missing: missing.iter().map(|name| (*name).to_owned()).collect(),
        };
        let array = |missing| Stack::Array {
            uuid: "u".into(),
            level: 1,
            missing,
        };
        let split = [vec![WillNotBoot], vec![Degraded]];
        assert_eq!(
            both("lvm-missing-pv", |volume| volume.stack = logical(&["pv1"])),
            split
        );
        assert_eq!(
            both("md-missing-member", |volume| volume.stack = array(1)),
            split
        );
        assert_eq!(
            both("btrfs-missing-device", |volume| volume.health.devices =
                Some(2)),
            split
        );
        assert_eq!(
            both("fs-errors", |volume| volume.health.longer = Some(9)),
            split
        );
        let none = [vec![], vec![]];
        assert_eq!(
            both("lvm-missing-pv", |volume| volume.stack = logical(&[])),
            none
        );
        assert_eq!(
            both("md-missing-member", |volume| volume.stack = array(0)),
            none
        );
    }

    #[test]
    fn a_btrfs_with_both_devices_on_the_disk_misses_none() {
        let facts = facts(|volumes| {
            for volume in &mut volumes[1..] {
                volume.uuid = Some("same".into());
                volume.health.devices = Some(2);
            }
        });
        assert_eq!(judge("btrfs-missing-device", &facts), Ok(vec![]));
        let incomplete = judge("inspect-incomplete", &facts).unwrap_err();
        assert!(incomplete.contains("not joined here"), "{incomplete}");
    }

    #[test]
    fn dirty_file_systems_are_named_but_for_those_of_windows() {
        let dirty = |content: FileSystem| {
            facts(|volumes| {
                volumes[1].content = Content::FileSystem(content);
                volumes[1].health = Health {
                    dirty: Some("its log holds changes".into()),
                    journal: Some(false),
                    ..Health::default()
                };
            })
        };
        let xfs = dirty(FileSystem::Xfs);
        assert_eq!(judge("fs-dirty", &xfs), Ok(vec![Severity::Degraded]));
        let rule = RULES.iter().find(|rule| rule.id == "fs-dirty").unwrap();
        let (findings, _) = rule.judge(&xfs);
        let text = findings[0].seen[0].text.as_deref().unwrap();
        assert_eq!(text, "its log holds changes; files were read without them");
        assert_eq!(judge("fs-dirty", &dirty(FileSystem::Ntfs)), Ok(vec![]));
    }

    #[test]
    fn an_encrypted_disk_without_a_root_does_not_boot() {
        let mut facts = facts(|volumes| volumes[1].content = Content::Encrypted("LUKS"));
        assert_eq!(judge("disk-encrypted", &facts), Ok(vec![Severity::Advice]));
        facts.root = None;
        assert_eq!(
            judge("disk-encrypted", &facts),
            Ok(vec![Severity::WillNotBoot])
        );
        facts.wanted.data_disk = true;
        assert_eq!(judge("disk-encrypted", &facts), Ok(vec![Severity::Advice]));
        assert!(
            judge("inspect-incomplete", &facts)
                .unwrap_err()
                .contains("LUKS")
        );
    }

    #[test]
    fn everything_that_could_not_be_looked_into_is_named() {
        let mut facts = facts(|volumes| {
            volumes[0].closed = Some("it is damaged".into());
            volumes[2].content = Content::Other("ZFS");
        });
        facts.incomplete.push("time was up".into());
        let reason = judge("inspect-incomplete", &facts).unwrap_err();
        for part in [
            "time was up",
            "partition 1: it is damaged",
            "partition 3 holds ZFS",
        ] {
            assert!(reason.contains(part), "{reason}");
        }
    }

    #[test]
    fn little_room_is_told() {
        let mut facts = facts(|_| {});
        facts.free = Some(FREE);
        assert_eq!(judge("disk-free-space", &facts), Ok(vec![]));
        facts.free = Some(FREE - 1);
        assert_eq!(
            judge("disk-free-space", &facts),
            Ok(vec![Severity::Degraded])
        );
    }

    #[test]
    fn the_backup_of_a_gpt_belongs_at_the_end() {
        let mut facts = facts(|_| {});
        for (backup, found) in [
            (None, Ok(vec![])),
            (Some(Ok(true)), Ok(vec![])),
            (Some(Ok(false)), Ok(vec![Severity::Advice])),
            (Some(Err("no".to_owned())), Err("no".to_owned())),
        ] {
            facts.gpt_backup = backup;
            assert_eq!(judge("disk-gpt-tail", &facts), found);
        }
    }
}
