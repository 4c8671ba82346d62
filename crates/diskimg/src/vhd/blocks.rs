//! The rules for the blocks of a dynamic disk: each lies in the file, and on nothing else.

use std::ops::Range;

use zerocopy::big_endian::U32;

use super::dynamic::{Dynamic, overlap};
use super::footer::Footer;
use super::layout::{DYNAMIC_HEADER_LEN, ENTRY_SIZE, FOOTER_LEN, UNALLOCATED};
use crate::error::{Error, ErrorKind, Result};
use crate::report::Report;
use crate::units::SECTOR;

const BAT_ENTRY: &str = "BAT entry";

const OVERLAP_HINT: &str = "look for another copy of the disk first; \
     to read this one as it stands, with the damage: \
     qemu-img convert -f vpc -O qcow2 IMAGE disk.qcow2";

/// Entries of the BAT between two checks for cancellation.
const BATCH: u64 = 1 << 16;

/// What the blocks of a disk are checked against.
pub(super) struct Blocks {
    block_size: u64,
    bitmap_len: u64,
    /// Size of the disk in bytes.
    size: u64,
    /// Where the BAT and the dynamic header are.
    table: Range<u64>,
    header: Range<u64>,
    /// Where the footer begins, or the file ends.
    data_end: u64,
    file_len: u64,
}

impl Blocks {
    /// Of a disk of `size` bytes with its BAT at `table` of a file of `file_len` bytes.
    pub(super) fn new(
        header: &Dynamic,
        table: Range<u64>,
        footer: &Footer,
        size: u64,
        file_len: u64,
    ) -> Self {
        Self {
            block_size: 1 << header.block_bits,
            bitmap_len: header.bitmap_len(),
            size,
            table,
            header: header.at..header.at + DYNAMIC_HEADER_LEN,
            data_end: footer.data_end,
            file_len,
        }
    }

    /// Checks the blocks of `entries`, the whole BAT. `false` when `cancelled` ended that.
    ///
    /// # Errors
    /// Those of `report`.
    pub(super) fn check(
        &self,
        entries: &[U32],
        report: &mut dyn Report,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<bool> {
        let stored = || {
            (0_u64..)
                .zip(entries)
                .filter(|(_, entry)| entry.get() != UNALLOCATED)
        };
        // Of each block that lies in the file its entry and, in the lower half, its number: in the
        // order of their places once sorted.
        let mut places: Vec<u64> = Vec::with_capacity(stored().count());
        let mut asked = 0;
        for (index, entry) in stored() {
            if index >= asked {
                if cancelled() {
                    return Ok(false);
                }
                asked = index + BATCH;
            }
            if self.check_place(index, entry.get(), report)? {
                places.push(u64::from(entry.get()) << 32 | index);
            }
        }
        places.sort_unstable();
        self.check_apart(&places, report)?;
        Ok(true)
    }

    /// Checks that no block of the sorted `places` overlaps one before it.
    fn check_apart(&self, places: &[u64], report: &mut dyn Report) -> Result<()> {
        let mut furthest: Option<(Range<u64>, u64)> = None;
        for found in places {
            let (start, index) = ((found >> 32) * SECTOR, found & u64::from(u32::MAX));
            let place = self.range(index, start);
            if let Some((before, other)) = &furthest
                && place.start < before.end
            {
                report.broken("overlap", &|| {
                    Error::corrupt(
                        BAT_ENTRY,
                        self.entry_at(index),
                        format!(
                            "block {other} at {:#x} overlaps block {index} at {start:#x} \
                             by {} bytes, and one of them is damaged there",
                            before.start,
                            before.end.min(place.end) - start
                        ),
                    )
                    .with_hint(OVERLAP_HINT)
                })?;
            }
            if furthest
                .as_ref()
                .is_none_or(|(before, _)| before.end < place.end)
            {
                furthest = Some((place, index));
            }
        }
        Ok(())
    }

    /// File offset of entry `index`.
    fn entry_at(&self, index: u64) -> u64 {
        self.table.start + index * ENTRY_SIZE
    }

    /// What block `index` takes of the file from `start` on: the disk's last block may be cut off
    /// behind the end of the disk.
    fn range(&self, index: u64, start: u64) -> Range<u64> {
        let left = self.size.saturating_sub(index * self.block_size);
        start..start + self.bitmap_len + left.min(self.block_size)
    }

    /// Checks the place of block `index`; whether it lies in the file.
    fn check_place(&self, index: u64, entry: u32, report: &mut dyn Report) -> Result<bool> {
        let start = u64::from(entry) * SECTOR;
        let place = self.range(index, start);
        let broken = |kind, message: String| {
            Error::new(kind, format!("found {entry:#010x}: {message}"))
                .at(BAT_ENTRY, self.entry_at(index))
        };
        if place.end > self.data_end {
            report.broken("past-end", &|| {
                let end = place.end;
                if end > self.file_len {
                    let message = format!(
                        "block {index} ends at {end:#x}, the file ends at {:#x}",
                        self.file_len
                    );
                    return broken(ErrorKind::Truncated, message);
                }
                let message = format!(
                    "block {index} ends at {end:#x}, behind the start of the footer at {:#x}",
                    self.data_end
                );
                broken(ErrorKind::Corrupt, message)
            })?;
            return Ok(false);
        }
        let others = [
            ("the copy of the footer", &(0..FOOTER_LEN)),
            ("the dynamic header", &self.header),
            ("the BAT", &self.table),
        ];
        for (name, other) in others {
            if overlap(&place, other) {
                report.broken("overlap", &|| {
                    broken(
                        ErrorKind::Corrupt,
                        format!("block {index} at {start:#x} overlaps {name}"),
                    )
                })?;
            }
        }
        Ok(true)
    }
}
