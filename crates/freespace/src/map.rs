//! Free ranges of a disk: sorted, disjoint, and bounded in number.

use std::ops::Range;

use sha2::{Digest, Sha256};

/// Bytes of the shortest range that is kept, at first.
const LEAST: u64 = 16 << 10;
/// Most ranges, 8 MiB of them. When there are more, the shortest ones go.
const MOST: usize = 512 << 10;

/// Ranges of the disk's bytes that are free, sorted, apart from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FreeMap {
    ranges: Vec<Range<u64>>,
}

impl FreeMap {
    /// The ranges, in ascending order.
    #[must_use]
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.ranges
    }

    /// Whether nothing is free.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Bytes that are free.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.ranges.iter().map(length).sum()
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn memory(&self) -> u64 {
        (self
            .ranges
            .capacity()
            .saturating_mul(size_of::<Range<u64>>())) as u64
    }

    /// SHA-256 of all its ranges: two runs that discard the same have the same.
    pub(crate) fn hash(&self) -> String {
        let mut hasher = Sha256::new();
        for range in &self.ranges {
            hasher.update(range.start.to_le_bytes());
            hasher.update(range.end.to_le_bytes());
        }
        hex::encode(hasher.finalize())
    }

    /// The first range that ends behind `at`.
    pub(crate) fn next(&self, at: u64) -> Option<&Range<u64>> {
        let index = self.ranges.partition_point(|range| range.end <= at);
        self.ranges.get(index)
    }
}

fn length(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

/// Takes the free ranges of one volume in ascending order, and joins those that touch.
#[derive(Debug)]
pub(crate) struct Collector {
    ranges: Vec<Range<u64>>,
    /// The last range, to which the next one may be joined.
    open: Range<u64>,
    least: u64,
    most: usize,
    /// Bytes of all ranges, the short ones too.
    pub(crate) free: u64,
}

impl Collector {
    pub(crate) fn new() -> Self {
        Self::with_most(MOST)
    }

    fn with_most(most: usize) -> Self {
        Self {
            ranges: Vec::new(),
            open: 0..0,
            least: LEAST,
            most,
            free: 0,
        }
    }

    /// Adds a range that begins where the last one ends, or behind it.
    ///
    /// # Errors
    /// It does not.
    pub(crate) fn add(&mut self, range: Range<u64>) -> Result<(), String> {
        if range.start < self.open.end || range.end < range.start {
            return Err(format!(
                "what is free at {:#x} is listed twice",
                range.start
            ));
        }
        self.free = self.free.saturating_add(length(&range));
        if range.start == self.open.end {
            self.open.end = range.end;
        } else {
            self.close();
            self.open = range;
        }
        Ok(())
    }

    fn close(&mut self) {
        if length(&self.open) < self.least {
            return;
        }
        if self.ranges.len() >= self.most {
            self.shrink();
        }
        if length(&self.open) >= self.least {
            self.ranges.push(self.open.clone());
        }
    }

    /// Raises the least length until a quarter of the ranges has gone.
    fn shrink(&mut self) {
        while self.ranges.len() > self.most / 4 * 3 {
            self.least = self.least.saturating_mul(2);
            let least = self.least;
            self.ranges.retain(|range| length(range) >= least);
        }
    }

    pub(crate) fn finish(mut self) -> Vec<Range<u64>> {
        self.close();
        self.ranges
    }
}

/// The map of all `ranges`, in any order. Those that overlap are two claims on the same bytes, and
/// only what one of them says is believed; which cannot happen where volumes do not overlap.
pub(crate) fn join(mut ranges: Vec<Range<u64>>) -> FreeMap {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut all = Collector::new();
    for range in ranges {
        // A range that overlaps is dropped.
        let _ = all.add(range);
    }
    FreeMap {
        ranges: all.finish(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_joined_and_short_ones_are_left_out() {
        let mut all = Collector::new();
        for (start, end) in [(0, 8), (8, 16), (20, 30), (100, 160)] {
            all.add(start << 10..end << 10).unwrap();
        }
        assert!(all.add(150 << 10..170 << 10).is_err());
        assert_eq!(all.free, 86 << 10);
        assert_eq!(all.finish(), [0..16 << 10, 100 << 10..160 << 10]);
    }

    #[test]
    fn too_many_ranges_lose_the_shortest() {
        let mut all = Collector::with_most(8);
        let mut at = 0;
        for _ in 0..20 {
            for size in [LEAST, 5 * LEAST] {
                all.add(at..at + size).unwrap();
                at += size + 512;
            }
        }
        let ranges = all.finish();
        assert!(ranges.len() <= 8);
        assert!(ranges.iter().all(|range| length(range) == 5 * LEAST));
    }

    #[test]
    fn equal_maps_have_equal_hashes_and_others_do_not() {
        let map = |end| join(vec![1 << 20..end, 0..1 << 16]);
        assert_eq!(map(2 << 20).hash(), map(2 << 20).hash());
        assert_ne!(map(2 << 20).hash(), map(3 << 20).hash());
        assert_eq!(map(2 << 20).bytes(), (1 << 20) + (1 << 16));
    }
}
