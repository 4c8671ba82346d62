//! Stored bytes that the sector bitmaps leave out of the disk.

use std::ops::Range;

use crate::error::Result;
use crate::extent::ExtentKind;
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::units::{FileOffset, SECTOR};
use crate::zero::is_zero;

/// Bytes that an audit reads at once.
pub(super) const AUDIT_LEN: usize = 64 << 10;

/// Sectors that hold bytes and whose bit is clear, so that the bytes are not on the disk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LeftOut {
    pub(super) sectors: u64,
    /// File offset of the first one.
    pub(super) first: u64,
}

impl LeftOut {
    /// Counts the sectors of `range` of `source` that are not zeros.
    pub(super) fn count(
        &mut self,
        source: &dyn ReadAt,
        range: Range<u64>,
        buf: &mut [u8],
    ) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            let len = usize::try_from(range.end - at)
                .unwrap_or(usize::MAX)
                .min(buf.len());
            let Some(bytes) = buf.get_mut(..len) else {
                break;
            };
            source.read_exact_at(FileOffset(at), bytes)?;
            for (sector, bytes) in (0_u64..).zip(bytes.chunks(512)) {
                if !is_zero(bytes) {
                    if self.sectors == 0 {
                        self.first = at + sector * SECTOR;
                    }
                    self.sectors += 1;
                }
            }
            at += len as u64;
        }
        Ok(())
    }
}

/// What begins at `at`, and for how many bytes before `end`: whole sectors, and a sector that is a
/// hole in part is data.
pub(super) fn known_at(holes: &StoredMap, at: u64, end: u64) -> Result<(ExtentKind, u64)> {
    let (kind, known) = holes.stretch(at)?;
    let len = known.clamp(at + 1, end) - at;
    let hole = len / SECTOR * SECTOR;
    Ok(match kind {
        ExtentKind::Hole if hole > 0 => (kind, hole),
        _ => (ExtentKind::Data, len.next_multiple_of(SECTOR).min(end - at)),
    })
}
