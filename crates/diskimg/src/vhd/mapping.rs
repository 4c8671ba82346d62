//! Walks the guest's address range and says, run by run, where its bytes are.
//!
//! The sector bitmap before each block counts. By the specification, its clear bits are the sectors
//! of a dynamic disk that have never been written, and they read as zeros. VirtualBox and libvhdi
//! read it that way; QEMU sets all bits in what it writes and looks at none when it reads. They differ
//! only where a sector was never written but its place in the file is not zero: that is what the
//! storage held before, maybe of somebody else, and does not belong into a cloud.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use super::dynamic::BlockTable;
use crate::error::Result;
use crate::limits::VHD_BITMAP_CACHE_BYTES;
use crate::source::ReadAt;
use crate::units::{FileOffset, SECTOR};

/// What a cached piece of bitmap costs beside its bits, in bytes: nodes of list and map, the `Arc`,
/// allocators' headers. Counted generously.
const PIECE_OVERHEAD: u64 = 256;

/// Bytes of a piece of bitmap: bitmaps are whole sectors.
const PIECE_LEN: usize = 512;
/// Sectors whose state a piece gives: 2 MiB of the disk.
const PIECE_SECTORS: u64 = 8 * PIECE_LEN as u64;

type Piece = Arc<[u8; PIECE_LEN]>;

/// Where the bytes of a run are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: the block is not stored, the guest reads zeros.
    Nowhere,
    /// Nowhere: the sectors were never written, the guest reads zeros.
    Unwritten,
    /// In the file, from this offset; all of them lie in the file.
    Stored(FileOffset),
}

/// A run of guest bytes: one place, at least one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Guest offset of the first byte.
    pub(super) start: u64,
    /// Length in bytes.
    pub(super) len: u64,
    pub(super) place: Place,
}

/// Where the bytes of a disk are.
pub(super) enum Map {
    /// At the offset in the file at which they are on the disk.
    Fixed,
    /// In blocks.
    Dynamic {
        table: BlockTable,
        /// Keyed by file offset. Locked to look up and to insert, never while reading.
        pieces: Mutex<LruCache<FileOffset, Piece>>,
    },
}

impl Map {
    pub(super) fn dynamic(table: BlockTable) -> Self {
        let pieces = VHD_BITMAP_CACHE_BYTES / (PIECE_LEN as u64 + PIECE_OVERHEAD);
        let pieces = usize::try_from(pieces)
            .ok()
            .and_then(NonZeroUsize::new)
            .unwrap_or(NonZeroUsize::MIN);
        Self::Dynamic {
            table,
            pieces: Mutex::new(LruCache::new(pieces)),
        }
    }

    /// Bytes of the disk in a block; `None` in a fixed disk.
    pub(super) fn block_size(&self) -> Option<u64> {
        match self {
            Self::Fixed => None,
            Self::Dynamic { table, .. } => Some(1 << table.block_bits()),
        }
    }

