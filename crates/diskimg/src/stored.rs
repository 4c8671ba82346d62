//! Which parts of an image file were ever written: the file may have holes itself.

use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::chain::Context;
use crate::error::Result;
use crate::extent::ExtentKind;
use crate::limits::KNOWN_STRETCH_BYTES;
use crate::source::{ReadAt, SourceExtent};
use crate::units::FileOffset;
use crate::work::{SEEK_STEPS, Steps};

/// Where a file holds data. The file system is asked front to back, once, and the answers are kept:
/// an image may name a place any number of times. A file with more stretches than are kept is asked
/// each time from there on.
pub(crate) struct StoredMap {
    source: Arc<dyn ReadAt>,
    steps: Steps,
    /// Most stretches that are kept.
    most: usize,
    known: Mutex<Known>,
}

/// A stretch of data.
#[derive(Clone, Copy)]
struct Stretch {
    start: u64,
    end: u64,
    /// Bytes of data in the stretches before it.
    before: u64,
}

#[derive(Default)]
struct Known {
    /// In order and apart from each other. What is between them is a hole.
    data: Vec<Stretch>,
    /// First byte that nothing is known of.
    end: u64,
    /// How many questions to the file system that took.
    asked: usize,
    /// A stretch of data behind `end`: the last answer.
    last: Range<u64>,
}

impl StoredMap {
    /// Nothing is asked yet.
    pub(crate) fn new(source: &Arc<dyn ReadAt>, context: &Context) -> Self {
        let most = context.cache(KNOWN_STRETCH_BYTES) / size_of::<Stretch>() as u64;
        Self {
            source: Arc::clone(source),
            steps: context.steps().clone(),
            most: usize::try_from(most).unwrap_or_default(),
            known: Mutex::default(),
        }
    }

    /// What begins at `at`, which lies in the file, and where it ends: `Data`, or a `Hole` that
    /// reads as zeros.
    ///
    /// # Errors
    /// Those of asking the file.
    pub(crate) fn stretch(&self, at: u64) -> Result<(ExtentKind, u64)> {
        let mut known = self.known.lock();
        if known.last.contains(&at) {
            return Ok((ExtentKind::Data, known.last.end));
        }
        self.learn(&mut known, at)?;
        if at < known.end {
            return Ok(known.stretch(at));
        }
        drop(known);
        // To the end of the file, so that the answer serves later questions too.
        let rest = self.source.len().saturating_sub(at).max(1);
        self.steps.take(SEEK_STEPS);
        match self.source.extent_at(FileOffset(at), rest)? {
            SourceExtent::Hole(len) => Ok((ExtentKind::Hole, at.saturating_add(len))),
            SourceExtent::Data(len) => {
                let end = at.saturating_add(len);
                self.known.lock().last = at..end;
                Ok((ExtentKind::Data, end))
            }
        }
    }

    /// Where the hole at `at` ends; `None` when there is data.
    ///
    /// # Errors
    /// Those of asking the file.
    pub(crate) fn hole(&self, at: u64) -> Result<Option<u64>> {
        if at >= self.source.len() {
            return Ok(None);
        }
        let (kind, end) = self.stretch(at)?;
        Ok((kind == ExtentKind::Hole).then_some(end))
    }

    /// How many bytes of `range`, which lies in the file, are data; `None` when that is not kept.
    ///
    /// # Errors
    /// Those of asking the file.
    pub(crate) fn data_bytes(&self, range: Range<u64>) -> Result<Option<u64>> {
        let mut known = self.known.lock();
        self.learn(&mut known, range.end.saturating_sub(1))?;
        if known.end < range.end {
            return Ok(None);
        }
        let bytes = known.data_before(range.end) - known.data_before(range.start);
        Ok(Some(bytes))
    }

    /// Most bytes that it ever holds: a list that grows may have twice the room it needs.
    pub(crate) fn memory(&self) -> u64 {
        2 * (self.most * size_of::<Stretch>()) as u64
    }

    /// Asks the file for what lies up to `to`, as far as that can be kept.
    fn learn(&self, known: &mut Known, to: u64) -> Result<()> {
        let len = self.source.len();
        while known.end <= to && known.end < len {
            // Most answers are a stretch of data or the hole behind it; a file system may cut them
            // into pieces.
            if known.data.len() >= self.most || known.asked >= 4 * self.most {
                return Ok(());
            }
            known.asked += 1;
            self.steps.take(SEEK_STEPS);
            let rest = len - known.end;
            match self.source.extent_at(FileOffset(known.end), rest)? {
                SourceExtent::Hole(hole) => known.end += hole.clamp(1, rest),
                SourceExtent::Data(data) => known.add(data.clamp(1, rest)),
            }
        }
        Ok(())
    }
}

