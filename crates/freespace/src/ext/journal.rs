//! Whether the journal is empty. The superblock says so by a feature flag; the journal itself by
//! the block in which it begins, which is 0 when nothing is in it (Linux, `jbd2.h`).

use guest::field::{be32, le16, le32};

use super::groups::Groups;
use super::superblock::Superblock;
use crate::volume::Volume;

const MAGIC: u32 = 0xc03b_3998;
/// Flag of inodes whose blocks are listed as extents.
const HAS_EXTENTS: u32 = 0x8_0000;
const EXTENTS: u16 = 0xf30a;
/// Deepest tree of extents.
const MOST_LEVELS: usize = 5;

/// Refuses a file system whose journal is not empty, or not in it.
pub(super) fn check(
    volume: Volume<'_>,
    superblock: &Superblock,
    groups: &Groups,
) -> Result<(), String> {
    let Some(inode) = superblock.journal else {
        return Ok(());
    };
    let index = inode
        .checked_sub(1)
        .ok_or("its journal is on another device")?;
    let table = groups
        .inodes(index / superblock.inodes_per_group)
        .and_then(|block| block.checked_mul(superblock.block))
        .and_then(|at| {
            let offset = index % superblock.inodes_per_group * superblock.inode_size;
            at.checked_add(offset)
        });
    let inode = volume.read(table.ok_or("its journal has no inode")?, 128)?;
    let first = first_block(volume, superblock, &inode)?;
    let place = first.checked_mul(superblock.block);
    let journal = volume.read(place.ok_or("its journal is nowhere")?, 1024)?;
    if be32(&journal, 0) != MAGIC || !matches!(be32(&journal, 4), 3 | 4) {
        return Err("its journal is damaged".into());
    }
    match be32(&journal, 0x1c) {
        0 => Ok(()),
        _ => Err("its journal holds changes that are not in place yet".into()),
    }
}

/// The block in which the file of an inode begins.
fn first_block(volume: Volume<'_>, superblock: &Superblock, inode: &[u8]) -> Result<u64, String> {
    let map = inode.get(40..100).unwrap_or_default();
    if le32(inode, 32) & HAS_EXTENTS == 0 {
        return Ok(le32(map, 0).into());
    }
    let mut node = map.to_vec();
    for _ in 0..MOST_LEVELS {
        if le16(&node, 0) != EXTENTS || le16(&node, 2) == 0 {
            break;
        }
        // The first entry, behind a header of 12 bytes.
        let depth = le16(&node, 6);
        let entry = node.get(12..).unwrap_or_default();
        if depth == 0 {
            let is_first = le32(entry, 0) == 0;
            let block = u64::from(le16(entry, 6)) << 32 | u64::from(le32(entry, 8));
            return match is_first {
                true => Ok(block),
                false => Err("its journal has no beginning".into()),
            };
        }
        let below = u64::from(le16(entry, 8)) << 32 | u64::from(le32(entry, 4));
        let place = below.checked_mul(superblock.block);
        node = volume.read(place.ok_or("its journal is nowhere")?, superblock.block)?;
    }
    Err("the blocks of its journal cannot be found".into())
}
