//! A source as a stream, decoded.

use std::io::{self, Read};
use std::sync::Arc;

use parking_lot::Mutex;

use super::Packed;
use super::container::{Container, HEAD_BYTES};
use super::errors::Undecodable;
use super::tar::Stretch;
use crate::error::{Error, ErrorKind, Result};
use crate::options::Stop;
use crate::source::ReadAt;
use crate::units::FileOffset;

/// How `source` is compressed; `None` when it is not.
///
/// # Errors
/// Those of reading.
pub(super) fn packing_of(source: &dyn ReadAt) -> Result<Option<Container>> {
    let mut head = [0; HEAD_BYTES];
    let len = HEAD_BYTES.min(usize::try_from(source.len()).unwrap_or(HEAD_BYTES));
    let head = head.get_mut(..len).unwrap_or_default();
    source.read_exact_at(FileOffset(0), head)?;
    Ok(Container::of(head))
}

/// The error of somebody who was asked to stop.
pub(super) fn stopped() -> Error {
    Error::new(ErrorKind::Cancelled, "stopped on request")
}

/// What comes out of a source.
pub(super) struct Stream {
    packing: Container,
    bytes: Box<dyn Read + Send>,
    /// Why the source could not be read: decoders pass that on in words of their own.
    failure: Failure,
}

type Failure = Arc<Mutex<Option<Error>>>;

/// What a stream says of the disk inside.
pub(super) struct Says {
    /// Number of its bytes.
    pub(super) size: Option<u64>,
    /// Whether that is exact.
    pub(super) exact: bool,
    /// What of it is stored.
    pub(super) stretches: Option<Arc<[Stretch]>>,
}

impl Stream {
    /// Begins to decode `source`, of `packing`.
    ///
    /// # Errors
    /// Those of reading and decoding; `Cancelled`.
    pub(super) fn begin(
        source: &Arc<dyn ReadAt>,
        packing: Container,
        stop: &Stop,
    ) -> Result<(Self, Says)> {
        let failure = Failure::default();
        let mut bytes = FrontToBack {
            source: Arc::clone(source),
            at: 0,
            stop: stop.clone(),
            failure: Arc::clone(&failure),
        };
        let mut head = [0; HEAD_BYTES];
        let begun = bytes.read(&mut head).and_then(|got| {
            bytes.at = 0;
            let head = head.get(..got).unwrap_or_default();
            Packed::begin(packing, head, Box::new(bytes))
        });
        let mut stream = Self {
            packing,
            bytes: Box::new(io::empty()),
            failure,
        };
        let packed = begun.map_err(|error| stream.failed(0, &error))?;
        stream.bytes = packed.bytes;
        let says = Says {
            size: packed.size,
            exact: packed.exact,
            stretches: packed.stretches,
        };
        Ok((stream, says))
    }

    /// Appends the next `len` bytes to `block`; fewer only at the end.
    pub(super) fn read_on(&mut self, block: &mut Vec<u8>, len: usize) -> io::Result<usize> {
        block.reserve_exact(len);
        (&mut self.bytes).take(len as u64).read_to_end(block)
    }

    /// The error of a read that failed with `error` after `at` bytes.
    pub(super) fn failed(&self, at: u64, error: &io::Error) -> Error {
        let failure = self.failure.lock().take();
        failure.unwrap_or_else(|| Undecodable::of(error).error(self.packing, at))
    }
}

/// A source from its beginning on.
struct FrontToBack {
    source: Arc<dyn ReadAt>,
    at: u64,
    stop: Stop,
    failure: Failure,
}

impl Read for FrontToBack {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.source.len().saturating_sub(self.at);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let Some(buf) = buf.get_mut(..len).filter(|buf| !buf.is_empty()) else {
            return Ok(0);
        };
        // What lies between two blocks may be long, too.
        let read = match self.stop.asked() {
            true => Err(stopped()),
            false => self.source.read_exact_at(FileOffset(self.at), buf),
        };
        read.map_err(|error| {
            *self.failure.lock() = Some(error);
            io::Error::other("the source cannot be read")
        })?;
        self.at += len as u64;
        Ok(len)
    }
}
