//! What a bitmap marks: a table of clusters, whose bits stand for the disk's bytes in order.
//!
//! ```text
//! directory entry ──▶ table ──▶ clusters of bits       an entry may also say: all 0, all 1
//! ```

use std::ops::Range;

use zerocopy::IntoBytes;
use zerocopy::big_endian::U64;

use super::header::Header;
use super::layout::{BITMAP_ALL_ONES, BITMAP_OFFSET, ENTRY_SIZE};
use super::place::place;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_L1_BYTES;
use crate::report::FirstError;
use crate::source::{ReadAt, SourceExtent};
use crate::units::{FileOffset, human};

const TABLE: &str = "bitmap table";

/// Where the bits of a bitmap are.
pub(super) struct Bits {
    /// Bytes of the disk that one stands for.
    pub(super) granularity: u64,
    /// Their table, by offset and number of entries. Not checked.
    pub(super) table: (u64, u32),
}

/// The disk that a bitmap is of, and the file that it is in.
#[derive(Clone, Copy)]
pub(super) struct Marked<'a> {
    source: &'a dyn ReadAt,
    cluster_size: u64,
    /// Size as the header gives it.
    size: u64,
}

impl<'a> Marked<'a> {
    /// The active disk of the image in `source`.
    pub(super) fn of(source: &'a dyn ReadAt, header: &Header) -> Self {
        Self {
            source,
            cluster_size: 1 << header.cluster_bits,
            size: header.declared_size,
        }
    }

    /// Tells the guest bytes that `bitmap` marks, in order and disjoint. Takes the bytes that it
    /// reads from `budget`.
    ///
    /// # Errors
    /// `Limit` for a table beyond our cap, and when the budget does not suffice; `Corrupt`,
    /// `Truncated` and `Io` by cause.
    pub(super) fn each(
        &self,
        bitmap: &Bits,
        budget: &mut u64,
        tell: &mut dyn FnMut(Range<u64>),
    ) -> Result<()> {
        let granularity = bitmap.granularity;
        let table = self.table(bitmap, budget)?;
        self.check_shared(&table, bitmap.table.0)?;
        let per_cluster = granularity.saturating_mul(self.cluster_size * 8);
        let mut bits = vec![0; usize::try_from(self.cluster_size).unwrap_or_default()];
        let mut start = 0_u64;
        for entry in &table {
            let end = start.saturating_add(per_cluster).min(self.size);
            let entry = entry.get();
            match entry & BITMAP_OFFSET {
                0 if entry == BITMAP_ALL_ONES => tell(start..end),
                0 => {}
                offset if self.is_hole(offset)? => {}
                offset => {
                    take(budget, self.cluster_size)?;
                    self.source.read_exact_at(FileOffset(offset), &mut bits)?;
                    set_bits(&bits, granularity, start..end, tell);
                }
            }
            start = end;
        }
        Ok(())
    }

