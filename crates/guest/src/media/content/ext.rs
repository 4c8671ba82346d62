//! ext2, ext3, ext4.

use super::super::field::{le16, le32};
use super::super::slice::Slice;
use super::{Found, label, longer, uuid};
use crate::volume::{Content, FileSystem, Health};

/// First byte of the superblock.
const SUPERBLOCK: usize = 1024;
const MAGIC: u16 = 0xef53;
const NEEDS_RECOVERY: u32 = 0x4;
const IS_64_BIT: u32 = 0x80;

pub(super) fn recognise(slice: &Slice, head: &[u8]) -> Option<Found> {
    let block = head.get(SUPERBLOCK..SUPERBLOCK + 1024)?;
    let log = le32(block, 24);
    if le16(block, 56) != MAGIC || log > 6 {
        return None;
    }
    let incompatible = le32(block, 96);
    let high = |at| match incompatible & IS_64_BIT {
        0 => 0,
        _ => u64::from(le32(block, at)) << 32,
    };
    let bytes = |low, high: u64| (u64::from(low) | high).saturating_mul(1024 << log);
    let state = le16(block, 58);
    let journal = incompatible & NEEDS_RECOVERY != 0;
    let dirty = if journal {
        Some("its journal holds changes that are not in place yet".to_owned())
    } else if state & 1 == 0 {
        Some("it was not unmounted".to_owned())
    } else {
        None
    };
    let errors = match (le32(block, 0x194), state & 2) {
        (0, 0) => None,
        (0, _) => Some("it is marked as having errors".to_owned()),
        (count, _) => Some(format!("its error count is {count}")),
    };
    Some(Found {
        uuid: block.get(104..120).and_then(uuid),
        label: block.get(120..136).and_then(label),
        health: Health {
            dirty,
            journal: journal.then_some(false),
            errors,
            longer: longer(slice, bytes(le32(block, 4), high(0x150))),
            devices: None,
        },
        free: Some(bytes(le32(block, 12), high(0x158))),
        ..Found::new(Content::FileSystem(FileSystem::Ext))
    })
}