    /// Iterator over the runs from `at` to `end`, both inside the declared size, in order and without
    /// gaps. Every step goes at least one byte on or fails, and a failed walk is over: so it ends,
    /// whatever the tables say.
    pub(super) fn walk<'a>(
        &'a self,
        source: &'a dyn ReadAt,
        at: u64,
        end: u64,
    ) -> impl Iterator<Item = Result<Run>> + 'a {
        let mut at = at;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let run = self.run(source, at, end - at);
            at = match &run {
                Ok(run) => run.start + run.len,
                Err(_) => end,
            };
            Some(run)
        })
    }

    /// Most bytes that the map ever holds with `readers` threads.
    pub(super) fn memory_bound(&self, readers: u64) -> u64 {
        match self {
            Self::Fixed => 0,
            // A reader holds one piece that may have left the cache, and reads the next one.
            Self::Dynamic { table, .. } => table
                .memory_bound()
                .saturating_add(VHD_BITMAP_CACHE_BYTES)
                .saturating_add(readers.saturating_mul(2 * PIECE_LEN as u64)),
        }
    }

    /// The run at `start`, of at most `wanted` bytes, which is more than 0.
    fn run(&self, source: &dyn ReadAt, start: u64, wanted: u64) -> Result<Run> {
        let Self::Dynamic { table, pieces } = self else {
            let place = Place::Stored(FileOffset(start));
            return Ok(Run {
                start,
                len: wanted,
                place,
            });
        };
        let block_size = 1_u64 << table.block_bits();
        let (block, within) = (start / block_size, start % block_size);
        let Some(stored) = table.place(block) else {
            let blocks = (within + wanted).div_ceil(block_size);
            // The first block is one of them, so this ends behind `start`.
            let end = table.unallocated(block, blocks).max(1) * block_size - within;
            return Ok(Run {
                start,
                len: end.min(wanted),
                place: Place::Nowhere,
            });
        };
        let sector = within / SECTOR;
        let piece_at = stored.0 + sector / PIECE_SECTORS * PIECE_LEN as u64;
        let piece = piece(source, pieces, FileOffset(piece_at))?;
        let first = sector % PIECE_SECTORS;
        let (written, sectors) = equal_bits(&piece, first);
        // Bits behind the block's last sector are padding.
        let end = ((sector + sectors) * SECTOR).min(block_size);
        Ok(Run {
            start,
            len: (end - within).min(wanted),
            place: if written {
                Place::Stored(FileOffset(stored.0 + table.bitmap_len() + within))
            } else {
                Place::Unwritten
            },
        })
    }
}

/// The piece of bitmap at `at`.
fn piece(
    source: &dyn ReadAt,
    pieces: &Mutex<LruCache<FileOffset, Piece>>,
    at: FileOffset,
) -> Result<Piece> {
    let lock = || pieces.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(piece) = lock().get(&at) {
        return Ok(Arc::clone(piece));
    }
    let mut bits = [0; PIECE_LEN];
    source.read_exact_at(at, &mut bits)?;
    let piece = Arc::new(bits);
    lock().put(at, Arc::clone(&piece));
    Ok(piece)
}

/// Whether the bit `first` of `bits` is set, and how many bits from there on are equal to it: at
/// least 1. The highest bit of a byte comes first.
fn equal_bits(bits: &[u8; PIECE_LEN], first: u64) -> (bool, u64) {
    let skip = first % 8;
    let mut bytes = bits
        .iter()
        .skip(usize::try_from(first / 8).unwrap_or_default());
    let byte = bytes.next().copied().unwrap_or_default() << skip;
    let set = byte & 0x80 != 0;
    let leading = |byte: u8| {
        u64::from(if set {
            byte.leading_ones()
        } else {
            byte.leading_zeros()
        })
    };
    let mut count = leading(byte).min(8 - skip);
    if count < 8 - skip {
        return (set, count.max(1));
    }
    for byte in bytes {
        let more = leading(*byte);
        count += more;
        if more < 8 {
            break;
        }
    }
    (set, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_equal_bits_are_counted_from_any_bit_on() {
        let mut rng = fastrand::Rng::with_seed(1);
        for round in 0..200 {
            let mut bits = [0; PIECE_LEN];
            for byte in &mut bits {
                *byte = match (round % 4, rng.u8(..8)) {
                    (0, _) => 0xff,
                    (1, 0) | (2, 1..) => rng.u8(..),
                    (3, _) => 0,
                    (_, n) if n % 2 == 0 => 0,
                    _ => 0xff,
                };
            }
            let bit = |at: u64| bits[(at / 8) as usize] >> (7 - at % 8) & 1 == 1;
            let first = rng.u64(..PIECE_SECTORS);
            let run = (first..PIECE_SECTORS).take_while(|at| bit(*at) == bit(first));
            assert_eq!(equal_bits(&bits, first), (bit(first), run.count() as u64));
        }
    }
}
