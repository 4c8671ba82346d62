//! How a run reports its progress, without knowing of any terminal.

use std::collections::HashMap;

use parking_lot::Mutex;

/// What is counted. Names end in their unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Counter {
    /// Bytes of the virtual disk that are dealt with: read, or known to be zero. Ends at the
    /// virtual size.
    GuestBytes,
    /// Bytes read from the source image as guest data.
    ReadBytes,
    /// Bytes of the virtual disk that were never read, because the metadata says that they are
    /// zero.
    SkippedBytes,
    /// Bytes that were read and turned out to be zero.
    ZeroBytes,
    /// Blocks that hold data.
    DataBlocks,
    /// Bytes handed to the sink.
    WrittenBytes,
    /// Bytes that the server has confirmed.
    UploadedBytes,
}

/// Receives progress, from many threads.
pub trait Monitor: Send + Sync {
    /// Adds `increment` to `counter`.
    fn count(&self, counter: Counter, increment: u64);
}

/// Ignores everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct VoidMonitor;

impl Monitor for VoidMonitor {
    fn count(&self, _: Counter, _: u64) {}
}

/// Adds everything up, for reports and tests.
#[derive(Debug, Default)]
pub struct CountingMonitor(Mutex<HashMap<Counter, u64>>);

impl CountingMonitor {
    /// What has been counted so far.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        let counts = self.0.lock();
        counts.get(&counter).copied().unwrap_or_default()
    }
}

impl Monitor for CountingMonitor {
    fn count(&self, counter: Counter, increment: u64) {
        let mut counts = self.0.lock();
        let count = counts.entry(counter).or_default();
        *count = count.saturating_add(increment);
    }
}
