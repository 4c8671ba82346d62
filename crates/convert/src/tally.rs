//! Adding up what happened to the disk's bytes, for the monitor and the report alike.

use std::ops::Range;

use crate::monitor::{Counter, Monitor};

/// Bytes of the disk by what happened to them. Gets the blocks in ascending order; what lies
/// between two of them was skipped.
pub(crate) struct Tally<'a> {
    monitor: &'a dyn Monitor,
    virtual_size: u64,
    /// End of the last block that was added.
    at: u64,
    read: u64,
    zero: u64,
    kept: u64,
}

impl<'a> Tally<'a> {
    pub(crate) fn new(virtual_size: u64, monitor: &'a dyn Monitor) -> Self {
        Self {
            monitor,
            virtual_size,
            at: 0,
            read: 0,
            zero: 0,
            kept: 0,
        }
    }

    /// An earlier run has dealt with the first `bytes` of the disk.
    pub(crate) fn keep(&mut self, bytes: u64) {
        self.at = bytes;
        self.kept = bytes;
        self.monitor.count(Counter::GuestBytes, bytes);
    }

    /// The block at `range`, which an earlier run has dealt with, was read again: `read` bytes of
    /// it.
    pub(crate) fn again(&mut self, range: Range<u64>, read: u64) {
        self.kept = self
            .kept
            .saturating_sub(range.end.saturating_sub(range.start));
        self.read += read;
        self.monitor.count(Counter::ReadBytes, read);
    }

    /// The block at `range` was not read by this run: an earlier object holds it.
    pub(crate) fn copied(&mut self, range: Range<u64>) {
        let len = range.end.saturating_sub(range.start);
        self.kept += len;
        self.block(range.start..range.start, 0);
        self.at = range.end;
        self.monitor.count(Counter::GuestBytes, len);
    }

    /// The block at `range` is done; `read` bytes of it were read.
    pub(crate) fn block(&mut self, range: Range<u64>, read: u64) {
        let dealt_with = range.end.saturating_sub(self.at);
        self.at = range.end;
        self.read += read;
        self.monitor.count(Counter::GuestBytes, dealt_with);
        self.monitor.count(Counter::ReadBytes, read);
        self.monitor
            .count(Counter::SkippedBytes, dealt_with.saturating_sub(read));
    }

    /// `bytes` of what was read turned out to be zero.
    pub(crate) fn zero(&mut self, bytes: u64) {
        self.zero += bytes;
        self.monitor.count(Counter::ZeroBytes, bytes);
    }

    /// Everything behind the last block was skipped.
    pub(crate) fn finish(&mut self) {
        self.block(self.virtual_size..self.virtual_size, 0);
    }

    pub(crate) fn read_bytes(&self) -> u64 {
        self.read
    }

    pub(crate) fn zero_bytes(&self) -> u64 {
        self.zero
    }

    pub(crate) fn skipped_bytes(&self) -> u64 {
        self.virtual_size
            .saturating_sub(self.read)
            .saturating_sub(self.kept)
    }

    pub(crate) fn kept_bytes(&self) -> u64 {
        self.kept
    }
}
