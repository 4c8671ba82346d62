//! What the readers of mapped formats have in common: runs of guest bytes become extents and reads.
//!
//! A format says, run by run, where the bytes of its disk are. Here neighbours are joined, and what
//! the file does not hold is asked of the layer below.

use std::convert::Infallible;
use std::ops::Range;

use crate::chain::Below;
use crate::error::Result;
use crate::image::{Extent, ExtentKind, check_range, clip_extent};
use crate::source::ReadAt;
use crate::stored::StoredStretch;
use crate::units::{FileOffset, GuestOffset};

/// Where the bytes of a run are. `P` is what a format has beside that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place<P = Infallible> {
    /// Not in this file: in the layer below, or nowhere.
    Below,
    /// Nowhere: the image says that these are zeros, whatever lies below.
    Zeros,
    /// Stored as they are, from this offset; all of them are there.
    Stored(FileOffset),
    /// Stored in a form of the format's own.
    Packed(P),
}

/// A run of guest bytes: one place, at least one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run<P = Infallible> {
    /// Guest offset of the first byte.
    pub(crate) start: u64,
    /// Length in bytes.
    pub(crate) len: u64,
    pub(crate) place: Place<P>,
}

/// A disk whose metadata map guest bytes to places.
pub(crate) trait Mapped {
    /// What [`Place::Packed`] holds.
    type Packed: Copy;

    /// Size in bytes as the image gives it.
    fn declared_size(&self) -> u64;

    /// That in whole sectors; zeros fill up the last one.
    fn virtual_size(&self) -> u64;

    /// Where [`Place::Stored`] bytes are.
    fn data(&self) -> &dyn ReadAt;

    /// What is known of the holes of [`Self::data`].
    fn stored(&self) -> &StoredStretch;

    fn below(&self) -> &Below;

    /// The runs from `at` to `end`, both inside the declared size, in order and without gaps. Every
    /// step goes at least one byte on or fails, and a failed walk is over.
    fn runs(&self, at: u64, end: u64) -> impl Iterator<Item = Result<Run<Self::Packed>>>;
}

/// [`crate::DiskImage::extent_at`] of a mapped disk.
pub(crate) fn extent_at<M: Mapped>(disk: &M, at: GuestOffset, limit: u64) -> Result<Extent> {
    let limit = clip_extent(at, limit, disk.virtual_size())?;
    let below = disk.below();
    let end = (at.0 + limit.min(below.step())).min(disk.declared_size());
    let mut runs = disk.runs(at.0, end).take(below.most_joined());
    // Past the declared size there is only the rest of the last sector.
    let Some(first) = runs.next() else {
        return Ok(Extent {
            start: at,
            len: limit,
            kind: ExtentKind::Hole,
        });
    };
    let first = first?;
    let (kind, mut len) = kind(disk, &first)?;
    let mut joined = first.start + first.len;
    // What cannot be told ends the extent; whoever asks for it gets the error.
    while at.0 + len == joined
        && let Some(Ok(run)) = runs.next()
        && let Ok((next, more)) = self::kind(disk, &run)
        && next == kind
    {
        len += more;
        joined += run.len;
    }
    Ok(Extent {
        start: at,
        len,
        kind,
    })
}

/// What `run` is, and for how many bytes from its start.
fn kind<M: Mapped>(disk: &M, run: &Run<M::Packed>) -> Result<(ExtentKind, u64)> {
    match run.place {
        Place::Below => disk.below().kind(run.start, run.len),
        Place::Zeros => Ok((ExtentKind::Zero, run.len)),
        Place::Stored(host) => disk.stored().kind(disk.data(), host, run.len),
        Place::Packed(_) => Ok((ExtentKind::Data, run.len)),
    }
}

/// [`crate::DiskImage::read_at`] of a mapped disk. `unpack` gets the whole buffer, a place, and which
/// part of the buffer is its.
pub(crate) fn read_at<M: Mapped>(
    disk: &M,
    at: GuestOffset,
    buf: &mut [u8],
    mut unpack: impl FnMut(&mut [u8], M::Packed, Range<usize>) -> Result<()>,
) -> Result<()> {
    check_range(at, buf.len() as u64, disk.virtual_size())?;
    let declared = disk.declared_size().saturating_sub(at.0);
    let (buf, padding) = buf.split_at_mut(index(declared).min(buf.len()));
    padding.fill(0);
    let end = at.0 + buf.len() as u64;
    let mut plain = PlainRead::default();
    for run in disk.runs(at.0, end) {
        let run = run?;
        let target = index(run.start - at.0)..index(run.start - at.0 + run.len);
        match run.place {
            Place::Below => {
                if let Some(target) = buf.get_mut(target) {
                    disk.below().read(run.start, target)?;
                }
            }
            Place::Zeros => {
                if let Some(target) = buf.get_mut(target) {
                    target.fill(0);
                }
            }
            Place::Stored(host) => {
                if !plain.join(host, &target) {
                    plain.finish(disk.data(), buf)?;
                    plain = PlainRead { host, target };
                }
            }
            Place::Packed(packed) => unpack(buf, packed, target)?,
        }
    }
    plain.finish(disk.data(), buf)
}

/// [`read_at`] for formats that have no form of their own.
pub(crate) fn read_plain<M: Mapped<Packed = Infallible>>(
    disk: &M,
    at: GuestOffset,
    buf: &mut [u8],
) -> Result<()> {
    read_at(disk, at, buf, |_, never, _| match never {})
}

/// A positioned read that is still growing.
#[derive(Default)]
struct PlainRead {
    host: FileOffset,
    target: Range<usize>,
}

impl PlainRead {
    /// Takes in what follows it both in the file and in the buffer.
    fn join(&mut self, host: FileOffset, target: &Range<usize>) -> bool {
        let follows = self.target.end == target.start
            && self.host.checked_add(self.target.len() as u64) == Some(host);
        if follows {
            self.target.end = target.end;
        }
        follows
    }

    fn finish(&self, source: &dyn ReadAt, buf: &mut [u8]) -> Result<()> {
        match buf.get_mut(self.target.clone()) {
            Some(target) if !target.is_empty() => source.read_exact_at(self.host, target),
            _ => Ok(()),
        }
    }
}

/// An offset inside a buffer, which is less than `usize::MAX`.
fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
