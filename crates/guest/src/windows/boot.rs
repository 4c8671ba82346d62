//! How Windows is started: its boot files, and disks that it does not start from.

use std::rc::Rc;

use diskimg::partitions::{PartitionTable, Scheme};

use super::disk::Disk;
use super::hive::Hive;
use super::registry::{CONTROL, Registry};
use crate::known::Known;
use crate::view::View;
use crate::volume::{Content, FileSystem};
use crate::{Facts, Judgement, Remedy, Rule, Seen, Severity, Source};

/// The boot manager in a store of boot entries.
const MANAGER: &str = r"Objects\{9dea862c-5cdd-4e70-acc1-f32b344d4795}";
/// What an intact hibernation file begins with.
const HIBERNATED: [&[u8; 4]; 5] = [b"hibr", b"HIBR", b"wake", b"WAKE", b"RSTR"];

/// What starts Windows, and what could keep it from starting.
#[derive(Debug)]
pub(crate) struct Boot {
    pub(crate) scheme: Option<Scheme>,
    /// Volumes that could have boot files.
    pub(crate) volumes: Vec<BootVolume>,
    /// Volumes that could have them and could not be opened, and why.
    pub(crate) closed: Vec<String>,
    /// First bytes of `/hiberfil.sys`.
    pub(crate) hibernation: Known<Option<[u8; 4]>>,
    /// `HiberbootEnabled`.
    pub(crate) fast_startup: Known<Option<u32>>,
    /// Partitions of dynamic disks.
    pub(crate) dynamic: Vec<(u32, String)>,
    /// An unused entry of the GPT before that of the partition with Windows: both numbers.
    pub(crate) gap: Option<(u32, u32)>,
}

/// The boot files on one volume.
#[derive(Debug)]
pub(crate) struct BootVolume {
    /// As reports name it.
    pub(crate) name: String,
    /// The BIOS starts from it.
    pub(crate) active: bool,
    /// The boot manager of a BIOS is there: `bootmgr`, or `ntldr` of old systems.
    pub(crate) bios_manager: Known<bool>,
    /// What it starts is in `Boot\BCD`, or in `boot.ini` of old systems.
    pub(crate) bios_store: Known<bool>,
    pub(crate) uefi_manager: Known<bool>,
    pub(crate) uefi_store: Known<bool>,
}

pub(super) fn collect(registry: &Registry, view: &View, disk: &Disk) -> Boot {
    let entries = disk.table.map(|table| table.entries.as_slice());
    let entries = entries.unwrap_or_default();
    let active = |number: Option<u32>| {
        let found = entries.iter().find(|entry| Some(entry.number) == number);
        found.is_some_and(|entry| entry.bootable)
    };
    let mut volumes = Vec::new();
    let mut closed = Vec::new();
    for (index, volume) in disk.volumes.iter().enumerate() {
        let Content::FileSystem(FileSystem::Ntfs | FileSystem::Fat) = volume.content else {
            continue;
        };
        let Some(tree) = disk.trees.get(index).and_then(Option::as_ref) else {
            let reason = volume.closed.as_deref().unwrap_or("it was not opened");
            closed.push(format!("{}: {reason}", volume.name()));
            continue;
        };
        let view = View::new(Rc::clone(tree), index);
        let is = |path: &str| view.exists(path).map_err(String::from);
        volumes.push(BootVolume {
            name: volume.name(),
            active: active(volume.partition),
            bios_manager: either(is("/bootmgr"), is("/ntldr")),
            bios_store: either(store(&view, "/Boot/BCD"), is("/boot.ini")),
            uefi_manager: is("/EFI/Microsoft/Boot/bootmgfw.efi"),
            uefi_store: store(&view, "/EFI/Microsoft/Boot/BCD"),
        });
    }
    Boot {
        scheme: disk.table.map(|table| table.scheme),
        volumes,
        closed,
        hibernation: hibernation(view),
        fast_startup: registry.control_number(r"Control\Session Manager\Power", "HiberbootEnabled"),
        dynamic: entries
            .iter()
            .filter(|entry| entry.type_id == "0x42" || entry.kind.contains("LDM"))
            .map(|entry| (entry.number, entry.type_id.clone()))
            .collect(),
        gap: disk.table.and_then(|table| gap(table, disk)),
    }
}

