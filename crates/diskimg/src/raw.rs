//! Raw disks: the file's bytes are the disk's bytes.

use std::sync::Arc;

use crate::chain::Context;
use crate::changes::Changes;
use crate::details::Details;
use crate::driver::Driver;
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentKind, check_range, clip_extent};
use crate::format::Format;
use crate::image::DiskImage;
use crate::report::CheckReport;
use crate::source::{ReadAt, SourceExtent};
use crate::units::{FileOffset, GuestOffset, SECTOR, round_up};
use crate::work::{SEEK_STEPS, Steps};

/// Raw is what remains when nothing else claims a file, so it claims nothing itself.
pub(crate) const DRIVER: Driver = Driver {
    format: Format::Raw,
    claims: |_| false,
    begins_with_disk: |_| true,
    open: |source, context| Ok(Box::new(RawImage::open_with(source, context)?)),
    check: |source, report, _| {
        check(source.as_ref(), report);
        Ok(())
    },
};

/// Raw disks have no metadata: only the length can be wrong.
fn check(source: &dyn ReadAt, report: &mut CheckReport) {
    const DISK: &str = "disk";
    let len = source.len();
    if len == 0 {
        report.error("empty", DISK, 0, "the file is empty");
        return;
    }
    if !len.is_multiple_of(SECTOR) {
        report.warning(
            "length",
            DISK,
            len,
            format_args!("the disk ends here, expected at a multiple of {SECTOR}"),
        );
    }
}

/// A raw disk. A file whose length is not a multiple of 512 is padded with zeros to one.
pub struct RawImage {
    source: Arc<dyn ReadAt>,
    virtual_size: u64,
    /// Counts what it does for a chain. Alone a raw disk costs what the file system keeps of it.
    steps: Steps,
}

impl RawImage {
    /// Opens `source` as a raw disk.
    ///
    /// # Errors
    /// `Truncated` when it is empty.
    pub fn open(source: Arc<dyn ReadAt>) -> Result<Self> {
        Self::open_with(source, &Context::default())
    }

    /// [`Self::open`] with options.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(source: Arc<dyn ReadAt>, context: &Context) -> Result<Self> {
        let len = source.len();
        let virtual_size = round_up(len, SECTOR).ok_or_else(|| {
            Error::new(
                crate::ErrorKind::Limit,
                format!("a length of {len} bytes is beyond what a disk can have"),
            )
        })?;
        if len == 0 {
            return Err(Error::new(crate::ErrorKind::Truncated, "the file is empty"));
        }
        context.steps().allow_for(source.as_ref(), 0);
        Ok(Self {
            source,
            virtual_size,
            steps: context.steps().clone(),
        })
    }
}

impl DiskImage for RawImage {
    fn virtual_size(&self) -> u64 {
        self.virtual_size
    }

    fn extent_at(&self, at: GuestOffset, limit: u64) -> Result<Extent> {
        let limit = clip_extent(at, limit, self.virtual_size)?;
        let stored = self.source.len().saturating_sub(at.0).min(limit);
        self.steps.take(SEEK_STEPS);
        let (kind, len) = if stored == 0 {
            (ExtentKind::Hole, limit)
        } else {
            match self.source.extent_at(FileOffset(at.0), stored)? {
                SourceExtent::Data(len) => (ExtentKind::Data, len),
                SourceExtent::Hole(len) => (ExtentKind::Hole, len),
            }
        };
        Ok(Extent {
            start: at,
            len,
            kind,
        })
    }

    fn read_at(&self, at: GuestOffset, buf: &mut [u8]) -> Result<()> {
        check_range(at, buf.len() as u64, self.virtual_size)?;
        let stored = self.source.len().saturating_sub(at.0);
        let stored = usize::try_from(stored).unwrap_or(usize::MAX).min(buf.len());
        let (stored, padding) = buf.split_at_mut(stored);
        padding.fill(0);
        if stored.is_empty() {
            return Ok(());
        }
        self.source.read_exact_at(FileOffset(at.0), stored)
    }

    fn changes(&self, bitmap: &str, unit: u64) -> Result<Changes> {
        self.source.changes(bitmap, unit)
    }

    fn details(&self) -> Details {
        let mut details = Details::new(Format::Raw);
        if self.source.len() != self.virtual_size {
            let whose = match self.source.packing() {
                Some(_) => "unpacked",
                None => "file's",
            };
            details.warnings.push(format!(
                "the {whose} length of {} bytes is not a multiple of 512; the disk is padded with \
                 zeros to {} bytes",
                self.source.len(),
                self.virtual_size
            ));
        }
        details
    }
}
