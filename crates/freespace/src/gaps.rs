//! What lies between partitions, and behind the last one.
//!
//! In front of the first partition boot loaders keep their code, so that nothing is ever free
//! there. Nor at the end of the disk, where backups of tables and the metadata of many kinds of
//! RAID stand.

use std::ops::Range;

use diskimg::partitions::{PartitionTable, Scheme};
use guest::field::{le32, le64};
use guest::{Content, Laid, Layout};

use crate::volume::Disk;

/// Bytes at the end of the disk that are kept.
const END: u64 = 1 << 20;
/// Types of partitions whose disks have structures of their own elsewhere: Windows' dynamic disks
/// and storage spaces, and the labels of BSD and Solaris, which divide the disk once more.
const FOREIGN: [&str; 9] = [
    "0x42",
    "0xa5",
    "0xa6",
    "0xa9",
    "0xbf",
    "0xbe",
    "5808c8aa-7e8f-42e0-85d2-e1e90434cfb3",
    "af9b60a0-1431-4f62-bc68-3311714a69ad",
    "e75caf8f-f680-4cee-afa3-b001e56efc2d",
];
const BSD_LABEL: u32 = 0x8256_4557;
/// Type of the entry that guards a GPT.
const GUARD: u8 = 0xee;

/// Whether a partition of this type may be a part of something larger.
pub(crate) fn is_foreign(type_id: &str) -> bool {
    FOREIGN.contains(&type_id)
}

/// Why nothing between partitions is free, if that is so.
///
/// # Errors
/// Those of reading.
pub(crate) fn obstacle(disk: &Disk<'_>, layout: &Layout) -> Result<Option<String>, String> {
    let table = &layout.table;
    if let Some(entry) = table.entries.iter().find(|it| is_foreign(&it.type_id)) {
        return Ok(Some(format!(
            "partition {} is of type {}",
            entry.number, entry.type_id
        )));
    }
    let mut first = [0; 1024];
    disk.read_at(0, &mut first)?;
    if le32(&first, 512) == BSD_LABEL {
        return Ok(Some("the disk has a BSD label".into()));
    }
    match table.scheme {
        Scheme::Gpt => gpt(disk, table, &first),
        _ => Ok(None),
    }
}

/// A GPT must be guarded by nothing but its one entry, and have its backup where this one expects
/// it (UEFI Specification, chapter 5).
fn gpt(
    disk: &Disk<'_>,
    table: &PartitionTable,
    first: &[u8; 1024],
) -> Result<Option<String>, String> {
    let types: Vec<u8> = first
        .get(446..510)
        .unwrap_or_default()
        .chunks_exact(16)
        .filter_map(|entry| entry.get(4).copied())
        .filter(|kind| *kind != 0)
        .collect();
    if types != [GUARD] {
        return Ok(Some("the MBR lists other partitions than the GPT".into()));
    }
    let sector = table.sector_size;
    let last = (disk.size() / sector).saturating_sub(1);
    let (mut primary, mut backup) = ([0; 92], [0; 92]);
    disk.read_at(sector, &mut primary)?;
    disk.read_at(last.saturating_mul(sector), &mut backup)?;
    let begins = table.entries.iter().map(|entry| entry.start).min();
    let entries = |header: &[u8]| le64(header, 72).saturating_mul(sector);
    let sound = [(&primary, 1, last), (&backup, last, 1)]
        .iter()
        .all(|(header, here, other)| {
            header.starts_with(b"EFI PART")
                && le64(*header, 24) == *here
                && le64(*header, 32) == *other
        });
    let in_front = begins.is_some_and(|begins| entries(&primary) < begins);
    let at_the_end = entries(&backup) >= disk.size().saturating_sub(END);
    Ok(match sound && in_front && at_the_end {
        true => None,
        false => Some("the GPT or its backup is not in its place".into()),
    })
}

/// What is free of a gap, or why not.
pub(crate) fn free(disk: &Disk<'_>, gap: &Laid) -> Result<Vec<Range<u64>>, String> {
    if let Some(doubt) = &gap.doubt {
        return Err(doubt.clone());
    }
    match &gap.content {
        Content::Empty | Content::Unknown => {}
        _ => return Err("it looks like the beginning of a volume".into()),
    }
    let kept = disk.size().saturating_sub(END);
    let clip = |piece: &Range<u64>| piece.start..piece.end.min(kept);
    let ranges = gap.pieces.iter().map(clip);
    Ok(ranges.filter(|range| range.start < range.end).collect())
}
