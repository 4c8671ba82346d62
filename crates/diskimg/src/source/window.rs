//! A part of a source as a source of its own: a member of an archive.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{ReadAt, SourceExtent};
use crate::error::{Error, Result};
use crate::units::{FileOffset, fits};

/// Bytes of another source, from some offset on. What lies before and behind them cannot be read.
pub struct Window {
    source: Arc<dyn ReadAt>,
    start: u64,
    len: u64,
    path: Option<PathBuf>,
}

impl Window {
    /// The `len` bytes of `source` from `start` on.
    ///
    /// # Errors
    /// `Truncated` when the source ends before that.
    pub fn new(source: Arc<dyn ReadAt>, start: FileOffset, len: u64) -> Result<Self> {
        if !fits(start.0, len, source.len()) {
            return Err(Error::truncated(
                "file",
                start.0,
                format!(
                    "{len} bytes expected here, the file ends at {:#x}",
                    source.len()
                ),
            ));
        }
        Ok(Self {
            source,
            start: start.0,
            len,
            path: None,
        })
    }

    /// The same, called `path` in messages.
    #[must_use]
    pub fn called(self, path: PathBuf) -> Self {
        Self {
            path: Some(path),
            ..self
        }
    }

    /// Where `at` is in the source, when `len` bytes from there on are in the window.
    fn place(&self, at: FileOffset, len: u64) -> Result<FileOffset> {
        match self.start.checked_add(at.0) {
            Some(place) if fits(at.0, len, self.len) => Ok(FileOffset(place)),
            _ => Err(Error::truncated(
                "file",
                at.0,
                format!(
                    "{len} bytes expected here, the file ends at {:#x}",
                    self.len
                ),
            )),
        }
    }
}

impl ReadAt for Window {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, at: FileOffset, buf: &mut [u8]) -> Result<()> {
        let place = self.place(at, buf.len() as u64)?;
        self.source.read_exact_at(place, buf)
    }

    fn extent_at(&self, at: FileOffset, limit: u64) -> Result<SourceExtent> {
        let place = self.place(at, limit)?;
        self.source.extent_at(place, limit)
    }

    fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    fn note(&self) -> Option<String> {
        self.source.note()
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemorySource;
    use super::*;

    #[test]
    fn nothing_outside_the_window_can_be_read() {
        let bytes: Arc<dyn ReadAt> = Arc::new(MemorySource((0..100).collect()));
        let window = Window::new(Arc::clone(&bytes), FileOffset(10), 20).unwrap();
        assert_eq!(window.len(), 20);
        let mut buf = [0; 20];
        window.read_exact_at(FileOffset(0), &mut buf).unwrap();
        assert_eq!((buf[0], buf[19]), (10, 29));
        assert!(window.read_exact_at(FileOffset(1), &mut buf).is_err());
        assert!(
            window
                .read_exact_at(FileOffset(u64::MAX), &mut [0])
                .is_err()
        );
        assert!(window.extent_at(FileOffset(19), 2).is_err());
        assert!(Window::new(Arc::clone(&bytes), FileOffset(90), 11).is_err());
        assert!(Window::new(bytes, FileOffset(u64::MAX), 1).is_err());
    }
}
