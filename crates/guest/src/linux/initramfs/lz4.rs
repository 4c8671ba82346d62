//! The old frame of lz4, which kernels read: blocks of up to 8 MiB behind their packed lengths.

use std::io::{self, Read};

use super::source::Source;

const MAGIC_LEN: u64 = 4;
const MAX_BLOCK: usize = 8 << 20;
/// A block that cannot be packed grows by this much.
const MAX_PACKED: usize = MAX_BLOCK + MAX_BLOCK / 255 + 16;

/// What a frame unpacks to. It ends before a length that cannot be one: padding, or the magic
/// number of what follows.
pub(super) struct Legacy<'a, R> {
    input: &'a mut Source<R>,
    begun: bool,
    block: Vec<u8>,
    /// What was given out of the block.
    at: usize,
}

impl<'a, R: Read> Legacy<'a, R> {
    pub(super) fn new(input: &'a mut Source<R>) -> Self {
        Self {
            input,
            begun: false,
            block: Vec::new(),
            at: 0,
        }
    }

    /// Unpacks the next block; `false` behind the last one.
    fn advance(&mut self) -> io::Result<bool> {
        if !self.begun {
            self.input.skip(MAGIC_LEN)?;
            self.begun = true;
        }
        let Some(len) = self.input.ahead(4)?.first_chunk() else {
            return Ok(false);
        };
        let len = match usize::try_from(u32::from_le_bytes(*len)) {
            Ok(len @ 1..=MAX_PACKED) => len,
            _ => return Ok(false),
        };
        self.input.skip(4)?;
        let mut packed = Vec::new();
        self.input
            .by_ref()
            .take(len as u64)
            .read_to_end(&mut packed)?;
        if packed.len() < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.block.resize(MAX_BLOCK, 0);
        let unpacked = lz4_flex::block::decompress_into(&packed, &mut self.block)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.block.truncate(unpacked);
        self.at = 0;
        Ok(true)
    }
}

impl<R: Read> Read for Legacy<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.block.len() {
            if !self.advance()? {
                return Ok(0);
            }
        }
        let mut rest = self.block.get(self.at..).unwrap_or_default();
        let read = rest.read(buf)?;
        self.at += read;
        Ok(read)
    }
}
