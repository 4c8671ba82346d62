//! The end of the upload that a plain thread writes to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use convert::{Backlog, Sink, SinkError};
use tokio::sync::mpsc::UnboundedSender;

use crate::bridge::{Message, Shared};
use crate::budget::Permit;
use crate::error::Error;
use crate::joining::JoiningSink;
use crate::options::{Layout, UploadOptions};
use crate::part::{CopySource, Part};
use crate::parts::Schedule;
use crate::unordered::UnorderedSink;
use crate::zeros::Zeros;

/// Cuts a stream into parts and hands them over for sending, from a plain thread.
///
/// [`Sink::write`] blocks while parts in flight hold all of [`UploadOptions::memory`]; each part is
/// sent as soon as it is full. Once the upload has failed, or its
/// [`Upload`] is gone, `write` returns the upload's first error, a waiting one included.
///
/// [`MultipartSink::close`] hands over the last part. A sink that is dropped without it makes the
/// upload fail: it will never be completed with a part of the stream missing.
///
/// Do not write from a thread of the async runtime: blocking it could stop the very tasks that make
/// room.
///
/// [`Upload`]: crate::Upload
/// [`UploadOptions::memory`]: crate::UploadOptions::memory
#[derive(Debug)]
pub struct MultipartSink {
    shared: Arc<Shared>,
    // Not bounded by a number: each message holds its share of the budget, which is the bound.
    parts: UnboundedSender<Message>,
    schedule: Schedule,
    layout: Layout,
    filling: Option<Filling>,
    /// Number of the part that is filled next.
    next: u32,
    /// Bytes that may still be written before the promised length is used up.
    rest: u64,
    expected_max: u64,
    /// Sizes of the parts that are stored already: their bytes are dropped.
    kept: BTreeMap<u32, u64>,
    /// Bytes of the current part that were dropped.
    dropped: u64,
    /// A stored part was shorter than scheduled, so the stream ends with it.
    ended: bool,
    /// Time that was spent waiting for memory.
    waited: Duration,
    /// The zeros that the server copies, with [`Layout::Unordered`].
    ///
    /// [`Layout::Unordered`]: crate::Layout::Unordered
    zeros: Option<Arc<Zeros>>,
}

#[derive(Debug)]
struct Filling {
    buffer: Vec<u8>,
    size: usize,
    permit: Permit,
}

impl MultipartSink {
    pub(crate) fn new(
        shared: Arc<Shared>,
        parts: UnboundedSender<Message>,
        options: &UploadOptions,
        kept: BTreeMap<u32, u64>,
        zeros: Option<Arc<Zeros>>,
    ) -> Self {
        Self {
            shared,
            parts,
            schedule: options.schedule(),
            layout: options.layout,
            filling: None,
            next: 1,
            rest: options.expected_max,
            expected_max: options.expected_max,
            kept,
            dropped: 0,
            ended: false,
            waited: Duration::ZERO,
            zeros,
        }
    }

    /// The same end for writers that make whole parts, in any order and from many threads.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] without [`Layout::Unordered`], and when something was written.
    ///
    /// [`ErrorKind::Refused`]: crate::ErrorKind::Refused
    /// [`Layout::Unordered`]: crate::Layout::Unordered
    pub fn into_unordered(self) -> Result<UnorderedSink, Error> {
        let is_untouched = self.next == 1 && self.filling.is_none();
        match self.zeros.clone().filter(|_| is_untouched) {
            Some(zeros) => Ok(UnorderedSink::new(
                self.shared,
                self.parts,
                zeros,
                self.schedule.parts(),
            )),
            None => Err(self.stop(Error::refused("this upload takes its parts in order"))),
        }
    }

    /// The same end for a stream of which the server copies some from `source`.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] without [`Layout::Joined`], and when something was written.
    ///
    /// [`ErrorKind::Refused`]: crate::ErrorKind::Refused
    /// [`Layout::Joined`]: crate::Layout::Joined
    pub fn into_joining(self, source: CopySource) -> Result<JoiningSink, Error> {
        let is_untouched = self.next == 1 && self.filling.is_none();
        match self.layout {
            Layout::Joined {
                part_size,
                min_part,
            } if is_untouched => Ok(JoiningSink::new(
                self.shared,
                self.parts,
                source,
                (part_size, min_part),
            )),
            _ => Err(self.stop(Error::refused("no part of this upload is copied"))),
        }
    }