    /// The table, which has as many entries as the disk needs, each of them checked.
    fn table(&self, bitmap: &Bits, budget: &mut u64) -> Result<Vec<U64>> {
        let (offset, entries) = bitmap.table;
        let bits = self.size.div_ceil(bitmap.granularity);
        let needed = bits.div_ceil(8).div_ceil(self.cluster_size);
        if u64::from(entries) != needed {
            return Err(Error::corrupt(
                TABLE,
                offset,
                format!(
                    "it has {entries} entries, a disk of {} bytes needs {needed} with {} a bit: \
                     the bitmap is of another disk",
                    self.size, bitmap.granularity
                ),
            ));
        }
        let len = needed.saturating_mul(ENTRY_SIZE);
        if len > MAX_L1_BYTES {
            return Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "it is {len} bytes long, at most {} are read",
                    human(MAX_L1_BYTES)
                ),
            )
            .at(TABLE, offset));
        }
        take(budget, len)?;
        let file_len = self.source.len();
        place(
            TABLE,
            (offset, len),
            self.cluster_size,
            file_len,
            &mut FirstError,
        )?;
        let mut table = vec![U64::ZERO; usize::try_from(needed).unwrap_or_default()];
        self.source
            .read_exact_at(FileOffset(offset), table.as_mut_bytes())?;
        for (at, entry) in (offset..).step_by(size_of::<U64>()).zip(&table) {
            self.check_entry(at, entry.get())?;
        }
        Ok(table)
    }

    fn check_entry(&self, at: u64, entry: u64) -> Result<()> {
        let cluster = entry & BITMAP_OFFSET;
        let reserved = match cluster {
            0 => !(BITMAP_OFFSET | BITMAP_ALL_ONES),
            _ => !BITMAP_OFFSET,
        };
        if entry & reserved != 0 {
            return Err(Error::corrupt(
                TABLE,
                at,
                format!("found {entry:#018x}: its reserved bits must be 0"),
            ));
        }
        if cluster != 0 {
            let data = (cluster, self.cluster_size);
            let file_len = self.source.len();
            place(
                "bitmap data",
                data,
                self.cluster_size,
                file_len,
                &mut FirstError,
            )?;
        }
        Ok(())
    }

    /// Bits that are used twice are how a small file describes a vast bitmap.
    fn check_shared(&self, table: &[U64], at: u64) -> Result<()> {
        let offsets = table.iter().map(|entry| entry.get() & BITMAP_OFFSET);
        let mut offsets: Vec<_> = offsets.filter(|offset| *offset != 0).collect();
        offsets.sort_unstable();
        let twice = offsets.windows(2).find(|pair| pair.first() == pair.last());
        match twice.and_then(|pair| pair.first()) {
            None => Ok(()),
            Some(offset) => Err(Error::corrupt(
                TABLE,
                at,
                format!("two of its entries have the cluster at {offset:#x}"),
            )),
        }
    }

    /// Whether the file system knows that the cluster at `offset` is all zero.
    fn is_hole(&self, offset: u64) -> Result<bool> {
        let found = self
            .source
            .extent_at(FileOffset(offset), self.cluster_size)?;
        Ok(matches!(found, SourceExtent::Hole(len) if len >= self.cluster_size))
    }
}

fn take(budget: &mut u64, bytes: u64) -> Result<()> {
    let left = budget.checked_sub(bytes);
    *budget = left.ok_or_else(|| {
        Error::new(
            ErrorKind::Limit,
            "its table and bits are too long to be counted",
        )
    })?;
    Ok(())
}

/// Tells what the bits that are set stand for, `granularity` bytes each, within `range`.
fn set_bits(bits: &[u8], granularity: u64, range: Range<u64>, tell: &mut dyn FnMut(Range<u64>)) {
    let mut tell = |from: u64, until: u64| {
        let place = |bit: u64| range.start.saturating_add(bit.saturating_mul(granularity));
        let (start, end) = (place(from), place(until).min(range.end));
        if start < end {
            tell(start..end);
        }
    };
    // Where a run of ones began.
    let mut run = None;
    for (byte, first) in bits.iter().zip((0..).step_by(8)) {
        match (byte, run) {
            (0, None) | (0xff, Some(_)) => continue,
            _ => {}
        }
        for bit in 0..8 {
            match (byte >> bit & 1 == 1, run) {
                (true, None) => run = Some(first + bit),
                (false, Some(from)) => {
                    tell(from, first + bit);
                    run = None;
                }
                _ => {}
            }
        }
    }
    if let Some(from) = run {
        tell(from, 8 * bits.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_bits_are_told_as_runs_within_the_disk() {
        let mut told = Vec::new();
        let bits = [0b1000_0001, 0xff, 0, 0b0000_0110];
        set_bits(&bits, 10, 1000..1265, &mut |range| told.push(range));
        assert_eq!(told, [1000..1010, 1070..1160, 1250..1265]);
    }
}
