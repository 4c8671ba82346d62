//! Holding a VHD file against the rules of its format: both footers, the dynamic header, every
//! entry of the BAT.

use std::ops::Range;
use std::sync::Arc;

use zerocopy::big_endian::U32;
use zerocopy::{FromZeros, IntoBytes};

use super::footer::Sizes;
use super::image::VhdImage;
use super::layout::{
    DYNAMIC_COOKIE, DYNAMIC_HEADER_LEN, DynamicHeader, ENTRY_SIZE, FOOTER_COOKIE, FOOTER_LEN,
    Footer, MAJOR_VERSION, OLD_FOOTER_LEN, UNALLOCATED, checksum, disk_type,
};
use crate::chain::Context;
use crate::error::Result;
use crate::image::DiskImage as _;
use crate::limits::{MAX_VHD_BAT_BYTES, MAX_VHD_BLOCK_SIZE};
use crate::report::CheckReport;
use crate::source::ReadAt;
use crate::units::{FileOffset, SECTOR, fits};

const FOOTER: &str = "footer";
const COPY: &str = "copy of the footer";
const HEADER: &str = "dynamic header";
const BAT: &str = "BAT";
const BAT_ENTRY: &str = "BAT entry";

/// Entries of the BAT between two questions whether to go on.
const BATCH: usize = 1 << 16;

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
    // One that does not open is reported by whoever opens it.
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

/// Holds `source` against all rules of the format.
fn rules(
    source: &dyn ReadAt,
    report: &mut CheckReport,
    cancelled: &dyn Fn() -> bool,
) -> Result<()> {
    let end = footer_at_the_end(source, report)?;
    let data_end = end.as_ref().map_or(source.len(), |(at, _)| *at);
    let copy = footer_at_the_start(source)?;
    let footer = match (end.and_then(|(_, footer)| footer), copy) {
        (Some(footer), copy) => {
            if footer.disk_type.get() != disk_type::FIXED {
                check_copy(&footer, copy.as_deref(), report);
            }
            footer
        }
        (None, Some(copy)) if copy.disk_type.get() != disk_type::FIXED => copy,
        _ => return Ok(()),
    };
    if footer.version.get() >> 16 != MAJOR_VERSION {
        report.error(
            "version",
            FOOTER,
            data_end,
            format_args!("version is {:#010x}, version 1 is known", footer.version),
        );
    }
    match footer.disk_type.get() {
        disk_type::FIXED => {
            let size = Sizes::of(&footer).declared();
            if size > data_end {
                report.error(
                    "past-end",
                    "disk",
                    0,
                    format_args!(
                        "the disk has {size} bytes, the file has {data_end} before its footer"
                    ),
                );
            }
        }
        disk_type::DYNAMIC | disk_type::DIFFERENCING => {
            dynamic(source, &footer, data_end, report, cancelled)?;
        }
        other => report.error(
            "disk-type",
            FOOTER,
            data_end,
            format_args!("disk type is {other}, expected 2, 3 or 4"),
        ),
    }
    Ok(())
}

/// The footer's place and, when it is intact, the footer.
fn footer_at_the_end(
    source: &dyn ReadAt,
    report: &mut CheckReport,
) -> Result<Option<(u64, Option<Box<Footer>>)>> {
    for len in [FOOTER_LEN, OLD_FOOTER_LEN] {
        let Some(at) = source.len().checked_sub(len) else {
            continue;
        };
        let footer = read_footer(source, at, len)?;
        if footer.cookie != FOOTER_COOKIE {
            continue;
        }
        let expected = checksum(footer.as_bytes(), footer.checksum);
        if footer.checksum.get() == expected {
            return Ok(Some((at, Some(footer))));
        }
        report.error(
            "checksum",
            FOOTER,
            at,
            format_args!(
                "checksum is {:#010x}, expected {expected:#010x}",
                footer.checksum
            ),
        );
        return Ok(Some((at, None)));
    }
    report.error(
        "footer",
        FOOTER,
        source.len(),
        "there is no footer at the end of the file: it is incomplete, or something was added",
    );
    Ok(None)
}

/// The copy, when it is intact.
fn footer_at_the_start(source: &dyn ReadAt) -> Result<Option<Box<Footer>>> {
    if source.len() <= FOOTER_LEN {
        return Ok(None);
    }
    let copy = read_footer(source, 0, FOOTER_LEN)?;
    let intact = copy.cookie == FOOTER_COOKIE
        && copy.checksum.get() == checksum(copy.as_bytes(), copy.checksum);
    Ok(intact.then_some(copy))
}

fn read_footer(source: &dyn ReadAt, at: u64, len: u64) -> Result<Box<Footer>> {
    let mut footer = Box::new(Footer::new_zeroed());
    let bytes = footer.as_mut_bytes();
    // What an old footer lacks is a reserved byte, which is zero.
    let len = usize::try_from(len).unwrap_or_default().min(bytes.len());
    let (stored, _) = bytes.split_at_mut(len);
    source.read_exact_at(FileOffset(at), stored)?;
    Ok(footer)
}

