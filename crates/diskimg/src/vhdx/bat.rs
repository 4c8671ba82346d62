//! The block allocation table (BAT): loads it by slices, and says, run by run, where guest bytes are.
//!
//! After each chunk of payload entries stands one for a block of sector bitmap. Without a parent
//! those mean nothing and are not looked at: versions of QEMU before 8.1 left garbage in them.
//!
//! Blocks that are not present, undefined, unmapped or zero read as zeros. The format lets a reader
//! return anything for undefined and unmapped blocks, what the storage held before included; QEMU and
//! this reader return zeros.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use super::header::CHECK_HINT;
use super::layout::{BAT_ENTRY_SIZE, HEADER_SECTION_LEN, SECTORS_PER_CHUNK, bat, state};
use super::metadata::Metadata;
use super::region::Regions;
use crate::error::{Error, Result};
use crate::limits::VHDX_BAT_CACHE_BYTES;
use crate::source::{ReadAt, SourceExtent};
use crate::units::FileOffset;

const BAT: &str = "VHDX BAT";
const ENTRY: &str = "VHDX BAT entry";

/// Bytes of the BAT that are read and held at once: 8 GiB of the disk at 1 MiB a block.
const SLICE_BYTES: u64 = 64 << 10;
/// What a cached slice costs beside its entries, in bytes. Counted generously.
const SLICE_OVERHEAD: u64 = 256;

type Slice = Arc<[U64]>;

/// Where the bytes of a run are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: nothing is stored, the guest reads zeros.
    Nowhere,
    /// Nowhere: the image says that these are zeros.
    Zeros,
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

/// The BAT of a disk without a parent.
pub(super) struct BlockTable {
    /// File offset.
    offset: u64,
    /// Number of entries that the disk needs.
    entries: u64,
    block_size: u64,
    /// Payload entries between two entries for sector bitmaps.
    chunk_ratio: u64,
    /// What no block may lie in, in order and apart from each other.
    occupied: Vec<Range<u64>>,
    /// Keyed by number. Locked to look up and to insert, never while reading.
    cache: Mutex<LruCache<u64, Slice>>,
}

impl BlockTable {
    /// The table of a disk; nothing of it is read yet.
    ///
    /// # Errors
    /// `Corrupt` when the BAT is too short for the disk.
    pub(super) fn new(regions: Regions, metadata: &Metadata) -> Result<Self> {
        let block_size = metadata.block_size;
        let blocks = metadata.disk_size.div_ceil(block_size);
        // At least 16, at most 32768: all three are powers of two.
        let chunk_ratio = (SECTORS_PER_CHUNK * metadata.logical_sector_size / block_size).max(1);
        let entries = blocks + blocks.saturating_sub(1) / chunk_ratio;
        let (needed, found) = (
            entries * BAT_ENTRY_SIZE,
            regions.bat.end - regions.bat.start,
        );
        if needed > found {
            return Err(Error::corrupt(
                BAT,
                regions.bat.start,
                format!(
                    "found {found} bytes, a disk of {} bytes with blocks of {block_size} needs {needed}",
                    metadata.disk_size
                ),
            )
            .with_hint(CHECK_HINT));
        }
        let slices = usize::try_from(VHDX_BAT_CACHE_BYTES / (SLICE_BYTES + SLICE_OVERHEAD))
            .ok()
            .and_then(NonZeroUsize::new)
            .unwrap_or(NonZeroUsize::MIN);
        Ok(Self {
            offset: regions.bat.start,
            entries,
            block_size,
            chunk_ratio,
            occupied: regions.occupied,
            cache: Mutex::new(LruCache::new(slices)),
        })
    }

    /// Iterator over the runs from `at` to `end`, both on the disk, in order and without gaps. Every
    /// step goes at least one byte on or fails, and a failed walk is over.
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

    /// Most bytes that the table ever holds with `readers` threads.
    pub(super) fn memory_bound(&self, readers: u64) -> u64 {
        // A reader holds one slice that may have left the cache, and reads the next one, which is
        // copied once when it becomes shared.
        readers
            .saturating_mul(3 * (SLICE_BYTES + SLICE_OVERHEAD))
            .saturating_add(VHDX_BAT_CACHE_BYTES)
            .saturating_add((self.occupied.len() * size_of::<Range<u64>>()) as u64)
    }

    /// Index of the entry of payload block `block`.
    fn entry_of(&self, block: u64) -> u64 {
        block + block / self.chunk_ratio
    }

    /// Number of payload blocks whose entries stand before entry `index`.
    fn blocks_before(&self, index: u64) -> u64 {
        let (chunks, within) = (
            index / (self.chunk_ratio + 1),
            index % (self.chunk_ratio + 1),
        );
        chunks * self.chunk_ratio + within
    }

