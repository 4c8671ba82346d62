//! The entries of the block allocation table (BAT): which one is whose, and what each may say.
//!
//! After each chunk of payload entries stands one for a block of sector bitmap. Without a parent
//! those mean nothing and are not read: versions of QEMU before 8.1 left garbage in them. With one
//! they say which sectors of blocks that are partially present are in this file.

use std::ops::Range;

use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use super::layout::{
    BAT_ENTRY_SIZE, HEADER_SECTION_LEN, SECTOR_BITMAP_LEN, SECTORS_PER_CHUNK, bat, state,
};
use super::metadata::Metadata;
use super::region::Regions;
use crate::error::{Error, ErrorKind, Result};
use crate::hint::CHECK_VHDX;
use crate::limits::MAX_CHECKED_CLUSTERS;
use crate::places::Places;
use crate::report::Report;
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::units::{FileOffset, MIB, fits};

pub(super) const BAT: &str = "VHDX BAT";
const ENTRY: &str = "VHDX BAT entry";

/// Bytes of the BAT that [`Entries::each`] reads at once.
pub(super) const PIECE: u64 = 64 << 10;

/// Most MiB of a file whose places are tracked: it holds the largest disk twice.
const MOST_PLACES: u64 = 4 * MAX_CHECKED_CLUSTERS;

/// What an entry says of its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// Its bytes are not here, and nothing is said of them.
    Absent,
    /// It reads as zeros, whatever a parent holds.
    Zeros,
    /// All of it is in the file, from this offset.
    Whole(FileOffset),
    /// It has its place in the file, at this offset; a sector bitmap says what of it is there.
    Partial(FileOffset),
}

/// The entries that a disk needs.
pub(super) struct Entries {
    /// File offset of the first one.
    pub(super) offset: u64,
    /// How many they are.
    pub(super) count: u64,
    pub(super) block_size: u64,
    /// log2 of it.
    pub(super) block_bits: u32,
    /// Whether the disk has a parent.
    pub(super) differencing: bool,
    /// Payload entries between two entries for sector bitmaps.
    chunk_ratio: u64,
    /// log2 of it.
    pub(super) chunk_bits: u32,
    /// What no block may lie in, in order and apart from each other.
    pub(super) occupied: Vec<Range<u64>>,
    file_len: u64,
}

impl Entries {
    /// Of the disk with `metadata` and `regions` in a file of `file_len` bytes; as many as there
    /// are when the BAT is too short.
    ///
    /// # Errors
    /// Those of `report`.
    pub(super) fn new(
        regions: Regions,
        metadata: &Metadata,
        file_len: u64,
        report: &mut impl Report,
    ) -> Result<Self> {
        let Metadata {
            block_size,
            differencing,
            disk_size,
            ..
        } = *metadata;
        let blocks = disk_size.div_ceil(block_size);
        // At least 16, at most 32768: all three are powers of two.
        let chunk_ratio = (SECTORS_PER_CHUNK * metadata.logical_sector_size / block_size).max(1);
        // The last chunk needs its sector bitmap only where there is a parent.
        let count = if differencing {
            blocks.div_ceil(chunk_ratio) * (chunk_ratio + 1)
        } else {
            blocks + blocks.saturating_sub(1) / chunk_ratio
        };
        let (start, found) = (regions.bat.start, regions.bat.end - regions.bat.start);
        let needed = count * BAT_ENTRY_SIZE;
        if needed > found {
            report.broken("table-size", &|| {
                Error::corrupt(
                    BAT,
                    start,
                    format!(
                        "found {found} bytes, \
                         a disk of {disk_size} bytes with blocks of {block_size} needs {needed}"
                    ),
                )
                .with_hint(CHECK_VHDX)
            })?;
        }
        Ok(Self {
            offset: start,
            count: needed.min(found) / BAT_ENTRY_SIZE,
            block_size,
            block_bits: block_size.trailing_zeros(),
            differencing,
            chunk_ratio,
            chunk_bits: chunk_ratio.trailing_zeros(),
            occupied: regions.occupied,
            file_len,
        })
    }

    /// Index of the entry of payload block `block`.
    pub(super) fn of_block(&self, block: u64) -> u64 {
        block + (block >> self.chunk_bits)
    }

    /// Index of the entry of the sector bitmap of chunk `chunk`.
    pub(super) fn of_bitmap(&self, chunk: u64) -> u64 {
        chunk * (self.chunk_ratio + 1) + self.chunk_ratio
    }

    /// Number of payload blocks whose entries stand before entry `index`.
    pub(super) fn blocks_before(&self, index: u64) -> u64 {
        let (chunk, within) = self.chunk_of(index);
        chunk * self.chunk_ratio + within
    }

    /// The chunk of entry `index`, and the index there.
    fn chunk_of(&self, index: u64) -> (u64, u64) {
        let len = self.chunk_ratio + 1;
        (index / len, index % len)
    }

