//! Which parts of the file are taken: blocks that name the same place are how a small file
//! describes a vast disk.

use std::ops::Range;

use crate::limits::MAX_CHECKED_CLUSTERS;
use crate::units::MIB;

/// Most MiB of a file that are tracked: it holds the largest disk twice.
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
                "the file is {units} MiB long; overlapping blocks are looked for in files of at \
                 most {MOST} MiB"
            ));
        }
        let words = usize::try_from(units.div_ceil(64)).unwrap_or_default();
        Ok(Self(vec![0; words]))
    }

    /// Bytes of memory that it holds.
    pub(super) fn memory(&self) -> u64 {
        size_of_val(self.0.as_slice()) as u64
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
