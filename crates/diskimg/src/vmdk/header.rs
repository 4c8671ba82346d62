//! Reading the header of a hosted sparse extent, wherever it is.

use std::ops::Range;

use zerocopy::FromBytes;

use super::layout::HostedHeader;
use crate::error::{Error, Result};
use crate::source::ReadAt;
use crate::units::{FileOffset, SECTOR};

pub(super) const HEADER: &str = "sparse header";
pub(super) const HEADER_LEN: u64 = 512;

/// The header at `at`, which is in the file.
///
/// # Errors
/// Those of reading.
pub(super) fn read_header(source: &dyn ReadAt, at: u64) -> Result<HostedHeader> {
    let mut bytes = [0; 512];
    source.read_exact_at(FileOffset(at), &mut bytes)?;
    HostedHeader::read_from_bytes(&bytes)
        .map_err(|_| Error::corrupt(HEADER, at, "it cannot be read"))
}

/// `sectors` sectors from sector `at` on, in bytes.
pub(super) fn bytes(at: u64, sectors: u64) -> Option<Range<u64>> {
    let start = at.checked_mul(SECTOR)?;
    let end = start.checked_add(sectors.checked_mul(SECTOR)?)?;
    Some(start..end)
}
