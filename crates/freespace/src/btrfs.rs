//! Free space of Btrfs: what no extent takes in its chunks, and what no chunk takes of its device.
//!
//! Source: Linux, `include/uapi/linux/btrfs_tree.h` and `fs/btrfs/block-group.c` (which stripes
//! around superblocks are never used). The tree of extents is believed when all blocks on the way
//! have their checksums, generations and places, when extents do not overlap, and when each block
//! group, the superblock and the device use as many bytes as it lists. Only one device, and chunks
//! that are stored once or twice there, are read.

mod chunks;
mod extents;
mod superblock;
mod tree;

use std::ops::Range;

use self::chunks::Chunks;
use self::superblock::Superblock;
use self::tree::{Key, Trees};
use crate::map::Collector;
use crate::volume::{Free, Volume};

/// Bytes at the beginning of a device that are never used.
const RESERVED: u64 = 1 << 20;
/// Places of superblocks, and the bytes around them that are never used.
const SUPERBLOCKS: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];
const STRIPE: u64 = 64 << 10;
/// Type of the items of chunks, and the object that they belong to.
const CHUNK: u8 = 228;
const CHUNKS: u64 = 256;
/// Most chunks.
const MOST_CHUNKS: usize = 64 << 10;

/// What is free on `volume`.
///
/// # Errors
/// Why it is not known.
pub(crate) fn free(volume: Volume<'_>) -> Result<Free, String> {
    let superblock = Superblock::read(volume)?;
    let trees = Trees::new(volume, &superblock, Chunks::of_system(&superblock)?);
    let chunks = chunks(&trees, &superblock)?;
    let trees = Trees::new(volume, &superblock, chunks);
    let mut found = extents::free(&trees, &superblock)?;
    found.extend(trees.chunks().unallocated(superblock.device_bytes)?);
    found.sort_unstable_by_key(|range| range.start);
    let mut all = Collector::new();
    for range in found {
        for part in without_superblocks(range) {
            all.add(part)?;
        }
    }
    Ok(Free {
        size: superblock.device_bytes,
        free: all.free,
        ranges: all.finish(),
    })
}

/// All chunks, which are found by those that the superblock lists.
fn chunks(trees: &Trees<'_>, superblock: &Superblock) -> Result<Chunks, String> {
    let mut items = Vec::new();
    trees.walk(superblock.chunks, &mut |key: Key, item: &[u8]| {
        if key.object == CHUNKS && key.kind == CHUNK {
            items.push((key.offset, item.to_vec()));
        }
        match items.len() > MOST_CHUNKS {
            true => Err("it has too many chunks".into()),
            false => Ok(()),
        }
    })?;
    Chunks::of_items(&items, superblock)
}

/// The parts of `range` that are in no reserved place.
fn without_superblocks(range: Range<u64>) -> Vec<Range<u64>> {
    let mut parts = Vec::new();
    let mut start = range.start.max(RESERVED);
    for place in SUPERBLOCKS {
        if place < range.end && start < place + STRIPE {
            parts.push(start..place.min(range.end));
            start = place + STRIPE;
        }
    }
    parts.push(start..range.end);
    parts.retain(|part| part.start < part.end);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn superblocks_are_left_out_of_what_is_free() {
        const M: u64 = 1 << 20;
        let cut = |range| -> Vec<(u64, u64)> {
            let parts = without_superblocks(range).into_iter();
            parts.map(|part| (part.start, part.end)).collect()
        };
        let behind = 64 * M + STRIPE;
        assert_eq!(cut(0..2 * M), [(M, 2 * M)]);
        assert_eq!(cut(63 * M..66 * M), [(63 * M, 64 * M), (behind, 66 * M)]);
        assert_eq!(cut(64 * M + 5..64 * M + 9), []);
        assert_eq!(cut(64 * M + 5..65 * M), [(behind, 65 * M)]);
        assert_eq!(cut(63 * M..64 * M + 9), [(63 * M, 64 * M)]);
        assert_eq!(cut(70 * M..80 * M), [(70 * M, 80 * M)]);
    }
}
