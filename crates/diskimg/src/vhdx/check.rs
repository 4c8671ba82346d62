//! Holding a VHDX file against the rules of its format: both headers, the log, both region tables,
//! metadata, every entry of the BAT.

use std::fmt;
use std::sync::Arc;

use super::header::Header;
use super::layout::{BAT_ENTRY_SIZE, SECTOR_BITMAP_LEN, SECTORS_PER_CHUNK, bat, state};
use super::log;
use super::metadata::Metadata;
use super::places::Places;
use super::region::Regions;
use crate::chain::Context;
use crate::error::Result;
use crate::report::CheckReport;
use crate::source::{ReadAt, SourceExtent};
use crate::units::FileOffset;

const BAT: &str = "VHDX BAT";
const ENTRY: &str = "VHDX BAT entry";

/// Bytes of the BAT that are read at once.
const PIECE: u64 = 64 << 10;

/// Checks `source`. What begins with header or metadata ends at the first of them that cannot be
/// used, because nothing behind it can be found.
///
/// # Errors
/// Those of the device. Broken rules are in `report`.
pub(super) fn check(
    source: &Arc<dyn ReadAt>,
    report: &mut CheckReport,
    cancelled: &dyn Fn() -> bool,
) -> Result<()> {
    let header = match Header::read(source.as_ref()) {
        Ok(header) => header,
        Err(error) => return report.refused(error),
    };
    for warning in &header.warnings {
        report.warning("header-copy", "VHDX header", 0, warning);
    }
    let replayed: Arc<dyn ReadAt> = match log::replay(source, &header, &Context::default()) {
        Ok(None) => Arc::clone(source),
        Ok(Some((overlay, entries))) => {
            report.warning(
                "log-pending",
                "VHDX log",
                header.log.start,
                format_args!(
                    "the file was not closed: {entries} entries are to be replayed; what follows is said of the file after that"
                ),
            );
            Arc::new(overlay)
        }
        Err(error) => return report.refused(error),
    };
    let source = replayed.as_ref();
    let mut warnings = Vec::new();
    let regions = Regions::read(source, &header.log, &mut warnings);
    for warning in warnings {
        report.warning("region-copy", "VHDX region table", 0, warning);
    }
    let regions = match regions {
        Ok(regions) => regions,
        Err(error) => return report.refused(error),
    };
    let metadata = match Metadata::read(source, &regions.metadata) {
        Ok(metadata) => metadata,
        Err(error) => return report.refused(error),
    };
    let table = Table {
        block_size: metadata.block_size,
        blocks: metadata.disk_size.div_ceil(metadata.block_size),
        chunk_ratio: (SECTORS_PER_CHUNK * metadata.logical_sector_size / metadata.block_size)
            .max(1),
        differencing: metadata.differencing,
        regions,
        file_len: source.len(),
    };
    table.check(source, report, cancelled)
}

/// The BAT, and what its entries are held against.
struct Table {
    block_size: u64,
    /// Blocks of the disk.
    blocks: u64,
    /// Payload entries between two entries for sector bitmaps.
    chunk_ratio: u64,
    /// Whether the disk has a parent.
    differencing: bool,
    regions: Regions,
    file_len: u64,
}

impl Table {
    fn check(
        &self,
        source: &dyn ReadAt,
        report: &mut CheckReport,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<()> {
        let start = self.regions.bat.start;
        let entries = if self.differencing {
            self.blocks.div_ceil(self.chunk_ratio) * (self.chunk_ratio + 1)
        } else {
            self.blocks + self.blocks.saturating_sub(1) / self.chunk_ratio
        };
        let (needed, found) = (
            entries * BAT_ENTRY_SIZE,
            self.regions.bat.end - self.regions.bat.start,
        );
        if needed > found {
            report.error(
                "table-size",
                BAT,
                start,
                format_args!(
                    "found {found} bytes, a disk of {} blocks needs {needed}",
                    self.blocks
                ),
            );
        }
        let mut taken = match Places::new(self.file_len) {
            Ok(taken) => taken,
            Err(skipped) => {
                report.skipped.push(skipped);
                return Ok(());
            }
        };
        for range in &self.regions.occupied {
            taken.take(range);
        }
        let end = needed.min(found);
        let mut at = 0;
        while at < end {
            if cancelled() {
                report.cancelled = true;
                return Ok(());
            }
            let here = FileOffset(start + at);
            // A BAT of which nothing is stored is all zeros: no block is present.
            if let SourceExtent::Hole(len) = source.extent_at(here, end - at)? {
                at += (len / BAT_ENTRY_SIZE * BAT_ENTRY_SIZE).max(BAT_ENTRY_SIZE);
                continue;
            }
            let len = PIECE.min(end - at);
            let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
            source.read_exact_at(here, &mut bytes)?;
            for (index, entry) in (at / BAT_ENTRY_SIZE..).zip(bytes.as_chunks::<8>().0) {
                self.entry(index, u64::from_le_bytes(*entry), &mut taken, report);
            }
            at += len;
        }
        Ok(())
    }

    fn entry(&self, index: u64, entry: u64, taken: &mut Places, report: &mut CheckReport) {
        let bitmap = index % (self.chunk_ratio + 1) == self.chunk_ratio;
        if bitmap && !self.differencing {
            // Without a parent there are no sector bitmaps, and programs leave anything here.
            return;
        }
        let len = if bitmap {
            SECTOR_BITMAP_LEN
        } else {
            self.block_size
        };
        let block = index - index / (self.chunk_ratio + 1);
        let at = self.regions.bat.start + index * BAT_ENTRY_SIZE;
        let mut broken = |rule, message: fmt::Arguments<'_>| {
            report.error(
                rule,
                ENTRY,
                at,
                format_args!("found {entry:#018x} for block {block}: {message}"),
            );
        };
        if entry & bat::RESERVED != 0 {
            broken(
                "reserved",
                format_args!("reserved bits {:#x} are set", entry & bat::RESERVED),
            );
        }
        match entry & bat::STATE {
            state::NOT_PRESENT | state::UNDEFINED | state::ZERO | state::UNMAPPED => {}
            state::PARTIALLY_PRESENT if bitmap => {
                broken("state", format_args!("a sector bitmap is there as a whole"));
            }
            state::PARTIALLY_PRESENT if !self.differencing => broken(
                "state",
                format_args!("the rest of the block is a parent's, and the disk has none"),
            ),
            state::FULLY_PRESENT | state::PARTIALLY_PRESENT => {
                let start = entry & bat::OFFSET;
                let place = start..start.saturating_add(len);
                if start < super::layout::HEADER_SECTION_LEN {
                    broken(
                        "overlap",
                        format_args!("the block lies in the header section"),
                    );
                } else if start >= self.file_len {
                    broken(
                        "past-end",
                        format_args!("the file ends at {:#x}", self.file_len),
                    );
                } else {
                    if place.end > self.file_len {
                        broken(
                            "past-end",
                            format_args!(
                                "the block ends at {:#x}, the file ends at {:#x}",
                                place.end, self.file_len
                            ),
                        );
                    }
                    if taken.take(&place) {
                        broken(
                            "overlap",
                            format_args!(
                                "the block at {start:#x} shares its place in the file with a region or another block"
                            ),
                        );
                    }
                }
            }
            unknown => broken("state", format_args!("there is no state {unknown}")),
        }
    }
}
