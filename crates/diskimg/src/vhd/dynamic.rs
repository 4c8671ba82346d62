//! The dynamic header: where the block allocation table (BAT) is, and what its blocks are like.

use std::ops::Range;

use zerocopy::{FromZeros, IntoBytes};

use super::footer::Footer;
use super::layout::{
    self, DYNAMIC_COOKIE, DYNAMIC_HEADER_LEN, ENTRY_SIZE, FOOTER_LEN, MAJOR_VERSION, checksum,
};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{MAX_VHD_BAT_BYTES, MAX_VHD_BLOCK_SIZE};
use crate::report::Report;
use crate::source::ReadAt;
use crate::units::{FileOffset, SECTOR, fits, human};

const HEADER: &str = "dynamic header";
pub(super) const BAT: &str = "BAT";

/// Smallest block size that is read, in bytes: 8 sectors, whose bitmap is a byte. By the
/// specification the bitmap of a smaller block takes a sector, by QEMU and libvhdi it takes
/// nothing; no program is known that writes such blocks.
const MIN_BLOCK_SIZE: u64 = 8 * SECTOR;

/// Sectors whose state one sector of a block's bitmap gives.
const SECTORS_PER_BITMAP_SECTOR: u64 = SECTOR * 8;

/// What the dynamic header says.
pub(super) struct Dynamic {
    pub(super) header: layout::DynamicHeader,
    /// Its file offset.
    pub(super) at: u64,
    /// log2 of the block size.
    pub(super) block_bits: u32,
}

impl Dynamic {
    /// Reads the header that `footer` points at; `None` when nothing can be read by it.
    ///
    /// # Errors
    /// Those of reading and of `report`.
    pub(super) fn read(
        source: &dyn ReadAt,
        footer: &Footer,
        report: &mut dyn Report,
    ) -> Result<Option<Self>> {
        let at = footer.data_offset;
        let Some(header) = read_header(source, at, footer.data_end, report)? else {
            return Ok(None);
        };
        let block_bits = check_block_size(header.block_size.get(), at, report)?;
        Ok(block_bits.map(|block_bits| Self {
            header,
            at,
            block_bits,
        }))
    }

    /// Length of a block's sector bitmap in bytes: one bit a sector, in whole sectors.
    pub(super) fn bitmap_len(&self) -> u64 {
        (1_u64 << self.block_bits)
            .div_ceil(SECTOR * SECTORS_PER_BITMAP_SECTOR)
            .saturating_mul(SECTOR)
    }

    /// Entries that the BAT has room for.
    pub(super) fn capacity(&self) -> u64 {
        u64::from(self.header.max_table_entries.get())
    }

    /// Where the entries for a disk of `declared` bytes are in the file, as far as there are any
    /// and we read them; `None` when they are not there.
    ///
    /// # Errors
    /// Those of `report`.
    pub(super) fn table(
        &self,
        footer: &Footer,
        declared: u64,
        report: &mut dyn Report,
    ) -> Result<Option<Range<u64>>> {
        let blocks = declared.div_ceil(1 << self.block_bits);
        let capacity = self.capacity();
        if blocks > capacity {
            report.broken("table-size", &|| {
                Error::corrupt(
                    HEADER,
                    self.at,
                    format!(
                        "max_table_entries is {capacity}, \
                         a disk of {declared} bytes has {blocks} blocks of {} bytes",
                        1_u64 << self.block_bits
                    ),
                )
            })?;
        }
        let at = self.header.table_offset.get();
        let len = blocks.min(capacity).saturating_mul(ENTRY_SIZE);
        if len > MAX_VHD_BAT_BYTES {
            report.broken("limit", &|| {
                Error::new(
                    ErrorKind::Limit,
                    format!(
                        "the disk has {blocks} blocks, whose table takes {}; at most {} are read",
                        human(len),
                        human(MAX_VHD_BAT_BYTES)
                    ),
                )
                .at(BAT, at)
                .with_hint("give it larger blocks: qemu-img convert -O vpc IMAGE disk.vhd")
            })?;
        }
        let len = len.min(MAX_VHD_BAT_BYTES);
        if !fits(at, len, footer.data_end) {
            report.broken("past-end", &|| past_end(at, len, footer.data_end))?;
            return Ok(None);
        }
        let table = at..at + len;
        let header = self.at..self.at + DYNAMIC_HEADER_LEN;
        if overlap(&table, &header) || at < FOOTER_LEN {
            report.broken("overlap", &|| {
                Error::corrupt(
                    BAT,
                    at,
                    "it overlaps the dynamic header or the copy of the footer",
                )
            })?;
        }
        Ok(Some(table))
    }
}

