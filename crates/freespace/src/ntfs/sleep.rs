//! Whether a Windows sleeps on a volume: `hiberfil.sys` in the root directory holds it then.

use guest::field::{le16, le32, le64};

use super::record::{Boot, Record, mended};
use crate::volume::Volume;

const NAME: &str = "hiberfil.sys";
/// Number of the record of the root directory.
const ROOT: u64 = 5;
const DATA: u32 = 0x80;
const INDEX_ROOT: u32 = 0x90;
const INDEX_ALLOCATION: u32 = 0xa0;
/// `$I30`, the name of indexes of names.
const NAMES: [u8; 8] = *b"$\0I\x003\x000\0";
/// Most bytes of the root directory.
const MOST: u64 = 16 << 20;
/// Bytes of the largest block of an index.
const MOST_BLOCK: u64 = 64 << 10;
/// The last entry of a node, which has no name.
const LAST: u16 = 2;
/// Whether a Windows sleeps on `volume`.
///
/// # Errors
/// Why that cannot be told.
pub(crate) fn is_asleep(volume: Volume<'_>) -> Result<bool, String> {
    let boot = Boot::read(volume)?;
    let root = boot.record(volume, ROOT)?;
    let Some(number) = find(volume, &boot, &root)? else {
        return Ok(false);
    };
    let file = boot.any_record(volume, number)?;
    let Ok(stream) = file.stream(DATA, &[]) else {
        // Of a few bytes, or nothing that could be read: a stored system is neither.
        return Ok(file.value(DATA, &[]).is_err());
    };
    // What was never written reads as zeros, whatever is in its clusters.
    if stream.written < 4 {
        return Ok(false);
    }
    Ok(stream.read(volume, &boot, 0, 4)? != [0; 4])
}

/// The record of `hiberfil.sys`.
fn find(volume: Volume<'_>, boot: &Boot, root: &Record) -> Result<Option<u64>, String> {
    let index = root.value(INDEX_ROOT, &NAMES)?;
    let node = index.get(16..).unwrap_or_default();
    if let Some(found) = in_node(node)? {
        return Ok(Some(found));
    }
    if !root.has(INDEX_ALLOCATION, &NAMES)? {
        return Ok(None);
    }
    let stream = root.stream(INDEX_ALLOCATION, &NAMES)?;
    let size = u64::from(le32(index, 8));
    let sensible = size.is_power_of_two() && (512..=MOST_BLOCK).contains(&size);
    if !sensible || stream.length > MOST {
        return Err("its root directory is too large".into());
    }
    for number in 0..stream.length / size {
        let block = stream.read(volume, boot, number * size, size)?;
        // Blocks that are not in use may never have been written.
        let Some(block) = mended(block, b"INDX") else {
            continue;
        };
        if let Some(found) = in_node(block.get(24..).unwrap_or_default())? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The record that a node of the index has for the name.
fn in_node(node: &[u8]) -> Result<Option<u64>, String> {
    let damaged = || "its root directory is damaged".to_owned();
    let end = usize::try_from(le32(node, 4)).unwrap_or(usize::MAX);
    let node = node.get(..end).ok_or_else(damaged)?;
    let mut at = usize::try_from(le32(node, 0)).unwrap_or(usize::MAX);
    loop {
        let entry = node.get(at..).filter(|entry| entry.len() >= 16);
        let entry = entry.ok_or_else(damaged)?;
        let length = usize::from(le16(entry, 8));
        if le16(entry, 12) & LAST != 0 {
            return Ok(None);
        }
        if length < 16 + 66 {
            return Err(damaged());
        }
        let units = usize::from(entry.get(16 + 64).copied().unwrap_or_default());
        let name = entry.get(16 + 66..).and_then(|rest| rest.get(..units * 2));
        let name = name.ok_or_else(damaged)?;
        let units: Vec<u16> = name.chunks_exact(2).map(|unit| le16(unit, 0)).collect();
        let same = String::from_utf16_lossy(&units).eq_ignore_ascii_case(NAME);
        if same {
            return Ok(Some(le64(entry, 0) & 0xffff_ffff_ffff));
        }
        at = at.checked_add(length).ok_or_else(damaged)?;
    }
}
