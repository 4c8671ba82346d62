//! Whether mapped parts of an image file were ever written: the file may be sparse itself.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::error::Result;
use crate::image::ExtentKind;
use crate::source::{ReadAt, SourceExtent};
use crate::units::FileOffset;

/// Asks a file for its holes, and keeps the last stretch that is known to hold data. That spares
/// two system calls for each run of a file that has no holes.
#[derive(Debug, Default)]
pub(crate) struct StoredStretch(Mutex<Range<u64>>);

impl StoredStretch {
    /// Where in the file the stretch lies that is known to hold data.
    pub(crate) fn known(&self) -> Range<u64> {
        self.lock().clone()
    }

    /// What `source` has at `host`, for up to `len` bytes: `Data`, or a `Hole` where a mapped part
    /// was preallocated and never written.
    ///
    /// # Errors
    /// Those of asking the file.
    pub(crate) fn kind(
        &self,
        source: &dyn ReadAt,
        host: FileOffset,
        len: u64,
    ) -> Result<(ExtentKind, u64)> {
        let known = self.known();
        if known.contains(&host.0) {
            return Ok((ExtentKind::Data, len.min(known.end - host.0)));
        }
        // To the end of the file, so that the answer serves later questions too.
        let rest = source.len().saturating_sub(host.0);
        match source.extent_at(host, rest)? {
            SourceExtent::Hole(hole) => Ok((ExtentKind::Hole, len.min(hole))),
            SourceExtent::Data(data) => {
                *self.lock() = host.0..host.0.saturating_add(data);
                Ok((ExtentKind::Data, len.min(data)))
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Range<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
