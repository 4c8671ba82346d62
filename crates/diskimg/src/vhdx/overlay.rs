//! A file as it would be with its log replayed. Nothing is ever written.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::layout::LOG_SECTOR;
use crate::error::{Error, Result};
use crate::source::{ReadAt, SourceExtent};
use crate::units::{FileOffset, fits};

/// What one patch costs beside its sector, in bytes: its part of a tree's node. Counted generously.
const PATCH_OVERHEAD: u64 = 96;

/// What a patch puts in the place of the file's bytes.
#[derive(Clone, Copy)]
enum Content {
    Zeros,
    /// The sector of this index.
    Sector(usize),
}

/// A stretch of the file that reads differently; in units of a log sector.
#[derive(Clone, Copy)]
struct Patch {
    /// First byte after it.
    end: u64,
    content: Content,
}

/// A source of bytes with patches over it.
pub(super) struct Overlay {
    source: Arc<dyn ReadAt>,
    len: u64,
    /// By their first byte; they do not overlap.
    patches: BTreeMap<u64, Patch>,
    sectors: Vec<[u8; LOG_SECTOR]>,
}

impl Overlay {
    /// `source` as it is, `len` bytes long; what is past its end reads as zeros. There is room for
    /// `sectors` sectors, which is what they take: a vector that grows holds more, and for a moment
    /// all twice.
    pub(super) fn new(source: Arc<dyn ReadAt>, len: u64, sectors: usize) -> Self {
        let len = len.max(source.len());
        Self {
            source,
            len,
            patches: BTreeMap::new(),
            sectors: Vec::with_capacity(sectors),
        }
    }

    /// Puts `sector` at `at`, over whatever is there.
    pub(super) fn put(&mut self, at: u64, sector: [u8; LOG_SECTOR]) {
        let content = Content::Sector(self.sectors.len());
        self.sectors.push(sector);
        self.patch(at, at.saturating_add(LOG_SECTOR as u64), content);
    }

    /// Puts zeros from `start` to `end`, over whatever is there.
    pub(super) fn clear(&mut self, start: u64, end: u64) {
        self.patch(start, end, Content::Zeros);
    }

    /// All bounds are multiples of a log sector, so that only zeros are ever cut in two.
    fn patch(&mut self, start: u64, end: u64, content: Content) {
        if start >= end {
            return;
        }
        if let Some((&before, patch)) = self.patches.range_mut(..start).next_back()
            && patch.end > start
        {
            let rest = Patch { ..*patch };
            patch.end = start;
            debug_assert!(before < start);
            if rest.end > end {
                self.patches.insert(end, rest);
            }
        }
        while let Some((&covered, &patch)) = self.patches.range(start..end).next() {
            self.patches.remove(&covered);
            if patch.end > end {
                self.patches.insert(end, patch);
            }
        }
        self.patches.insert(start, Patch { end, content });
    }

    /// Bytes that the overlay holds.
    pub(super) fn memory(&self) -> u64 {
        let patches = (self.patches.len() as u64).saturating_mul(PATCH_OVERHEAD);
        (self.sectors.capacity() as u64)
            .saturating_mul(LOG_SECTOR as u64)
            .saturating_add(patches)
    }

    /// The last patch that begins at or before `at`, when it reaches past it.
    fn patch_at(&self, at: u64) -> Option<(u64, Patch)> {
        let (&start, &patch) = self.patches.range(..=at).next_back()?;
        (patch.end > at).then_some((start, patch))
    }
}

