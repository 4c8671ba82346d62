//! Checking a VHD file: the structures are the reader's, which reports into the check. What only a
//! check looks at is here: both footers, all of the BAT, and the places of the parent's paths.

use std::sync::Arc;

use zerocopy::IntoBytes;

use super::blocks::Blocks;
use super::copies::{COPY, FOOTER, Footers, Stored};
use super::dynamic::{Dynamic, past_end};
use super::footer::{Footer, Kind};
use super::image::VhdImage;
use super::layout::{self, ENTRY_SIZE, ParentLocator, UNALLOCATED, disk_type};
use super::table::read_entries;
use crate::chain::Context;
use crate::error::{Error, Result};
use crate::image::DiskImage as _;
use crate::limits::MAX_VHD_BAT_BYTES;
use crate::report::{CheckReport, Report};
use crate::source::ReadAt;
use crate::units::fits;

/// Bytes of the BAT that are read at once.
const PIECE: u64 = 256 << 10;

/// Checks `source`.
///
/// # Errors
/// Those of the device. Broken rules are in `report`.
pub(super) fn check(
    source: &Arc<dyn ReadAt>,
    report: &mut CheckReport,
    cancelled: &dyn Fn() -> bool,
) -> Result<()> {
    rules(source.as_ref(), report, cancelled)?;
    if report.errors > 0 || report.cancelled {
        return Ok(());
    }
    // One that does not open is reported by the caller, who opens it.
    let Ok(image) = VhdImage::open_with(Arc::clone(source), &Context::describe()) else {
        return Ok(());
    };
    image.audit(cancelled)?;
    report.cancelled = cancelled();
    for (at, doubt) in image.doubts() {
        report.warning("never-written", "sector bitmap", at.0, doubt);
    }
    Ok(())
}

/// Checks `source` against all rules of the format.
fn rules(
    source: &dyn ReadAt,
    report: &mut CheckReport,
    cancelled: &dyn Fn() -> bool,
) -> Result<()> {
    let footers = match Footers::read(source) {
        Ok(footers) => footers,
        Err(error) => return report.refused(error),
    };
    let data_end = footers.data_end;
    let Some((footer, at)) = footer(footers, source.len(), report) else {
        return Ok(());
    };
    let Some(mut footer) = Footer::of(&footer, at, data_end, Vec::new(), report)? else {
        return Ok(());
    };
    if footer.kind == Kind::Fixed {
        return footer.check_fixed(report);
    }
    let Some(header) = Dynamic::read(source, &footer, report)? else {
        return Ok(());
    };
    if footer.kind == Kind::Differencing {
        locators(&header, data_end, report);
    }
    if let Some(table) = header.table(&footer, footer.declared(), report)? {
        let used = table.end - table.start;
        let entries = read_entries(source, &table)?;
        let blocks = Blocks::new(&header, table, &footer, footer.declared(), source.len());
        report.cancelled = !blocks.check(&entries, report, cancelled)?;
        if !report.cancelled {
            unused(source, &header, (used, data_end), report, cancelled)?;
        }
    }
    Ok(())
}

/// The footer that counts, with its place; `None` when neither is intact.
fn footer(
    footers: Footers,
    file_len: u64,
    report: &mut CheckReport,
) -> Option<(Box<layout::Footer>, u64)> {
    let Footers { end, copy, .. } = footers;
    let copy = match copy {
        Stored::Intact(_, copy) => Some(copy),
        Stored::Damaged(..) | Stored::Missing => None,
    };
    match end {
        Stored::Intact(at, footer) => {
            if footer.disk_type.get() != disk_type::FIXED {
                check_copy(&footer, copy.as_deref(), report);
            }
            return Some((footer, at));
        }
        Stored::Damaged(at, error) => report.error("checksum", FOOTER, at, error.message()),
        Stored::Missing => report.error(
            "footer",
            FOOTER,
            file_len,
            "there is no footer at the end of the file: it is incomplete, or something was added",
        ),
    }
    copy.filter(|copy| copy.disk_type.get() != disk_type::FIXED)
        .map(|copy| (copy, 0))
}

/// Compares the footer with its copy.
fn check_copy(footer: &layout::Footer, copy: Option<&layout::Footer>, report: &mut CheckReport) {
    const RULE: &str = "copy";
    let Some(copy) = copy else {
        return report.warning(RULE, COPY, 0, "it is missing or damaged");
    };
    if copy.as_bytes() == footer.as_bytes() {
        return;
    }
    let geometry = |footer: &layout::Footer| (footer.cylinders, footer.heads, footer.sectors);
    let fields = [
        ("disk type", copy.disk_type == footer.disk_type),
        ("header offset", copy.data_offset == footer.data_offset),
        ("current size", copy.current_size == footer.current_size),
        ("geometry", geometry(copy) == geometry(footer)),
        ("unique id", copy.unique_id == footer.unique_id),
    ];
    let differing: Vec<_> = fields
        .iter()
        .filter(|(_, same)| !same)
        .map(|(name, _)| *name)
        .collect();
    const DIFFERS: &str = "it differs from the footer at the file's end";
    // Which of the two counts depends on the program that reads.
    if differing.is_empty() {
        let message = format_args!("{DIFFERS}: fields that reading does not need");
        report.warning(RULE, COPY, 0, message);
    } else {
        report.error(
            RULE,
            COPY,
            0,
            format_args!("{DIFFERS}: {}", differing.join(", ")),
        );
    }
}

/// Checks that the parent's paths lie in the file.
fn locators(header: &Dynamic, data_end: u64, report: &mut CheckReport) {
    const LOCATORS: usize = std::mem::offset_of!(layout::DynamicHeader, parent_locators);
    let first = header.at + LOCATORS as u64;
    let places = (first..).step_by(size_of::<ParentLocator>());
    for (at, locator) in places.zip(&header.header.parent_locators) {
        let (offset, len) = (locator.data_offset.get(), locator.data_length.get());
        if locator.code != [0; 4] && !fits(offset, len.into(), data_end) {
            report.error(
                "past-end",
                "parent locator",
                at,
                format_args!(
                    "it names {len} bytes at {offset:#x}, the file's data ends at {data_end:#x}"
                ),
            );
        }
    }
}

/// Checks the entries of the BAT behind the first `used` bytes, which the disk does not need.
fn unused(
    source: &dyn ReadAt,
    header: &Dynamic,
    (used, data_end): (u64, u64),
    report: &mut CheckReport,
    cancelled: &dyn Fn() -> bool,
) -> Result<()> {
    let start = header.header.table_offset.get();
    let whole = header.capacity() * ENTRY_SIZE;
    let len = whole.min(MAX_VHD_BAT_BYTES);
    if len < whole {
        report.skipped.push(format!(
            "the BAT has {whole} bytes, the first {MAX_VHD_BAT_BYTES} were examined"
        ));
    }
    if !fits(start, len, data_end) {
        return report.broken("past-end", &|| past_end(start, len, data_end));
    }
    let mut at = used;
    while at < len {
        if cancelled() {
            report.cancelled = true;
            break;
        }
        let end = (at + PIECE).min(len);
        let entries = read_entries(source, &(start + at..start + end))?;
        for (index, entry) in (at / ENTRY_SIZE..).zip(&entries) {
            if entry.get() != UNALLOCATED {
                report.forgiven("beyond-disk", &|| {
                    Error::corrupt(
                        "BAT entry",
                        start + index * ENTRY_SIZE,
                        format!(
                            "found {entry:#010x}: block {index} is stored, the disk ends before it"
                        ),
                    )
                });
            }
        }
        at = end;
    }
    Ok(())
}
