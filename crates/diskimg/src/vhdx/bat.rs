//! The block allocation table (BAT): loads it by slices, and says, run by run, where guest bytes
//! are.
//!
//! After each chunk of payload entries stands one for a block of sector bitmap. Without a parent
//! those mean nothing and are not looked at: versions of QEMU before 8.1 left garbage in them. With
//! one they say which sectors of blocks that are partially present are in this file.
//!
//! Blocks that are not present are the parent's. Without a parent they read as zeros, and so do, in
//! any disk, those that are undefined, unmapped or zero. The format lets a reader return anything
//! for undefined and unmapped blocks, what the storage held before included; QEMU and this reader
//! return zeros.

mod walk;

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

pub(super) use self::walk::Walk;
use super::layout::{
    BAT_ENTRY_SIZE, HEADER_SECTION_LEN, SECTOR_BITMAP_LEN, SECTORS_PER_CHUNK, bat, state,
};
use super::metadata::Metadata;
use super::region::Regions;
use crate::chain::Context;
use crate::error::{Error, Result};
use crate::hints::CHECK_VHDX;
use crate::layer::Place;
use crate::limits::{VHDX_BAT_CACHE_BYTES, VHDX_BITMAP_CACHE_BYTES};
use crate::sectors::{BitOrder, Held, SectorBitmaps};
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::units::{FileOffset, fits};
use crate::work::{READ_BYTES_PER_STEP, Steps};

pub(super) const BAT: &str = "VHDX BAT";
pub(super) const ENTRY: &str = "VHDX BAT entry";

/// Bytes of the BAT that are read and held at once, of a file that stands alone: 8 GiB of the disk
/// at 1 MiB a block.
const SLICE_BYTES: u64 = 64 << 10;
/// Bytes of a sector bitmap that are read at once, of a file that stands alone: 32 MiB of the disk
/// at 512 bytes a sector.
const BITMAP_PIECE: u64 = 8 << 10;
/// What a cached slice costs beside its entries, in bytes. Counted generously.
const SLICE_OVERHEAD: u64 = 256;

/// A part of the table.
#[derive(Clone)]
struct Slice {
    /// Index of the first entry.
    first: u64,
    entries: Arc<[U64]>,
}

impl Slice {
    /// Whether entry `index` of the table is in it.
    fn has(&self, index: u64) -> bool {
        index
            .checked_sub(self.first)
            .is_some_and(|within| within < self.entries.len() as u64)
    }

    /// Entry `index` of the table, which begins at file offset `table`.
    fn entry(&self, index: u64, table: u64) -> Result<u64> {
        index
            .checked_sub(self.first)
            .and_then(|within| self.entries.get(usize::try_from(within).ok()?))
            .map(|entry| entry.get())
            .ok_or_else(|| {
                Error::corrupt(
                    ENTRY,
                    table,
                    format!("entry {index} is past the table's end"),
                )
            })
    }
}

/// Where the `len` bytes from `skip` on in the block at `block` are, and how many of them there
/// are.
fn stored(
    block: FileOffset,
    skip: u64,
    len: u64,
    start: u64,
    file_len: u64,
) -> Result<(Place, u64)> {
    // An offset is a multiple of 1 MiB below the file's length: no overflow.
    let host = FileOffset(block.0 + skip);
    match file_len.checked_sub(host.0) {
        Some(stored) if stored > 0 => Ok((Place::Stored(host), len.min(stored))),
        _ => Err(Error::truncated(
            "VHDX block",
            host.0,
            format!("guest offset {start:#x} is stored here, the file ends at {file_len:#x}"),
        )),
    }
}

/// What an entry says of its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    /// Its bytes are not here, and nothing is said of them.
    Absent,
    /// It reads as zeros, whatever a parent holds.
    Zeros,
    /// All of it is in the file, from this offset.
    Whole(FileOffset),
    /// It has its place in the file, at this offset; a sector bitmap says what of it is there.
    Partial(FileOffset),
}

