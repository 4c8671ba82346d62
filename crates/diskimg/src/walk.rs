//! Walks over a disk: extent by extent, and in sums.
//!
//! A cluster of 32 subclusters or a block with a bitmap of its sectors may be thousands of extents.
//! A caller that only adds them up gets their sum instead.

use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};
use crate::extent::{Extent, Tally, check_answer};
use crate::image::DiskImage;
use crate::units::GuestOffset;
use crate::work::{Watch, Window};

/// Conveniences on every [`DiskImage`].
pub trait DiskImageExt: DiskImage {
    /// The extents of `range`, in order and without gaps, neighbours of one kind joined. Lazy: cost
    /// follows what is consumed. After an error the walk ends.
    fn extents(&self, range: Range<GuestOffset>) -> Extents<'_, Self> {
        Extents {
            image: self,
            at: range.start,
            end: range.end,
            batch: Vec::new(),
            taken: 0,
            asked: 0,
            pending: None,
            failed: None,
            window: Window::new(),
            watch: None,
        }
    }

    /// The extents of the whole disk. Ends with an error of kind `Limit` when they are far more
    /// than the files could describe honestly: see [`DiskImage::work`]. Nothing else should use the
    /// image meanwhile, or its work counts too.
    fn all_extents(&self) -> Extents<'_, Self> {
        Extents {
            watch: Some(Watch::new(self.work())),
            ..self.extents(GuestOffset(0)..GuestOffset(self.virtual_size()))
        }
    }

    /// The whole disk in sums: see [`DiskImage::tallies_from`] for `unit`. Limited as
    /// [`Self::all_extents`].
    fn tallies(&self, unit: u64) -> Tallies<'_, Self> {
        Tallies::new(self, unit)
    }
}

impl<T: DiskImage + ?Sized> DiskImageExt for T {}

/// Most extents that a walk asks for at a time.
const MAX_BATCH: usize = 1024;

/// Iterator of [`DiskImageExt::extents`].
pub struct Extents<'a, T: DiskImage + ?Sized> {
    image: &'a T,
    /// Where the batch ends.
    at: GuestOffset,
    end: GuestOffset,
    /// What was asked for last, and how much of it was consumed.
    batch: Vec<Extent>,
    taken: usize,
    /// How many were asked for last.
    asked: usize,
    pending: Option<Extent>,
    failed: Option<Error>,
    window: Window,
    /// Of a walk over the whole disk.
    watch: Option<Watch>,
}

impl<T: DiskImage + ?Sized> Extents<'_, T> {
    /// Asks for more: one at first, because many walks end there.
    fn ask(&mut self) -> Result<()> {
        self.batch.clear();
        self.taken = 0;
        self.asked = (self.asked * 8).clamp(1, MAX_BATCH);
        let start = self.at;
        let end = self.window.end(start, self.end);
        self.image
            .extents_from(start, end, self.asked, &mut self.batch)?;
        if self.batch.is_empty() {
            // A walk that ended here would leave out the rest of the disk without a word.
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("no extent was returned for guest offset {}", self.at),
            ));
        }
        for extent in &self.batch {
            check_answer(extent, self.at, end.0.saturating_sub(self.at.0))?;
            self.at = extent.end();
        }
        self.window.passed(self.at.0 - start.0);
        match &self.watch {
            Some(watch) => watch.check(self.image.work(), self.at, self.image.virtual_size()),
            None => Ok(()),
        }
    }

    /// Whether there is another extent in the batch, after asking for a new one if need be; never
    /// again after a failure.
    fn has_more(&mut self) -> bool {
        if self.taken < self.batch.len() {
            return true;
        }
        if self.at >= self.end || self.failed.is_some() {
            return false;
        }
        if let Err(error) = self.ask() {
            self.failed = Some(error);
            self.batch.clear();
        }
        !self.batch.is_empty()
    }
}

impl<T: DiskImage + ?Sized> Iterator for Extents<'_, T> {
    type Item = Result<Extent>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.has_more() {
            // Field by field: moving whole ones about in options costs several times as much.
            let Some(&Extent { start, len, kind }) = self.batch.get(self.taken) else {
                break;
            };
            match &mut self.pending {
                // Only the last one of a batch may continue in the next batch.
                None if self.taken + 1 < self.batch.len() => {
                    self.taken += 1;
                    return Some(Ok(Extent { start, len, kind }));
                }
                None => self.pending = Some(Extent { start, len, kind }),
                Some(pending) if pending.kind == kind => pending.len += len,
                Some(_) => return self.pending.take().map(Ok),
            }
            self.taken += 1;
        }
        if let Some(done) = self.pending.take() {
            return Some(Ok(done));
        }
        self.at = self.end;
        self.failed.take().map(Err)
    }
}

