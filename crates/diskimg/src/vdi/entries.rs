//! The entries of the block map: what each says, and whether all of them together make sense.

use std::ops::Range;

use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

use super::header::{Header, MAP};
use super::layout::{ENTRY_SIZE, UNALLOCATED, ZEROS};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_VDI_BLOCKS;
use crate::places::Places;
use crate::report::Report;
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::units::{FileOffset, fits};

const ENTRY: &str = "VDI block map entry";

/// Bytes of the map that [`Entries::scan`] reads at once.
pub(super) const PIECE: u64 = 64 << 10;

/// What an entry says of its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// Its bytes are not here, and nothing is said of them.
    Absent,
    /// It reads as zeros, whatever a parent holds.
    Zeros,
    /// What of it is on the disk is in the file, from this offset.
    Stored(FileOffset),
}

/// The entries that a disk needs.
pub(super) struct Entries {
    pub(super) header: Header,
    /// log2 of the bytes of the disk in a block.
    pub(super) block_bits: u32,
    file_len: u64,
}

/// What the entries say together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// How many blocks are stored.
    pub(super) stored: u64,
    /// How many blocks the file has up to the last one that is used.
    pub(super) used: u64,
}

impl Entries {
    /// Of the disk with `header` in a file of `file_len` bytes.
    pub(super) fn new(header: Header, file_len: u64) -> Self {
        Self {
            block_bits: header.block_size.trailing_zeros(),
            header,
            file_len,
        }
    }

    /// Bytes of the map.
    pub(super) fn metadata_bytes(&self) -> u64 {
        self.header.blocks * ENTRY_SIZE
    }

    /// File offset of entry `index`.
    fn place(&self, index: u64) -> u64 {
        self.header.map_offset + index * ENTRY_SIZE
    }

    /// File offset at which block `number` of the file begins, with what stands in front of it. At
    /// most 2^60.
    pub(super) fn block_at(&self, number: u64) -> u64 {
        self.header.data_offset + number * self.header.stride()
    }

    /// The blocks for which the file has room, of which none is taken yet.
    ///
    /// # Errors
    /// `Limit` when they are more than are tracked.
    pub(super) fn places(&self) -> Result<Places> {
        let room = self.file_len.saturating_sub(self.header.data_offset);
        let places = room.div_ceil(self.header.stride());
        if places > MAX_VDI_BLOCKS {
            let message = format!(
                "the file has room for {places} blocks; overlapping ones are looked for among at \
                 most {MAX_VDI_BLOCKS}"
            );
            return Err(Error::new(ErrorKind::Limit, message).at(MAP, self.header.map_offset));
        }
        Ok(Places::new(places))
    }

    /// What `entry`, number `index`, says; `None` when nothing can be read by it.
    ///
    /// # Errors
    /// Those of `report`.
    pub(super) fn block(
        &self,
        index: u64,
        entry: u32,
        report: &mut impl Report,
    ) -> Result<Option<Block>> {
        match entry {
            UNALLOCATED => return Ok(Some(Block::Absent)),
            ZEROS => return Ok(Some(Block::Zeros)),
            _ => {}
        }
        let Header {
            block_size, extra, ..
        } = self.header;
        let at = self.block_at(entry.into()) + extra;
        // Of the last block only the bytes of the disk must be there.
        let rest = self.header.disk_size.saturating_sub(index * block_size);
        let needed = rest.min(block_size);
        if fits(at, needed, self.file_len) {
            return Ok(Some(Block::Stored(FileOffset(at))));
        }
        report.broken("past-end", &|| {
            let message = format!(
                "block {index} is stored as number {entry}, {needed} bytes at {at:#x}: past the \
                 end of the file at {:#x}",
                self.file_len
            );
            Error::truncated(ENTRY, self.place(index), message)
        })?;
        Ok(None)
    }

    /// Looks at all entries, and takes the places that they name. Ends when `cancelled` answers
    /// yes.
    ///
    /// # Errors
    /// Those of reading and of `report`.
    pub(super) fn scan(
        &self,
        source: &dyn ReadAt,
        holes: &StoredMap,
        report: &mut impl Report,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Counted> {
        let mut taken = self.places()?;
        let mut counted = Counted::default();
        let mut buffer = Vec::new();
        let mut index = 0;
        while index < self.header.blocks && !cancelled() {
            let same = self.same_block(index, holes)?;
            if same.end - same.start > 1 {
                index = same.end;
                report.broken("overlap", &|| self.shared(&same))?;
                continue;
            }
            let count = (PIECE / ENTRY_SIZE).min(self.header.blocks - index);
            buffer.resize(usize::try_from(count).unwrap_or_default(), U32::ZERO);
            let at = FileOffset(self.place(index));
            source.read_exact_at(at, buffer.as_mut_bytes())?;
            for (index, entry) in (index..).zip(&buffer) {
                self.take(index, entry.get(), &mut taken, &mut counted, report)?;
            }
            index += count;
        }
        Ok(counted)
    }

    /// Notes that entry `index` names a place, whatever else is wrong with it. Blocks that share
    /// one are broken: a file of a few megabytes could make a disk of terabytes.
    fn take(
        &self,
        index: u64,
        entry: u32,
        taken: &mut Places,
        counted: &mut Counted,
        report: &mut impl Report,
    ) -> Result<()> {
        let Some(Block::Stored(_)) = self.block(index, entry, report)? else {
            return Ok(());
        };
        let number = u64::from(entry);
        counted.stored += 1;
        counted.used = counted.used.max(number + 1);
        if number >= self.header.allocated {
            report.forgiven("allocated", &|| {
                let message = format!(
                    "block {index} is stored as number {number}, but the header counts {} stored \
                     blocks",
                    self.header.allocated
                );
                Error::corrupt(ENTRY, self.place(index), message)
            });
        }
        if !taken.take(number..number + 1) {
            return Ok(());
        }
        report.broken("overlap", &|| {
            let message = format!(
                "block {index} is stored as number {number}, which is another block's as well"
            );
            Error::corrupt(ENTRY, self.place(index), message)
        })
    }

    /// The entries from `index` on that lie in a hole of the file as a whole: all of them name
    /// block 0.
    fn same_block(&self, index: u64, holes: &StoredMap) -> Result<Range<u64>> {
        let at = self.place(index);
        let hole = holes.hole(at)?.unwrap_or(at).saturating_sub(at);
        let count = (hole / ENTRY_SIZE).min(self.header.blocks - index);
        Ok(index..index + count)
    }

    fn shared(&self, same: &Range<u64>) -> Error {
        let message = format!(
            "blocks {} to {} are all stored as number 0: the map is a hole of the file here",
            same.start,
            same.end - 1
        );
        Error::corrupt(ENTRY, self.place(same.start), message)
    }
}