/// The BAT of a disk.
pub(super) struct BlockTable {
    /// File offset.
    offset: u64,
    /// Number of entries that the disk needs.
    entries: u64,
    block_size: u64,
    /// log2 of it.
    block_bits: u32,
    sector_size: u64,
    /// Whether the disk has a parent.
    differencing: bool,
    bitmaps: SectorBitmaps,
    /// Payload entries between two entries for sector bitmaps.
    chunk_ratio: u64,
    /// log2 of it.
    chunk_bits: u32,
    /// What no block may lie in, in order and apart from each other.
    occupied: Vec<Range<u64>>,
    /// Bytes of the table that are read and held at once.
    slice_bytes: u64,
    cache_bytes: u64,
    /// Keyed by number. Locked to look up and to insert, never while reading.
    cache: Mutex<LruCache<u64, Slice>>,
    /// What of the file is a hole: entries there are zeros, and are not read.
    holes: Arc<StoredMap>,
    steps: Steps,
}

impl BlockTable {
    /// The table of a disk, of which nothing is kept yet.
    ///
    /// # Errors
    /// `Corrupt` when the BAT is too short for the disk, and those of [`Self::check_places`].
    pub(super) fn new(
        source: &dyn ReadAt,
        regions: Regions,
        metadata: &Metadata,
        holes: Arc<StoredMap>,
        context: &Context,
    ) -> Result<Self> {
        let block_size = metadata.block_size;
        let blocks = metadata.disk_size.div_ceil(block_size);
        // At least 16, at most 32768: all three are powers of two.
        let chunk_ratio = (SECTORS_PER_CHUNK * metadata.logical_sector_size / block_size).max(1);
        // The last chunk needs its sector bitmap only where there is a parent.
        let chunks = if metadata.differencing {
            blocks.div_ceil(chunk_ratio)
        } else {
            blocks.saturating_sub(1) / chunk_ratio
        };
        let entries = if metadata.differencing {
            chunks * (chunk_ratio + 1)
        } else {
            blocks + chunks
        };
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
            .with_hint(CHECK_VHDX));
        }
        let slice_bytes = context.slice(SLICE_BYTES);
        let cache_bytes = context.cache(VHDX_BAT_CACHE_BYTES);
        let slices = usize::try_from(cache_bytes / (slice_bytes + SLICE_OVERHEAD))
            .ok()
            .and_then(NonZeroUsize::new)
            .unwrap_or(NonZeroUsize::MIN);
        let bitmaps = SectorBitmaps::new(
            BitOrder::LowFirst,
            context.slice(BITMAP_PIECE),
            VHDX_BITMAP_CACHE_BYTES,
            Arc::clone(&holes),
            context,
        );
        let table = Self {
            offset: regions.bat.start,
            entries,
            block_size,
            block_bits: block_size.trailing_zeros(),
            sector_size: metadata.logical_sector_size,
            differencing: metadata.differencing,
            bitmaps,
            chunk_ratio,
            chunk_bits: chunk_ratio.trailing_zeros(),
            occupied: regions.occupied,
            slice_bytes,
            cache_bytes,
            cache: Mutex::new(LruCache::new(slices)),
            holes,
            steps: context.steps().clone(),
        };
        table.steps.allow_for(source, table.metadata_bytes());
        table.check_places(source, &table.holes, context)?;
        Ok(table)
    }

    /// Iterator over the runs from `at` to `end`, both on the disk, in order and without gaps.
    /// Every step goes at least one byte on or fails, and a failed walk is over.
    pub(super) fn walk<'a>(&'a self, source: &'a dyn ReadAt, at: u64, end: u64) -> Walk<'a> {
        Walk {
            table: self,
            source,
            file_len: source.len(),
            at,
            end,
            slice: None,
            ahead: None,
            bitmap: None,
            piece: Held::default(),
        }
    }

    /// Most bytes that the table ever holds with `readers` threads.
    pub(super) fn memory_bound(&self, readers: u64) -> u64 {
        // A reader holds one slice that may have left the cache, and reads the next one, which is
        // copied once when it becomes shared.
        readers
            .saturating_mul(3 * (self.slice_bytes + SLICE_OVERHEAD))
            .saturating_add(self.cache_bytes)
            .saturating_add(if self.differencing {
                self.bitmaps.memory_bound(readers)
            } else {
                0
            })
            .saturating_add((self.occupied.len() * size_of::<Range<u64>>()) as u64)
    }

    /// Index of the entry of payload block `block`.
    fn entry_of(&self, block: u64) -> u64 {
        block + (block >> self.chunk_bits)
    }

    /// Number of payload blocks whose entries stand before entry `index`.
    pub(super) fn blocks_before(&self, index: u64) -> u64 {
        let (chunks, within) = (
            index / (self.chunk_ratio + 1),
            index % (self.chunk_ratio + 1),
        );
        chunks * self.chunk_ratio + within
    }

    /// File offset of the sector bitmap of chunk `chunk`.
    fn bitmap_at(&self, source: &dyn ReadAt, chunk: u64) -> Result<FileOffset> {
        let index = chunk * (self.chunk_ratio + 1) + self.chunk_ratio;
        let entry = match self.slice(source, index)? {
            Some(slice) => slice.entry(index, self.offset)?,
            None => 0,
        };
        let offset = entry & bat::OFFSET;
        let file_len = source.len();
        let broken = match entry & bat::STATE {
            _ if entry & bat::RESERVED != 0 => {
                format!("reserved bits {:#x} are set", entry & bat::RESERVED)
            }
            state::FULLY_PRESENT => match self.misplaced(offset, SECTOR_BITMAP_LEN) {
                Some(broken) => broken,
                None if !fits(offset, SECTOR_BITMAP_LEN, file_len) => {
                    return Err(Error::truncated(
                        "VHDX sector bitmap",
                        offset,
                        format!(
                            "{SECTOR_BITMAP_LEN} bytes were expected here, the file ends at {file_len:#x}"
                        ),
                    ));
                }
                None => return Ok(FileOffset(offset)),
            },
            state::NOT_PRESENT => {
                "the sector bitmap is missing, but a block of its chunk needs it".to_owned()
            }
            unknown => format!("there is no state {unknown} for a sector bitmap"),
        };
        Err(self.broken(index, entry, &broken))
    }

    /// Where the table begins in the file, and how many entries of it the disk needs.
    pub(super) fn range(&self) -> (u64, u64) {
        (self.offset, self.entries)
    }

    /// Bytes of the disk in a block.
    pub(super) fn block_size(&self) -> u64 {
        self.block_size
    }

    /// Whether the disk has a parent.
    pub(super) fn is_differencing(&self) -> bool {
        self.differencing
    }

    /// The chunk whose sector bitmap entry `index` names; `None` when the entry is a block's.
    pub(super) fn bitmap_of(&self, index: u64) -> Option<u64> {
        let (chunk, within) = (
            index / (self.chunk_ratio + 1),
            index % (self.chunk_ratio + 1),
        );
        (within == self.chunk_ratio).then_some(chunk)
    }

    /// Bytes of the table and of the sector bitmaps of all chunks.
    fn metadata_bytes(&self) -> u64 {
        let chunks = self.entries / (self.chunk_ratio + 1);
        let bitmaps = if self.differencing { chunks } else { 0 };
        (self.entries * BAT_ENTRY_SIZE).saturating_add(bitmaps.saturating_mul(SECTOR_BITMAP_LEN))
    }

    /// The slice with entry `index`; `None` where the table is a hole of the file.
    fn slice(&self, source: &dyn ReadAt, index: u64) -> Result<Option<Slice>> {
        let number = index * BAT_ENTRY_SIZE / self.slice_bytes;
        if let Some(slice) = self.lock().get(&number) {
            return Ok(Some(slice.clone()));
        }
        if self.hole(index)? > 0 {
            return Ok(None);
        }
        let slice = self.read_slice(source, number)?;
        // Another thread may have done the same meanwhile; both read the same bytes.
        self.lock().put(number, slice.clone());
        Ok(Some(slice))
    }

    /// Number of entries from `index` on that lie in a hole of the file as a whole: they are zeros.
    fn hole(&self, index: u64) -> Result<u64> {
        let rest = self.entries.saturating_sub(index);
        if rest == 0 {
            return Ok(0);
        }
        // The table lies in the file.
        let at = self.offset + index * BAT_ENTRY_SIZE;
        let end = self.holes.hole(at)?.unwrap_or(at);
        Ok((end.saturating_sub(at) / BAT_ENTRY_SIZE).min(rest))
    }

    fn read_slice(&self, source: &dyn ReadAt, number: u64) -> Result<Slice> {
        let start = number * self.slice_bytes;
        let len = (self.entries * BAT_ENTRY_SIZE)
            .saturating_sub(start)
            .min(self.slice_bytes);
        let count = usize::try_from(len / BAT_ENTRY_SIZE).unwrap_or_default();
        let mut entries = vec![U64::ZERO; count];
        source.read_exact_at(FileOffset(self.offset + start), entries.as_mut_bytes())?;
        self.steps.take(len / READ_BYTES_PER_STEP);
        Ok(Slice {
            first: number * (self.slice_bytes / BAT_ENTRY_SIZE),
            entries: entries.into(),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<u64, Slice>> {
        // A cache of immutable slices is whole whatever panicked.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn broken(&self, index: u64, entry: u64, broken: &str) -> Error {
        Error::corrupt(
            ENTRY,
            self.offset + index * BAT_ENTRY_SIZE,
            format!("found {entry:#018x}: {broken}"),
        )
        .with_hint(CHECK_VHDX)
    }

    /// What `entry`, which is number `index`, says of its block.
    fn decode(&self, index: u64, entry: u64, file_len: u64) -> Result<Block> {
        let corrupt = |broken: &str| Err(self.broken(index, entry, broken));
        if entry & bat::RESERVED != 0 {
            return corrupt(&format!(
                "reserved bits {:#x} are set",
                entry & bat::RESERVED
            ));
        }
        let state = entry & bat::STATE;
        match state {
            state::NOT_PRESENT => Ok(Block::Absent),
            // Nothing of the parent's shows through what was written and then discarded.
            state::UNDEFINED | state::UNMAPPED if self.differencing => Ok(Block::Zeros),
            state::UNDEFINED | state::UNMAPPED => Ok(Block::Absent),
            state::ZERO => Ok(Block::Zeros),
            state::PARTIALLY_PRESENT if !self.differencing => {
                corrupt("the rest of the block is a parent's, and the disk has none")
            }
            state::FULLY_PRESENT | state::PARTIALLY_PRESENT => {
                let offset = entry & bat::OFFSET;
                if let Some(broken) = self.misplaced(offset, self.block_size) {
                    return corrupt(&broken);
                }
                if offset >= file_len {
                    return Err(Error::truncated(
                        "VHDX block",
                        offset,
                        format!("BAT entry {index} names it, the file ends at {file_len:#x}"),
                    ));
                }
                Ok(match state {
                    state::FULLY_PRESENT => Block::Whole(FileOffset(offset)),
                    _ => Block::Partial(FileOffset(offset)),
                })
            }
            unknown => corrupt(&format!("there is no state {unknown}")),
        }
    }

    /// Why nothing of `len` bytes can be at `offset`.
    fn misplaced(&self, offset: u64, len: u64) -> Option<String> {
        if offset < HEADER_SECTION_LEN {
            return Some("the block lies in the header section".to_owned());
        }
        // Most blocks stand behind everything else.
        if self.occupied.last().is_none_or(|last| last.end <= offset) {
            return None;
        }
        let end = offset.saturating_add(len);
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
