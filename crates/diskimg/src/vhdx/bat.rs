//! The block allocation table (BAT): loads it by slices, and says, run by run, where guest bytes
//! are.
//!
//! Blocks that are not present are the parent's. Without a parent they read as zeros, and so do, in
//! any disk, those that are undefined, unmapped or zero. The format lets a reader return anything
//! for undefined and unmapped blocks, what the storage held before included; QEMU and this reader
//! return zeros.

mod walk;

use std::sync::Arc;

use zerocopy::little_endian::U64;

pub(super) use self::walk::Walk;
use super::entries::{BAT, Block, Entries, PIECE, places};
use super::layout::BAT_ENTRY_SIZE;
use super::metadata::Metadata;
use super::region::Regions;
use crate::chain::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::layer::Place;
use crate::limits::{VHDX_BAT_CACHE_BYTES, VHDX_BITMAP_CACHE_BYTES};
use crate::report::{FirstError, first_error};
use crate::sectors::{BitOrder, Held, SectorBitmaps};
use crate::slices::{Slice, Slices, Table};
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::units::FileOffset;

/// Bytes of a sector bitmap that are read at once, of a file that stands alone: 32 MiB of the disk
/// at 512 bytes a sector.
const BITMAP_PIECE: u64 = 8 << 10;
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
    slices: Slices<U64>,
    /// What of the file is a hole: entries there are zeros, and are not read.
    holes: Arc<StoredMap>,
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
        let mut taken = places(source.len())
            .map_err(|message| Error::new(ErrorKind::Limit, message).at(BAT, entries.offset))?;
        context.takes_for_a_moment(taken.memory() + PIECE);
        context.steps().allow_for(source, entries.metadata_bytes());
        // What else is wrong with an entry is reported when a walk comes to it.
        entries.each(source, &holes, |index, entry| {
            entries.take(index, entry, &mut taken, &mut FirstError)?;
            Ok(true)
        })?;
        let table = Table {
            name: BAT,
            offset: entries.offset,
            count: entries.count,
        };
        let slices = Slices::new(table, VHDX_BAT_CACHE_BYTES, context);
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
            slices,
            holes,
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
        self.slices
            .memory_bound(readers)
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
            Some(slice) => self.entry(&slice, index)?,
            None => 0,
        };
        self.entries
            .bitmap(index, entry, &mut FirstError)?
            .ok_or_else(|| self.entries.missing_bitmap(index, entry))
    }

    /// The slice with entry `index`; `None` where the table is a hole of the file.
    fn slice(&self, source: &dyn ReadAt, index: u64) -> Result<Option<Slice<U64>>> {
        if let Some(slice) = self.slices.cached(index) {
            return Ok(Some(slice));
        }
        if self.hole(index)? > 0 {
            return Ok(None);
        }
        self.slices.load(source, index).map(Some)
    }

    /// Entry `index` as `slice` has it.
    fn entry(&self, slice: &Slice<U64>, index: u64) -> Result<u64> {
        let entry = slice.get(index).map(U64::get);
        entry.ok_or_else(|| self.slices.past_end(index))
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

    /// What `entry`, which is number `index`, says of its block.
    fn decode(&self, index: u64, entry: u64) -> Result<Block> {
        first_error(|report| self.entries.block(index, entry, report))
    }
}