/// The BAT at `at`, of `len` bytes, is not wholly in the file, whose data ends at `data_end`.
pub(super) fn past_end(at: u64, len: u64, data_end: u64) -> Error {
    Error::truncated(
        BAT,
        at,
        format!("expected {len} bytes here, the file's data ends at {data_end:#x}"),
    )
}

pub(super) fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

/// Reads the header at `at` of a file whose data ends at `data_end`; `None` when there is none.
///
/// # Errors
/// Those of reading and of `report`.
pub(super) fn read_header(
    source: &dyn ReadAt,
    at: u64,
    data_end: u64,
    report: &mut dyn Report,
) -> Result<Option<layout::DynamicHeader>> {
    if at < FOOTER_LEN {
        report.broken("past-end", &|| {
            Error::corrupt(HEADER, at, "it overlaps the copy of the footer")
        })?;
        return Ok(None);
    }
    if !fits(at, DYNAMIC_HEADER_LEN, data_end) {
        report.broken("past-end", &|| {
            Error::truncated(
                HEADER,
                at,
                format!(
                    "expected {DYNAMIC_HEADER_LEN} bytes here, the file's data ends at \
                     {data_end:#x}"
                ),
            )
        })?;
        return Ok(None);
    }
    let mut header = layout::DynamicHeader::new_zeroed();
    source.read_exact_at(FileOffset(at), header.as_mut_bytes())?;
    if header.cookie != DYNAMIC_COOKIE {
        report.broken("cookie", &|| {
            Error::corrupt(
                HEADER,
                at,
                format!(
                    "found {:02x?}, expected {DYNAMIC_COOKIE:02x?} (cxsparse)",
                    header.cookie
                ),
            )
        })?;
        return Ok(None);
    }
    let expected = checksum(header.as_bytes(), header.checksum);
    if header.checksum.get() != expected {
        report.broken("checksum", &|| {
            Error::corrupt(
                HEADER,
                at,
                format!(
                    "checksum is {:#010x}, expected {expected:#010x}",
                    header.checksum
                ),
            )
        })?;
    }
    let version = header.version.get();
    if version >> 16 != MAJOR_VERSION {
        report.broken("version", &|| {
            Error::unsupported(format!(
                "the header's version is {version:#010x}; version 1 is read"
            ))
            .at(HEADER, at)
        })?;
    }
    Ok(Some(header))
}

/// log2 of the block size; `None` when it is none.
fn check_block_size(block_size: u32, at: u64, report: &mut dyn Report) -> Result<Option<u32>> {
    const RULE: &str = "block-size";
    let size = u64::from(block_size);
    if !size.is_power_of_two() || size < SECTOR {
        report.broken(RULE, &|| {
            Error::corrupt(
                HEADER,
                at,
                format!("the block size is {size}, expected a power of two from {SECTOR}"),
            )
        })?;
        return Ok(None);
    }
    if size > MAX_VHD_BLOCK_SIZE {
        report.broken(RULE, &|| {
            Error::new(
                ErrorKind::Limit,
                format!(
                    "the block size is {}, at most {} are read",
                    human(size),
                    human(MAX_VHD_BLOCK_SIZE)
                ),
            )
            .at(HEADER, at)
        })?;
        return Ok(None);
    }
    if size < MIN_BLOCK_SIZE {
        report.broken(RULE, &|| {
            Error::unsupported(format!(
                "the block size is {size}, at least {MIN_BLOCK_SIZE} are read"
            ))
            .at(HEADER, at)
        })?;
    }
    Ok(Some(block_size.trailing_zeros()))
}
