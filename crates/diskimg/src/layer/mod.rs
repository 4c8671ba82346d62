//! What the readers of mapped formats have in common: runs of guest bytes become extents and reads.
//!
//! A format says, run by run, where the bytes of its disk are. Here neighbours are joined, and what
//! the file does not hold is asked of the layer below.

mod extents;
mod read;
mod sums;

use std::convert::Infallible;

pub(crate) use self::extents::{extent_at, extents_from};
pub(crate) use self::read::{Unpack, read_at, read_plain};
pub(crate) use self::sums::tallies_from;
use crate::chain::Below;
use crate::error::Result;
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::units::FileOffset;
use crate::work::Steps;

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

/// A stretch that holds more than one run, summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mix {
    /// Guest offset of the first byte.
    pub(crate) start: u64,
    /// Length in bytes.
    pub(crate) len: u64,
    /// Bytes of it that are stored, all of them somewhere in the `len` bytes from `host` on.
    pub(crate) stored: u64,
    pub(crate) host: FileOffset,
    /// Bytes that are zeros whatever lies below. The rest is below.
    pub(crate) zeros: u64,
}

impl Mix {
    fn below(&self) -> u64 {
        self.len
            .saturating_sub(self.stored.saturating_add(self.zeros))
    }
}

/// What a walk in sums comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<P = Infallible> {
    Run(Run<P>),
    /// Inside one unit of the walk.
    Mix(Mix),
}

impl<P> Piece<P> {
    /// Guest offset of the first byte after it.
    pub(crate) fn end(&self) -> u64 {
        match self {
            Self::Run(run) => run.start + run.len,
            Self::Mix(mix) => mix.start + mix.len,
        }
    }
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
    fn stored(&self) -> &StoredMap;

    fn below(&self) -> &Below;

    /// Counts the work of the files of the chain.
    fn steps(&self) -> &Steps;

    /// The runs from `at` to `end`, both inside the declared size, in order and without gaps. Every
    /// step goes at least one byte on or fails, and a failed walk is over.
    fn runs(&self, at: u64, end: u64) -> impl Iterator<Item = Result<Run<Self::Packed>>>;

    /// [`Self::runs`], where runs that lie inside one unit of `unit` bytes, a power of two, may
    /// come as their sum.
    fn pieces(
        &self,
        at: u64,
        end: u64,
        unit: u64,
    ) -> impl Iterator<Item = Result<Piece<Self::Packed>>>;
}
