//! What a partition begins with, by its signature.

use super::disk::Disk;
use super::table::Content;
use crate::error::Result;
use crate::text::printable;

/// How much of the beginning is read, in bytes; the magic number of Btrfs stands further in.
const HEAD: usize = 8192;
/// Marks that stand further in than [`HEAD`], in ascending order.
const FAR: [(u64, &[u8], &str); 4] = [
    (0x8000, b"JFS1", "JFS"),
    (0x1_0034, b"ReIsEr", "ReiserFS"),
    (0x1_0040, b"_BHRfS_M", "Btrfs"),
    (0x1_055c, &[0x19, 0x01, 0x54, 0x19], "UFS2"),
];
/// Longest label in bytes.
const LABEL: usize = 16;

/// What the `size` bytes from `start` begin with.
///
/// # Errors
/// Those of reading.
pub(super) fn recognise(disk: &Disk<'_>, start: u64, size: u64) -> Result<Option<Content>> {
    if size == 0 || start >= disk.size {
        return Ok(None);
    }
    let mut head = vec![0; HEAD];
    let len = usize::try_from(size).unwrap_or(HEAD).min(HEAD);
    let (read, _) = head.split_at_mut(len);
    disk.fill(start, read)?;
    if let Some(found) = by_head(&head) {
        return Ok(Some(found));
    }
    if disk.front_only {
        return Ok(None);
    }
    let mut found = [0; 8];
    for (at, mark, kind) in FAR {
        let (found, _) = found.split_at_mut(mark.len());
        let end = at.saturating_add(mark.len() as u64);
        let Some(place) = start.checked_add(at).filter(|_| end <= size) else {
            break;
        };
        disk.fill(place, found)?;
        if found == mark {
            return Ok(Some(Content { kind, label: None }));
        }
    }
    Ok(None)
}

/// The file system or volume that begins with `head`.
pub(crate) fn kind_of(head: &[u8]) -> Option<&'static str> {
    by_head(head).map(|content| content.kind)
}

fn by_head(head: &[u8]) -> Option<Content> {
    let is = |at: usize, bytes: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(bytes));
    let plain = |kind| Some(Content { kind, label: None });
    let named = |kind, at: usize, len: usize| {
        Some(Content {
            kind,
            label: label(head, at, len),
        })
    };
    // Encrypted volumes first: BitLocker leaves the shape of a FAT boot sector.
    if is(3, b"-FVE-FS-") {
        return plain("BitLocker");
    }
    if is(0, b"LUKS\xba\xbe") {
        return plain("LUKS");
    }
    if is(0, b"XFSB") {
        return named("XFS", 108, 12);
    }
    if is(3, b"NTFS    ") {
        return plain("NTFS");
    }
    if is(3, b"EXFAT   ") {
        return plain("exFAT");
    }
    if is(3, b"ReFS\0") {
        return plain("ReFS");
    }
    for sector in [512, 0, 1024, 1536] {
        if is(sector, b"LABELONE") && is(sector + 24, b"LVM2 001") {
            return plain("LVM2 physical volume");
        }
    }
    if is(4086, b"SWAPSPACE2") {
        return named("Linux swap", 1052, LABEL);
    }
    for (at, mark, kind) in [
        (0, b"hsqs".as_slice(), "SquashFS"),
        (32, b"NXSB", "APFS"),
        (1024, &[0xe2, 0xe1, 0xf5, 0xe0], "EROFS"),
        (1024, &[0x10, 0x20, 0xf5, 0xf2], "F2FS"),
        (1024, b"H+\0\x04", "HFS+"),
        (1024, b"HX\0\x05", "HFS+"),
    ] {
        if is(at, mark) {
            return plain(kind);
        }
    }
    if is(4096, &0xa92b_4efc_u32.to_le_bytes()) {
        return plain("Linux RAID");
    }
    if is(1024 + 56, &0xef53_u16.to_le_bytes()) {
        return named(ext_version(head), 1024 + 120, LABEL);
    }
    if is(510, &[0x55, 0xaa]) {
        if is(82, b"FAT32   ") {
            return named("FAT32", 71, 11);
        }
        for (mark, kind) in [(b"FAT16   ", "FAT16"), (b"FAT12   ", "FAT12")] {
            if is(54, mark) {
                return named(kind, 43, 11);
            }
        }
    }
    None
}

/// ext2 has no journal; ext4 is what has a feature that ext3 does not know.
fn ext_version(head: &[u8]) -> &'static str {
    /// Feature sets stand in this order: compatible, incompatible, read-only compatible.
    const FEATURES: usize = 1024 + 92;
    const HAS_JOURNAL: u32 = 4;
    const EXT3_INCOMPATIBLE: u32 = 0x2 | 0x4 | 0x10;
    const EXT3_READ_ONLY: u32 = 0x1 | 0x2 | 0x4;
    let set = |index: usize| {
        head.get(FEATURES + index * 4..)
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |bytes| u32::from_le_bytes(*bytes))
    };
    if set(1) & !EXT3_INCOMPATIBLE != 0 || set(2) & !EXT3_READ_ONLY != 0 {
        "ext4"
    } else if set(0) & HAS_JOURNAL != 0 {
        "ext3"
    } else {
        "ext2"
    }
}

fn label(head: &[u8], at: usize, len: usize) -> Option<String> {
    let bytes = head.get(at..at.checked_add(len)?)?;
    let text = bytes.split(|byte| *byte == 0).next()?;
    let text = String::from_utf8_lossy(text);
    let text = text.trim();
    (!text.is_empty() && text != "NO NAME").then(|| printable(text))
}