impl ReadAt for Overlay {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, at: FileOffset, buf: &mut [u8]) -> Result<()> {
        let wanted = buf.len() as u64;
        if !fits(at.0, wanted, self.len) {
            return Err(Error::truncated(
                "file",
                at.0,
                format!(
                    "{wanted} bytes expected here, the file ends at {:#x}",
                    self.len
                ),
            ));
        }
        let stored = self.source.len().saturating_sub(at.0).min(wanted);
        let stored = usize::try_from(stored).unwrap_or(usize::MAX);
        if let Some((stored, past_end)) = buf.split_at_mut_checked(stored) {
            past_end.fill(0);
            if !stored.is_empty() {
                self.source.read_exact_at(at, stored)?;
            }
        }
        let end = at.0 + wanted;
        let first = self.patch_at(at.0).map_or(at.0, |(start, _)| start);
        for (&start, patch) in self.patches.range(first..end) {
            let (from, to) = (start.max(at.0), patch.end.min(end));
            let index = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
            let Some(target) = buf.get_mut(index(from - at.0)..index(to - at.0)) else {
                continue;
            };
            match patch.content {
                Content::Zeros => target.fill(0),
                Content::Sector(sector) => {
                    let content = self
                        .sectors
                        .get(sector)
                        .and_then(|sector| sector.get(index(from - start)..index(to - start)));
                    if let Some(content) = content {
                        target.copy_from_slice(content);
                    }
                }
            }
        }
        Ok(())
    }

    fn extent_at(&self, at: FileOffset, limit: u64) -> Result<SourceExtent> {
        if let Some((_, patch)) = self.patch_at(at.0) {
            let len = limit.min(patch.end - at.0);
            return Ok(match patch.content {
                Content::Zeros => SourceExtent::Hole(len),
                Content::Sector(_) => SourceExtent::Data(len),
            });
        }
        let next = self.patches.range(at.0..).next();
        let limit = next.map_or(limit, |(&start, _)| limit.min(start - at.0));
        match self.source.len().checked_sub(at.0) {
            Some(stored) if stored > 0 => self.source.extent_at(at, limit.min(stored)),
            _ => Ok(SourceExtent::Hole(limit)),
        }
    }

    fn stored_len(&self) -> u64 {
        self.source
            .stored_len()
            .saturating_add(self.memory())
            .min(self.len)
    }

    fn path(&self) -> Option<&Path> {
        self.source.path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::MemorySource;

    #[test]
    fn patches_read_as_if_they_had_been_written_in_their_order() {
        const UNITS: usize = 24;
        let len = UNITS * LOG_SECTOR;
        let mut rng = fastrand::Rng::with_seed(9);
        for _ in 0..300 {
            let mut expected = vec![7_u8; 20 * LOG_SECTOR];
            let source = Arc::new(MemorySource(expected.clone()));
            expected.resize(len, 0);
            let mut overlay = Overlay::new(source, len as u64, 0);
            for _ in 0..rng.u32(..12) {
                let start = rng.usize(..UNITS);
                let end = rng.usize(start..=UNITS);
                let (start, end) = (start * LOG_SECTOR, end * LOG_SECTOR);
                if rng.bool() {
                    let byte = rng.u8(..);
                    overlay.put(start as u64, [byte; LOG_SECTOR]);
                    expected[start..start + LOG_SECTOR].fill(byte);
                } else {
                    overlay.clear(start as u64, end as u64);
                    expected[start..end].fill(0);
                }
            }
            let at = rng.usize(..len);
            let mut found = vec![1; rng.usize(..=len - at)];
            overlay
                .read_exact_at(FileOffset(at as u64), &mut found)
                .unwrap();
            assert!(found == expected[at..at + found.len()]);
            let mut rest = expected.as_slice();
            while !rest.is_empty() {
                let at = FileOffset((len - rest.len()) as u64);
                let (found, hole) = match overlay.extent_at(at, rest.len() as u64).unwrap() {
                    SourceExtent::Data(found) => (found, false),
                    SourceExtent::Hole(found) => (found, true),
                };
                let (extent, after) = rest.split_at(usize::try_from(found).unwrap());
                assert!(!extent.is_empty());
                assert!(!hole || extent.iter().all(|byte| *byte == 0));
                rest = after;
            }
        }
    }
}
