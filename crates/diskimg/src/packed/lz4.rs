//! The bytes of one LZ4 frame: the decoder takes a stream that ends between two blocks for whole,
//! and reads on into the next frame.

use std::io::{self, Read};

use super::errors::{ended_early, invalid};

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// Bits of the first byte of a frame's descriptor.
mod flag {
    pub(super) const DICTIONARY: u8 = 1;
    pub(super) const CONTENT_CHECKSUM: u8 = 1 << 2;
    pub(super) const CONTENT_SIZE: u8 = 1 << 3;
    pub(super) const BLOCK_CHECKSUMS: u8 = 1 << 4;
}
/// Set in the length of a block that is stored as it is.
const STORED: u32 = 1 << 31;
/// Longest block.
const MAX_BLOCK: u32 = 4 << 20;
/// Length of a checksum in bytes.
const CHECKSUM: u32 = 4;

/// Gives the bytes of a frame, and then ends.
pub(super) struct Frame<R> {
    input: R,
    flags: u8,
    /// Bytes that were read to see what they are, last one first.
    seen: Vec<u8>,
    /// Bytes from here to the next length of a block, or to the end.
    left: u32,
    ended: bool,
}

impl<R: Read> Frame<R> {
    /// Of the frame at which `input` stands.
    ///
    /// # Errors
    /// Those of reading; `InvalidData` when it is none.
    pub(super) fn begin(mut input: R) -> io::Result<Self> {
        let mut head = [0; 5];
        fill(&mut input, &mut head)?;
        let [magic @ .., flags] = head;
        if magic != MAGIC {
            return Err(invalid("what follows a frame is no frame"));
        }
        // The byte with the size of blocks, and the header's checksum.
        let mut left = 2;
        if flags & flag::CONTENT_SIZE != 0 {
            left += 8;
        }
        if flags & flag::DICTIONARY != 0 {
            left += 4;
        }
        Ok(Self {
            input,
            flags,
            seen: head.into_iter().rev().collect(),
            left,
            ended: false,
        })
    }

    /// What follows the frame, all of which was read.
    ///
    /// # Errors
    /// `UnexpectedEof` when that is not so.
    pub(super) fn end(self) -> io::Result<R> {
        match self.ended && self.left == 0 && self.seen.is_empty() {
            true => Ok(self.input),
            false => Err(ended_early()),
        }
    }

    /// Reads the length of the next block.
    fn next_block(&mut self) -> io::Result<()> {
        let mut stored = [0; 4];
        fill(&mut self.input, &mut stored)?;
        self.seen = stored.into_iter().rev().collect();
        let len = u32::from_le_bytes(stored);
        let checksum = |flag: u8| match self.flags & flag {
            0 => 0,
            _ => CHECKSUM,
        };
        if len == 0 {
            self.ended = true;
            self.left = checksum(flag::CONTENT_CHECKSUM);
            return Ok(());
        }
        let len = len & !STORED;
        if len > MAX_BLOCK {
            return Err(invalid("a block is longer than blocks can be"));
        }
        self.left = len + checksum(flag::BLOCK_CHECKSUMS);
        Ok(())
    }
}

impl<R: Read> Read for Frame<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.seen.is_empty() && self.left == 0 {
            if self.ended || buf.is_empty() {
                return Ok(0);
            }
            self.next_block()?;
        }
        let mut len = 0;
        while let Some(target) = buf.get_mut(len)
            && let Some(byte) = self.seen.pop()
        {
            *target = byte;
            len += 1;
        }
        if len > 0 || buf.is_empty() {
            return Ok(len);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let len = most.min(buf.len());
        let target = buf.get_mut(..len).unwrap_or_default();
        match self.input.read(target)? {
            0 => Err(cut()),
            len => {
                self.left -= u32::try_from(len).unwrap_or(self.left);
                Ok(len)
            }
        }
    }
}

/// Fills `buf`.
fn fill(input: &mut impl Read, buf: &mut [u8]) -> io::Result<()> {
    input.read_exact(buf).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => cut(),
        _ => error,
    })
}

/// [`ended_early`] as the decoder passes it on.
fn cut() -> io::Error {
    invalid("it ends early")
}
