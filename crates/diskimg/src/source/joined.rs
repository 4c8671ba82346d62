//! Several sources, one behind the other, as one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{ReadAt, SourceExtent};
use crate::error::{Error, ErrorKind, Result};
use crate::units::{FileOffset, fits};

/// The bytes of several sources, one behind the other.
pub struct Joined {
    /// Where each source begins, in ascending order.
    parts: Vec<(u64, Arc<dyn ReadAt>)>,
    len: u64,
    path: Option<PathBuf>,
}

impl Joined {
    /// `sources` in this order, called `path` in messages.
    ///
    /// # Errors
    /// `Limit` when they are longer than any file.
    pub fn new(sources: Vec<Arc<dyn ReadAt>>, path: Option<PathBuf>) -> Result<Self> {
        let mut len: u64 = 0;
        let mut parts = Vec::with_capacity(sources.len());
        for source in sources {
            let start = len;
            len = start
                .checked_add(source.len())
                .ok_or_else(|| Error::new(ErrorKind::Limit, "the parts exceed 2^64 bytes"))?;
            parts.push((start, source));
        }
        Ok(Self { parts, len, path })
    }

    /// The source that has the byte at `at`, the offset in it, and how many bytes follow there.
    fn part(&self, at: u64) -> Option<(&Arc<dyn ReadAt>, FileOffset, u64)> {
        let next = self.parts.partition_point(|(start, _)| *start <= at);
        let (start, source) = self.parts.get(next.checked_sub(1)?)?;
        let offset = at.checked_sub(*start)?;
        let left = source.len().checked_sub(offset)?;
        Some((source, FileOffset(offset), left))
    }

    fn short(&self, at: FileOffset, len: u64) -> Error {
        Error::truncated(
            "file",
            at.0,
            format!(
                "{len} bytes expected here, the file ends at {:#x}",
                self.len
            ),
        )
    }
}

impl ReadAt for Joined {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, at: FileOffset, buf: &mut [u8]) -> Result<()> {
        let wanted = buf.len() as u64;
        if !fits(at.0, wanted, self.len) {
            return Err(self.short(at, wanted));
        }
        let (mut place, mut rest) = (at.0, buf);
        while !rest.is_empty() {
            let (source, offset, left) = self.part(place).ok_or_else(|| self.short(at, wanted))?;
            let here = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
            if here == 0 {
                return Err(self.short(at, wanted));
            }
            let (now, later) = rest.split_at_mut(here);
            source.read_exact_at(offset, now)?;
            place = place.saturating_add(here as u64);
            rest = later;
        }
        Ok(())
    }

    fn extent_at(&self, at: FileOffset, limit: u64) -> Result<SourceExtent> {
        let (source, offset, left) = self.part(at.0).ok_or_else(|| self.short(at, limit))?;
        source.extent_at(offset, limit.min(left))
    }

    fn stored_len(&self) -> u64 {
        let lens = self.parts.iter().map(|(_, source)| source.stored_len());
        lens.fold(0, u64::saturating_add)
    }

    fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    fn note(&self) -> Option<String> {
        self.parts.iter().find_map(|(_, source)| source.note())
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemorySource;
    use super::*;

    #[test]
    fn reads_cross_the_borders_of_the_parts() {
        let part = |bytes: &[u8]| -> Arc<dyn ReadAt> { Arc::new(MemorySource(bytes.to_vec())) };
        let joined =
            Joined::new(vec![part(b"abc"), part(b""), part(b"de"), part(b"f")], None).unwrap();
        assert_eq!(joined.len(), 6);
        let mut all = [0; 6];
        joined.read_exact_at(FileOffset(0), &mut all).unwrap();
        assert_eq!(&all, b"abcdef");
        let mut two = [0; 2];
        joined.read_exact_at(FileOffset(2), &mut two).unwrap();
        assert_eq!(&two, b"cd");
        assert!(joined.read_exact_at(FileOffset(5), &mut two).is_err());
        assert_eq!(
            joined.extent_at(FileOffset(3), 3).unwrap(),
            SourceExtent::Data(2)
        );
    }
}
