//! How often each cluster of the file is used, by its tables and by the counts it keeps.

use std::fmt;

use super::pieces;
use crate::error::Result;
use crate::limits::MAX_REFCOUNT_TABLE_BYTES;
use crate::qcow2::header::Fields;
use crate::qcow2::place::place;
use crate::report::CheckReport;
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::units::FileOffset;
use crate::zero::is_zero;

/// Bits of an entry of the refcount table that must be 0.
const RESERVED: u64 = 0x1ff;

/// Counts of uses, cut at 65535.
pub(super) struct Refcounts {
    cluster_size: u64,
    /// By what was walked.
    used: Vec<u16>,
    /// By the file.
    stored: Vec<u16>,
    /// Whether the file's counts could be read.
    loaded: bool,
}

impl Refcounts {
    /// Counts of a file of `clusters` clusters, at most [`crate::limits::MAX_CHECKED_CLUSTERS`].
    pub(super) fn new(clusters: u64, cluster_size: u64) -> Self {
        let clusters = usize::try_from(clusters).unwrap_or_default();
        Self {
            cluster_size,
            used: vec![0; clusters],
            stored: vec![0; clusters],
            loaded: false,
        }
    }

    /// Counts a use of every cluster that the `len` bytes from `offset` touch. What lies past the
    /// file's end is not counted.
    pub(super) fn mark(&mut self, offset: u64, len: u64) {
        self.mark_times(offset, len, 1);
    }

    /// [`Self::mark`], as often as `times` says.
    pub(super) fn mark_times(&mut self, offset: u64, len: u64, times: u16) {
        for used in self.touched(offset, len) {
            *used = used.saturating_add(times);
        }
    }

    /// Whether nothing has used any cluster that the `len` bytes from `offset` touch.
    pub(super) fn is_free(&mut self, offset: u64, len: u64) -> bool {
        self.touched(offset, len).all(|used| *used == 0)
    }

    /// Number of clusters that are counted.
    pub(super) fn clusters(&self) -> usize {
        self.used.len()
    }

    fn touched(&mut self, offset: u64, len: u64) -> impl Iterator<Item = &mut u16> {
        let end = offset.saturating_add(len).div_ceil(self.cluster_size);
        let first = usize::try_from(offset / self.cluster_size).unwrap_or(usize::MAX);
        let count = usize::try_from(end)
            .unwrap_or(usize::MAX)
            .saturating_sub(first);
        self.used.iter_mut().skip(first).take(count)
    }

    /// The count that the file keeps for the cluster at `offset`; `None` when that is not known.
    pub(super) fn stored(&self, offset: u64) -> Option<u16> {
        let index = usize::try_from(offset / self.cluster_size).ok()?;
        self.stored.get(index).copied().filter(|_| self.loaded)
    }

