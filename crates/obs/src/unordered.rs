//! The end of an upload whose parts come in any order, from many threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use convert::parts::{Fill, Filled};
use convert::{PartSink, SinkError};
use tokio::sync::mpsc::UnboundedSender;

use crate::bridge::{Message, Shared};
use crate::buffers::Buffers;
use crate::error::Error;
use crate::part::{CopyPart, CopySource, Part};
use crate::zeros::{ZeroPart, Zeros};

/// Takes the parts of a raw disk, from many plain threads and in any order.
///
/// [`PartSink::part`] blocks while all memory is held by parts that are built or sent. Dropping the
/// sink without [`UnorderedSink::close`] makes the upload fail, as does closing it before every part
/// was taken.
#[derive(Debug)]
pub struct UnorderedSink {
    shared: Arc<Shared>,
    buffers: Arc<Buffers>,
    sender: UnboundedSender<Message>,
    zeros: Arc<Zeros>,
    /// The object that unchanged parts are copied from.
    source: Option<Arc<CopySource>>,
    /// Parts that there must be.
    parts: u32,
    /// Parts that were taken.
    taken: AtomicU64,
}

impl UnorderedSink {
    pub(crate) fn new(
        shared: Arc<Shared>,
        sender: UnboundedSender<Message>,
        zeros: Arc<Zeros>,
        parts: u32,
    ) -> Self {
        let size = usize::try_from(zeros.part_size()).unwrap_or(usize::MAX);
        Self {
            buffers: Buffers::new(Arc::clone(&shared.budget), size),
            shared,
            sender,
            zeros,
            source: None,
            parts,
            taken: AtomicU64::new(0),
        }
    }

    /// Has the server copy the parts that are as in `source`, an earlier object of the disk, from
    /// their place there.
    #[must_use]
    pub fn copying_from(mut self, source: CopySource) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    fn send(&self, message: Message) -> Result<(), SinkError> {
        self.sender
            .send(message)
            .map_err(|_| SinkError::from(self.shared.stopped()))?;
        self.taken.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Ends the stream of parts. The upload can be completed after this.
    ///
    /// # Errors
    /// The upload's first error, if it has failed already; [`ErrorKind::Refused`] when parts are
    /// missing.
    ///
    /// [`ErrorKind::Refused`]: crate::ErrorKind::Refused
    pub fn close(self) -> Result<(), Error> {
        if self.shared.failure().is_some() {
            return Err(self.shared.stopped());
        }
        let taken = self.taken.load(Ordering::Relaxed);
        if taken != u64::from(self.parts) {
            self.shared.fail(Error::refused(format!(
                "{taken} of {} parts were made",
                self.parts
            )));
            return Err(self.shared.stopped());
        }
        self.sender
            .send(Message::End)
            .map_err(|_| self.shared.stopped())
    }
}

impl PartSink for UnorderedSink {
    fn zeros(&self, number: u32, len: u64) -> Result<(), SinkError> {
        if self.shared.failure().is_some() {
            return Err(self.shared.stopped().into());
        }
        self.send(Message::Zeros(ZeroPart {
            number,
            size: len,
            zeros: Arc::clone(&self.zeros),
        }))
    }

    fn part(&self, number: u32, len: u64, fill: &mut Fill<'_>) -> convert::Result<()> {
        let failed = |error: Error| convert::Error::Sink(error.into());
        let size = usize::try_from(len).unwrap_or(usize::MAX);
        // The buffer is counted until the last clone of the body is gone; the part itself holds
        // nothing.
        let (Some(mut buffer), Some(permit)) =
            (self.buffers.take(size), self.shared.budget.acquire(0))
        else {
            return Err(failed(self.shared.stopped()));
        };
        let message = match (fill(buffer.as_mut())?, &self.source) {
            (Filled::Zeros, _) => {
                drop(buffer);
                return self.zeros(number, len).map_err(convert::Error::Sink);
            }
            (Filled::Unchanged, Some(source)) => {
                let before = u64::from(number.saturating_sub(1));
                Message::Copy(CopyPart {
                    number,
                    start: before.saturating_mul(self.zeros.part_size()),
                    size: len,
                    source: Arc::clone(source),
                })
            }
            (Filled::Data | Filled::Unchanged, _) => Message::Part(Part {
                number,
                body: buffer.into_bytes(),
                permit,
            }),
        };
        self.send(message).map_err(convert::Error::Sink)
    }
}
