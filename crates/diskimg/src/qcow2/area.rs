//! The bytes that hold the header.

use zerocopy::FromBytes;

use crate::error::{Error, Result};
use crate::limits::MAX_HEADER_BYTES;
use crate::source::ReadAt;
use crate::units::FileOffset;

/// The first cluster, which holds header, extensions and the backing file's name; or the part of it
/// that the file has.
pub(super) struct HeaderArea {
    bytes: Vec<u8>,
    cluster_size: u64,
}

impl HeaderArea {
    pub(super) fn read(source: &dyn ReadAt, cluster_size: u64) -> Result<Self> {
        let len = cluster_size.min(source.len()).min(MAX_HEADER_BYTES);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
        source.read_exact_at(FileOffset(0), &mut bytes)?;
        Ok(Self {
            bytes,
            cluster_size,
        })
    }

    /// Where the area ends by the rules; the file may end earlier.
    pub(super) fn cluster_size(&self) -> u64 {
        self.cluster_size
    }

    pub(super) fn get(&self, at: u64, len: u64) -> Option<&[u8]> {
        let start = usize::try_from(at).ok()?;
        let end = usize::try_from(at.checked_add(len)?).ok()?;
        self.bytes.get(start..end)
    }

    /// The structure at `at`.
    ///
    /// # Errors
    /// `Truncated` when the file ends before its end.
    pub(super) fn read_struct<T: FromBytes>(&self, at: u64) -> Result<T> {
        let len = size_of::<T>() as u64;
        self.get(at, len)
            .and_then(|bytes| T::read_from_bytes(bytes).ok())
            .ok_or_else(|| self.truncated(at, len))
    }

    pub(super) fn truncated(&self, at: u64, len: u64) -> Error {
        Error::truncated(
            "header",
            at,
            format!(
                "{len} bytes expected here, the file ends at {:#x}",
                self.bytes.len()
            ),
        )
    }
}
