//! NTFS.

use super::super::field::{le16, le32, le64};
use super::super::slice::Slice;
use super::{Found, longer};
use crate::volume::{Content, FileSystem, Health};

/// Number of the record that describes the volume.
const VOLUME: u64 = 3;
const NAME: u32 = 0x60;
const INFORMATION: u32 = 0x70;
const END: u32 = u32::MAX;
/// Longest record of the file table.
const MAX_RECORD: u64 = 64 << 10;

pub(super) fn recognise(slice: &Slice, head: &[u8]) -> Result<Option<Found>, String> {
    let sector = u64::from(le16(head, 11));
    if head.get(3..11) != Some(b"NTFS    ") || !sector.is_power_of_two() || sector < 256 {
        return Ok(None);
    }
    let mut found = Found {
        uuid: Some(format!("{:016X}", le64(head, 72))),
        health: Health {
            longer: longer(slice, le64(head, 40).saturating_mul(sector)),
            ..Health::default()
        },
        ..Found::new(Content::FileSystem(FileSystem::Ntfs))
    };
    if let Some(place) = record_place(head, sector)
        && let Ok(record) = slice.head(place.0, place.1)
        && let Some(record) = mended(record)
    {
        read_volume(&record, &mut found);
    }
    Ok(Some(found))
}

/// Where the record of the volume is, and its length.
fn record_place(head: &[u8], sector: u64) -> Option<(u64, usize)> {
    let power = |value: u8| match value {
        0..0x80 => None,
        // The size as a negative power of two.
        _ => 1_u64.checked_shl(u32::from(value.wrapping_neg())),
    };
    let cluster = match *head.get(13)? {
        many @ 0x81.. => power(many)?,
        few => u64::from(few),
    }
    .checked_mul(sector)?;
    let record = match *head.get(64)? {
        clusters @ 0..0x80 => u64::from(clusters).checked_mul(cluster)?,
        negative => power(negative)?,
    };
    let place = le64(head, 48)
        .checked_mul(cluster)?
        .checked_add(VOLUME * record)?;
    let length = usize::try_from(record).ok();
    length
        .filter(|_| record <= MAX_RECORD)
        .map(|length| (place, length))
}

/// The record with the last bytes of its sectors put back, or none when they do not fit.
fn mended(mut record: Vec<u8>) -> Option<Vec<u8>> {
    if !record.starts_with(b"FILE") {
        return None;
    }
    let at = usize::from(le16(&record, 4));
    let count = usize::from(le16(&record, 6));
    let list = record
        .get(at..at.checked_add(count.checked_mul(2)?)?)?
        .to_vec();
    let (mark, kept) = list.split_first_chunk::<2>()?;
    for (sector, kept) in record.chunks_mut(512).zip(kept.chunks_exact(2)) {
        let end = sector.get_mut(510..512)?;
        if end != mark {
            return None;
        }
        end.copy_from_slice(kept);
    }
    Some(record)
}

/// The volume's name and its mark for "not unmounted".
fn read_volume(record: &[u8], found: &mut Found) {
    let mut at = usize::from(le16(record, 20));
    while let Some(attribute) = record.get(at..) {
        let kind = le32(attribute, 0);
        let length = usize::try_from(le32(attribute, 4)).unwrap_or(usize::MAX);
        if kind == END || length < 24 || length > attribute.len() {
            return;
        }
        let from = usize::from(le16(attribute, 20));
        let size = usize::try_from(le32(attribute, 16)).unwrap_or(usize::MAX);
        let value = attribute
            .get(from..)
            .and_then(|rest| rest.get(..size))
            .unwrap_or_default();
        match kind {
            NAME => {
                let units = value.chunks_exact(2).map(|pair| le16(pair, 0));
                let name: String = char::decode_utf16(units)
                    .map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER))
                    .collect();
                found.label = (!name.is_empty()).then(|| name.into_bytes());
            }
            INFORMATION if le16(value, 10) & 1 != 0 => {
                found.health.dirty = Some("it was not unmounted".to_owned());
            }
            _ => {}
        }
        at = at.saturating_add(length);
    }
}
