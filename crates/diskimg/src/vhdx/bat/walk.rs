//! The runs of a disk, one after the other, with a place kept in the table between two.

use zerocopy::little_endian::U64;

use super::{BlockTable, stored};
use crate::error::Result;
use crate::layer::{Mix, Piece, Place, Run};
use crate::sectors::Held;
use crate::slices::Slice;
use crate::source::ReadAt;
use crate::units::{FileOffset, fits};
use crate::vhdx::entries::Block;
use crate::vhdx::layout::SECTORS_PER_CHUNK;

/// Iterator over the runs of a disk: see [`BlockTable::walk`].
pub(in crate::vhdx) struct Walk<'a> {
    pub(super) table: &'a BlockTable,
    pub(super) source: &'a dyn ReadAt,
    pub(super) file_len: u64,
    pub(super) at: u64,
    pub(super) end: u64,
    /// The slice that was used last.
    pub(super) slice: Option<Slice<U64>>,
    /// The block behind the last run, when it was decoded.
    pub(super) ahead: Option<(u64, Block)>,
    /// A chunk, and where its sector bitmap is.
    pub(super) bitmap: Option<(u64, FileOffset)>,
    pub(super) piece: Held,
}

impl Walk<'_> {
    /// The run at `start`, of `wanted` bytes at most; not beyond its slice, except where the BAT
    /// itself is a hole of the file: that is one run, however long.
    fn run(&mut self, start: u64, wanted: u64) -> Result<Run> {
        let table = self.table;
        let (mut block, skip) = (
            start >> table.entries.block_bits,
            start & (table.entries.block_size - 1),
        );
        let Some(first) = self.block(block)? else {
            let index = table.entries.of_block(block);
            let absent = table.hole(index)?;
            let end = table.entries.blocks_before(index + absent) * table.entries.block_size;
            return Ok(Run {
                start,
                len: (end - start).min(wanted),
                place: Place::Below,
            });
        };
        if let Block::Partial(at) = first {
            return self.partial(start, wanted, at);
        }
        let mut len = table.entries.block_size - skip;
        // An entry that is broken ends the run; it is reported when the walk gets there.
        while len < wanted {
            block += 1;
            let Some(next) = self.peek(block) else { break };
            let follows = match (first, next) {
                (Block::Whole(first), Block::Whole(next)) => {
                    first.checked_add(len + skip) == Some(next)
                }
                _ => first == next,
            };
            if !follows {
                self.ahead = Some((block, next));
                break;
            }
            len += table.entries.block_size;
        }
        let len = len.min(wanted);
        let (place, len) = match first {
            Block::Absent => (Place::Below, len),
            Block::Zeros => (Place::Zeros, len),
            Block::Whole(at) | Block::Partial(at) => stored(at, skip, len, start, self.file_len)?,
        };
        Ok(Run { start, len, place })
    }

    /// What block `block` is; `None` where the table is a hole of the file.
    fn block(&mut self, block: u64) -> Result<Option<Block>> {
        match self.ahead {
            Some((ahead, found)) if ahead == block => Ok(Some(found)),
            _ => {
                let table = self.table;
                let index = table.entries.of_block(block);
                let Some(slice) = self.slice(index)? else {
                    return Ok(None);
                };
                let entry = table.entry(slice, index)?;
                let found = table.decode(index, entry)?;
                self.ahead = Some((block, found));
                Ok(Some(found))
            }
        }
    }

    /// The place of the block at `start`, when only some of its sectors are in the file.
    fn partial_at(&mut self, start: u64) -> Result<Option<FileOffset>> {
        let found = self.block(start >> self.table.entries.block_bits)?;
        Ok(match found {
            Some(Block::Partial(at)) => Some(at),
            _ => None,
        })
    }

    /// The slice with entry `index`; `None` where the table is a hole of the file.
    fn slice(&mut self, index: u64) -> Result<Option<&Slice<U64>>> {
        let held = self.slice.as_ref();
        if held.is_none_or(|slice| slice.get(index).is_none()) {
            self.slice = self.table.slice(self.source, index)?;
        }
        Ok(self.slice.as_ref())
    }

    /// What block `block` is, when its entry is in the slice that is held and sound.
    fn peek(&self, block: u64) -> Option<Block> {
        let index = self.table.entries.of_block(block);
        let entry = self.slice.as_ref()?.get(index)?;
        self.table.decode(index, entry.get()).ok()
    }

    /// The run at `start`, of `wanted` bytes at most, in a block whose place is at `block` and of
    /// which some sectors are in the file.
    fn partial(&mut self, start: u64, wanted: u64, block: FileOffset) -> Result<Run> {
        let table = self.table;
        let bitmap = self.bitmap(start)?;
        let sector = start / table.sector_size % SECTORS_PER_CHUNK;
        let (here, sectors) = table
            .bitmaps
            .equal(self.source, bitmap, sector, &mut self.piece)?;
        let (skip, within) = (
            start & (table.entries.block_size - 1),
            start % table.sector_size,
        );
        let len = (sectors * table.sector_size - within)
            .min(table.entries.block_size - skip)
            .min(wanted);
        let (place, len) = if here {
            stored(block, skip, len, start, self.file_len)?
        } else {
            (Place::Below, len)
        };
        Ok(Run { start, len, place })
    }
}

