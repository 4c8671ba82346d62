//! How to upload: memory, the layout of the parts, and the observers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use convert::parts::PART_UNIT;
use convert::{Monitor, VoidMonitor};

use crate::error::Error;
use crate::hint::Hint;
use crate::joining::JoiningSink;
use crate::part_log::{PartLog, VoidPartLog};
use crate::parts::{self, MAX_PARTS, MIN_PART_SIZE, Schedule, Tier};

/// Smallest part of a raw object: with smaller parts, requests cost more than they save.
const LEAST_RAW_PART: u64 = 8 << 20;

const _: () = assert!(LEAST_RAW_PART >= MIN_PART_SIZE);

/// One part is built while another is sent.
const LEAST_PARTS: u64 = 2;

/// Bytes of each part of a raw object of `len` bytes but the last: as small as 10,000 parts allow,
/// so that little is sent for a disk with scattered data, and at least 8 MiB.
#[must_use]
pub const fn raw_part_size(len: u64) -> u64 {
    let least = len.div_ceil(MAX_PARTS as u64);
    let least = if least < LEAST_RAW_PART {
        LEAST_RAW_PART
    } else {
        least
    };
    match least.checked_next_multiple_of(PART_UNIT) {
        Some(size) => size,
        None => u64::MAX,
    }
}

/// Bytes of [`UploadOptions::memory`] that the upload of a raw object of `len` bytes needs when
/// `parts` parts are to be in memory: those that are built and sent, and the zeros.
#[must_use]
pub fn raw_memory(len: u64, parts: u64) -> u64 {
    memory_of_parts(raw_part_size(len), parts)
}

fn memory_of_parts(part_size: u64, parts: u64) -> u64 {
    part_size.saturating_mul(parts.max(LEAST_PARTS).saturating_add(1))
}

/// How an object is cut into parts, and in which order they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A stream of at most [`UploadOptions::expected_max`] bytes, written front to back.
    Stream(Schedule),
    /// An object of exactly [`UploadOptions::expected_max`] bytes, such as a raw disk. Its parts
    /// come in any order from many threads, through [`MultipartSink::into_unordered`]. The server
    /// copies parts that are all zero from a helper object, which lies beside the target while the
    /// upload lasts; if the server refuses to copy, the zeros are sent.
    ///
    /// [`MultipartSink::into_unordered`]: crate::MultipartSink::into_unordered
    Unordered {
        /// Bytes of each part but the last.
        part_size: u64,
    },
    /// A stream of at most [`UploadOptions::expected_max`] bytes, some of which the server copies
    /// from another object, through [`MultipartSink::into_joining`].
    ///
    /// [`MultipartSink::into_joining`]: crate::MultipartSink::into_joining
    Joined {
        /// Bytes of a part that is sent, at least `min_part`.
        part_size: u64,
        /// Bytes that every part but the last must have: [`MIN_PART_SIZE`], or less where the
        /// server is known to take less.
        min_part: u64,
    },
}

impl Layout {
    /// Bytes of [`UploadOptions::memory`] that parts need, of whatever length the object is.
    #[must_use]
    pub const fn least_memory(self) -> u64 {
        let part = match self {
            Self::Stream(_) => 0,
            Self::Unordered { part_size } => part_size,
            Self::Joined {
                part_size,
                min_part,
            } => JoiningSink::memory_of_part(part_size, min_part),
        };
        part.saturating_mul(LEAST_PARTS)
    }

    /// The layout of a raw object of `len` bytes.
    #[must_use]
    pub const fn raw(len: u64) -> Self {
        Self::Unordered {
            part_size: raw_part_size(len),
        }
    }
}

/// How to upload.
#[derive(Clone)]
pub struct UploadOptions {
    /// Bytes that parts may hold in memory, in all: the one being filled, those waiting and those
    /// being sent.
    pub memory: u64,
    /// Upper bound of the object's length in bytes; with [`Layout::Unordered`] the length itself.
    /// How large parts can become follows from it, and so how much memory is needed; a stream that
    /// turns out longer fails.
    pub expected_max: u64,
    /// How the object is cut into parts, in which order they come, and whether the server copies
    /// those that are all zero.
    pub layout: Layout,
    /// Parts that are sent at the same time, at most. At least 1.
    pub max_in_flight: usize,
    /// Tunes the number of parts in flight, up to [`UploadOptions::max_in_flight`]: starts with
    /// few, sends more while that is faster, and half as many when the server is busy.
    pub adaptive: bool,
    /// The object's `Content-Type`.
    pub content_type: String,
    /// The object's own metadata (`x-amz-meta-…`): ASCII names and values.
    pub metadata: BTreeMap<String, String>,
    /// Counts [`convert::Counter::UploadedBytes`] for each part that the server has confirmed.
    pub monitor: Arc<dyn Monitor>,
    /// Records each part that the server has confirmed.
    pub log: Arc<dyn PartLog>,
}

