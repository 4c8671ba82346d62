//! The trait every disk image is read through.

use crate::changes::{Changes, no_bitmaps};
use crate::details::Details;
use crate::error::Result;
use crate::extent::{Extent, Tally};
use crate::units::GuestOffset;
use crate::work::Work;

/// A read-only virtual disk that many threads read at once.
///
/// Implementations keep no seek position and change nothing: two threads that read the same range
/// get the same bytes. Memory beyond the caller's buffers stays under [`DiskImage::memory_bound`].
pub trait DiskImage: Send + Sync {
    /// Size the guest sees in bytes; a multiple of 512.
    fn virtual_size(&self) -> u64;

    /// What begins at `at`, for at most `limit` bytes: one extent that starts exactly at `at`,
    /// holds at least one byte, and ends inside the disk. Metadata only, no guest data is read.
    /// Neighbours of one kind may come in pieces; [`crate::DiskImageExt::extents`] joins them.
    ///
    /// # Errors
    /// `OutOfRange` when `at` is not on the disk or `limit` is 0; otherwise the errors of the
    /// metadata.
    fn extent_at(&self, at: GuestOffset, limit: u64) -> Result<Extent>;

    /// The extents from `at` on that end at `end` at the latest: appends at least one and at most
    /// `most` to `found`, each at the end of the one before and of another kind. For walks: a
    /// format that keeps its place between two of them makes each cost a fraction.
    ///
    /// # Errors
    /// As [`Self::extent_at`], when not even the first is known. Nothing is appended then.
    fn extents_from(
        &self,
        at: GuestOffset,
        end: GuestOffset,
        most: usize,
        found: &mut Vec<Extent>,
    ) -> Result<()> {
        let _ = most;
        found.push(self.extent_at(at, end.0.saturating_sub(at.0))?);
        Ok(())
    }

    /// What [`Self::extents_from`] says, in sums: appends at least one and at most `most` tallies,
    /// each at the end of the one before. A tally of more than one kind lies inside one unit of
    /// `unit` bytes of the disk, a power of two. For walks that need no more than sums: a format
    /// that counts bits makes them far cheaper.
    ///
    /// # Errors
    /// As [`Self::extents_from`].
    fn tallies_from(
        &self,
        at: GuestOffset,
        end: GuestOffset,
        unit: u64,
        most: usize,
        found: &mut Vec<Tally>,
    ) -> Result<()> {
        let _ = unit;
        let mut extents = Vec::new();
        self.extents_from(at, end, most, &mut extents)?;
        found.extend(extents.iter().map(Tally::of));
        Ok(())
    }

    /// The work of finding out what lies where: done so far, and allowed for one walk over the
    /// whole disk.
    fn work(&self) -> Work {
        Work::UNLIMITED
    }

    /// Fills `buf` with the disk's bytes from `at`. Either all of it is right, or an error says why
    /// not.
    ///
    /// # Errors
    /// `OutOfRange` when the range leaves the disk, `Truncated`, `Corrupt` or `Io` by cause.
    fn read_at(&self, at: GuestOffset, buf: &mut [u8]) -> Result<()>;

    /// What the image says of itself.
    fn details(&self) -> Details;

    /// What has changed on the disk since the bitmap of this name was begun, which the image or the
    /// server that it comes from keeps; in units of `unit` bytes.
    ///
    /// # Errors
    /// `Unsupported` where nobody keeps bitmaps, `OutOfRange` when there is none of this name or it
    /// may have missed changes, `Limit`, `Corrupt`, `Truncated` and `Io` by cause.
    fn changes(&self, bitmap: &str, unit: u64) -> Result<Changes> {
        let _ = (bitmap, unit);
        no_bitmaps()
    }

    /// Looks for contradictions that only content shows, of which [`Self::details`] warns from then
    /// on. Reads stored bytes that are on no disk, and none that are; asks `cancelled` now and
    /// then, and ends early when the answer is yes.
    ///
    /// # Errors
    /// As [`Self::read_at`].
    fn audit(&self, cancelled: &dyn Fn() -> bool) -> Result<()> {
        let _ = cancelled;
        Ok(())
    }

    /// Most memory in bytes that the opened image ever holds with `readers` threads reading from
    /// it: tables, caches and scratch buffers.
    fn memory_bound(&self, readers: usize) -> u64 {
        let _ = readers;
        0
    }
}