/// A [`Walk`] in sums.
pub(in crate::vhdx) struct Sums<'a> {
    pub(super) walk: Walk<'a>,
    pub(super) unit: u64,
}

impl<'a> Walk<'a> {
    /// The same walk in sums: sectors of a block that differ are one piece inside one unit of
    /// `unit` bytes.
    pub(in crate::vhdx) fn in_sums(self, unit: u64) -> Sums<'a> {
        Sums { walk: self, unit }
    }

    /// Where the sector bitmap is that `start` belongs to.
    fn bitmap(&mut self, start: u64) -> Result<FileOffset> {
        let table = self.table;
        let chunk = start >> table.entries.block_bits >> table.entries.chunk_bits;
        let bitmap = match self.bitmap {
            Some((held, bitmap)) if held == chunk => bitmap,
            _ => table.bitmap_at(self.source, chunk)?,
        };
        self.bitmap = Some((chunk, bitmap));
        Ok(bitmap)
    }

    /// The sum of what begins at `start`, in a block at `block` of which some sectors are in the
    /// file; `None` when it has to be walked.
    fn mix(&mut self, start: u64, unit: u64, block: FileOffset) -> Result<Option<Mix>> {
        let table = self.table;
        let skip = start & (table.entries.block_size - 1);
        let len = (table.entries.block_size - skip)
            .min(unit - start % unit)
            .min(self.end - start);
        let whole =
            start.is_multiple_of(table.sector_size) && len.is_multiple_of(table.sector_size);
        let host = FileOffset(block.0 + skip);
        if !whole || !fits(host.0, len, self.file_len) {
            return Ok(None);
        }
        let bitmap = self.bitmap(start)?;
        let sector = start / table.sector_size % SECTORS_PER_CHUNK;
        let (here, sectors) = table.bitmaps.count(
            self.source,
            bitmap,
            sector,
            len / table.sector_size,
            &mut self.piece,
        )?;
        // One run may be longer than the unit.
        if here == 0 || here == sectors {
            return Ok(None);
        }
        Ok(Some(Mix {
            start,
            len: sectors * table.sector_size,
            stored: here * table.sector_size,
            host,
            zeros: 0,
        }))
    }
}

impl Sums<'_> {
    fn piece(&mut self, start: u64) -> Result<Piece> {
        let walk = &mut self.walk;
        if let Some(block) = walk.partial_at(start)?
            && let Some(mix) = walk.mix(start, self.unit, block)?
        {
            return Ok(Piece::Mix(mix));
        }
        walk.run(start, walk.end - start).map(Piece::Run)
    }
}

impl Iterator for Sums<'_> {
    type Item = Result<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.walk.at >= self.walk.end {
            return None;
        }
        let piece = self.piece(self.walk.at);
        self.walk.at = match &piece {
            Ok(piece) => piece.end(),
            Err(_) => self.walk.end,
        };
        Some(piece)
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Run>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let run = self.run(self.at, self.end - self.at);
        self.at = match &run {
            Ok(run) => run.start + run.len,
            Err(_) => self.end,
        };
        Some(run)
    }
}