fn check_copy(footer: &Footer, copy: Option<&Footer>, report: &mut CheckReport) {
    match copy {
        None => report.warning("copy", COPY, 0, "it is missing or damaged"),
        Some(copy) if copy.as_bytes() != footer.as_bytes() => {
            let mut differing = Vec::new();
            let fields = [
                ("disk type", copy.disk_type == footer.disk_type),
                ("header offset", copy.data_offset == footer.data_offset),
                ("current size", copy.current_size == footer.current_size),
                (
                    "geometry",
                    (copy.cylinders, copy.heads, copy.sectors)
                        == (footer.cylinders, footer.heads, footer.sectors),
                ),
                ("unique id", copy.unique_id == footer.unique_id),
            ];
            differing.extend(
                fields
                    .iter()
                    .filter(|(_, same)| !same)
                    .map(|(name, _)| *name),
            );
            let what = if differing.is_empty() {
                "fields that reading does not need".to_owned()
            } else {
                differing.join(", ")
            };
            let message = format!("it differs from the footer at the file's end: {what}");
            // Which of the two counts depends on the program that reads.
            if differing.is_empty() {
                report.warning("copy", COPY, 0, message);
            } else {
                report.error("copy", COPY, 0, message);
            }
        }
        Some(_) => {}
    }
}

fn dynamic(
    source: &dyn ReadAt,
    footer: &Footer,
    data_end: u64,
    report: &mut CheckReport,
    cancelled: &dyn Fn() -> bool,
) -> Result<()> {
    let at = footer.data_offset.get();
    if at < FOOTER_LEN || !fits(at, DYNAMIC_HEADER_LEN, data_end) {
        report.error(
            "past-end",
            HEADER,
            at,
            format_args!(
                "{DYNAMIC_HEADER_LEN} bytes were expected here, between the copy of the footer and {data_end:#x}"
            ),
        );
        return Ok(());
    }
    let mut header = DynamicHeader::new_zeroed();
    source.read_exact_at(FileOffset(at), header.as_mut_bytes())?;
    if header.cookie != DYNAMIC_COOKIE {
        report.error(
            "cookie",
            HEADER,
            at,
            format_args!(
                "found \"{}\", expected \"cxsparse\"",
                header.cookie.escape_ascii()
            ),
        );
        return Ok(());
    }
    let expected = checksum(header.as_bytes(), header.checksum);
    if header.checksum.get() != expected {
        report.error(
            "checksum",
            HEADER,
            at,
            format_args!(
                "checksum is {:#010x}, expected {expected:#010x}",
                header.checksum
            ),
        );
    }
    if header.version.get() >> 16 != MAJOR_VERSION {
        report.error(
            "version",
            HEADER,
            at,
            format_args!("version is {:#010x}, version 1 is known", header.version),
        );
    }
    let block_size = u64::from(header.block_size.get());
    if !block_size.is_power_of_two() || !(SECTOR..=MAX_VHD_BLOCK_SIZE).contains(&block_size) {
        report.error(
            "block-size",
            HEADER,
            at,
            format_args!(
                "block size is {block_size}, expected a power of two from {SECTOR} to {MAX_VHD_BLOCK_SIZE}"
            ),
        );
        return Ok(());
    }
    let size = Sizes::of(footer).declared();
    let blocks = size.div_ceil(block_size);
    let entries = u64::from(header.max_table_entries.get());
    if entries < blocks {
        report.error(
            "table-size",
            HEADER,
            at,
            format_args!(
                "max_table_entries is {entries}, a disk of {size} bytes has {blocks} blocks"
            ),
        );
    }
    let table = header.table_offset.get();
    let mut len = entries * ENTRY_SIZE;
    if len > MAX_VHD_BAT_BYTES {
        report.skipped.push(format!(
            "the BAT has {len} bytes, the first {MAX_VHD_BAT_BYTES} were looked at"
        ));
        len = MAX_VHD_BAT_BYTES;
    }
    if !fits(table, len, data_end) {
        report.error(
            "past-end",
            BAT,
            table,
            format_args!("{len} bytes were expected here, the file's data ends at {data_end:#x}"),
        );
        return Ok(());
    }
    if footer.disk_type.get() == disk_type::DIFFERENCING {
        locators(&header, at, data_end, report);
    }
    Blocks {
        block_size,
        // A bitmap of one bit a sector, in whole sectors.
        bitmap_len: block_size.div_ceil(SECTOR * 8 * SECTOR) * SECTOR,
        size,
        table: table..table + len,
        header: at..at + DYNAMIC_HEADER_LEN,
        data_end,
    }
    .check(source, report, cancelled)
}

