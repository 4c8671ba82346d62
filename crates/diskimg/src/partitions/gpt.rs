//! The GUID partition table: a header in the second sector with a backup in the last one.
//!
//! Source: UEFI Specification 2.10, chapter 5. Checksums are CRC-32; the backup counts when the
//! primary table is damaged.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::disk::Disk;
use super::mbr;
use super::table::{Partition, PartitionTable, Scheme};
use super::types::{gpt_name, guid};
use crate::error::Result;
use crate::text::printable;
use crate::units::{MIB, fits};

/// Most bytes of entries that are read. Ours: 64 times what every program writes.
const MAX_ENTRIES_BYTES: u64 = MIB;

const SIGNATURE: [u8; 8] = *b"EFI PART";
const SECTOR_SIZES: [u64; 2] = [512, 4096];
/// Length of the header's fields in bytes.
const HEADER_LEN: u32 = 92;
/// Length of an entry in bytes; longer ones have it multiplied by powers of two.
const ENTRY_LEN: u32 = 128;
/// Attribute: what a BIOS starts, by the specification's "legacy BIOS bootable".
const LEGACY_BOOTABLE: u64 = 1 << 2;

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    signature: [u8; 8],
    revision: U32,
    /// Length in bytes, by which the checksum goes.
    len: U32,
    checksum: U32,
    reserved: U32,
    /// Sector in which this header is.
    here: U64,
    /// Sector in which the other one is.
    other: U64,
    first_usable: U64,
    last_usable: U64,
    disk: [u8; 16],
    /// Sector in which the entries begin.
    entries: U64,
    count: U32,
    entry_len: U32,
    entries_checksum: U32,
}

#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Entry {
    kind: [u8; 16],
    id: [u8; 16],
    first: U64,
    /// Last sector, which belongs to the partition.
    last: U64,
    attributes: U64,
    name: [U16; 36],
}

const _: () = {
    assert!(size_of::<Header>() == HEADER_LEN as usize);
    assert!(size_of::<Entry>() == ENTRY_LEN as usize);
};

/// A table whose checksums are right.
struct Intact {
    disk: String,
    other: u64,
    partitions: Vec<Partition>,
    warnings: Vec<String>,
}

/// A header that is missing, or damaged in the way that is described.
enum Broken {
    Missing,
    Damaged(String),
}

impl Broken {
    fn damaged<T>(text: impl Into<String>) -> std::result::Result<T, Self> {
        Err(Self::Damaged(text.into()))
    }

    fn text(&self) -> &str {
        match self {
            Self::Missing => "it is not there",
            Self::Damaged(text) => text,
        }
    }
}

/// The table, when the disk has one or is said to have one.
pub(super) fn read(disk: &Disk<'_>, first: &[u8; 512]) -> Result<Option<PartitionTable>> {
    let guard = mbr::guard(first);
    // A disk that ends before its second sector has no GPT; that is no damage.
    let on_disk = |size: &&u64| fits(**size, **size, disk.size);
    let sector_sizes: Vec<u64> = SECTOR_SIZES.iter().filter(on_disk).copied().collect();
    for sector_size in sector_sizes.iter().copied() {
        match read_at(disk, sector_size, 1)? {
            Err(Broken::Missing) => {}
            Err(broken) => return from_backup(disk, &[sector_size], &broken).map(Some),
            Ok(primary) => {
                let mut table = take(primary, sector_size);
                match guard.start {
                    None => table.0.warn(
                        "the first sector does not say that there is a GPT (no \
                        protective MBR); programs that look there only see no partitions",
                    ),
                    Some(1) => {}
                    Some(start) => table.0.warn(format!(
                        "the entry of the first sector that \
                        guards the GPT begins at sector {start}, expected 1; programs that look \
                        there only may take the table for free space"
                    )),
                }
                if guard.others && guard.start.is_some() {
                    table.0.warn(
                        "the first sector lists partitions beside the GPT (hybrid MBR); \
                        systems differ in which of them they see",
                    );
                }
                if !disk.front_only {
                    check_backup(disk, sector_size, table.1, &mut table.0)?;
                }
                return Ok(Some(table.0));
            }
        }
    }
    if guard.start.is_some() && !sector_sizes.is_empty() {
        return from_backup(disk, &sector_sizes, &Broken::Missing).map(Some);
    }
    Ok(None)
}

/// The table by its backup in the last sector.
fn from_backup(disk: &Disk<'_>, sector_sizes: &[u64], primary: &Broken) -> Result<PartitionTable> {
    let mut failed = Broken::Missing;
    for sector_size in sector_sizes {
        if disk.front_only {
            break;
        }
        let last = (disk.size / sector_size).saturating_sub(1);
        match read_at(disk, *sector_size, last)? {
            Ok(backup) => {
                let (mut table, _) = take(backup, *sector_size);
                table.warn(format!(
                    "the primary GPT is damaged ({}); its backup at the end of the disk is shown",
                    primary.text()
                ));
                return Ok(table);
            }
            Err(Broken::Missing) => {}
            Err(broken) => failed = broken,
        }
    }
    let first = sector_sizes.first().copied().unwrap_or(512);
    let mut table = PartitionTable::new(Scheme::Gpt, first);
    table.warn(format!(
        "the GPT is damaged: {}; its backup at the end of the disk: {}",
        primary.text(),
        if disk.front_only {
            "not examined, the image is read front to back"
        } else {
            failed.text()
        }
    ));
    Ok(table)
}

