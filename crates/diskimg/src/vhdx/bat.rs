//! The block allocation table (BAT): loads it by slices, and says, run by run, where guest bytes
//! are.
//!
//! Blocks that are not present are the parent's. Without a parent they read as zeros, and so do, in
//! any disk, those that are undefined, unmapped or zero. The format lets a reader return anything
//! for undefined and unmapped blocks, what the storage held before included; QEMU and this reader
//! return zeros.

mod walk;

use std::num::NonZeroUsize;
use std::sync::Arc;

use parking_lot::Mutex;

use lru::LruCache;
use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

pub(super) use self::walk::Walk;
use super::entries::{BAT, Block, Entries, PIECE};
use super::layout::BAT_ENTRY_SIZE;
use super::metadata::Metadata;
use super::places::Places;
use super::region::Regions;
use crate::chain::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::layer::Place;
use crate::limits::{VHDX_BAT_CACHE_BYTES, VHDX_BITMAP_CACHE_BYTES};
use crate::report::{FirstError, first_error};
use crate::sectors::{BitOrder, Held, SectorBitmaps};
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::units::FileOffset;
use crate::work::{READ_BYTES_PER_STEP, Steps};

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
                Error::corrupt(BAT, table, format!("entry {index} is past the table's end"))
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

/// The BAT of a disk.
pub(super) struct BlockTable {
    entries: Entries,
    sector_size: u64,
    bitmaps: SectorBitmaps,
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
    /// `Corrupt` when the BAT is too short for the disk, or blocks share a place in the file;
    /// `Limit` when the file is longer than any disk; those of reading.
    pub(super) fn new(
        source: &dyn ReadAt,
        regions: Regions,
        metadata: &Metadata,
        holes: Arc<StoredMap>,
        context: &Context,
    ) -> Result<Self> {
        let entries = Entries::new(regions, metadata, source.len(), &mut FirstError)?;
        let mut taken = Places::new(source.len())
            .map_err(|message| Error::new(ErrorKind::Limit, message).at(BAT, entries.offset))?;
        context.takes_for_a_moment(taken.memory() + PIECE);
        context.steps().allow_for(source, entries.metadata_bytes());
        // What else is wrong with an entry is reported when a walk comes to it.
        entries.each(source, &holes, |index, entry| {
            entries.take(index, entry, &mut taken, &mut FirstError)?;
            Ok(true)
        })?;
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
        Ok(Self {
            entries,
            sector_size: metadata.logical_sector_size,
            bitmaps,
            slice_bytes,
            cache_bytes,
            cache: Mutex::new(LruCache::new(slices)),
            holes,
            steps: context.steps().clone(),
        })
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
            .saturating_add(if self.entries.differencing {
                self.bitmaps.memory_bound(readers)
            } else {
                0
            })
            .saturating_add(size_of_val(self.entries.occupied.as_slice()) as u64)
    }

    /// File offset of the sector bitmap of chunk `chunk`.
    fn bitmap_at(&self, source: &dyn ReadAt, chunk: u64) -> Result<FileOffset> {
        let index = self.entries.of_bitmap(chunk);
        let entry = match self.slice(source, index)? {
            Some(slice) => slice.entry(index, self.entries.offset)?,
            None => 0,
        };
        self.entries
            .bitmap(index, entry, &mut FirstError)?
            .ok_or_else(|| self.entries.missing_bitmap(index, entry))
    }

    /// The slice with entry `index`; `None` where the table is a hole of the file.
    fn slice(&self, source: &dyn ReadAt, index: u64) -> Result<Option<Slice>> {
        let number = index * BAT_ENTRY_SIZE / self.slice_bytes;
        if let Some(slice) = self.cache.lock().get(&number) {
            return Ok(Some(slice.clone()));
        }
        if self.hole(index)? > 0 {
            return Ok(None);
        }
        let slice = self.read_slice(source, number)?;
        // Another thread may have done the same meanwhile; both read the same bytes.
        self.cache.lock().put(number, slice.clone());
        Ok(Some(slice))
    }

    /// Number of entries from `index` on that lie in a hole of the file as a whole: they are zeros.
    fn hole(&self, index: u64) -> Result<u64> {
        let rest = self.entries.count.saturating_sub(index);
        if rest == 0 {
            return Ok(0);
        }
        // The table lies in the file.
        let at = self.entries.offset + index * BAT_ENTRY_SIZE;
        let end = self.holes.hole(at)?.unwrap_or(at);
        Ok((end.saturating_sub(at) / BAT_ENTRY_SIZE).min(rest))
    }

    fn read_slice(&self, source: &dyn ReadAt, number: u64) -> Result<Slice> {
        let start = number * self.slice_bytes;
        let len = (self.entries.count * BAT_ENTRY_SIZE)
            .saturating_sub(start)
            .min(self.slice_bytes);
        let count = usize::try_from(len / BAT_ENTRY_SIZE).unwrap_or_default();
        let mut entries = vec![U64::ZERO; count];
        source.read_exact_at(
            FileOffset(self.entries.offset + start),
            entries.as_mut_bytes(),
        )?;
        self.steps.take(len / READ_BYTES_PER_STEP);
        Ok(Slice {
            first: number * (self.slice_bytes / BAT_ENTRY_SIZE),
            entries: entries.into(),
        })
    }

    /// What `entry`, which is number `index`, says of its block.
    fn decode(&self, index: u64, entry: u64) -> Result<Block> {
        first_error(|report| self.entries.block(index, entry, report))
    }
}
