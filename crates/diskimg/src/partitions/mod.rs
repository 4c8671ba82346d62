//! The partition table that a disk has, read through the image: MBR with logical partitions, GPT
//! with its backup, or a file system without any table; and the way of booting that it suggests.
//!
//! What a guest wrote is hostile as well: counts are checked against caps, chains of logical
//! partitions have an end, and what is wrong with a table is a warning, because the guest may live
//! with it.

mod content;
mod disk;
mod gpt;
mod mbr;
mod table;
mod types;

pub(crate) use self::content::kind_of;
use self::disk::Disk;
pub use self::table::{BootMode, Content, Partition, PartitionTable, Scheme};
use crate::error::Result;
use crate::format::Format;
use crate::image::DiskImage;
use crate::units::SECTOR;

/// Most partitions whose content is examined.
const MAX_EXAMINED: usize = 128;

/// Reads the partition table of `image`, and the first bytes of each partition. A few reads,
/// however large the disk is.
///
/// Of formats that can only be read front to back (ZVHD) just the beginning is read.
///
/// # Errors
/// Those of reading the image. What is wrong with the table is in [`PartitionTable::warnings`].
pub fn read(image: &dyn DiskImage) -> Result<PartitionTable> {
    look_at(image, image.details().format == Format::Zvhd)
}

fn look_at(image: &dyn DiskImage, front_only: bool) -> Result<PartitionTable> {
    let disk = Disk {
        image,
        size: image.virtual_size(),
        front_only,
    };
    let first = disk.sector()?;
    let table = match gpt::read(&disk, &first)? {
        Some(table) => Some(table),
        None => mbr::read(&disk, &first)?,
    };
    let mut table = match table {
        Some(table) => table,
        None => {
            let content = content::recognise(&disk, 0, disk.size)?;
            let scheme = match content {
                Some(_) => Scheme::Superfloppy,
                None => Scheme::None,
            };
            PartitionTable {
                content,
                ..PartitionTable::new(scheme, SECTOR)
            }
        }
    };
    if !disk.front_only {
        examine(&disk, &mut table)?;
    }
    check_places(&disk, &mut table);
    judge_boot(&first, &mut table);
    table.boot_code = mbr::has_boot_code(&first) || mbr::begins_with_jump(&first);
    Ok(table)
}

/// [`read`] of a disk of which only the beginning is there yet, such as one on a pipe.
///
/// # Errors
/// Those of [`read`].
pub fn read_front(image: &dyn DiskImage) -> Result<PartitionTable> {
    look_at(image, true)
}

/// Looks at what the partitions begin with.
fn examine(disk: &Disk<'_>, table: &mut PartitionTable) -> Result<()> {
    for entry in table.entries.iter_mut().take(MAX_EXAMINED) {
        if !types::is_extended(&entry.type_id) {
            entry.content = content::recognise(disk, entry.start, entry.size)?;
        }
    }
    Ok(())
}

/// Warns of partitions that are not on the disk or on each other.
fn check_places(disk: &Disk<'_>, table: &mut PartitionTable) {
    let mut warnings = Vec::new();
    let end_of = |entry: &Partition| entry.start.saturating_add(entry.size);
    for entry in &table.entries {
        table.least_size = table.least_size.max(end_of(entry));
        if end_of(entry) > disk.size {
            warnings.push(format!(
                "partition {} ends at {:#x}, the disk ends at {:#x}",
                entry.number,
                end_of(entry),
                disk.size
            ));
        }
    }
    let mut sorted: Vec<_> = table
        .entries
        .iter()
        .filter(|entry| !types::is_extended(&entry.type_id))
        .collect();
    sorted.sort_by_key(|entry| entry.start);
    let mut furthest: Option<&Partition> = None;
    for entry in sorted {
        match furthest {
            Some(before) if entry.start < end_of(before) => warnings.push(format!(
                "partition {} begins at {:#x}, before the end of partition {} at {:#x}",
                entry.number,
                entry.start,
                before.number,
                end_of(before)
            )),
            _ => {}
        }
        if furthest.is_none_or(|before| end_of(before) < end_of(entry)) {
            furthest = Some(entry);
        }
    }
    for warning in warnings {
        table.warn(warning);
    }
}

fn judge_boot(first: &[u8; 512], table: &mut PartitionTable) {
    let find = |what: fn(&Partition) -> bool| table.entries.iter().find(|entry| what(entry));
    let esp = find(|entry| types::is_esp(&entry.type_id))
        .map(|entry| format!("partition {} is an EFI System partition", entry.number));
    let bios = match table.scheme {
        Scheme::Gpt => find(|entry| types::is_bios_boot(&entry.type_id))
            .map(|entry| format!("partition {} is a BIOS boot partition", entry.number))
            .or_else(|| {
                find(|entry| entry.bootable)
                    .map(|entry| format!("partition {} is marked for the BIOS", entry.number))
            }),
        Scheme::Mbr => find(|entry| entry.bootable && !types::is_esp(&entry.type_id))
            .map(|entry| format!("partition {} is active", entry.number))
            .or_else(|| {
                // Disks with an EFI system partition have some code too, that says so.
                (esp.is_none() && mbr::has_boot_code(first))
                    .then(|| "the first sector holds boot code".to_owned())
            }),
        Scheme::Superfloppy | Scheme::None => None,
    };
    (table.boot, table.boot_reason) = match (esp, bios) {
        (Some(esp), Some(bios)) => (BootMode::Both, format!("{esp}, and {bios}")),
        (Some(esp), None) => (BootMode::Uefi, esp),
        (None, Some(bios)) => (BootMode::Bios, bios),
        (None, None) => (
            BootMode::Unknown,
            "there is neither an EFI System partition nor anything that a BIOS starts".to_owned(),
        ),
    };
}