impl Default for UploadOptions {
    /// 480 MiB, which holds three of the largest parts; a length that fits the largest image.
    fn default() -> Self {
        Self {
            memory: 480 << 20,
            expected_max: parts::LARGEST_IMAGE,
            layout: Layout::Stream(parts::STANDARD),
            max_in_flight: 4,
            adaptive: false,
            content_type: "application/octet-stream".into(),
            metadata: BTreeMap::new(),
            monitor: Arc::new(VoidMonitor),
            log: Arc::new(VoidPartLog),
        }
    }
}

impl fmt::Debug for UploadOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadOptions")
            .field("memory", &self.memory)
            .field("expected_max", &self.expected_max)
            .field("layout", &self.layout)
            .field("max_in_flight", &self.max_in_flight)
            .field("adaptive", &self.adaptive)
            .field("content_type", &self.content_type)
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}

impl UploadOptions {
    /// Bytes of [`UploadOptions::memory`] that a stream of up to `expected_max` bytes needs at
    /// least.
    #[must_use]
    pub fn least_memory(expected_max: u64) -> u64 {
        parts::STANDARD.memory(expected_max)
    }

    /// The sizes of the object's parts.
    pub(crate) fn schedule(&self) -> Schedule {
        match self.layout {
            Layout::Stream(schedule) => schedule,
            Layout::Unordered { part_size } | Layout::Joined { part_size, .. } => {
                Schedule::uniform(Tier {
                    parts: u32::try_from(self.expected_max.div_ceil(part_size.max(1)))
                        .unwrap_or(u32::MAX),
                    size: part_size,
                })
            }
        }
    }

    /// Bytes that parts on their way may hold.
    pub(crate) fn budget(&self) -> u64 {
        match self.layout {
            Layout::Stream(_) | Layout::Joined { .. } => self.memory,
            // The zeros take one part's share for as long as the upload lasts.
            Layout::Unordered { part_size } => self.memory.saturating_sub(part_size),
        }
    }

    /// Refuses objects that cannot fit, and memory that does not suffice.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let schedule = self.schedule();
        let len = self.expected_max;
        if len > schedule.capacity() || schedule.parts() > MAX_PARTS {
            return Err(Error::refused(format!(
                "the object may have {len} bytes, but {} parts hold at most {}",
                schedule.parts().min(MAX_PARTS),
                schedule.capacity()
            )));
        }
        let (needed, why) = match self.layout {
            Layout::Stream(_) => (
                schedule.memory(len),
                format!("an object of up to {len} bytes needs two parts in memory"),
            ),
            Layout::Joined { part_size, .. } => (
                self.layout.least_memory(),
                format!("two parts of {part_size} bytes are in memory"),
            ),
            Layout::Unordered { .. } if len == 0 => {
                return Err(Error::refused("a raw object cannot be empty"));
            }
            Layout::Unordered { part_size } => (
                memory_of_parts(part_size, 0),
                format!("a raw object of {len} bytes has parts of {part_size}"),
            ),
        };
        if self.memory < needed {
            return Err(Error::refused(format!(
                "{} for parts, expected at least {}: {why}",
                mebibytes(self.memory),
                mebibytes(needed),
            ))
            .with_hint(Hint::GiveMemory(needed)));
        }
        Ok(())
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn parts_are_small_whole_blocks_and_never_too_many() {
        assert_eq!(raw_part_size(512), 8 << 20);
        assert_eq!(raw_part_size(100 * GIB), 12 << 20);
        assert_eq!(raw_part_size(1024 * GIB), 106 << 20);
        for len in [
            1,
            78 * GIB,
            79 * GIB,
            500 * GIB,
            1024 * GIB,
            2048 * GIB + 512,
        ] {
            let size = raw_part_size(len);
            assert!(size.is_multiple_of(PART_UNIT) && size >= MIN_PART_SIZE);
            assert!(len.div_ceil(size) <= u64::from(MAX_PARTS), "{len}");
        }
    }

    #[test]
    fn objects_that_cannot_fit_are_refused() {
        let check = |expected_max, layout, memory| {
            let options = UploadOptions {
                expected_max,
                layout,
                memory,
                ..UploadOptions::default()
            };
            options.check()
        };
        let raw = |part_size| Layout::Unordered { part_size };
        check(10_000, raw(1), 3).unwrap();
        for (len, part_size, memory) in [(0, 1, 3), (10_001, 1, 3), (10, 0, 3), (10_000, 1, 2)] {
            check(len, raw(part_size), memory).unwrap_err();
        }
        check(1 << 20, Layout::Stream(parts::STANDARD), 1 << 20).unwrap();
        check(1 << 20, Layout::Stream(parts::STANDARD), (1 << 20) - 1).unwrap_err();
        check(u64::MAX, Layout::Stream(parts::STANDARD), u64::MAX).unwrap_err();
    }
}
