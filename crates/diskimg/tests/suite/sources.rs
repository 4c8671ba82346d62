//! Sources that count, fail, have holes, or answer from a rule.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use diskimg::{Error, FileOffset, MemorySource, ReadAt, Result, SourceExtent};

/// Remembers every read.
#[derive(Clone, Default)]
pub(crate) struct Recorded {
    inner: MemorySource,
    /// Holes, by byte range of the file.
    pub(crate) holes: Vec<Range<u64>>,
    reads: Arc<Mutex<Vec<Range<u64>>>>,
}

impl Recorded {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self {
            inner: MemorySource(bytes.to_vec()),
            ..Self::default()
        }
    }

    /// The reads since the last call.
    pub(crate) fn take(&self) -> Vec<Range<u64>> {
        std::mem::take(&mut self.reads.lock().unwrap())
    }
}

impl ReadAt for Recorded {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_exact_at(&self, at: FileOffset, buf: &mut [u8]) -> Result<()> {
        let range = at.0..at.0 + buf.len() as u64;
        self.reads.lock().unwrap().push(range);
        self.inner.read_exact_at(at, buf)
    }

    fn extent_at(&self, at: FileOffset, limit: u64) -> Result<SourceExtent> {
        for hole in &self.holes {
            if hole.contains(&at.0) {
                return Ok(SourceExtent::Hole(limit.min(hole.end - at.0)));
            }
        }
        let next = self.holes.iter().map(|hole| hole.start);
        let next = next.filter(|start| *start > at.0).min();
        Ok(SourceExtent::Data(
            limit.min(next.unwrap_or(u64::MAX) - at.0),
        ))
    }
}

/// Fails at the n-th read, once or from then on.
pub(crate) struct Failing {
    inner: MemorySource,
    count: AtomicUsize,
    at: usize,
    forever: bool,
}

impl Failing {
    /// Fails at read number `at` (from 0), and if `forever` at all later ones.
    pub(crate) fn new(bytes: &[u8], at: usize, forever: bool) -> Self {
        Self {
            inner: MemorySource(bytes.to_vec()),
            count: AtomicUsize::new(0),
            at,
            forever,
        }
    }
}

impl ReadAt for Failing {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_exact_at(&self, at: FileOffset, buf: &mut [u8]) -> Result<()> {
        let count = self.count.fetch_add(1, Ordering::SeqCst);
        if count == self.at || self.forever && count > self.at {
            // As a failing disk does: something has arrived already.
            let half = buf.len() / 2;
            self.inner.read_exact_at(at, &mut buf[..half])?;
            return Err(Error::io(
                "reading failed",
                std::io::Error::from_raw_os_error(5),
            ));
        }
        self.inner.read_exact_at(at, buf)
    }
}
