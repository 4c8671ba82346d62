//! Buffers for encoded blocks, from which a file takes them as they are.

use parking_lot::Mutex;

use crate::append::{ALIGN, to_aligned};

/// Bytes of memory that each block of a buffer counts for at most.
pub(crate) const MEMORY_PER_BLOCK: u64 = (zvhd2::MAX_ENCODED_BLOCK + ALIGN) as u64;

/// The encoded blocks of a group, one behind the other. Where they begin, a disk can take them
/// without a copy, and each is a multiple of what the next one must begin at.
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

/// Buffers that are used again. A worker takes one only when it is inside the window, so there are
/// never more of them than groups in the window.
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
        let pooled = self.free.lock().pop();
        pooled.unwrap_or_else(|| Encoded::new(self.blocks))
    }

    /// Gives it back.
    pub(crate) fn give(&self, mut used: Encoded) {
        used.buffer.truncate(used.start);
        let mut free = self.free.lock();
        free.push(used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_lie_where_a_disk_can_take_them_and_need_no_more_than_is_counted() {
        let pool = Pool::new(4);
        let mut encoder = zvhd2::BlockEncoder::new(1).unwrap();
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .flatten()
        .take(zvhd2::BLOCK_SIZE)
        .collect();
        let mut encoded = pool.take();
        let room = encoded.buffer.capacity();
        assert!(room as u64 <= 4 * MEMORY_PER_BLOCK);
        for used in 0..3 {
            assert_eq!(encoded.bytes(), b"", "used {used} times");
            for blocks in 1..=4 {
                let len = encoder.append(blocks, &noise, encoded.end()).unwrap();
                assert_eq!(encoded.last(len).len(), len);
                assert_eq!(encoded.bytes().len(), len * blocks as usize);
                assert_eq!(encoded.bytes().as_ptr().align_offset(ALIGN), 0);
            }
            // A larger one would lie elsewhere.
            assert_eq!(encoded.buffer.capacity(), room);
            pool.give(encoded);
            encoded = pool.take();
        }
    }
}
