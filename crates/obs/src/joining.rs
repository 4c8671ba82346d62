//! The end of an upload some of whose parts the server copies from another object.

use std::sync::Arc;

use bytes::Bytes;
use convert::{Backlog, Sink, SinkError};
use tokio::sync::mpsc::UnboundedSender;

use crate::bridge::{Message, Shared};
use crate::budget::Permit;
use crate::error::Error;
use crate::part::{CopyPart, CopySource, Part};
use crate::parts::MAX_PARTS;

/// Most bytes that the server copies at a time: it answers when it has copied all of them.
pub const LARGEST_COPY: u64 = 512 << 20;

/// Takes a stream in order, of which [`Sink::copy`] has the server copy some.
///
/// Every part but the last has a least size, so what is written between two copies must be that
/// long. Dropping the sink without [`JoiningSink::close`] makes the upload fail.
#[derive(Debug)]
pub struct JoiningSink {
    shared: Arc<Shared>,
    sender: UnboundedSender<Message>,
    source: Arc<CopySource>,
    /// Bytes of a part that is sent.
    part_size: u64,
    /// Bytes of every part but the last, at least.
    min_part: u64,
    filling: Option<(Vec<u8>, Permit)>,
    /// Number of the next part.
    next: u32,
}

impl JoiningSink {
    pub(crate) fn new(
        shared: Arc<Shared>,
        sender: UnboundedSender<Message>,
        source: CopySource,
        (part_size, min_part): (u64, u64),
    ) -> Self {
        Self {
            shared,
            sender,
            source: Arc::new(source),
            part_size,
            min_part,
            filling: None,
            next: 1,
        }
    }

    /// Bytes of memory that a part takes: it is sent when the next one has its least size.
    pub(crate) const fn memory_of_part(part_size: u64, min_part: u64) -> u64 {
        part_size.saturating_add(min_part)
    }

    fn append(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            if self.shared.failure().is_some() {
                return Err(self.shared.stopped());
            }
            let most = Self::memory_of_part(self.part_size, self.min_part);
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            let (mut buffer, permit) = match self.filling.take() {
                Some(filling) => filling,
                None => self.begin(most)?,
            };
            let (now, later) = bytes.split_at(bytes.len().min(most.saturating_sub(buffer.len())));
            buffer.extend_from_slice(now);
            bytes = later;
            if buffer.len() < most {
                self.filling = Some((buffer, permit));
                continue;
            }
            let part = usize::try_from(self.part_size).unwrap_or(usize::MAX);
            let (mut next, next_permit) = self.begin(most)?;
            next.extend_from_slice(buffer.get(part..).unwrap_or_default());
            buffer.truncate(part);
            self.filling = Some((next, next_permit));
            self.hand_over(buffer, permit)?;
        }
        Ok(())
    }

    /// Waits for memory.
    fn begin(&self, len: usize) -> Result<(Vec<u8>, Permit), Error> {
        let Some(permit) = self.shared.budget.acquire(len as u64) else {
            return Err(self.shared.stopped());
        };
        let mut buffer = Vec::new();
        match buffer.try_reserve_exact(len) {
            Ok(()) => Ok((buffer, permit)),
            Err(_) => Err(self.stop(Error::refused(format!(
                "cannot allocate a part of {len} bytes"
            )))),
        }
    }

    fn hand_over(&mut self, buffer: Vec<u8>, permit: Permit) -> Result<(), Error> {
        let number = self.number()?;
        self.send(Message::Part(Part {
            number,
            body: Bytes::from(buffer),
            permit,
        }))
    }

    /// Takes the number of the next part.
    fn number(&mut self) -> Result<u32, Error> {
        let number = self.next;
        if number > MAX_PARTS {
            return Err(self.stop(Error::refused(format!(
                "the object needs more than {MAX_PARTS} parts"
            ))));
        }
        self.next += 1;
        Ok(number)
    }

    fn copy_range(&mut self, mut start: u64, len: u64) -> Result<(), Error> {
        if let Some((buffer, permit)) = self.filling.take() {
            if (buffer.len() as u64) < self.min_part {
                return Err(self.stop(Error::refused(format!(
                    "a part of {} bytes stands before a copy, expected {} at least",
                    buffer.len(),
                    self.min_part
                ))));
            }
            self.hand_over(buffer, permit)?;
        }
        let mut rest = len;
        for left in (1..=len.div_ceil(LARGEST_COPY)).rev() {
            // As long as the others, so that none is too short.
            let size = rest / left;
            let number = self.number()?;
            self.send(Message::Copy(CopyPart {
                number,
                start,
                size,
                source: Arc::clone(&self.source),
            }))?;
            start = start.saturating_add(size);
            rest -= size;
        }
        Ok(())
    }

    fn send(&self, message: Message) -> Result<(), Error> {
        self.sender.send(message).map_err(|_| self.shared.stopped())
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
        if let Some((buffer, permit)) = self.filling.take() {
            self.hand_over(buffer, permit)?;
        }
        self.send(Message::End)
    }
}

impl Sink for JoiningSink {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.append(bytes).map_err(SinkError::from)
    }

    fn copy(&mut self, offset: u64, len: u64) -> Result<(), SinkError> {
        self.copy_range(offset, len).map_err(SinkError::from)
    }

    fn backlog(&self) -> Option<Backlog> {
        None
    }
}
