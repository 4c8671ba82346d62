//! A disk without its free space.

use std::sync::Arc;

use diskimg::{
    Changes, Details, DiskImage, Error, ErrorKind, Extent, ExtentKind, GuestOffset, Result, Tally,
    Work, check_range, clip_extent,
};

use crate::map::FreeMap;

/// A disk that reads as zeros where a map says that it is free. Everything else is as it was.
pub struct Discarded {
    image: Box<dyn DiskImage>,
    map: Arc<FreeMap>,
}

/// What lies at an offset.
enum Here {
    /// Free bytes, so many.
    Free(u64),
    /// Bytes of the disk, so many.
    Kept(u64),
}

impl Discarded {
    /// `image` without what is free in `map`.
    #[must_use]
    pub fn new(image: Box<dyn DiskImage>, map: Arc<FreeMap>) -> Self {
        Self { image, map }
    }

    /// What the `limit` bytes from `at` begin with.
    fn here(&self, at: u64, limit: u64) -> Here {
        match self.map.next(at) {
            Some(range) if range.start <= at => Here::Free(limit.min(range.end - at)),
            Some(range) => Here::Kept(limit.min(range.start - at)),
            None => Here::Kept(limit),
        }
    }
}

/// Free bytes as an extent.
const fn zeros(start: GuestOffset, len: u64) -> Extent {
    let kind = ExtentKind::Zero;
    Extent { start, len, kind }
}

impl DiskImage for Discarded {
    fn virtual_size(&self) -> u64 {
        self.image.virtual_size()
    }

    fn extent_at(&self, at: GuestOffset, limit: u64) -> Result<Extent> {
        let limit = clip_extent(at, limit, self.virtual_size())?;
        match self.here(at.0, limit) {
            Here::Free(len) => Ok(zeros(at, len)),
            Here::Kept(len) => self.image.extent_at(at, len),
        }
    }

    fn extents_from(
        &self,
        at: GuestOffset,
        end: GuestOffset,
        most: usize,
        found: &mut Vec<Extent>,
    ) -> Result<()> {
        let limit = clip_extent(at, end.0.saturating_sub(at.0), self.virtual_size())?;
        match self.here(at.0, limit) {
            Here::Free(len) => found.push(zeros(at, len)),
            Here::Kept(len) => {
                let end = GuestOffset(at.0.saturating_add(len));
                self.image.extents_from(at, end, most, found)?;
            }
        }
        Ok(())
    }

    fn tallies_from(
        &self,
        at: GuestOffset,
        end: GuestOffset,
        unit: u64,
        most: usize,
        found: &mut Vec<Tally>,
    ) -> Result<()> {
        let limit = clip_extent(at, end.0.saturating_sub(at.0), self.virtual_size())?;
        match self.here(at.0, limit) {
            Here::Free(len) => found.push(Tally::of(&zeros(at, len))),
            Here::Kept(len) => {
                let end = GuestOffset(at.0.saturating_add(len));
                self.image.tallies_from(at, end, unit, most, found)?;
            }
        }
        Ok(())
    }

    fn work(&self) -> Work {
        self.image.work()
    }

    fn read_at(&self, at: GuestOffset, buf: &mut [u8]) -> Result<()> {
        check_range(at, buf.len() as u64, self.virtual_size())?;
        let (mut at, mut rest) = (at.0, buf);
        while !rest.is_empty() {
            let (free, len) = match self.here(at, rest.len() as u64) {
                Here::Free(len) => (true, len),
                Here::Kept(len) => (false, len),
            };
            // No more than the buffer has.
            let here = usize::try_from(len).unwrap_or(rest.len()).min(rest.len());
            let (piece, behind) = rest.split_at_mut(here);
            match free {
                true => piece.fill(0),
                false => self.image.read_at(GuestOffset(at), piece)?,
            }
            (at, rest) = (at.saturating_add(len), behind);
        }
        Ok(())
    }

    fn details(&self) -> Details {
        self.image.details()
    }

    /// A bitmap of changes knows what was written, and not what became free meanwhile.
    fn changes(&self, _bitmap: &str, _unit: u64) -> Result<Changes> {
        let error = Error::new(
            ErrorKind::Unsupported,
            "a bitmap of changes does not tell what has become free since then",
        );
        Err(error.with_hint("keep the free space, or read the disk without the bitmap"))
    }

    fn audit(&self, cancelled: &dyn Fn() -> bool) -> Result<()> {
        self.image.audit(cancelled)
    }

    fn memory_bound(&self, readers: usize) -> u64 {
        self.image
            .memory_bound(readers)
            .saturating_add(self.map.memory())
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::cast_possible_truncation,
        reason = "test data are far smaller than any of these types"
    )]

    use diskimg::{DiskImageExt as _, MemorySource, RawImage};

    use super::*;
    use crate::map::join;

    const K: u64 = 64 << 10;

    fn disk() -> Discarded {
        let bytes = vec![7; 10 << 16];
        let image = RawImage::open(Arc::new(MemorySource(bytes))).unwrap();
        let map = join(vec![K..3 * K, 5 * K..6 * K, 9 * K..10 * K]);
        Discarded::new(Box::new(image), Arc::new(map))
    }

    #[test]
    fn free_ranges_are_zero_extents_and_read_as_zeros() {
        let disk = disk();
        let found: Vec<_> = disk
            .all_extents()
            .map(|extent| extent.unwrap())
            .map(|extent| (extent.start.0 / K, extent.len / K, extent.kind))
            .collect();
        let (data, zero) = (ExtentKind::Data, ExtentKind::Zero);
        assert_eq!(
            found,
            [
                (0, 1, data),
                (1, 2, zero),
                (3, 2, data),
                (5, 1, zero),
                (6, 3, data),
                (9, 1, zero)
            ]
        );
        let zeros: u64 = disk.tallies(2 * K).map(|tally| tally.unwrap().zero).sum();
        assert_eq!(zeros, 4 * K);
        let mut expected = vec![7; 10 << 16];
        for free in disk.map.ranges() {
            expected[free.start as usize..free.end as usize].fill(0);
        }
        testkit::conformance(&disk, &expected);
    }

    #[test]
    fn reads_across_the_edges_of_free_ranges_are_right() {
        let disk = disk();
        let mut buf = vec![1; (7 * K) as usize];
        disk.read_at(GuestOffset(K - 5), &mut buf).unwrap();
        for (byte, at) in buf.iter().zip(K - 5..) {
            let free = (K..3 * K).contains(&at) || (5 * K..6 * K).contains(&at);
            assert_eq!(*byte, if free { 0 } else { 7 }, "{at}");
        }
        assert!(disk.read_at(GuestOffset(10 * K - 1), &mut [0; 2]).is_err());
        assert!(disk.extent_at(GuestOffset(10 * K), 1).is_err());
    }
}