fn either(one: Known<bool>, other: Known<bool>) -> Known<bool> {
    match (one, other) {
        (Ok(true), _) | (_, Ok(true)) => Ok(true),
        (one, Ok(_)) => one,
        (_, other) => other,
    }
}

/// Whether the store of boot entries at `path` has a boot manager.
fn store(view: &View, path: &str) -> Known<bool> {
    match view.open(path)? {
        Some(file) => Hive::open(file)
            .and_then(|hive| Ok(hive.key(MANAGER)?.is_some()))
            .map_err(|reason| format!("{path}: {reason}")),
        None => Ok(false),
    }
}

fn hibernation(view: &View) -> Known<Option<[u8; 4]>> {
    let Some(file) = view.open("/hiberfil.sys")? else {
        return Ok(None);
    };
    let mut head = [0; 4];
    Ok((file.read_at(0, &mut head)? == head.len()).then_some(head))
}

/// The first number that no partition has, when the partition with Windows has a higher one.
fn gap(table: &PartitionTable, disk: &Disk) -> Option<(u32, u32)> {
    let root = disk.volumes.get(disk.root)?.partition?;
    let used = |number| table.entries.iter().any(|entry| entry.number == number);
    let unused = (1..root).find(|number| !used(*number))?;
    (table.scheme == Scheme::Gpt).then_some((unused, root))
}

const SHUT_DOWN: Remedy = Remedy {
    windows: &["powercfg /h off", "shutdown /s /t 0"],
    ..Remedy::NONE
};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "windows-boot-files",
        severity: Severity::WillNotBoot,
        source: Source::Vendor,
        cite: "Image Management Service API, constraints of image files",
        text: "The files that start Windows are not on this disk, or not where the firmware looks \
               for them.",
        remedy: Remedy {
            windows: &[r"bcdboot C:\Windows /s S: /f ALL"],
            ..Remedy::NONE
        },
        check: boot_files,
    },
    Rule {
        id: "windows-dynamic-disk",
        severity: Severity::WillNotBoot,
        source: Source::Vendor,
        cite: "Image Management Service, frequently asked questions: spanned volumes",
        text: "The disk is a dynamic disk: its start depends on a database that all disks of the \
               machine share. Make it a basic disk, with a backup and a restore.",
        remedy: Remedy::NONE,
        check: dynamic_disk,
    },
    Rule {
        id: "windows-gpt-gap",
        severity: Severity::Degraded,
        source: Source::Peer,
        cite: "MicrosoftDocs/windows-itpro-docs#9145",
        text: "An entry of the GPT before that of Windows is unused. Windows then stops with \
               INACCESSIBLE_BOOT_DEVICE (0x7B) in some cases.",
        remedy: Remedy::NONE,
        check: gpt_gap,
    },
    Rule {
        id: "windows-hibernated",
        severity: Severity::WillNotBoot,
        source: Source::Peer,
        cite: "apache/cloudstack#11561, tuxera/ntfs-3g#34",
        text: "Windows is hibernated. It would wake up on another machine than it fell asleep on, \
               and its drive must not be written to. Start the source and shut it down for good.",
        remedy: SHUT_DOWN,
        check: hibernated,
    },
    Rule {
        id: "windows-fast-startup",
        severity: Severity::Advice,
        source: Source::Peer,
        cite: "apache/cloudstack#11561",
        text: "Fast startup is on: a shutdown from the menu hibernates Windows.",
        remedy: SHUT_DOWN,
        check: fast_startup,
    },
    Rule {
        id: "windows-ntfs-dirty",
        severity: Severity::Degraded,
        source: Source::Peer,
        cite: "tuxera/ntfs-3g#34",
        text: "An NTFS volume was not unmounted: the source was running or was cut off. Start it \
               and shut it down.",
        remedy: SHUT_DOWN,
        check: ntfs_dirty,
    },
];

fn boot_files(facts: &Facts, judgement: &mut Judgement) {
    let Some(windows) = &facts.windows else {
        return;
    };
    let boot = &windows.boot;
    let uefi = match (facts.wanted.firmware.as_deref(), boot.scheme) {
        (Some(firmware), _) => firmware == "uefi",
        (None, Some(scheme)) => scheme == Scheme::Gpt,
        (None, None) => return judgement.unknown("the partition table could not be read"),
    };
    let problems = if uefi {
        missing_for_uefi(boot, judgement)
    } else {
        missing_for_bios(boot, windows.kernel(), judgement)
    };
    if problems.is_empty() {
        return;
    }
    if !boot.closed.is_empty() {
        return judgement.unknown(boot.closed.join("; "));
    }
    for seen in problems {
        judgement.found(Severity::WillNotBoot, seen);
    }
}

