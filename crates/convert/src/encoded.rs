//! Buffers for encoded blocks, from which a file takes them as they are.

use std::sync::{Mutex, PoisonError};

use crate::append::{ALIGN, to_aligned};

/// Bytes of memory that each block of a buffer counts for at most.
pub(crate) const MEMORY_PER_BLOCK: u64 = (zvhd2::MAX_ENCODED_BLOCK + ALIGN) as u64;

/// The encoded blocks of a group, one behind the other. Where they begin, a disk can take them without a copy, and
/// each is a multiple of what the next one must begin at.
pub(crate) struct Encoded {
    buffer: Vec<u8>,
    start: usize,
}

impl Encoded {
    fn new(blocks: usize) -> Self {
        let room = blocks.saturating_mul(zvhd2::MAX_ENCODED_BLOCK);
        let mut buffer = Vec::with_capacity(room.saturating_add(ALIGN));
        let start = to_aligned(&buffer);
        buffer.resize(start, 0);
        Self { buffer, start }
    }

    /// What further blocks are appended to.
    pub(crate) fn end(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// All blocks.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// The last `len` bytes.
    pub(crate) fn last(&self, len: usize) -> &[u8] {
        let bytes = self.bytes();
        let from = bytes.len().saturating_sub(len);
        bytes.get(from..).unwrap_or_default()
    }
}

/// Buffers that are used again. A worker takes one only when it is inside the window, so there are never more of them
/// than groups in the window.
pub(crate) struct Pool {
    free: Mutex<Vec<Encoded>>,
    blocks: usize,
}

impl Pool {
    /// Buffers for groups of up to `blocks` blocks.
    pub(crate) fn new(blocks: usize) -> Self {
        let free = Mutex::default();
        Self { free, blocks }
    }

    /// An empty buffer.
    pub(crate) fn take(&self) -> Encoded {
        let pooled = self
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        pooled.unwrap_or_else(|| Encoded::new(self.blocks))
    }

    /// Gives it back.
    pub(crate) fn give(&self, mut used: Encoded) {
        used.buffer.truncate(used.start);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.push(used);
    }
}
