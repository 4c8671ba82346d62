//! The block allocation table (BAT), checked once and held in memory.

use std::ops::Range;

use zerocopy::IntoBytes;
use zerocopy::big_endian::U32;

use super::blocks::Blocks;
use super::dynamic::{BAT, Dynamic};
use super::footer::Footer;
use super::layout::{ENTRY_SIZE, UNALLOCATED};
use crate::chain::Context;
use crate::error::Result;
use crate::report::first_error;
use crate::source::ReadAt;
use crate::units::{FileOffset, SECTOR};

/// Where the blocks of a dynamic disk are. Each of them lies in the file, on no other block and on
/// nothing else that is needed for reading.
pub(super) struct BlockTable {
    /// One entry per block of the disk, as stored.
    entries: Vec<U32>,
    /// log2 of the bytes of the disk in a block.
    block_bits: u32,
    /// Length of the sector bitmap before each block's data in bytes; a multiple of 512.
    bitmap_len: u64,
}

impl BlockTable {
    /// Reads and checks the header that `footer` points at, and the BAT of a disk of `declared`
    /// bytes, more than 0.
    ///
    /// # Errors
    /// `Limit` for sizes beyond our caps, `Unsupported`, `Corrupt`, `Truncated` and `Io` by cause.
    pub(super) fn load(
        source: &dyn ReadAt,
        footer: &Footer,
        declared: u64,
        context: &Context,
    ) -> Result<Self> {
        let (header, place) = first_error(|report| {
            let Some(header) = Dynamic::read(source, footer, report)? else {
                return Ok(None);
            };
            let place = header.table(footer, declared, report)?;
            Ok(place.map(|place| (header, place)))
        })?;
        let len = place.end - place.start;
        // Plus a byte for each block.
        context.keep(BAT, place.start, len + len / ENTRY_SIZE)?;
        // The offsets are sorted in a copy, with the blocks' numbers.
        context.takes_for_a_moment(2 * len);
        let entries = read_entries(source, &place)?;
        let blocks = Blocks::new(&header, place, footer, declared, source.len());
        first_error(|report| blocks.check(&entries, report, &|| false).map(Some))?;
        Ok(Self {
            entries,
            block_bits: header.block_bits,
            bitmap_len: header.bitmap_len(),
        })
    }

    /// log2 of the bytes of the disk in a block.
    pub(super) fn block_bits(&self) -> u32 {
        self.block_bits
    }

    /// Number of blocks of the disk.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Length of a block's sector bitmap in bytes.
    pub(super) fn bitmap_len(&self) -> u64 {
        self.bitmap_len
    }

    /// File offset of block `index`, where its sector bitmap begins; `None` when it is not stored.
    /// At most 2^41.
    pub(super) fn place(&self, index: u64) -> Option<FileOffset> {
        let entry = usize::try_from(index)
            .ok()
            .and_then(|index| self.entries.get(index))?;
        match entry.get() {
            UNALLOCATED => None,
            sector => Some(FileOffset(u64::from(sector) * SECTOR)),
        }
    }

    /// Number of blocks from `index` on, at most `limit`, that are not stored.
    pub(super) fn unallocated(&self, index: u64, limit: u64) -> u64 {
        let from = usize::try_from(index).unwrap_or(usize::MAX);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let rest = self.entries.get(from..).unwrap_or_default();
        rest.iter()
            .take(limit)
            .take_while(|entry| entry.get() == UNALLOCATED)
            .count() as u64
    }

    /// Bytes of the table.
    pub(super) fn memory(&self) -> u64 {
        self.entries.len() as u64 * ENTRY_SIZE
    }

    /// Bytes of the table and of the sector bitmaps of all blocks.
    pub(super) fn metadata_bytes(&self) -> u64 {
        let stored = self
            .entries
            .iter()
            .filter(|entry| entry.get() != UNALLOCATED);
        (stored.count() as u64)
            .saturating_mul(self.bitmap_len)
            .saturating_add(self.memory())
    }
}

/// The entries at `place`, of at most [`crate::limits::MAX_VHD_BAT_BYTES`] inside the file.
///
/// # Errors
/// Those of reading.
pub(super) fn read_entries(source: &dyn ReadAt, place: &Range<u64>) -> Result<Vec<U32>> {
    let count = (place.end - place.start) / ENTRY_SIZE;
    let mut entries = vec![U32::ZERO; usize::try_from(count).unwrap_or_default()];
    source.read_exact_at(FileOffset(place.start), entries.as_mut_bytes())?;
    Ok(entries)
}