impl Known {
    /// Adds data at the end of what is known.
    fn add(&mut self, len: u64) {
        let start = self.end;
        self.end += len;
        match self.data.last_mut() {
            Some(last) if last.end == start => last.end = self.end,
            last => {
                let before = last.map_or(0, |last| last.before + (last.end - last.start));
                self.data.push(Stretch {
                    start,
                    end: self.end,
                    before,
                });
            }
        }
    }

    /// Index of the first stretch of data that ends after `at`.
    fn index(&self, at: u64) -> usize {
        self.data.partition_point(|stretch| stretch.end <= at)
    }

    /// What begins at `at`, which is known.
    fn stretch(&self, at: u64) -> (ExtentKind, u64) {
        match self.data.get(self.index(at)) {
            Some(stretch) if stretch.start <= at => (ExtentKind::Data, stretch.end),
            Some(next) => (ExtentKind::Hole, next.start),
            None => (ExtentKind::Hole, self.end),
        }
    }

    /// Bytes of data before `at`, up to which everything is known.
    fn data_before(&self, at: u64) -> u64 {
        match self.data.get(self.index(at)) {
            Some(stretch) => stretch.before + at.saturating_sub(stretch.start),
            None => self
                .data
                .last()
                .map_or(0, |last| last.before + (last.end - last.start)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::options::OpenOptions;

    /// Data and holes of a KiB take turns, `len` bytes in all; counts how often it is asked.
    struct Striped {
        len: u64,
        asked: Arc<AtomicU64>,
    }

    const STRIPE: u64 = 1 << 10;

    impl ReadAt for Striped {
        fn len(&self) -> u64 {
            self.len
        }

        fn read_exact_at(&self, _: FileOffset, buf: &mut [u8]) -> Result<()> {
            buf.fill(0);
            Ok(())
        }

        fn extent_at(&self, at: FileOffset, limit: u64) -> Result<SourceExtent> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let len = (STRIPE - at.0 % STRIPE).min(limit);
            Ok(match at.0 / STRIPE % 2 {
                0 => SourceExtent::Data(len),
                _ => SourceExtent::Hole(len),
            })
        }
    }

    fn map(stripes: u64) -> (StoredMap, Arc<AtomicU64>) {
        let asked = Arc::new(AtomicU64::new(0));
        let source: Arc<dyn ReadAt> = Arc::new(Striped {
            len: stripes * STRIPE,
            asked: Arc::clone(&asked),
        });
        let context = Context::new(&OpenOptions::default());
        (StoredMap::new(&source, &context), asked)
    }

    #[test]
    fn each_place_is_asked_for_once_however_often_it_is_named() {
        let (map, asked) = map(64);
        for _ in 0..100 {
            for stripe in [63, 0, 5, 2, 40] {
                let at = stripe * STRIPE + 7;
                let kind = match stripe % 2 {
                    0 => ExtentKind::Data,
                    _ => ExtentKind::Hole,
                };
                assert_eq!(map.stretch(at).unwrap(), (kind, (stripe + 1) * STRIPE));
            }
            let bytes = map.data_bytes(STRIPE / 2..5 * STRIPE + 3).unwrap();
            assert_eq!(bytes, Some(5 * STRIPE / 2));
            assert_eq!(map.data_bytes(STRIPE..2 * STRIPE).unwrap(), Some(0));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 64);
    }

    #[test]
    fn a_file_of_more_stretches_than_are_kept_is_asked_each_time_beyond_them() {
        let most = KNOWN_STRETCH_BYTES / size_of::<Stretch>() as u64;
        let (map, asked) = map(4 * most);
        let at = 4 * most * STRIPE - STRIPE / 2;
        assert_eq!(
            map.stretch(at).unwrap(),
            (ExtentKind::Hole, at + STRIPE / 2)
        );
        let before = asked.load(Ordering::Relaxed);
        assert!(before <= 2 * most + 1, "{before}");
        for _ in 0..10 {
            let data = at - STRIPE;
            assert_eq!(map.stretch(at).unwrap().0, ExtentKind::Hole);
            assert_eq!(
                map.stretch(data).unwrap(),
                (ExtentKind::Data, at - STRIPE / 2)
            );
            assert_eq!(map.data_bytes(data..at).unwrap(), None);
        }
        assert_eq!(asked.load(Ordering::Relaxed), before + 11);
    }
}
