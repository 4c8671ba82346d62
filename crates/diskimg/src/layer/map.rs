//! Where the bytes of a disk are, run by run.

use std::convert::Infallible;
use std::sync::Arc;

use crate::chain::{Below, Context, Opening};
use crate::changes::{Changes, no_bitmaps};
use crate::details::Details;
use crate::error::Result;
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::units::{FileOffset, GuestOffset};
use crate::work::Steps;

/// Where the bytes of a run are. `P` is what a format has beside that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place<P = Infallible> {
    /// Not in this file: in the layer below, or nowhere.
    Below,
    /// Nowhere: the image says that these are zeros, whatever lies below.
    Zeros,
    /// In a file that was not opened.
    Elsewhere,
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
    pub(super) fn below(&self) -> u64 {
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

/// What every mapped disk has besides its map.
pub(crate) struct Layer {
    /// Size in bytes as the image gives it.
    pub(crate) declared_size: u64,
    /// That in whole sectors; zeros fill up the last one.
    pub(crate) virtual_size: u64,
    /// Where [`Place::Stored`] bytes are.
    pub(crate) data: Arc<dyn ReadAt>,
    /// What is known of the holes of [`Self::data`].
    pub(crate) stored: Arc<StoredMap>,
    pub(crate) below: Below,
    /// Counts the work of the files of the chain.
    pub(super) steps: Steps,
    opening: Opening,
}

impl Layer {
    /// For a disk of `declared_size` bytes, which fills `virtual_size`, with its bytes in `data`.
    pub(crate) fn new(
        (declared_size, virtual_size): (u64, u64),
        data: Arc<dyn ReadAt>,
        stored: Arc<StoredMap>,
        below: Below,
        context: &Context,
    ) -> Self {
        Self {
            declared_size,
            virtual_size,
            data,
            stored,
            below,
            steps: context.steps().clone(),
            opening: Opening::of(context),
        }
    }

    /// Most bytes that opening the files of the chain takes for a moment.
    pub(crate) fn opening_bytes(&self) -> u64 {
        self.opening.bytes()
    }
}

/// A disk whose metadata map guest bytes to places.
pub(crate) trait Mapped: Send + Sync {
    /// What [`Place::Packed`] holds.
    type Packed: Copy;

    fn layer(&self) -> &Layer;

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

    /// [`crate::DiskImage::read_at`].
    fn read(&self, at: GuestOffset, buf: &mut [u8]) -> Result<()>;

    /// [`crate::DiskImage::details`] of this layer alone.
    fn describe(&self) -> Details;

    /// [`crate::DiskImage::changes`].
    fn changes_since(&self, bitmap: &str, unit: u64) -> Result<Changes> {
        let _ = (bitmap, unit);
        no_bitmaps()
    }

    /// [`crate::DiskImage::audit`] of this layer alone.
    fn audit_layer(&self, cancelled: &dyn Fn() -> bool) -> Result<()> {
        let _ = cancelled;
        Ok(())
    }

    /// [`crate::DiskImage::memory_bound`] of this layer alone.
    fn memory(&self, readers: u64) -> u64;
}