    fn append(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        if self.shared.failure().is_some() {
            return Err(self.shared.stopped());
        }
        while !bytes.is_empty() {
            if let Some(dropped) = self.pass(bytes.len() as u64) {
                // At most the length that was given.
                let dropped = usize::try_from(dropped).unwrap_or(usize::MAX);
                bytes = bytes.get(dropped..).unwrap_or_default();
                continue;
            }
            let mut filling = match self.filling.take() {
                Some(filling) => filling,
                None => self.begin()?,
            };
            let room = filling.size.saturating_sub(filling.buffer.len());
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            filling.buffer.extend_from_slice(now);
            bytes = later;
            if filling.buffer.len() < filling.size {
                self.filling = Some(filling);
            } else {
                self.hand_over(filling)?;
            }
        }
        Ok(())
    }

    /// Skips up to `len` bytes of a part that is stored; returns how many. `None` if there is no
    /// such part.
    fn pass(&mut self, len: u64) -> Option<u64> {
        let size = *self.kept.get(&self.next)?;
        let passed = len.min(size.saturating_sub(self.dropped));
        self.dropped = self.dropped.saturating_add(passed);
        if self.dropped >= size {
            self.ended = self.schedule.size(self.next) != Some(size);
            self.rest = self.rest.saturating_sub(size);
            self.next = self.next.saturating_add(1);
            self.dropped = 0;
        }
        Some(passed)
    }

    fn pass_over(&mut self, mut len: u64) -> Result<(), Error> {
        while len > 0 {
            if self.shared.failure().is_some() {
                return Err(self.shared.stopped());
            }
            let part = self.next;
            match self.pass(len) {
                Some(passed) if self.filling.is_none() => len = len.saturating_sub(passed),
                _ => {
                    return Err(self.stop(Error::refused(format!(
                        "cannot skip {len} bytes of part {part}: they are not stored yet"
                    ))));
                }
            }
        }
        Ok(())
    }

    /// Waits for memory and begins a part.
    fn begin(&mut self) -> Result<Filling, Error> {
        if self.ended {
            return Err(self.stop(Error::refused(format!(
                "the stream continues after part {}, where it ended in the earlier run",
                self.next.saturating_sub(1)
            ))));
        }
        let planned = self.schedule.size(self.next).unwrap_or(0).min(self.rest);
        if planned == 0 {
            return Err(self.stop(Error::refused(format!(
                "the stream is longer than the announced {} bytes",
                self.expected_max
            ))));
        }
        // Only this thread takes memory: what is free now stays free.
        let waits = self.shared.budget.free() < planned;
        let asked = Instant::now();
        let Some(permit) = self.shared.budget.acquire(planned) else {
            return Err(self.shared.stopped());
        };
        if waits {
            self.waited = self.waited.saturating_add(asked.elapsed());
        }
        let size = usize::try_from(planned).unwrap_or(usize::MAX);
        let mut buffer = Vec::new();
        if buffer.try_reserve_exact(size).is_err() {
            return Err(self.stop(Error::refused(format!(
                "cannot allocate a part of {planned} bytes"
            ))));
        }
        self.rest = self.rest.saturating_sub(planned);
        Ok(Filling {
            buffer,
            size,
            permit,
        })
    }

    fn hand_over(&mut self, filling: Filling) -> Result<(), Error> {
        let part = Part {
            number: self.next,
            body: Bytes::from(filling.buffer),
            permit: filling.permit,
        };
        self.next = self.next.saturating_add(1);
        self.send(Message::Part(part))
    }

    fn send(&self, message: Message) -> Result<(), Error> {
        self.parts.send(message).map_err(|_| self.shared.stopped())
    }

    /// Makes the whole upload fail with `error`.
    fn stop(&self, error: Error) -> Error {
        self.shared.fail(error);
        self.shared.stopped()
    }

    /// Hands over the last part. The upload can be completed after this.
    ///
    /// # Errors
    /// The upload's first error, if it has failed already.
    pub fn close(mut self) -> Result<(), Error> {
        if self.shared.failure().is_some() {
            return Err(self.shared.stopped());
        }
        if self.dropped > 0 {
            return Err(self.stop(Error::refused(format!(
                "the stream ends inside part {}, which is stored with more bytes",
                self.next
            ))));
        }
        if let Some(filling) = self.filling.take() {
            self.hand_over(filling)?;
        } else if self.next == 1 {
            // An object needs a part, if only an empty one.
            let Some(permit) = self.shared.budget.acquire(0) else {
                return Err(self.shared.stopped());
            };
            self.hand_over(Filling {
                buffer: Vec::new(),
                size: 0,
                permit,
            })?;
        }
        self.send(Message::End)
    }
}

impl Sink for MultipartSink {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.append(bytes).map_err(SinkError::from)
    }

    fn skip(&mut self, len: u64) -> Result<(), SinkError> {
        self.pass_over(len).map_err(SinkError::from)
    }

    fn backlog(&self) -> Option<Backlog> {
        let budget = &self.shared.budget;
        Some(Backlog {
            capacity: budget.total(),
            held: budget.total().saturating_sub(budget.free()),
            waited: self.waited,
        })
    }
}
