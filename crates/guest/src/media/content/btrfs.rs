//! Btrfs.

use super::super::field::le64;
use super::super::slice::Slice;
use super::{Found, label, longer, uuid};
use crate::volume::{Content, FileSystem, Health};

/// First byte of the superblock.
const SUPERBLOCK: u64 = 64 << 10;

pub(super) fn recognise(slice: &Slice) -> Result<Option<Found>, String> {
    let block = slice.head(SUPERBLOCK, 4096)?;
    if block.get(64..72) != Some(b"_BHRfS_M") {
        return Ok(None);
    }
    let log = le64(&block, 96) != 0;
    let devices = le64(&block, 136);
    Ok(Some(Found {
        uuid: block.get(32..48).and_then(uuid),
        label: block.get(299..555).and_then(label),
        health: Health {
            dirty: log.then(|| "its log holds changes that are not in place yet".to_owned()),
            journal: log.then_some(false),
            errors: None,
            longer: longer(slice, le64(&block, 209)),
            devices: (devices > 1).then_some(devices),
        },
        free: Some(le64(&block, 112).saturating_sub(le64(&block, 120))),
        ..Found::new(Content::FileSystem(FileSystem::Btrfs))
    }))
}
