//! The master boot record: four entries, of which extended ones begin a chain of logical
//! partitions.

use std::collections::HashSet;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::content;
use super::disk::Disk;
use super::table::{Partition, PartitionTable, Scheme};
use super::types::{is_extended, mbr_id, mbr_name};
use crate::error::Result;
use crate::units::SECTOR;

/// Most records in the chains of logical partitions that are followed. Linux stops at 256
/// partitions.
const MAX_LOGICAL: usize = 256;

/// Last two bytes of a record.
const SIGNATURE: u16 = 0xaa55;

/// Type of the entry that keeps programs that know no GPT away.
const PROTECTIVE: u8 = 0xee;

/// Sector sizes of disks, in bytes.
const SECTOR_SIZES: [u64; 2] = [SECTOR, 4096];

/// The first sector of the disk, or of a logical partition.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Record {
    /// Code that a BIOS starts.
    code: [u8; 440],
    /// Identifier of the disk.
    id: U32,
    reserved: [u8; 2],
    entries: [Entry; 4],
    /// [`SIGNATURE`].
    signature: U16,
}

const _: () = assert!(size_of::<Record>() == 512);

/// A partition.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Entry {
    /// 0x80: active; 0: not.
    status: u8,
    /// Geometry, which is unused.
    _first: [u8; 3],
    kind: u8,
    _last: [u8; 3],
    /// First sector, counted from the disk's beginning or from that of its record.
    start: U32,
    /// Number of sectors.
    count: U32,
}

impl Entry {
    fn is_used(&self) -> bool {
        self.kind != 0 && self.count.get() != 0
    }

    fn partition(&self, number: u32, base: u64, sector_size: u64) -> Partition {
        Partition {
            number,
            // At most 2^34 sectors of 2^12 bytes.
            start: (base + u64::from(self.start.get())).saturating_mul(sector_size),
            size: u64::from(self.count.get()) * sector_size,
            kind: mbr_name(self.kind),
            type_id: mbr_id(self.kind),
            label: None,
            uuid: None,
            bootable: self.status == 0x80,
            attributes: 0,
            content: None,
        }
    }
}

/// The record in `sector`, when there is one.
fn record(sector: &[u8; 512]) -> Option<&Record> {
    Record::ref_from_bytes(sector)
        .ok()
        .filter(|record| record.signature == SIGNATURE)
}

/// The table in the first sector, when there is one. Boot sectors of file systems have the same
/// signature: what tells them apart are entries that make sense.
pub(super) fn read(disk: &Disk<'_>, first: &[u8; 512]) -> Result<Option<PartitionTable>> {
    let Some(record) = record(first) else {
        return Ok(None);
    };
    let used = || record.entries.iter().filter(|entry| entry.is_used());
    let sane = record.entries.iter().all(|entry| entry.status & 0x7f == 0)
        && used().next().is_some()
        && used().all(|entry| entry.start.get() != 0);
    if !sane {
        return Ok(None);
    }
    let mut table = PartitionTable::new(Scheme::Mbr, sector_size(disk, record)?);
    table.id = Some(format!("{:#010x}", record.id));
    for (number, entry) in (1..).zip(&record.entries) {
        if entry.is_used() {
            let partition = entry.partition(number, 0, table.sector_size);
            table.entries.push(partition);
        }
    }
    if table.entries.iter().filter(|entry| entry.bootable).count() > 1 {
        table.warn("more than one partition is active; a BIOS starts none of them");
    }
    if disk.front_only {
        return Ok(Some(table));
    }
    let extended: Vec<u64> = used()
        .filter(|entry| is_extended(&mbr_id(entry.kind)))
        .map(|entry| entry.start.get().into())
        .collect();
    let mut seen = HashSet::new();
    for start in extended {
        logical(disk, start, &mut seen, &mut table)?;
    }
    for entry in &mut table.entries {
        entry.uuid = Some(format!("{:08x}-{:02x}", record.id, entry.number));
    }
    Ok(Some(table))
}

/// The sector size by which the table counts. The table does not say: it is the smaller one, unless
/// only the larger one leads to something that is known.
fn sector_size(disk: &Disk<'_>, table: &Record) -> Result<u64> {
    if disk.front_only {
        return Ok(SECTOR);
    }
    for size in SECTOR_SIZES {
        for entry in table.entries.iter().filter(|entry| entry.is_used()) {
            let partition = entry.partition(0, 0, size);
            let known = if is_extended(&partition.type_id) {
                let mut sector = [0; 512];
                disk.fill(partition.start, &mut sector)?;
                record(&sector).is_some()
            } else {
                content::recognise(disk, partition.start, partition.size)?.is_some()
            };
            if known {
                return Ok(size);
            }
        }
    }
    Ok(SECTOR)
}

/// Follows the chain of records in the extended partition at sector `base`. Each is read once.
fn logical(
    disk: &Disk<'_>,
    base: u64,
    seen: &mut HashSet<u64>,
    table: &mut PartitionTable,
) -> Result<()> {
    let mut at = base;
    loop {
        if seen.len() >= MAX_LOGICAL {
            table.warn(format!(
                "there are more than {MAX_LOGICAL} logical partitions; the rest is not shown"
            ));
            return Ok(());
        }
        if !seen.insert(at) {
            table.warn(format!(
                "the chain of logical partitions comes back to sector {at}"
            ));
            return Ok(());
        }
        let offset = at.saturating_mul(table.sector_size);
        if offset >= disk.size {
            table.warn(format!(
                "the chain of logical partitions leaves the disk at sector {at}"
            ));
            return Ok(());
        }
        let mut sector = [0; 512];
        disk.fill(offset, &mut sector)?;
        let Some(record) = record(&sector) else {
            table.warn(format!(
                "the chain of logical partitions breaks off: sector {at} holds no record"
            ));
            return Ok(());
        };
        let [partition, next, ..] = &record.entries;
        if partition.is_used() && !is_extended(&mbr_id(partition.kind)) {
            let logical = table.entries.iter().filter(|entry| entry.number > 4);
            let number = 5 + u32::try_from(logical.count()).unwrap_or(u32::MAX - 5);
            let partition = partition.partition(number, at, table.sector_size);
            table.entries.push(partition);
        }
        if !next.is_used() || !is_extended(&mbr_id(next.kind)) {
            return Ok(());
        }
        at = base + u64::from(next.start.get());
    }
}

/// What an MBR says of a GPT.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Guard {
    /// First sector of the entry that keeps programs away which know no GPT.
    pub(super) start: Option<u32>,
    /// Whether there are other entries beside that one.
    pub(super) others: bool,
}

/// What the MBR in the first sector, if there is one, says of a GPT.
pub(super) fn guard(first: &[u8; 512]) -> Guard {
    let Some(record) = record(first) else {
        return Guard::default();
    };
    let used = || record.entries.iter().filter(|entry| entry.is_used());
    Guard {
        start: used()
            .find(|entry| entry.kind == PROTECTIVE)
            .map(|entry| entry.start.get()),
        others: used().any(|entry| entry.kind != PROTECTIVE),
    }
}

/// Whether the first sector holds code that a BIOS would start.
pub(super) fn has_boot_code(first: &[u8; 512]) -> bool {
    record(first).is_some_and(|record| record.code.iter().any(|byte| *byte != 0))
}

/// Whether the first sector begins with a jump over data, as boot sectors do. Few programs that
/// write one leave the signature out.
pub(super) fn begins_with_jump(first: &[u8; 512]) -> bool {
    matches!(first, [0xeb, _, 0x90, ..] | [0xe9, ..])
}