    /// The chunk whose sector bitmap entry `index` names; `None` when the entry is a block's.
    fn bitmap_of(&self, index: u64) -> Option<u64> {
        let (chunk, within) = self.chunk_of(index);
        (within == self.chunk_ratio).then_some(chunk)
    }

    /// Bytes of the table and of the sector bitmaps of all chunks.
    pub(super) fn metadata_bytes(&self) -> u64 {
        let chunks = self.count / (self.chunk_ratio + 1);
        let bitmaps = if self.differencing { chunks } else { 0 };
        (self.count * BAT_ENTRY_SIZE).saturating_add(bitmaps.saturating_mul(SECTOR_BITMAP_LEN))
    }

    /// Gives `each` every entry with its index, except those that lie in holes of the file: they
    /// are zeros, and no block is present. Ends when `each` answers `false`.
    ///
    /// # Errors
    /// Those of reading and of `each`.
    pub(super) fn each(
        &self,
        source: &dyn ReadAt,
        holes: &StoredMap,
        mut each: impl FnMut(u64, u64) -> Result<bool>,
    ) -> Result<()> {
        let end = self.count * BAT_ENTRY_SIZE;
        let mut buffer = Vec::new();
        let mut at = 0;
        while at < end {
            if let Some(hole) = holes.hole(self.offset + at)? {
                let len = (hole - self.offset - at) / BAT_ENTRY_SIZE;
                at += len.max(1) * BAT_ENTRY_SIZE;
                continue;
            }
            let len = PIECE.min(end - at);
            buffer.resize(
                usize::try_from(len / BAT_ENTRY_SIZE).unwrap_or_default(),
                U64::ZERO,
            );
            source.read_exact_at(FileOffset(self.offset + at), buffer.as_mut_bytes())?;
            for (index, entry) in (at / BAT_ENTRY_SIZE..).zip(&buffer) {
                if !each(index, entry.get())? {
                    return Ok(());
                }
            }
            at += len;
        }
        Ok(())
    }

    /// An error about entry `index`, which is `entry`.
    fn error(&self, kind: ErrorKind, index: u64, entry: u64, broken: &str) -> Error {
        let what = match self.bitmap_of(index) {
            Some(chunk) => format!("the sector bitmap of chunk {chunk}"),
            None => format!("block {}", self.blocks_before(index)),
        };
        Error::new(kind, format!("found {entry:#018x} for {what}: {broken}"))
            .at(ENTRY, self.offset + index * BAT_ENTRY_SIZE)
            .with_hint(CHECK_VHDX)
    }

    fn corrupt(&self, index: u64, entry: u64, broken: &str) -> Error {
        self.error(ErrorKind::Corrupt, index, entry, broken)
    }

    fn check_reserved(&self, index: u64, entry: u64, report: &mut impl Report) -> Result<()> {
        let reserved = entry & bat::RESERVED;
        if reserved == 0 {
            return Ok(());
        }
        report.broken("reserved", &|| {
            self.corrupt(
                index,
                entry,
                &format!("reserved bits {reserved:#x} are set"),
            )
        })
    }

    /// What `entry`, a block's and number `index`, says; `None` when nothing can be read by it.
    ///
    /// # Errors
    /// Those of `report`.
    pub(super) fn block(
        &self,
        index: u64,
        entry: u64,
        report: &mut impl Report,
    ) -> Result<Option<Block>> {
        self.check_reserved(index, entry, report)?;
        let broken = match entry & bat::STATE {
            state::NOT_PRESENT => return Ok(Some(Block::Absent)),
            // Nothing of the parent's shows through what was written and then discarded.
            state::UNDEFINED | state::UNMAPPED if self.differencing => {
                return Ok(Some(Block::Zeros));
            }
            state::UNDEFINED | state::UNMAPPED => return Ok(Some(Block::Absent)),
            state::ZERO => return Ok(Some(Block::Zeros)),
            state::FULLY_PRESENT => {
                let at = self.place(index, entry, self.block_size, 1, report)?;
                return Ok(at.map(Block::Whole));
            }
            state::PARTIALLY_PRESENT if self.differencing => {
                let at = self.place(index, entry, self.block_size, 1, report)?;
                return Ok(at.map(Block::Partial));
            }
            state::PARTIALLY_PRESENT => {
                "the rest of the block is a parent's, and the disk has none".to_owned()
            }
            unknown => format!("there is no state {unknown}"),
        };
        report.broken("state", &|| self.corrupt(index, entry, &broken))?;
        Ok(None)
    }

