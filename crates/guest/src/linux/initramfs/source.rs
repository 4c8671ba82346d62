//! Bytes from front to back, with a look ahead.

use std::io::{self, BufRead, Read};

const BUFFER: usize = 64 << 10;

/// A buffered reader that can show a few bytes without taking them.
pub(super) struct Source<R> {
    inner: R,
    buffer: Vec<u8>,
    /// What was taken of the buffer.
    at: usize,
}

impl<R: Read> Source<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            buffer: Vec::new(),
            at: 0,
        }
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.at..).unwrap_or_default()
    }

    /// The next `len` bytes, less at the end. `len` is small.
    pub(super) fn ahead(&mut self, len: usize) -> io::Result<&[u8]> {
        while self.rest().len() < len {
            if self.fill()? == 0 {
                break;
            }
        }
        let rest = self.rest();
        Ok(rest.get(..len).unwrap_or(rest))
    }

    /// Reads more behind what is there.
    fn fill(&mut self) -> io::Result<usize> {
        self.buffer.drain(..self.at.min(self.buffer.len()));
        self.at = 0;
        (&mut self.inner)
            .take(BUFFER as u64)
            .read_to_end(&mut self.buffer)
    }

    /// Takes zeros up to the first other byte.
    pub(super) fn skip_zeros(&mut self) -> io::Result<()> {
        loop {
            let bytes = self.fill_buf()?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            if zeros == 0 {
                return Ok(());
            }
            self.consume(zeros);
        }
    }

    /// Takes `len` bytes.
    pub(super) fn skip(&mut self, len: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.by_ref().take(len), &mut io::sink())?;
        if skipped < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buf)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: Read> BufRead for Source<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.rest().is_empty() {
            self.fill()?;
        }
        Ok(self.rest())
    }

    fn consume(&mut self, len: usize) {
        self.at = self.at.saturating_add(len).min(self.buffer.len());
    }
}
