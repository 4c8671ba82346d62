//! Reading what is said to be a hole all the same: file systems have reported holes wrongly.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use diskimg::clip_extent;
use diskimg::zero::is_zero;
use diskimg::{Changes, Details, DiskImage, DiskImageExt, Extent, ExtentKind, GuestOffset, Result};

/// Whether what the metadata says to be zero is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Holes {
    /// Holes are skipped.
    #[default]
    Trust,
    /// Everything is read.
    Verify,
}

/// An image all of which counts as data, so that all of it is read.
pub struct ReadHoles {
    image: Box<dyn DiskImage>,
    lost: Misreported,
}

/// Bytes in places that were called holes and hold something. Clones share the number.
#[derive(Clone, Debug, Default)]
pub struct Misreported(Arc<AtomicU64>);

impl Misreported {
    /// Bytes of the stretches found so far, counted as long as they were called holes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl ReadHoles {
    /// `image`, read whole; the number is what skipping its holes would have lost.
    #[must_use]
    pub fn new(image: Box<dyn DiskImage>) -> (Self, Misreported) {
        let lost = Misreported::default();
        let this = Self {
            image,
            lost: lost.clone(),
        };
        (this, lost)
    }
}

impl DiskImage for ReadHoles {
    fn virtual_size(&self) -> u64 {
        self.image.virtual_size()
    }

    fn extent_at(&self, at: GuestOffset, limit: u64) -> Result<Extent> {
        let len = clip_extent(at, limit, self.virtual_size())?;
        Ok(Extent {
            start: at,
            len,
            kind: ExtentKind::Data,
        })
    }

    fn read_at(&self, at: GuestOffset, buf: &mut [u8]) -> Result<()> {
        self.image.read_at(at, buf)?;
        // Zeros are what a hole must be; only something else is worth asking about.
        if is_zero(buf) {
            return Ok(());
        }
        let mut rest: &[u8] = buf;
        let end = GuestOffset(at.0.saturating_add(buf.len() as u64));
        for extent in self.image.extents(at..end) {
            let extent = extent?;
            let len = usize::try_from(extent.len).unwrap_or(usize::MAX);
            let (here, behind) = rest.split_at(len.min(rest.len()));
            rest = behind;
            if extent.kind != ExtentKind::Data && !is_zero(here) {
                self.lost.0.fetch_add(extent.len, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn changes(&self, bitmap: &str, unit: u64) -> Result<Changes> {
        self.image.changes(bitmap, unit)
    }

    fn details(&self) -> Details {
        self.image.details()
    }

    fn memory_bound(&self, readers: usize) -> u64 {
        self.image.memory_bound(readers)
    }
}
