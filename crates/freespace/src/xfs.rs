//! Free space of XFS, by the trees of free extents in each allocation group.
//!
//! Source: "XFS Algorithms & Data Structures", chapters 12 (allocation groups) and 15 (B+trees);
//! Linux, `fs/xfs/libxfs/xfs_format.h`. A group is believed when its two trees, which list the same
//! extents by place and by length, agree with each other and with its header; when all headers
//! together say what the superblock says; and when neither the trees nor the log, the free list or
//! the group's headers lie in what is free. Version 5 has checksums on top of that.

mod group;
mod superblock;
mod tree;

use self::group::Group;
use self::superblock::Superblock;
use crate::map::Collector;
use crate::volume::{Free, Volume};

/// What is free on `volume`.
///
/// # Errors
/// Why it is not known.
pub(crate) fn free(volume: Volume<'_>) -> Result<Free, String> {
    let superblock = Superblock::read(volume)?;
    let mut all = Collector::new();
    let mut counted = 0_u64;
    for number in 0..superblock.groups {
        let group = Group::read(volume, &superblock, number)?;
        counted = counted.saturating_add(group.counted());
        let base = u64::from(number).saturating_mul(superblock.group_blocks.into());
        for (start, count) in group.free(volume, &superblock)? {
            let at = |block: u64| base.saturating_add(block).saturating_mul(superblock.block);
            let start = u64::from(start);
            all.add(at(start)..at(start.saturating_add(count.into())))?;
        }
    }
    if counted != superblock.free {
        return Err(format!(
            "its superblock says that {} blocks are free, its groups say {counted}",
            superblock.free
        ));
    }
    Ok(Free {
        size: superblock.blocks.saturating_mul(superblock.block),
        free: all.free,
        ranges: all.finish(),
    })
}
