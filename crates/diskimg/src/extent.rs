//! Stretches of a disk: of one kind, or of several in sums; and the ranges that may be asked for.

use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::units::{GuestOffset, fits};

/// What a stretch of the virtual disk is, as far as the metadata says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExtentKind {
    /// Bytes are stored; they may still all be zero.
    Data,
    /// The image says that the guest reads zeros here.
    Zero,
    /// Nothing is stored here; the guest reads zeros.
    Hole,
    /// Stored in another file that was not opened, see [`crate::BackingPolicy::Describe`]; reading
    /// it fails.
    Elsewhere,
}

/// A stretch of the virtual disk of one kind. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First byte.
    pub start: GuestOffset,
    /// Length in bytes, at least 1.
    pub len: u64,
    /// What it holds.
    pub kind: ExtentKind,
}

impl Extent {
    /// First byte after the extent.
    #[must_use]
    #[inline]
    pub fn end(&self) -> GuestOffset {
        GuestOffset(self.start.0.saturating_add(self.len))
    }
}

/// A stretch of the disk, and how many bytes of it are of which kind. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// First byte.
    pub start: GuestOffset,
    /// Bytes of [`ExtentKind::Data`].
    pub data: u64,
    /// Bytes of [`ExtentKind::Zero`].
    pub zero: u64,
    /// Bytes of [`ExtentKind::Hole`].
    pub hole: u64,
    /// Bytes of [`ExtentKind::Elsewhere`].
    pub elsewhere: u64,
}

impl Tally {
    /// A stretch of no bytes yet.
    #[must_use]
    pub const fn new(start: GuestOffset) -> Self {
        Self {
            start,
            data: 0,
            zero: 0,
            hole: 0,
            elsewhere: 0,
        }
    }

    /// The sum of one extent.
    #[must_use]
    pub fn of(extent: &Extent) -> Self {
        let mut tally = Self::new(extent.start);
        tally.add(extent.kind, extent.len);
        tally
    }

    /// Adds `len` bytes of `kind`.
    pub fn add(&mut self, kind: ExtentKind, len: u64) {
        let sum = match kind {
            ExtentKind::Data => &mut self.data,
            ExtentKind::Zero => &mut self.zero,
            ExtentKind::Hole => &mut self.hole,
            ExtentKind::Elsewhere => &mut self.elsewhere,
        };
        *sum = sum.saturating_add(len);
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.data
            .saturating_add(self.zero)
            .saturating_add(self.hole)
            .saturating_add(self.elsewhere)
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// First byte after it.
    #[must_use]
    pub fn end(&self) -> GuestOffset {
        GuestOffset(self.start.0.saturating_add(self.len()))
    }

    /// The kind of all of its bytes, when they are of one kind.
    #[must_use]
    pub fn kind(&self) -> Option<ExtentKind> {
        let parts = [
            (ExtentKind::Data, self.data),
            (ExtentKind::Zero, self.zero),
            (ExtentKind::Hole, self.hole),
            (ExtentKind::Elsewhere, self.elsewhere),
        ];
        let mut kinds = parts.iter().filter(|(_, len)| *len > 0);
        match (kinds.next(), kinds.next()) {
            (Some((kind, _)), None) => Some(*kind),
            _ => None,
        }
    }
}

/// Checks that `extent` is what [`crate::DiskImage::extent_at`] promises for at most `limit` bytes
/// at `at`: a walk must make progress.
///
/// # Errors
/// `Corrupt`.
#[inline]
pub fn check_answer(extent: &Extent, at: GuestOffset, limit: u64) -> Result<()> {
    if extent.start == at && (1..=limit).contains(&extent.len) {
        return Ok(());
    }
    Err(wrong_answer(extent, at, limit))
}

#[cold]
fn wrong_answer(extent: &Extent, at: GuestOffset, limit: u64) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!(
            "expected an extent of at most {limit} bytes at guest offset {at}, \
             got {} bytes at {}",
            extent.len, extent.start
        ),
    )
}

/// Refuses a range that is not wholly on a disk of `virtual_size` bytes.
///
/// # Errors
/// `OutOfRange`.
pub fn check_range(at: GuestOffset, len: u64, virtual_size: u64) -> Result<()> {
    if fits(at.0, len, virtual_size) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::OutOfRange,
        format!("{len} bytes at guest offset {at} are not on a disk of {virtual_size} bytes"),
    ))
}

/// Clips the range of [`crate::DiskImage::extent_at`] to the disk: the number of bytes to answer
/// for.
///
/// # Errors
/// `OutOfRange` when nothing is left.
pub fn clip_extent(at: GuestOffset, limit: u64, virtual_size: u64) -> Result<u64> {
    match virtual_size.checked_sub(at.0) {
        Some(left) if left > 0 && limit > 0 => Ok(left.min(limit)),
        _ => {
            check_range(at, limit.max(1), virtual_size)?;
            Err(Error::new(
                ErrorKind::OutOfRange,
                "an extent of 0 bytes was requested",
            ))
        }
    }
}
