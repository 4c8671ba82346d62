//! The bytes of the disk, as far as it has them.

use crate::error::Result;
use crate::image::DiskImage;
use crate::units::GuestOffset;

/// The disk that is examined.
pub(super) struct Disk<'a> {
    pub(super) image: &'a dyn DiskImage,
    pub(super) size: u64,
    /// Whether only its beginning can be read fast.
    pub(super) front_only: bool,
}

impl Disk<'_> {
    /// The first sector, padded with zeros.
    pub(super) fn sector(&self) -> Result<[u8; 512]> {
        let mut sector = [0; 512];
        self.fill(0, &mut sector)?;
        Ok(sector)
    }

    /// Fills `buf` from `at`; zeros past the end of the disk.
    pub(super) fn fill(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let left = self.size.saturating_sub(at);
        let left = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let (on_disk, beyond) = buf.split_at_mut(left);
        beyond.fill(0);
        if on_disk.is_empty() {
            return Ok(());
        }
        self.image.read_at(GuestOffset(at), on_disk)
    }
}
