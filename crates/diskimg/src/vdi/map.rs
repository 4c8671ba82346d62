//! The block map: says, run by run, where guest bytes are.

use zerocopy::little_endian::U32;

use super::entries::{Block, Counted, Entries, PIECE};
use super::header::{Header, MAP};
use crate::chain::Context;
use crate::error::Result;
use crate::layer::{Place, Run};
use crate::limits::VDI_MAP_CACHE_BYTES;
use crate::report::{FirstError, first_error};
use crate::slices::{Slice, Slices, Table};
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::units::FileOffset;

/// The block map of a disk.
pub(super) struct BlockMap {
    entries: Entries,
    slices: Slices<U32>,
    counted: Counted,
}

impl BlockMap {
    /// The map of the disk with `header`; looks at each entry once.
    ///
    /// # Errors
    /// `Corrupt` when blocks share a place in the file, `Truncated` when one is not in the file,
    /// `Limit` when the file is longer than any disk; those of reading.
    pub(super) fn new(
        source: &dyn ReadAt,
        header: Header,
        stored: &StoredMap,
        context: &Context,
    ) -> Result<Self> {
        let table = Table {
            name: MAP,
            offset: header.map_offset,
            count: header.blocks,
        };
        let entries = Entries::new(header, source.len());
        context.takes_for_a_moment(entries.places()?.memory() + PIECE);
        context.steps().allow_for(source, entries.metadata_bytes());
        let counted = entries.scan(source, stored, &mut FirstError, &|| false)?;
        Ok(Self {
            entries,
            slices: Slices::new(table, VDI_MAP_CACHE_BYTES, context),
            counted,
        })
    }

    pub(super) fn header(&self) -> &Header {
        &self.entries.header
    }

    /// How many blocks are stored.
    pub(super) fn stored(&self) -> u64 {
        self.counted.stored
    }

    /// Iterator over the runs from `at` to `end`, both on the disk, in order and without gaps.
    /// Every step goes at least one byte on or fails, and a failed walk is over.
    pub(super) fn walk<'a>(&'a self, source: &'a dyn ReadAt, at: u64, end: u64) -> Walk<'a> {
        Walk {
            map: self,
            source,
            at,
            end,
            slice: None,
        }
    }

    /// Most bytes that the map ever holds with `readers` threads.
    pub(super) fn memory_bound(&self, readers: u64) -> u64 {
        self.slices.memory_bound(readers)
    }

    /// What block `index` is by its entry.
    fn decode(&self, index: u64, entry: U32) -> Result<Block> {
        first_error(|report| self.entries.block(index, entry.get(), report))
    }
}

/// Iterator over the runs of a disk: see [`BlockMap::walk`].
pub(super) struct Walk<'a> {
    map: &'a BlockMap,
    source: &'a dyn ReadAt,
    at: u64,
    end: u64,
    /// The slice that was used last.
    slice: Option<Slice<U32>>,
}

impl Walk<'_> {
    /// The run at `start`, of `wanted` bytes at most and not beyond its slice.
    fn run(&mut self, start: u64, wanted: u64) -> Result<Run> {
        let header = self.map.header();
        let mut index = start >> self.map.entries.block_bits;
        let skip = start & (header.block_size - 1);
        let first = self.block(index)?;
        let mut len = header.block_size - skip;
        // An entry that is broken ends the run; it is reported when the walk gets there.
        while len < wanted {
            index += 1;
            let Some(next) = self.peek(index) else { break };
            let follows = match (first, next) {
                (Block::Stored(first), Block::Stored(next)) => {
                    first.checked_add(len + skip) == Some(next)
                }
                _ => first == next,
            };
            if !follows {
                break;
            }
            len += header.block_size;
        }
        let place = match first {
            Block::Absent => Place::Below,
            Block::Zeros => Place::Zeros,
            // Offsets are far below 2^64.
            Block::Stored(at) => Place::Stored(FileOffset(at.0 + skip)),
        };
        Ok(Run {
            start,
            len: len.min(wanted),
            place,
        })
    }

    /// What block `index` is.
    fn block(&mut self, index: u64) -> Result<Block> {
        let slices = &self.map.slices;
        let entry = match self.slice.as_ref().and_then(|slice| slice.get(index)) {
            Some(entry) => entry,
            None => {
                let slice = self.slice.insert(slices.load(self.source, index)?);
                slice.get(index).ok_or_else(|| slices.past_end(index))?
            }
        };
        self.map.decode(index, entry)
    }

    /// What block `index` is, when its entry is in the slice that is held and sound.
    fn peek(&self, index: u64) -> Option<Block> {
        let entry = self.slice.as_ref()?.get(index)?;
        self.map.decode(index, entry).ok()
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
