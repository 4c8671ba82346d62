//! Free space of ext2, ext3 and ext4, by their block bitmaps.
//!
//! Sources: Linux, `Documentation/filesystems/ext4`; e2fsprogs, `lib/ext2fs/ext2_fs.h`,
//! `lib/ext2fs/closefs.c` (where descriptors lie) and `lib/ext2fs/csum.c`. A bitmap is believed when
//! its checksum is right, where there is one, when it has as many free clusters as its group's
//! descriptor says, when all descriptors together say what the superblock says, and when no bitmap,
//! table of inodes or copy of the superblock lies in what is free.

mod groups;
mod journal;
mod superblock;

use guest::field::le32;

use self::groups::Groups;
use self::superblock::Superblock;
use crate::map::Collector;
use crate::volume::{Free, Volume};

/// The version: ext2 has no journal; ext4 is what has a feature that ext3 does not know.
pub(crate) fn kind(volume: Volume<'_>) -> Option<&'static str> {
    const EXT3_INCOMPATIBLE: u32 = 0x2 | 0x4 | 0x10;
    const EXT3_READ_ONLY: u32 = 0x1 | 0x2 | 0x4;
    let features = volume.read(1024 + 92, 12).ok()?;
    let [compatible, incompatible, read_only] = [0, 4, 8].map(|at| le32(&features, at));
    Some(
        if incompatible & !EXT3_INCOMPATIBLE | read_only & !EXT3_READ_ONLY != 0 {
            "ext4"
        } else if compatible & 4 != 0 {
            "ext3"
        } else {
            "ext2"
        },
    )
}

/// What is free on `volume`.
///
/// # Errors
/// Why it is not known.
pub(crate) fn free(volume: Volume<'_>) -> Result<Free, String> {
    let superblock = Superblock::read(volume)?;
    let groups = Groups::read(volume, &superblock)?;
    journal::check(volume, &superblock, &groups)?;
    let mut all = Collector::new();
    let mut clusters = 0_u64;
    for number in 0..superblock.groups {
        let bits = groups.bitmap(volume, &superblock, number)?;
        let first = superblock.first_of(number);
        clusters = clusters.saturating_add(bits.count());
        for run in bits.runs() {
            let at = |cluster: u64| {
                let block = first.saturating_add(cluster.saturating_mul(superblock.ratio));
                block
                    .min(superblock.blocks)
                    .saturating_mul(superblock.block)
            };
            all.add(at(run.start)..at(run.end))?;
        }
    }
    let blocks = clusters.saturating_mul(superblock.ratio);
    if blocks != superblock.free {
        return Err(format!(
            "its superblock says that {} blocks are free, its groups say {blocks}",
            superblock.free
        ));
    }
    Ok(Free {
        size: superblock.blocks.saturating_mul(superblock.block),
        free: all.free,
        ranges: all.finish(),
    })
}
