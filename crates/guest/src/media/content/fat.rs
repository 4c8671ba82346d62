//! FAT12, FAT16, FAT32.

use super::super::field::{le16, le32};
use super::super::slice::Slice;
use super::{Found, longer};
use crate::volume::{Content, FileSystem, Health};

/// First cluster counts of FAT16 and FAT32.
const FAT16: u64 = 4085;
const FAT32: u64 = 65_525;

pub(super) fn recognise(slice: &Slice, head: &[u8]) -> Result<Option<Found>, String> {
    let sector = u64::from(le16(head, 11));
    let cluster = u64::from(head.get(13).copied().unwrap_or_default());
    let tables = head.get(16).copied().unwrap_or_default();
    let reserved = u64::from(le16(head, 14));
    let plausible = head.get(510..512) == Some(&[0x55, 0xaa])
        && matches!(sector, 512 | 1024 | 2048 | 4096)
        && cluster.is_power_of_two()
        && matches!(tables, 1 | 2)
        && reserved > 0;
    if !plausible {
        return Ok(None);
    }
    let large = le16(head, 22) == 0;
    let table = match large {
        true => u64::from(le32(head, 36)),
        false => u64::from(le16(head, 22)),
    };
    let sectors = match le16(head, 19) {
        0 => u64::from(le32(head, 32)),
        few => u64::from(few),
    };
    let root = (u64::from(le16(head, 17)) * 32).div_ceil(sector);
    let data = sectors.saturating_sub(reserved + u64::from(tables) * table + root);
    let clusters = data / cluster;
    if table == 0 || clusters == 0 {
        return Ok(None);
    }
    // Where the marks of FAT32 stand, and those of its elders.
    let (state, serial, name) = match large {
        true => (65, 67, 71),
        false => (37, 39, 43),
    };
    let serial = le32(head, serial);
    let first = slice.head(reserved * sector, 8)?;
    let (dirty, errors) = match clusters {
        FAT32.. => flags(le32(&first, 4), 27),
        // A FAT32 with few clusters is still one by its shape.
        _ if large => flags(le32(&first, 4), 27),
        FAT16.. => flags(u32::from(le16(&first, 2)), 15),
        _ => (false, false),
    };
    let state = head.get(state).copied().unwrap_or_default();
    let name = head
        .get(name..name + 11)
        .unwrap_or_default()
        .trim_ascii_end();
    let named = !name.is_empty() && name != b"NO NAME" && !name.starts_with(&[0]);
    Ok(Some(Found {
        uuid: Some(format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff)),
        label: named.then(|| name.to_vec()),
        health: Health {
            dirty: (dirty || state & 1 != 0).then(|| "it was not unmounted".to_owned()),
            errors: (errors || state & 2 != 0).then(|| "it is marked as having errors".to_owned()),
            longer: longer(slice, sectors * sector),
            ..Health::default()
        },
        ..Found::new(Content::FileSystem(FileSystem::Fat))
    }))
}

/// Whether the second entry of the table, whose bit `clean` is the first mark, says dirty and
/// damaged.
fn flags(entry: u32, clean: u32) -> (bool, bool) {
    (entry & (1 << clean) == 0, entry & (1 << (clean - 1)) == 0)
}
