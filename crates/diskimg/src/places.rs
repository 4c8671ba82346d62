//! Which places of a file are taken: blocks that name the same place are how a small file describes
//! a vast disk.

use std::ops::Range;

/// Which units of a file are taken, one bit each.
pub(crate) struct Places(Vec<u64>);

impl Places {
    /// Of `units` units, which the caller has held against a cap, none is taken yet.
    pub(crate) fn new(units: u64) -> Self {
        let words = usize::try_from(units.div_ceil(64)).unwrap_or_default();
        Self(vec![0; words])
    }

    /// Bytes of memory that it holds.
    pub(crate) fn memory(&self) -> u64 {
        size_of_val(self.0.as_slice()) as u64
    }

    /// Takes the units of `range`, whatever of them there is; says whether one of them was taken
    /// already.
    pub(crate) fn take(&mut self, range: Range<u64>) -> bool {
        let mut before = false;
        let (mut unit, end) = (range.start, range.end);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_taken_once() {
        let mut places = Places::new(200);
        assert!(!places.take(3..4));
        assert!(!places.take(60..130));
        assert!(!places.take(4..60));
        assert!(places.take(3..4));
        assert!(places.take(129..131));
        assert!(!places.take(131..200));
        // What there is not is never taken.
        assert!(!places.take(256..u64::MAX));
        assert!(!places.take(256..u64::MAX));
    }
}