fn missing_for_uefi(boot: &Boot, judgement: &mut Judgement) -> Vec<Seen> {
    // The one that has most of the two files.
    let best = boot.volumes.iter().max_by_key(|volume| {
        let there = |known: &Known<bool>| u8::from(known != &Ok(false));
        there(&volume.uefi_manager) + there(&volume.uefi_store)
    });
    missing(
        judgement,
        [
            (
                "/EFI/Microsoft/Boot/bootmgfw.efi",
                best.map(|it| &it.uefi_manager),
            ),
            ("/EFI/Microsoft/Boot/BCD", best.map(|it| &it.uefi_store)),
        ],
        best.map_or("the disk", |volume| &volume.name),
    )
}

fn missing_for_bios(
    boot: &Boot,
    kernel: Option<(u32, u32)>,
    judgement: &mut Judgement,
) -> Vec<Seen> {
    let old = kernel.is_some_and(|version| version < (6, 0));
    let (manager, store) = if old {
        ("/ntldr", "/boot.ini")
    } else {
        ("/bootmgr", "/Boot/BCD")
    };
    let Some(active) = boot.volumes.iter().find(|volume| volume.active) else {
        return vec![
            Seen::at(manager).with("no partition that Windows could start from is active"),
        ];
    };
    missing(
        judgement,
        [
            (manager, Some(&active.bios_manager)),
            (store, Some(&active.bios_store)),
        ],
        &active.name,
    )
}

/// Those of the files that are not on `volume`.
fn missing<'a>(
    judgement: &mut Judgement,
    files: impl IntoIterator<Item = (&'a str, Option<&'a Known<bool>>)>,
    volume: &str,
) -> Vec<Seen> {
    let mut seen = Vec::new();
    for (path, there) in files {
        match there {
            Some(Err(reason)) => judgement.unknown(reason),
            Some(Ok(true)) => {}
            None | Some(Ok(false)) => {
                seen.push(Seen::at(path).with(format!("missing or empty on {volume}")));
            }
        }
    }
    seen
}

fn dynamic_disk(facts: &Facts, judgement: &mut Judgement) {
    for (number, kind) in facts.windows.iter().flat_map(|it| &it.boot.dynamic) {
        let seen = Seen::at(format!("partition {number}")).with(format!("type {kind}"));
        judgement.found(Severity::WillNotBoot, seen);
    }
}

fn gpt_gap(facts: &Facts, judgement: &mut Judgement) {
    if let Some((unused, root)) = facts.windows.as_ref().and_then(|it| it.boot.gap) {
        let seen = Seen::at(format!("partition {root}")).with(format!("entry {unused} is unused"));
        judgement.found(Severity::Degraded, seen);
    }
}

fn hibernated(facts: &Facts, judgement: &mut Judgement) {
    let Some(head) = facts
        .windows
        .as_ref()
        .and_then(|it| judgement.known(&it.boot.hibernation))
    else {
        return;
    };
    if let Some(head) = head
        && HIBERNATED.contains(&head)
    {
        let seen = Seen::at("/hiberfil.sys").with(head);
        judgement.found(Severity::WillNotBoot, seen);
    }
}

fn fast_startup(facts: &Facts, judgement: &mut Judgement) {
    let Some(enabled) = facts
        .windows
        .as_ref()
        .and_then(|it| judgement.known(&it.boot.fast_startup))
    else {
        return;
    };
    if *enabled == Some(1) {
        let key = format!(r"{CONTROL}\Control\Session Manager\Power");
        judgement.found(Severity::Advice, Seen::at(key).with("HiberbootEnabled = 1"));
    }
}

fn ntfs_dirty(facts: &Facts, judgement: &mut Judgement) {
    for volume in &facts.volumes {
        if volume.content == Content::FileSystem(FileSystem::Ntfs)
            && let Some(how) = &volume.health.dirty
        {
            judgement.found(Severity::Degraded, Seen::at(volume.name()).with(how));
        }
    }
}

#[cfg(test)]
mod tests;
