//! Counts the work of finding out what lies where, so that a small file cannot make it long.
//!
//! The count does not know what makes a file slow: every format charges what it does, and a walk
//! over a whole disk ends with an error once it has done more than the files justify. Steps are
//! counted and not seconds, so that a file that is accepted on one machine is accepted on every
//! other one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::limits::{STORED_BYTES_PER_STEP, SURVEY_STEPS, TABLE_BYTES_PER_STEP};
use crate::source::ReadAt;
use crate::units::{GuestOffset, human};

/// Steps for asking the file system about a hole: two system calls.
pub(crate) const SEEK_STEPS: u64 = 16;
/// Bytes of a table that are read and decoded in a step.
pub(crate) const READ_BYTES_PER_STEP: u64 = 256;

/// The work that an image has done so far, and what one walk over it may do, in steps. A step is
/// about the work for one extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Steps taken since the image was opened, by all files of its chain and all threads.
    pub done: u64,
    /// Most steps of one walk over the whole disk.
    pub allowed: u64,
}

impl Work {
    /// Of an image whose walks need no limit.
    pub const UNLIMITED: Self = Self {
        done: 0,
        allowed: u64::MAX,
    };
}

/// The counter that the files of a chain share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Steps(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    done: AtomicU64,
    /// What the files' own size adds to [`SURVEY_STEPS`].
    earned: AtomicU64,
}

impl Steps {
    pub(crate) fn take(&self, steps: u64) {
        self.0.done.fetch_add(steps, Ordering::Relaxed);
    }

    /// Allows for what `source` really stores: of its tables, which claim `table_bytes`, and of
    /// everything else.
    pub(crate) fn allow_for(&self, source: &dyn ReadAt, table_bytes: u64) {
        let stored = source.stored_len();
        let earned =
            table_bytes.min(stored) / TABLE_BYTES_PER_STEP + stored / STORED_BYTES_PER_STEP;
        self.0.earned.fetch_add(earned, Ordering::Relaxed);
    }

    pub(crate) fn work(&self) -> Work {
        let earned = self.0.earned.load(Ordering::Relaxed);
        Work {
            done: self.0.done.load(Ordering::Relaxed),
            allowed: SURVEY_STEPS.saturating_add(earned),
        }
    }
}

/// Watches one walk over a disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch {
    begun: u64,
    allowed: u64,
}

impl Watch {
    /// Of a disk whose work stands at `work`.
    pub(crate) fn new(work: Work) -> Self {
        let Work { done, allowed } = work;
        Self {
            begun: done,
            allowed,
        }
    }

    /// Ends a walk over a disk of `size` bytes that came to `at` with more steps than it is
    /// allowed; the work stands at `work`.
    ///
    /// # Errors
    /// `Limit`.
    #[inline]
    pub(crate) fn check(&self, work: Work, at: GuestOffset, size: u64) -> Result<()> {
        let taken = work.done.saturating_sub(self.begun);
        if taken <= self.allowed {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Limit,
            format!(
                "the image is too complex: listing what lies on the first {} of {} took {taken} \
                 steps, at most {} are allowed for the tables that the file stores",
                human(at.0),
                human(size),
                self.allowed
            ),
        )
        .with_hint(
            "if you trust the image, make a simpler copy of it: \
             qemu-img convert -O qcow2 IMAGE copy.qcow2",
        ))
    }
}

/// How far ahead a walk asks: a layer looks for the end of what it does not store before it asks
/// the layer below, which may have cut the same stretch into many pieces. So a walk asks for a few
/// times what it got last, and both sides cost what they hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window(u64);

impl Window {
    const LEAST: u64 = 64 << 20;

    pub(crate) const fn new() -> Self {
        Self(Self::LEAST)
    }

    /// Where to stop asking from `at` on, `end` at the latest.
    pub(crate) fn end(self, at: GuestOffset, end: GuestOffset) -> GuestOffset {
        GuestOffset(at.0.saturating_add(self.0).min(end.0))
    }

    /// Notes that the last answer was `len` bytes long.
    pub(crate) fn passed(&mut self, len: u64) {
        self.0 = len.saturating_mul(4).max(Self::LEAST);
    }
}