/// Most tallies that a walk asks for at a time.
const MAX_TALLIES: usize = 1024;

/// Iterator of [`crate::DiskImageExt::tallies`].
pub struct Tallies<'a, T: DiskImage + ?Sized> {
    image: &'a T,
    unit: u64,
    /// Where the batch ends.
    at: GuestOffset,
    batch: Vec<Tally>,
    taken: usize,
    window: Window,
    watch: Watch,
}

impl<'a, T: DiskImage + ?Sized> Tallies<'a, T> {
    pub(crate) fn new(image: &'a T, unit: u64) -> Self {
        Self {
            image,
            unit,
            at: GuestOffset(0),
            batch: Vec::new(),
            taken: 0,
            window: Window::new(),
            watch: Watch::new(image.work()),
        }
    }

    /// Asks for more.
    fn ask(&mut self, end: GuestOffset) -> Result<()> {
        self.batch.clear();
        self.taken = 0;
        let start = self.at;
        let limit = self.window.end(start, end);
        self.image
            .tallies_from(start, limit, self.unit, MAX_TALLIES, &mut self.batch)?;
        for tally in &self.batch {
            let left = limit.0.saturating_sub(self.at.0);
            if tally.start != self.at || !(1..=left).contains(&tally.len()) {
                return Err(Error::new(
                    ErrorKind::Corrupt,
                    format!(
                        "at most {left} bytes at guest offset {} were to be summed up, the answer \
                         is {} bytes at {}",
                        self.at,
                        tally.len(),
                        tally.start
                    ),
                ));
            }
            self.at = tally.end();
        }
        if self.at == start {
            // A walk that ended here would leave out the rest of the disk.
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("no sum was returned for guest offset {start}"),
            ));
        }
        self.window.passed(self.at.0 - start.0);
        self.watch
            .check(self.image.work(), self.at, self.image.virtual_size())
    }
}

impl<T: DiskImage + ?Sized> Iterator for Tallies<'_, T> {
    type Item = Result<Tally>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(tally) = self.batch.get(self.taken) {
            self.taken += 1;
            return Some(Ok(*tally));
        }
        let end = GuestOffset(self.image.virtual_size());
        if self.at >= end {
            return None;
        }
        if let Err(error) = self.ask(end) {
            // A failed walk is over.
            self.batch.clear();
            self.at = end;
            return Some(Err(error));
        }
        self.taken = 1;
        self.batch.first().map(|tally| Ok(*tally))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::details::Details;
    use crate::extent::ExtentKind;
    use crate::format::Format;

    /// Knows its first half, and then returns what it is given.
    struct Half(Option<Extent>);

    impl DiskImage for Half {
        fn virtual_size(&self) -> u64 {
            2048
        }

        fn extent_at(&self, at: GuestOffset, _: u64) -> Result<Extent> {
            Ok(Extent {
                start: at,
                len: 1024,
                kind: ExtentKind::Data,
            })
        }

        fn extents_from(
            &self,
            at: GuestOffset,
            _: GuestOffset,
            _: usize,
            found: &mut Vec<Extent>,
        ) -> Result<()> {
            match at.0 {
                0 => found.push(self.extent_at(at, 1024)?),
                _ => found.extend(self.0),
            }
            Ok(())
        }

        fn read_at(&self, _: GuestOffset, _: &mut [u8]) -> Result<()> {
            Ok(())
        }

        fn details(&self) -> Details {
            Details::new(Format::Raw)
        }

        fn memory_bound(&self, _: usize) -> u64 {
            0
        }
    }

    #[test]
    fn a_walk_that_is_told_nothing_or_nonsense_ends_with_an_error_and_not_as_if_the_disk_did() {
        let extent = |start, len| {
            let start = GuestOffset(start);
            let kind = ExtentKind::Zero;
            Some(Extent { start, len, kind })
        };
        for told in [None, extent(1024, 0), extent(1024, 2048), extent(0, 1024)] {
            let image = Half(told);
            let mut walk = image.all_extents();
            assert_eq!(walk.next().unwrap().unwrap().len, 1024, "{told:?}");
            let error = walk.next().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{told:?}");
            assert!(walk.next().is_none());
        }
    }
}