fn check_backup(
    disk: &Disk<'_>,
    sector_size: u64,
    other: u64,
    table: &mut PartitionTable,
) -> Result<()> {
    let last = (disk.size / sector_size).saturating_sub(1);
    if other > last {
        table.warn(format!(
            "the backup of the GPT is said to be in sector {other}, the disk's last one is \
             {last}: the disk was cut off, or made smaller after it was partitioned"
        ));
        return Ok(());
    }
    if other != last {
        table.warn(format!(
            "the backup of the GPT is said to be in sector {other}, the disk's last one is \
             {last}: the disk was resized after it was partitioned"
        ));
    }
    if let Err(broken) = read_at(disk, sector_size, other)? {
        table.warn(format!(
            "the backup of the GPT is damaged: {}",
            broken.text()
        ));
    }
    Ok(())
}

/// The table, and the sector in which the other header is said to be.
fn take(intact: Intact, sector_size: u64) -> (PartitionTable, u64) {
    let mut table = PartitionTable {
        id: Some(intact.disk),
        entries: intact.partitions,
        // The backup is in the last sector.
        least_size: intact.other.saturating_add(1).saturating_mul(sector_size),
        ..PartitionTable::new(Scheme::Gpt, sector_size)
    };
    for warning in intact.warnings {
        table.warn(warning);
    }
    (table, intact.other)
}

/// The table whose header is in sector `at`.
fn read_at(
    disk: &Disk<'_>,
    sector_size: u64,
    at: u64,
) -> Result<std::result::Result<Intact, Broken>> {
    let Some(offset) = at
        .checked_mul(sector_size)
        .filter(|offset| fits(*offset, sector_size, disk.size))
    else {
        return Ok(Broken::damaged(format!("sector {at} is not on the disk")));
    };
    let mut sector = vec![0; usize::try_from(sector_size).unwrap_or_default()];
    disk.fill(offset, &mut sector)?;
    let header = match check_header(&sector, at) {
        Ok(header) => header,
        Err(broken) => return Ok(Err(broken)),
    };
    let (count, entry_len) = (header.count.get(), header.entry_len.get());
    let bytes = u64::from(count) * u64::from(entry_len);
    let start = header.entries.get().checked_mul(sector_size);
    let Some(start) = start.filter(|start| fits(*start, bytes, disk.size)) else {
        return Ok(Broken::damaged(format!(
            "its {bytes} bytes of entries at sector {} are not on the disk",
            header.entries
        )));
    };
    if bytes > MAX_ENTRIES_BYTES {
        return Ok(Broken::damaged(format!(
            "it has {count} entries of {entry_len} bytes, at most {MAX_ENTRIES_BYTES} bytes are \
             read"
        )));
    }
    let mut entries = vec![0; usize::try_from(bytes).unwrap_or_default()];
    disk.fill(start, &mut entries)?;
    let (found, expected) = (header.entries_checksum.get(), libdeflater::crc32(&entries));
    if found != expected {
        return Ok(Broken::damaged(format!(
            "the checksum of its entries is {found:#010x}, expected {expected:#010x}"
        )));
    }
    let mut intact = Intact {
        disk: guid(header.disk),
        other: header.other.get(),
        partitions: Vec::new(),
        warnings: Vec::new(),
    };
    let step = usize::try_from(entry_len).unwrap_or(usize::MAX).max(1);
    for (number, bytes) in (1..).zip(entries.chunks_exact(step)) {
        if let Ok((entry, _)) = Entry::ref_from_prefix(bytes)
            && entry.kind != [0; 16]
        {
            add(entry, number, sector_size, &mut intact);
        }
    }
    Ok(Ok(intact))
}

fn check_header(sector: &[u8], at: u64) -> std::result::Result<&Header, Broken> {
    let Ok((header, _)) = Header::ref_from_prefix(sector) else {
        return Err(Broken::Missing);
    };
    if header.signature != SIGNATURE {
        return Err(Broken::Missing);
    }
    let len = header.len.get();
    let covered = usize::try_from(len)
        .ok()
        .filter(|_| len >= HEADER_LEN)
        .and_then(|len| sector.get(..len));
    let Some(covered) = covered else {
        return Broken::damaged(format!("its header has a length of {len} bytes"));
    };
    let mut covered = covered.to_vec();
    if let Some(own) = covered.get_mut(16..20) {
        own.fill(0);
    }
    let (found, expected) = (header.checksum.get(), libdeflater::crc32(&covered));
    if found != expected {
        return Broken::damaged(format!(
            "its checksum is {found:#010x}, expected {expected:#010x}"
        ));
    }
    if header.here.get() != at {
        return Broken::damaged(format!(
            "its header says that it is in sector {}, it is in sector {at}",
            header.here
        ));
    }
    let entry_len = header.entry_len.get();
    if !entry_len.is_power_of_two() || entry_len < ENTRY_LEN {
        return Broken::damaged(format!(
            "its entries are {entry_len} bytes long, expected {ENTRY_LEN} times a power of two"
        ));
    }
    Ok(header)
}

fn add(entry: &Entry, number: u32, sector_size: u64, intact: &mut Intact) {
    let (first, last) = (entry.first.get(), entry.last.get());
    if last < first {
        intact.warnings.push(format!(
            "partition {number} begins at sector {first} and ends at sector {last}"
        ));
        return;
    }
    let kind = guid(entry.kind);
    let units = entry.name.iter().map(|unit| unit.get());
    let name: String = char::decode_utf16(units.take_while(|unit| *unit != 0))
        .map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    intact.partitions.push(Partition {
        number,
        start: first.saturating_mul(sector_size),
        size: (last - first).saturating_add(1).saturating_mul(sector_size),
        kind: gpt_name(&kind),
        type_id: kind,
        label: (!name.is_empty()).then(|| printable(&name)),
        uuid: Some(guid(entry.id)),
        bootable: entry.attributes.get() & LEGACY_BOOTABLE != 0,
        attributes: entry.attributes.get(),
        content: None,
    });
}
