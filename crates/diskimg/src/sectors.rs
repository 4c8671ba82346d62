//! Bitmaps that say which sectors of a block are stored, read in pieces and cached.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use crate::error::Result;
use crate::source::ReadAt;
use crate::units::FileOffset;

/// Bytes of a piece of bitmap.
const PIECE_LEN: usize = 512;
/// Sectors whose state a piece gives: 2 MiB of the disk at 512 bytes a sector.
const PIECE_SECTORS: u64 = 8 * PIECE_LEN as u64;

/// What a cached piece of bitmap costs beside its bits, in bytes: nodes of list and map, the `Arc`,
/// allocators' headers. Counted generously.
const PIECE_OVERHEAD: u64 = 256;

type Piece = Arc<[u8; PIECE_LEN]>;

/// The piece that a walk used last, and its place in the file: spares the cache most questions.
#[derive(Default)]
pub(crate) struct Held(Option<(FileOffset, Piece)>);

/// Which bit of a byte is the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BitOrder {
    /// The highest one, as in VHD.
    HighFirst,
    /// The lowest one, as in VHDX.
    LowFirst,
}

/// The sector bitmaps of a file.
pub(crate) struct SectorBitmaps {
    order: BitOrder,
    cache_bytes: u64,
    /// Keyed by file offset. Locked to look up and to insert, never while reading.
    pieces: Mutex<LruCache<FileOffset, Piece>>,
}

impl SectorBitmaps {
    /// Keeps at most `cache_bytes` of them in memory.
    pub(crate) fn new(order: BitOrder, cache_bytes: u64) -> Self {
        let pieces = cache_bytes / (PIECE_LEN as u64 + PIECE_OVERHEAD);
        let pieces = usize::try_from(pieces)
            .ok()
            .and_then(NonZeroUsize::new)
            .unwrap_or(NonZeroUsize::MIN);
        Self {
            order,
            cache_bytes,
            pieces: Mutex::new(LruCache::new(pieces)),
        }
    }

    /// Whether the bit of `sector` is set in the bitmap at `at` of `source`, which is as long as whole
    /// pieces, and how many sectors from there on are like it, as far as one piece tells: at least 1. `held` is
    /// of the walk that asks, and of this file only.
    ///
    /// # Errors
    /// Those of reading.
    pub(crate) fn equal(
        &self,
        source: &dyn ReadAt,
        at: FileOffset,
        sector: u64,
        held: &mut Held,
    ) -> Result<(bool, u64)> {
        let within = sector / PIECE_SECTORS * PIECE_LEN as u64;
        let at = FileOffset(at.0.saturating_add(within));
        let piece = match held.0.take() {
            Some((place, piece)) if place == at => piece,
            _ => self.piece(source, at)?,
        };
        let equal = equal_bits(&piece, sector % PIECE_SECTORS, self.order);
        held.0 = Some((at, piece));
        Ok(equal)
    }

    /// Most bytes that they ever take with `readers` threads: a reader holds one piece that may have
    /// left the cache, and reads the next one.
    pub(crate) fn memory_bound(&self, readers: u64) -> u64 {
        self.cache_bytes
            .saturating_add(readers.saturating_mul(2 * PIECE_LEN as u64))
    }

    fn piece(&self, source: &dyn ReadAt, at: FileOffset) -> Result<Piece> {
        let lock = || self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(piece) = lock().get(&at) {
            return Ok(Arc::clone(piece));
        }
        let mut bits = [0; PIECE_LEN];
        source.read_exact_at(at, &mut bits)?;
        let piece = Arc::new(bits);
        lock().put(at, Arc::clone(&piece));
        Ok(piece)
    }
}

/// Whether the bit `first` of `bits` is set, and how many bits from there on are equal to it: at
/// least 1.
fn equal_bits(bits: &[u8; PIECE_LEN], first: u64, order: BitOrder) -> (bool, u64) {
    let skip = first % 8;
    let mut bytes = bits
        .iter()
        .skip(usize::try_from(first / 8).unwrap_or_default())
        .map(|byte| match order {
            BitOrder::HighFirst => *byte,
            BitOrder::LowFirst => byte.reverse_bits(),
        });
    let byte = bytes.next().unwrap_or_default() << skip;
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
        let more = leading(byte);
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
            for order in [BitOrder::HighFirst, BitOrder::LowFirst] {
                let bit = |at: u64| {
                    let shift = match order {
                        BitOrder::HighFirst => 7 - at % 8,
                        BitOrder::LowFirst => at % 8,
                    };
                    bits[(at / 8) as usize] >> shift & 1 == 1
                };
                let first = rng.u64(..PIECE_SECTORS);
                let run = (first..PIECE_SECTORS).take_while(|at| bit(*at) == bit(first));
                let expected = (bit(first), run.count() as u64);
                assert_eq!(equal_bits(&bits, first, order), expected);
            }
        }
    }
}
