//! Bitmaps that say which sectors of a block are stored, read in pieces and cached.

use std::num::NonZeroUsize;
use std::sync::Arc;

use parking_lot::Mutex;

use lru::LruCache;

use crate::chain::Context;
use crate::error::Result;
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::units::FileOffset;
use crate::work::{READ_BYTES_PER_STEP, SEEK_STEPS, Steps};

/// What a cached piece of bitmap costs beside its bits, in bytes: nodes of list and map, the `Arc`,
/// allocators' headers. Counted generously.
const PIECE_OVERHEAD: u64 = 256;

type Piece = Arc<[u8]>;

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
    /// Bytes of a bitmap that are read at once.
    piece_len: u64,
    cache_bytes: u64,
    /// Keyed by file offset. Locked to look up and to insert, never while reading.
    pieces: Mutex<LruCache<FileOffset, Piece>>,
    /// What of the file is a hole: bitmaps there have no bit set, and are not read.
    holes: Arc<StoredMap>,
    steps: Steps,
}

impl SectorBitmaps {
    /// Reads pieces of `piece_len` bytes, of which each bitmap has a whole number, and keeps at
    /// most `cache_bytes` of them in memory.
    pub(crate) fn new(
        order: BitOrder,
        piece_len: u64,
        cache_bytes: u64,
        holes: Arc<StoredMap>,
        context: &Context,
    ) -> Self {
        let cache_bytes = context.cache(cache_bytes);
        let pieces = usize::try_from(cache_bytes / (piece_len + PIECE_OVERHEAD))
            .ok()
            .and_then(NonZeroUsize::new)
            .unwrap_or(NonZeroUsize::MIN);
        Self {
            order,
            piece_len,
            cache_bytes,
            pieces: Mutex::new(LruCache::new(pieces)),
            holes,
            steps: context.steps().clone(),
        }
    }

    /// Whether the bit of `sector` is set in the bitmap at `at` of `source`, and how many sectors
    /// from there on are like it, as far as one piece or one hole of the file shows: at least 1,
    /// and maybe more than the bitmap has. `held` is of the walk that asks, and of this file only.
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
        Ok(match self.bits(source, at, sector, held)? {
            Bits::Hole(sectors) => (false, sectors),
            Bits::Piece(piece, bit) => equal_bits(piece, bit, self.order),
        })
    }

    /// How many of the `sectors` sectors from `sector` on have their bit set, as far as one piece
    /// tells; and of how many that is said, at least 1.
    ///
    /// # Errors
    /// Those of reading.
    pub(crate) fn count(
        &self,
        source: &dyn ReadAt,
        at: FileOffset,
        sector: u64,
        sectors: u64,
        held: &mut Held,
    ) -> Result<(u64, u64)> {
        Ok(match self.bits(source, at, sector, held)? {
            Bits::Hole(hole) => (0, hole.min(sectors)),
            Bits::Piece(piece, bit) => {
                let sectors = sectors.min(piece.len() as u64 * 8 - bit);
                (count_bits(piece, bit, sectors, self.order), sectors)
            }
        })
    }

    /// Where the bit of `sector` is, see [`Self::equal`].
    fn bits<'a>(
        &self,
        source: &dyn ReadAt,
        at: FileOffset,
        sector: u64,
        held: &'a mut Held,
    ) -> Result<Bits<'a>> {
        let piece_sectors = 8 * self.piece_len;
        let place = FileOffset(at.0.saturating_add(sector / piece_sectors * self.piece_len));
        let piece = match held.0.take() {
            Some((known, piece)) if known == place => piece,
            _ => {
                let byte = at.0.saturating_add(sector / 8);
                if let Some(end) = self.holes.hole(byte)? {
                    // No bitmap is longer.
                    let bytes = end.saturating_sub(byte).clamp(1, MAX_BITMAP_BYTES);
                    return Ok(Bits::Hole(bytes * 8 - sector % 8));
                }
                self.piece(source, place)?
            }
        };
        let (_, piece) = held.0.insert((place, piece));
        Ok(Bits::Piece(piece, sector % piece_sectors))
    }

    /// Most bytes that they ever take with `readers` threads: a reader holds one piece that may
    /// have left the cache, and reads the next one, which is copied once when it becomes shared.
    pub(crate) fn memory_bound(&self, readers: u64) -> u64 {
        self.cache_bytes
            .saturating_add(readers.saturating_mul(3 * self.piece_len))
    }

    fn piece(&self, source: &dyn ReadAt, at: FileOffset) -> Result<Piece> {
        if let Some(piece) = self.pieces.lock().get(&at) {
            return Ok(Arc::clone(piece));
        }
        let mut bits = vec![0; usize::try_from(self.piece_len).unwrap_or_default()];
        source.read_exact_at(at, &mut bits)?;
        self.steps
            .take(SEEK_STEPS + self.piece_len / READ_BYTES_PER_STEP);
        let piece = Piece::from(bits);
        self.pieces.lock().put(at, Arc::clone(&piece));
        Ok(piece)
    }
}

/// Where the state of a sector is.
enum Bits<'a> {
    /// In a hole of the file that continues for this many sectors.
    Hole(u64),
    /// At this bit of the piece.
    Piece(&'a [u8], u64),
}

/// Longest bitmap of a block or a chunk, in bytes.
const MAX_BITMAP_BYTES: u64 = 1 << 20;

/// How many of the `count` bits from bit `first` of `bits` on are set.
fn count_bits(bits: &[u8], first: u64, count: u64, order: BitOrder) -> u64 {
    let end = first.saturating_add(count);
    let index = |bit: u64| usize::try_from(bit / 8).unwrap_or(usize::MAX);
    // Bits of byte `at` that come before bit `bit` of all.
    let before = |bit: u64| {
        let byte = bits.get(index(bit)).copied().unwrap_or_default();
        let byte = match order {
            BitOrder::HighFirst => byte.reverse_bits(),
            BitOrder::LowFirst => byte,
        };
        u64::from((byte & ((1_u8 << (bit % 8)) - 1)).count_ones())
    };
    let whole = bits.get(index(first)..index(end)).unwrap_or_default();
    let (words, rest) = whole.as_chunks::<8>();
    let words = words
        .iter()
        .map(|word| u64::from_ne_bytes(*word).count_ones());
    let rest = rest.iter().map(|byte| byte.count_ones());
    let all: u64 = words.chain(rest).map(u64::from).sum();
    all + before(end) - before(first)
}

/// Whether the bit `first` of `bits` is set, and how many bits from there on are equal to it: at
/// least 1.
fn equal_bits(bits: &[u8], first: u64, order: BitOrder) -> (bool, u64) {
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

    const PIECE_LEN: usize = 512;
    const PIECE_SECTORS: u64 = 8 * PIECE_LEN as u64;

    #[test]
    fn bits_and_runs_of_equal_ones_are_counted_from_any_bit_on() {
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
                let count = rng.u64(1..=PIECE_SECTORS - first);
                let set = (first..first + count).filter(|at| bit(*at)).count() as u64;
                assert_eq!(count_bits(&bits, first, count, order), set);
            }
        }
    }
}