    /// The run at `start`, of `wanted` bytes at most; not beyond its slice, except where the BAT itself
    /// is a hole of the file: that is one run, however long.
    fn run(&self, source: &dyn ReadAt, start: u64, wanted: u64) -> Result<Run> {
        let mut block = start / self.block_size;
        let index = self.entry_of(block);
        let number = index * BAT_ENTRY_SIZE / SLICE_BYTES;
        let cached = self.lock().get(&number).cloned();
        let slice = match cached {
            Some(slice) => slice,
            None => {
                let absent = self.hole(source, index)?;
                if absent > 0 {
                    let end = self.blocks_before(index + absent) * self.block_size;
                    return Ok(Run {
                        start,
                        len: (end - start).min(wanted),
                        place: Place::Nowhere,
                    });
                }
                let slice = self.read_slice(source, number)?;
                // Another thread may have done the same meanwhile; both read the same bytes.
                self.lock().put(number, slice.clone());
                slice
            }
        };
        let file_len = source.len();
        let base = number * (SLICE_BYTES / BAT_ENTRY_SIZE);
        let entry = |index: u64| {
            let within = usize::try_from(index.checked_sub(base)?).ok()?;
            slice.get(within).map(|entry| entry.get())
        };
        let found = entry(index).ok_or_else(|| {
            Error::corrupt(
                ENTRY,
                self.offset,
                format!("entry {index} is past the table's end"),
            )
        })?;
        let first = self.decode(index, found, file_len)?;
        let skip = start % self.block_size;
        let mut len = self.block_size - skip;
        // An entry that is broken ends the run; it is reported when the walk gets there.
        while len < wanted {
            block += 1;
            let index = self.entry_of(block);
            let follows = entry(index)
                .and_then(|next| self.decode(index, next, file_len).ok())
                .is_some_and(|next| match (first, next) {
                    (Place::Stored(first), Place::Stored(next)) => {
                        first.checked_add(skip + len) == Some(next)
                    }
                    _ => first == next,
                });
            if !follows {
                break;
            }
            len += self.block_size;
        }
        let len = len.min(wanted);
        let Place::Stored(host) = first else {
            return Ok(Run {
                start,
                len,
                place: first,
            });
        };
        // An offset is a multiple of 1 MiB below the file's length: no overflow.
        let host = FileOffset(host.0 + skip);
        match file_len.checked_sub(host.0) {
            Some(stored) if stored > 0 => Ok(Run {
                start,
                len: len.min(stored),
                place: Place::Stored(host),
            }),
            _ => Err(Error::truncated(
                "VHDX block",
                host.0,
                format!("guest offset {start:#x} is stored here, the file ends at {file_len:#x}"),
            )),
        }
    }

    /// Number of entries from `index` on that lie in a hole of the file as a whole: they are zeros.
    fn hole(&self, source: &dyn ReadAt, index: u64) -> Result<u64> {
        // The table lies in the file.
        let at = FileOffset(self.offset + index * BAT_ENTRY_SIZE);
        let rest = self.entries.saturating_sub(index) * BAT_ENTRY_SIZE;
        if rest == 0 {
            return Ok(0);
        }
        Ok(match source.extent_at(at, rest)? {
            SourceExtent::Hole(len) => len.min(rest) / BAT_ENTRY_SIZE,
            SourceExtent::Data(_) => 0,
        })
    }

    fn read_slice(&self, source: &dyn ReadAt, number: u64) -> Result<Slice> {
        let start = number * SLICE_BYTES;
        let len = (self.entries * BAT_ENTRY_SIZE)
            .saturating_sub(start)
            .min(SLICE_BYTES);
        let count = usize::try_from(len / BAT_ENTRY_SIZE).unwrap_or_default();
        let mut entries = vec![U64::ZERO; count];
        source.read_exact_at(FileOffset(self.offset + start), entries.as_mut_bytes())?;
        Ok(entries.into())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<u64, Slice>> {
        // A cache of immutable slices is whole whatever panicked.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `entry`, which is number `index`, says of its block.
    fn decode(&self, index: u64, entry: u64, file_len: u64) -> Result<Place> {
        let corrupt = |broken: String| {
            Error::corrupt(
                ENTRY,
                self.offset + index * BAT_ENTRY_SIZE,
                format!("found {entry:#018x}: {broken}"),
            )
            .with_hint(CHECK_HINT)
        };
        if entry & bat::RESERVED != 0 {
            return Err(corrupt(format!(
                "reserved bits {:#x} are set",
                entry & bat::RESERVED
            )));
        }
        match entry & bat::STATE {
            state::NOT_PRESENT | state::UNDEFINED | state::UNMAPPED => Ok(Place::Nowhere),
            state::ZERO => Ok(Place::Zeros),
            state::FULLY_PRESENT => {
                let offset = entry & bat::OFFSET;
                match self.misplaced(offset) {
                    Some(broken) => Err(corrupt(broken)),
                    None if offset >= file_len => Err(Error::truncated(
                        "VHDX block",
                        offset,
                        format!("BAT entry {index} names it, the file ends at {file_len:#x}"),
                    )),
                    None => Ok(Place::Stored(FileOffset(offset))),
                }
            }
            state::PARTIALLY_PRESENT => Err(corrupt(
                "the rest of the block is a parent's, and the disk has none".to_owned(),
            )),
            unknown => Err(corrupt(format!("there is no state {unknown}"))),
        }
    }

    /// Why no block can be at `offset`.
    fn misplaced(&self, offset: u64) -> Option<String> {
        if offset < HEADER_SECTION_LEN {
            return Some("the block lies in the header section".to_owned());
        }
        let end = offset.saturating_add(self.block_size);
        let after = self.occupied.partition_point(|range| range.end <= offset);
        let range = self.occupied.get(after)?;
        (range.start < end).then(|| {
            format!(
                "the block overlaps what lies at {:#x} to {:#x}",
                range.start, range.end
            )
        })
    }
}
