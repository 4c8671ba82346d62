//! Which parts of the file are taken: blocks that name the same place are how a small file
//! describes a vast disk.

use std::ops::Range;

use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use super::bat::BlockTable;
use super::layout::{BAT_ENTRY_SIZE, SECTOR_BITMAP_LEN, bat, state};
use crate::chain::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::hints::CHECK_VHDX;
use crate::limits::MAX_CHECKED_CLUSTERS;
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::units::{FileOffset, MIB};

/// Bytes of the BAT that are read at once.
const PIECE: u64 = 64 << 10;
/// Most MiB of a file that are looked at: it holds the largest disk twice.
const MOST: u64 = 4 * MAX_CHECKED_CLUSTERS;

/// Which MiB of the file are taken: one bit each. Everything in a VHDX file lies in whole ones.
pub(super) struct Places(Vec<u64>);

impl Places {
    /// Nothing of a file of `file_len` bytes is taken yet.
    ///
    /// # Errors
    /// What is wrong with a length that is beyond every disk.
    pub(super) fn new(file_len: u64) -> std::result::Result<Self, String> {
        let units = file_len.div_ceil(MIB);
        if units > MOST {
            return Err(format!(
                "the file is {units} MiB long; overlapping blocks are looked for in files of at most {MOST} MiB"
            ));
        }
        let words = usize::try_from(units.div_ceil(64)).unwrap_or_default();
        Ok(Self(vec![0; words]))
    }

    /// Takes `range`, whatever of it lies in the file; says whether part of it was taken already.
    pub(super) fn take(&mut self, range: &Range<u64>) -> bool {
        let mut before = false;
        let (mut unit, end) = (range.start / MIB, range.end.div_ceil(MIB));
        while unit < end {
            let word = usize::try_from(unit / 64)
                .ok()
                .and_then(|index| self.0.get_mut(index));
            let Some(word) = word else { break };
            let (first, count) = (unit % 64, (end - unit).min(64 - unit % 64));
            let bits = (u64::MAX >> (64 - count)) << first;
            before |= *word & bits != 0;
            *word |= bits;
            unit += count;
        }
        before
    }
}

impl BlockTable {
    /// Refuses blocks and sector bitmaps that share a place in the file: no program writes such,
    /// and a file of a few megabytes could make a disk of 64 TiB that takes minutes to walk. What
    /// else is wrong with an entry is reported when a walk comes to it.
    ///
    /// # Errors
    /// `Corrupt`; `Limit` when the file is longer than any disk; those of reading.
    pub(super) fn check_places(
        &self,
        source: &dyn ReadAt,
        holes: &StoredMap,
        context: &Context,
    ) -> Result<()> {
        let (start, entries) = self.range();
        let mut taken = Places::new(source.len())
            .map_err(|message| Error::new(ErrorKind::Limit, message).at(super::bat::BAT, start))?;
        context.takes_for_a_moment(size_of_val(taken.0.as_slice()) as u64 + PIECE);
        let end = entries * BAT_ENTRY_SIZE;
        let mut buffer = Vec::new();
        let mut at = 0;
        while at < end {
            // A BAT of which nothing is stored is all zeros: no block is present.
            if let Some(hole) = holes.hole(start + at)? {
                let len = (hole - start - at) / BAT_ENTRY_SIZE;
                at += len.max(1) * BAT_ENTRY_SIZE;
                continue;
            }
            let len = PIECE.min(end - at);
            buffer.resize(
                usize::try_from(len / BAT_ENTRY_SIZE).unwrap_or_default(),
                U64::ZERO,
            );
            source.read_exact_at(FileOffset(start + at), buffer.as_mut_bytes())?;
            for (index, entry) in (at / BAT_ENTRY_SIZE..).zip(&buffer) {
                self.check_place(index, entry.get(), &mut taken)?;
            }
            at += len;
        }
        Ok(())
    }

    /// Takes the place of what entry `index` names.
    fn check_place(&self, index: u64, entry: u64, taken: &mut Places) -> Result<()> {
        let state = entry & bat::STATE;
        let (what, number, len) = match self.bitmap_of(index) {
            None if matches!(state, state::FULLY_PRESENT | state::PARTIALLY_PRESENT) => {
                ("block", self.blocks_before(index), self.block_size())
            }
            // Without a parent these entries mean nothing, and programs leave anything there.
            Some(chunk) if self.is_differencing() && state == state::FULLY_PRESENT => {
                ("the sector bitmap of chunk", chunk, SECTOR_BITMAP_LEN)
            }
            _ => return Ok(()),
        };
        let offset = entry & bat::OFFSET;
        if !taken.take(&(offset..offset.saturating_add(len))) {
            return Ok(());
        }
        let (start, _) = self.range();
        Err(Error::corrupt(
            super::bat::ENTRY,
            start + index * BAT_ENTRY_SIZE,
            format!(
                "found {entry:#018x}: {what} {number} at {offset:#x} shares its place in the file with another one"
            ),
        )
        .with_hint(CHECK_VHDX))
    }
}
