//! Where a structure may be: from a cluster of the file on, and inside it.

use super::entries::Entries;
use super::layout::ENTRY_SIZE;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_L1_BYTES;
use crate::report::Report;
use crate::units::{fits, human};

pub(super) const L1_TABLE: &str = "L1 table";

/// An L1 table as the image describes it.
pub(super) struct L1Place {
    pub(super) structure: &'static str,
    /// Its file offset.
    pub(super) offset: u64,
    /// Number of its entries.
    pub(super) entries: u64,
    /// Size of the disk that it must map, in bytes.
    pub(super) size: Option<u64>,
}

impl L1Place {
    /// Checks the table against the disk's size, the cap and the file, which has `file_len` bytes.
    /// `false` when it cannot be read.
    ///
    /// # Errors
    /// Those of `report`.
    pub(super) fn check(
        &self,
        disk: &Entries,
        file_len: u64,
        report: &mut impl Report,
    ) -> Result<bool> {
        let Self {
            structure,
            offset,
            entries,
            size,
        } = *self;
        if let Some(size) = size
            && entries < disk.needed(size)
        {
            report.broken("l1-size", &|| {
                Error::corrupt(
                    structure,
                    offset,
                    format!(
                        "found {entries} entries, a disk of {size} bytes needs {}",
                        disk.needed(size)
                    ),
                )
            })?;
        }
        let bytes = entries.saturating_mul(ENTRY_SIZE);
        if bytes > MAX_L1_BYTES {
            report.broken("limit", &|| {
                Error::new(
                    ErrorKind::Limit,
                    format!(
                        "it is {bytes} bytes long, at most {} are read",
                        human(MAX_L1_BYTES)
                    ),
                )
                .at(structure, offset)
            })?;
            return Ok(false);
        }
        if entries == 0 {
            return Ok(true);
        }
        place(
            structure,
            (offset, bytes),
            disk.cluster_size(),
            file_len,
            report,
        )
    }
}

/// Checks that `len` bytes of `structure` can be at `offset` of a file of `file_len` bytes: from a
/// cluster on that is not the header's. `false` when they cannot.
///
/// # Errors
/// Those of `report`.
pub(super) fn place(
    structure: &'static str,
    (offset, len): (u64, u64),
    cluster_size: u64,
    file_len: u64,
    report: &mut impl Report,
) -> Result<bool> {
    if offset == 0 || !offset.is_multiple_of(cluster_size) {
        report.broken("alignment", &|| {
            Error::corrupt(
                structure,
                offset,
                format!(
                    "its offset is {offset:#x}, \
                     expected a multiple of {cluster_size:#x} that is not 0"
                ),
            )
        })?;
        return Ok(false);
    }
    if !fits(offset, len, file_len) {
        report.broken("past-end", &|| {
            Error::truncated(
                structure,
                offset,
                format!("expected {len} bytes here, the file ends at {file_len:#x}"),
            )
        })?;
        return Ok(false);
    }
    Ok(true)
}
