//! What has changed on a disk, as somebody says who watched the writes.

use std::ops::Range;

use crate::error::{Error, Result};

/// What has changed on a disk since some moment, in whole units; everything else is said to be as
/// it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    unit: u64,
    /// Ascending, and apart from each other.
    ranges: Vec<Range<u64>>,
    marked: u64,
}

impl Changes {
    /// No changes, in units of `unit` bytes. There are as many ranges at most as every second unit
    /// of the disk.
    #[must_use]
    pub const fn none(unit: u64) -> Self {
        Self {
            unit,
            ranges: Vec::new(),
            marked: 0,
        }
    }

    /// Adds guest bytes that have changed, behind all that were added before.
    pub fn add(&mut self, range: Range<u64>) {
        let len = range.end.saturating_sub(range.start);
        if len == 0 {
            return;
        }
        self.marked = self.marked.saturating_add(len);
        let unit = self.unit.max(1);
        let start = range.start - range.start % unit;
        let end = range.end.div_ceil(unit).saturating_mul(unit);
        match self.ranges.last_mut() {
            Some(last) if start <= last.end => last.end = last.end.max(end),
            _ => self.ranges.push(start..end),
        }
    }

    /// Whether some of `range` is in a unit that has changed.
    #[must_use]
    pub fn touches(&self, range: &Range<u64>) -> bool {
        let next = self
            .ranges
            .partition_point(|changed| changed.end <= range.start);
        let next = self.ranges.get(next);
        next.is_some_and(|changed| changed.start < range.end)
    }

    /// The units that have changed, neighbours together.
    #[must_use]
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.ranges
    }

    /// Bytes that were added, before they were rounded to units.
    #[must_use]
    pub const fn marked_bytes(&self) -> u64 {
        self.marked
    }

    /// Bytes of the units that have changed, of a disk of `size` bytes.
    #[must_use]
    pub fn bytes(&self, size: u64) -> u64 {
        let of = |range: &Range<u64>| range.end.min(size).saturating_sub(range.start);
        self.ranges.iter().map(of).sum()
    }
}

/// What a disk answers that has no bitmaps.
pub(crate) fn no_bitmaps<T>() -> Result<T> {
    Err(Error::unsupported(
        "bitmaps of changes are kept by qcow2 images and by NBD servers, and this is neither",
    )
    .with_hint("read the whole disk instead"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_rounded_to_units_and_joined() {
        let mut changes = Changes::none(8);
        for range in [3..4, 4..4, 5..7, 17..18, 24..25, 40..48] {
            changes.add(range);
        }
        assert_eq!(changes.ranges, [0..8, 16..32, 40..48]);
        assert_eq!(changes.marked_bytes(), 13);
        assert_eq!(changes.bytes(44), 28);
        for (range, touched) in [
            (0..1, true),
            (8..16, false),
            (15..17, true),
            (48..99, false),
        ] {
            assert_eq!(changes.touches(&range), touched, "{range:?}");
        }
    }
}