    /// Where the sector bitmap is that `entry`, number `index` of a disk with a parent, names;
    /// `None` when there is none, or when it cannot be read.
    ///
    /// # Errors
    /// Those of `report`.
    pub(super) fn bitmap(
        &self,
        index: u64,
        entry: u64,
        report: &mut impl Report,
    ) -> Result<Option<FileOffset>> {
        self.check_reserved(index, entry, report)?;
        let broken = match entry & bat::STATE {
            state::NOT_PRESENT | state::UNDEFINED | state::ZERO | state::UNMAPPED => {
                return Ok(None);
            }
            state::FULLY_PRESENT => {
                return self.place(index, entry, SECTOR_BITMAP_LEN, SECTOR_BITMAP_LEN, report);
            }
            state::PARTIALLY_PRESENT => "a sector bitmap is there as a whole".to_owned(),
            unknown => format!("there is no state {unknown} for a sector bitmap"),
        };
        report.broken("state", &|| self.corrupt(index, entry, &broken))?;
        Ok(None)
    }

    /// The sector bitmap of a chunk with a block that needs it is missing.
    pub(super) fn missing_bitmap(&self, index: u64, entry: u64) -> Error {
        self.corrupt(
            index,
            entry,
            "it is missing, but a block of its chunk needs it",
        )
    }

    /// The place of the `len` bytes that `entry` names; `None` when nothing can be there, or the
    /// file holds less than `least` bytes of it.
    fn place(
        &self,
        index: u64,
        entry: u64,
        len: u64,
        least: u64,
        report: &mut impl Report,
    ) -> Result<Option<FileOffset>> {
        let offset = entry & bat::OFFSET;
        if let Some(broken) = self.misplaced(offset, len) {
            report.broken("overlap", &|| self.corrupt(index, entry, &broken))?;
            return Ok(None);
        }
        if !fits(offset, least, self.file_len) {
            report.broken("past-end", &|| self.past_end(index, entry))?;
            return Ok(None);
        }
        Ok(Some(FileOffset(offset)))
    }

    fn past_end(&self, index: u64, entry: u64) -> Error {
        let broken = format!("the file ends at {:#x}", self.file_len);
        self.error(ErrorKind::Truncated, index, entry, &broken)
    }

    /// Why nothing of `len` bytes can be at `offset`.
    fn misplaced(&self, offset: u64, len: u64) -> Option<String> {
        if offset < HEADER_SECTION_LEN {
            return Some("it lies in the header section".to_owned());
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
                "it overlaps what lies at {:#x} to {:#x}",
                range.start, range.end
            )
        })
    }

    /// Checks all that entry `index` says of a place in the file.
    ///
    /// # Errors
    /// Those of `report`.
    pub(super) fn check(
        &self,
        index: u64,
        entry: u64,
        taken: &mut Places,
        report: &mut impl Report,
    ) -> Result<()> {
        let (place, len) = if self.bitmap_of(index).is_none() {
            match self.block(index, entry, report)? {
                Some(Block::Whole(at) | Block::Partial(at)) => (at, self.block_size),
                Some(Block::Absent | Block::Zeros) | None => return Ok(()),
            }
        } else if self.differencing {
            match self.bitmap(index, entry, report)? {
                Some(at) => (at, SECTOR_BITMAP_LEN),
                None => return Ok(()),
            }
        } else {
            // Without a parent these entries mean nothing, and programs leave anything there.
            return Ok(());
        };
        // A reader finds out when it reads there.
        if !fits(place.0, len, self.file_len) {
            report.broken("past-end", &|| self.past_end(index, entry))?;
        }
        self.take(index, entry, taken, report)
    }

    /// Takes the place that entry `index` names, if any, whatever else is wrong with it. Blocks and
    /// sector bitmaps that share a place are broken: no program writes such, and a file of a few
    /// megabytes could make a disk of 64 TiB that takes minutes to walk.
    ///
    /// # Errors
    /// Those of `report`.
    pub(super) fn take(
        &self,
        index: u64,
        entry: u64,
        taken: &mut Places,
        report: &mut impl Report,
    ) -> Result<()> {
        let state = entry & bat::STATE;
        let len = match self.bitmap_of(index) {
            None if matches!(state, state::FULLY_PRESENT | state::PARTIALLY_PRESENT) => {
                self.block_size
            }
            Some(_) if self.differencing && state == state::FULLY_PRESENT => SECTOR_BITMAP_LEN,
            _ => return Ok(()),
        };
        let offset = entry & bat::OFFSET;
        let end = offset.saturating_add(len);
        if !taken.take(offset / MIB..end.div_ceil(MIB)) {
            return Ok(());
        }
        report.broken("overlap", &|| {
            self.corrupt(
                index,
                entry,
                &format!("at {offset:#x} it shares its place in the file with another one"),
            )
        })
    }
}

/// The MiB of a file of `file_len` bytes, of which none is taken yet: everything in a VHDX file
/// lies in whole ones.
///
/// # Errors
/// What is wrong with a length that is beyond every disk.
pub(super) fn places(file_len: u64) -> std::result::Result<Places, String> {
    let units = file_len.div_ceil(MIB);
    if units > MOST_PLACES {
        return Err(format!(
            "the file is {units} MiB long; overlapping blocks are looked for in files of at most \
             {MOST_PLACES} MiB"
        ));
    }
    Ok(Places::new(units))
}
