//! Where a stream of image bytes goes: a file, a multipart upload, memory.

use std::error::Error as StdError;
use std::time::Duration;

/// Why a sink stopped taking bytes. The sink's own crate knows the details; its chain is printed.
pub type SinkError = Box<dyn StdError + Send + Sync + 'static>;

/// How far a sink is behind with what it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Bytes that it may hold.
    pub capacity: u64,
    /// Bytes that it holds now.
    pub held: u64,
    /// Time that writes have waited for room, in all.
    pub waited: Duration,
}

/// Takes the bytes of an image strictly front to back.
///
/// A sink that is dropped before its own completion step leaves nothing that looks complete.
/// Completion (commit, complete-upload) is the concrete type's business, because what it needs and
/// returns differs; the pipeline only writes.
pub trait Sink: Send {
    /// Appends `bytes`. Blocks while the sink is full: this is the pipeline's only back-pressure.
    ///
    /// # Errors
    /// When the bytes cannot be taken; the sink takes nothing more afterwards.
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError>;

    /// Passes over the next `len` bytes, which are stored already: the sink has said so.
    ///
    /// # Errors
    /// When they are not.
    fn skip(&mut self, len: u64) -> Result<(), SinkError> {
        Err(format!("{len} bytes were to be passed over that are not stored").into())
    }

    /// Takes the next `len` bytes from an earlier object, from `offset` of it on.
    ///
    /// # Errors
    /// When it cannot.
    fn copy(&mut self, offset: u64, len: u64) -> Result<(), SinkError> {
        Err(format!("{len} bytes at {offset} were to be copied, and there is no object").into())
    }

    /// How far behind it is; `None` where it takes bytes as fast as they come, as a file does.
    fn backlog(&self) -> Option<Backlog> {
        None
    }
}

impl Sink for Vec<u8> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}