/// Holds the places of the parent's paths against the file.
fn locators(header: &DynamicHeader, at: u64, data_end: u64, report: &mut CheckReport) {
    /// Eight entries of 24 bytes: code, space, length, reserved, offset.
    const AT: usize = 576;
    const LEN: usize = 24;
    let entries = header.as_bytes().get(AT..AT + 8 * LEN).unwrap_or_default();
    for (index, entry) in entries.chunks_exact(LEN).enumerate() {
        let (words, _) = entry.as_chunks::<4>();
        let word = |index: usize| {
            words
                .get(index)
                .map_or(0, |bytes| u64::from(u32::from_be_bytes(*bytes)))
        };
        let (code, len, offset) = (word(0), word(2), word(4) << 32 | word(5));
        if code != 0 && !fits(offset, len, data_end) {
            report.error(
                "past-end",
                "parent locator",
                at + (AT + index * LEN) as u64,
                format_args!(
                    "it names {len} bytes at {offset:#x}, the file's data ends at {data_end:#x}"
                ),
            );
        }
    }
}

/// What the blocks are held against.
struct Blocks {
    block_size: u64,
    bitmap_len: u64,
    /// Size of the disk in bytes.
    size: u64,
    /// Where BAT and dynamic header are.
    table: Range<u64>,
    header: Range<u64>,
    data_end: u64,
}

impl Blocks {
    fn check(
        &self,
        source: &dyn ReadAt,
        report: &mut CheckReport,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<()> {
        let count = (self.table.end - self.table.start) / ENTRY_SIZE;
        // At most MAX_VHD_BAT_BYTES, and inside the file.
        let mut entries = vec![U32::ZERO; usize::try_from(count).unwrap_or_default()];
        source.read_exact_at(FileOffset(self.table.start), entries.as_mut_bytes())?;
        // Of each block that lies in the file its entry and, in the lower half, its number: in the
        // order of their places once sorted, and in no more memory than a table of millions of
        // entries deserves.
        let mut places: Vec<u64> = Vec::new();
        for (index, entry) in (0_u64..).zip(&entries) {
            if index.is_multiple_of(BATCH as u64) && cancelled() {
                report.cancelled = true;
                return Ok(());
            }
            if entry.get() != UNALLOCATED && self.place(index, entry.get(), report).is_some() {
                places.push(u64::from(entry.get()) << 32 | index);
            }
        }
        places.sort_unstable();
        let mut furthest: Option<(Range<u64>, u64)> = None;
        for found in places {
            let (start, index) = ((found >> 32) * SECTOR, found & u64::from(u32::MAX));
            let place = start..start + self.len_of(index);
            if let Some((before, other)) = &furthest
                && place.start < before.end
            {
                report.error(
                    "overlap",
                    BAT_ENTRY,
                    self.table.start + index * ENTRY_SIZE,
                    format_args!(
                        "block {index} at {:#x} overlaps block {other} at {:#x} by {} bytes, and one of them is damaged there",
                        place.start,
                        before.start,
                        before.end.min(place.end) - place.start
                    ),
                );
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

    /// Length of block `index` in the file, in bytes: the disk's last block may be cut off behind
    /// the end of the disk.
    fn len_of(&self, index: u64) -> u64 {
        let left = self.size.saturating_sub(index * self.block_size);
        self.bitmap_len + left.min(self.block_size)
    }

    /// Where the block of an entry is, once that is known to be in the file.
    fn place(&self, index: u64, entry: u32, report: &mut CheckReport) -> Option<Range<u64>> {
        let at = self.table.start + index * ENTRY_SIZE;
        let start = u64::from(entry) * SECTOR;
        let guest = index * self.block_size;
        if guest >= self.size {
            report.warning(
                "beyond-disk",
                BAT_ENTRY,
                at,
                format_args!(
                    "found {entry:#010x}: block {index} is stored, the disk ends before it"
                ),
            );
            return None;
        }
        let place = start..start + self.len_of(index);
        if place.end > self.data_end {
            let what = if start + self.bitmap_len > self.data_end {
                "sector bitmap"
            } else {
                "block"
            };
            report.error(
                "past-end",
                BAT_ENTRY,
                at,
                format_args!(
                    "found {entry:#010x}: the {what} of block {index} ends past the end of the file's data at {:#x}",
                    self.data_end
                ),
            );
            return None;
        }
        let others = [
            ("the copy of the footer", &(0..FOOTER_LEN)),
            ("the dynamic header", &self.header),
            ("the BAT", &self.table),
        ];
        for (name, other) in others {
            if place.start < other.end && other.start < place.end {
                report.error(
                    "overlap",
                    BAT_ENTRY,
                    at,
                    format_args!(
                        "found {entry:#010x}: block {index} at {start:#x} overlaps {name}"
                    ),
                );
            }
        }
        Some(place)
    }
}
