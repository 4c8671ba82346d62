//! Index and bitmap: what they hold for a list of stored blocks.

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

use crate::layout::{BITMAP_SEGMENT, BLOCKS_PER_SEGMENT, INDEX_SEGMENT, WireIndexEntry};

/// A data block in the file. Lists of them ascend by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredBlock {
    /// File offset.
    pub(crate) offset: u64,
    /// Number of the guest block.
    pub(crate) number: u32,
    /// Length in the file, padding included.
    pub(crate) len: u32,
}

/// Segments of 32768 that `count` index entries, or the bits of `count` blocks, take.
pub(crate) const fn segments(count: u64) -> u64 {
    count.div_ceil(BLOCKS_PER_SEGMENT)
}

/// Segments `first` to `first + count` of the dense index of `blocks`; the rest is zeros.
pub(crate) fn index_segments(blocks: &[StoredBlock], first: u64, count: u64) -> Vec<u8> {
    let len = to_len(count * u64::from(INDEX_SEGMENT));
    let mut bytes = Vec::with_capacity(len);
    let here = blocks
        .iter()
        .skip(to_len(first * BLOCKS_PER_SEGMENT))
        .take(to_len(count * BLOCKS_PER_SEGMENT));
    for block in here {
        let entry = WireIndexEntry {
            offset: U64::new(block.offset),
            number: U32::new(block.number),
            len: U32::new(block.len),
        };
        bytes.extend_from_slice(entry.as_bytes());
    }
    bytes.resize(len, 0);
    bytes
}

/// Segments `first` to `first + count` of the bitmap of `blocks`.
pub(crate) fn bitmap_segments(blocks: &[StoredBlock], first: u64, count: u64) -> Vec<u8> {
    let base = first * BLOCKS_PER_SEGMENT;
    let end = base + count * BLOCKS_PER_SEGMENT;
    let mut bytes = vec![0_u8; to_len(count * u64::from(BITMAP_SEGMENT))];
    let before = blocks.partition_point(|block| u64::from(block.number) < base);
    let here = blocks.iter().skip(before);
    for block in here.take_while(|block| u64::from(block.number) < end) {
        let bit = u64::from(block.number) - base;
        if let Some(byte) = bytes.get_mut(to_len(bit / 8)) {
            *byte |= 1 << (bit % 8);
        }
    }
    bytes
}

/// A count that the caps hold far below what any address space takes.
fn to_len(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