    /// Reads the file's own counts.
    pub(super) fn load(
        &mut self,
        source: &dyn ReadAt,
        holes: &StoredMap,
        fields: &Fields,
        report: &mut CheckReport,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<()> {
        const TABLE: &str = "refcount table";
        const BLOCK: &str = "refcount block";
        let file_len = source.len();
        let order = fields.features.refcount_order;
        let at = fields.base.refcount_table_offset.get();
        let len =
            u64::from(fields.base.refcount_table_clusters.get()).saturating_mul(self.cluster_size);
        if len > MAX_REFCOUNT_TABLE_BYTES {
            report.error(
                "limit",
                TABLE,
                at,
                format_args!(
                    "it is {len} bytes long, at most {MAX_REFCOUNT_TABLE_BYTES} are allowed"
                ),
            );
            return Ok(());
        }
        if !place(TABLE, (at, len), self.cluster_size, file_len, report)? {
            return Ok(());
        }
        self.mark(at, len);
        self.loaded = true;
        let mut table = vec![0; usize::try_from(len).unwrap_or_default()];
        source.read_exact_at(FileOffset(at), &mut table)?;
        let per_block = (self.cluster_size * 8) >> order;
        for (index, entry) in (0_u64..).zip(table.as_chunks::<8>().0) {
            let offset = u64::from_be_bytes(*entry);
            if offset == 0 {
                continue;
            }
            if cancelled() {
                report.cancelled = true;
                return Ok(());
            }
            if offset & RESERVED != 0 {
                report.error(
                    "reserved",
                    TABLE,
                    at + index * 8,
                    format_args!("found {offset:#018x}: reserved bits are set"),
                );
                continue;
            }
            let block = (offset, self.cluster_size);
            if !place(BLOCK, block, self.cluster_size, file_len, report)? {
                continue;
            }
            // One that is read again and again would make the check of a small file endless.
            let free = self.is_free(offset, self.cluster_size);
            self.mark(offset, self.cluster_size);
            if !free {
                report.error(
                    "overlap",
                    TABLE,
                    at + index * 8,
                    format_args!("found {offset:#018x}: another table is there already"),
                );
                continue;
            }
            let beyond = self.load_block(source, holes, order, (offset, index * per_block))?;
            if beyond > 0 {
                report.warning(
                    "leak",
                    BLOCK,
                    offset,
                    format_args!("{beyond} clusters past the end of the file are marked as in use"),
                );
            }
        }
        Ok(())
    }

    /// Takes over the counts in the block at `offset`, whose first one is for cluster `first`.
    /// Returns how many clusters past the end of the file are marked as in use.
    fn load_block(
        &mut self,
        source: &dyn ReadAt,
        holes: &StoredMap,
        order: u32,
        (offset, first): (u64, u64),
    ) -> Result<u64> {
        // A block of one-bit counts has eight of them in each byte: a stored sector of zeros, or a
        // hole, must not cost as much as counts.
        const ZEROS: usize = 4096;
        let mut beyond = 0;
        let mut rest = offset..offset + self.cluster_size;
        while let Some(piece) = pieces::first_stored(holes, rest.clone())? {
            let len = usize::try_from(piece.end - piece.start).unwrap_or_default();
            let mut bytes = vec![0; len];
            source.read_exact_at(FileOffset(piece.start), &mut bytes)?;
            for (at, chunk) in (piece.start..).step_by(ZEROS).zip(bytes.chunks(ZEROS)) {
                if !is_zero(chunk) {
                    let before = ((at - offset) * 8) >> order;
                    beyond += self.take_counts(chunk, order, first + before);
                }
            }
            rest.start = piece.end;
        }
        Ok(beyond)
    }

    /// Takes over the counts in `bytes`, whose first one is for cluster `first`. Returns how many
    /// clusters past the end of the file are marked as in use.
    fn take_counts(&mut self, bytes: &[u8], order: u32, first: u64) -> u64 {
        let mut beyond = 0;
        let counts = (first..).zip(counts(bytes, order));
        for (cluster, count) in counts.filter(|(_, count)| *count != 0) {
            let stored = usize::try_from(cluster)
                .ok()
                .and_then(|index| self.stored.get_mut(index));
            match stored {
                Some(stored) => *stored = count,
                None => beyond += 1,
            }
        }
        beyond
    }

    /// Compares both counts and reports where they differ, run by run.
    pub(super) fn compare(&self, report: &mut CheckReport) {
        if !self.loaded {
            return;
        }
        let mut pairs = (0_u64..).zip(self.used.iter().zip(&self.stored)).peekable();
        while let Some((first, pair)) = pairs.next() {
            if pair.0 == pair.1 {
                continue;
            }
            let mut last = first;
            while let Some((next, _)) = pairs.next_if(|(_, next)| *next == pair) {
                last = next;
            }
            let (used, stored) = pair;
            let at = first * self.cluster_size;
            let mut differ = |message: fmt::Arguments<'_>| {
                if stored < used {
                    report.error("refcount-too-low", "cluster", at, message);
                } else {
                    report.warning("leak", "cluster", at, message);
                }
            };
            if first == last {
                differ(format_args!(
                    "cluster {first} is used {used} times, and the file counts {stored}"
                ));
            } else {
                differ(format_args!(
                    "clusters {first} to {last} are each used {used} times, and the file counts \
                     {stored}"
                ));
            }
        }
    }
}

/// The counts in a block, each `1 << order` bits wide, cut at 65535.
fn counts(block: &[u8], order: u32) -> impl Iterator<Item = u16> + '_ {
    let width = 1_usize << order;
    let whole = (width / 8).max(1);
    let in_byte = (8 / width).max(1);
    block.chunks_exact(whole).flat_map(move |bytes| {
        // Narrow counts begin at the lowest bit of their byte; wide ones are big-endian.
        let value = bytes
            .iter()
            .fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        (0..in_byte).map(move |index| {
            let count = if width < 8 {
                value >> (index * width) & ((1 << width) - 1)
            } else {
                value
            };
            u16::try_from(count).unwrap_or(u16::MAX)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_every_width_are_read() {
        let read = |bytes: &[u8], order| counts(bytes, order).collect::<Vec<_>>();
        assert_eq!(read(&[0b1000_0101], 0), [1, 0, 1, 0, 0, 0, 0, 1]);
        assert_eq!(read(&[0b1110_0100], 1), [0, 1, 2, 3]);
        assert_eq!(read(&[0xf3], 2), [3, 15]);
        assert_eq!(read(&[7, 9], 3), [7, 9]);
        assert_eq!(read(&[1, 2], 4), [0x102]);
        assert_eq!(read(&[0, 0, 1, 2, 0, 1, 0, 0], 5), [0x102, u16::MAX]);
        assert_eq!(read(&[0, 0, 0, 0, 0, 0, 0, 5], 6), [5]);
    }
}
