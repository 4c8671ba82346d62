//! What the readers of mapped formats have in common: runs of guest bytes become extents and reads.
//!
//! A format that keeps tables of where the bytes of its disk are implements [`Mapped`]: it says,
//! run by run, where they are. That makes it a [`crate::DiskImage`]. Here neighbours are joined,
//! and what the file does not hold is read from the layer below.

mod disk;
mod list;
mod map;
mod read;
mod sums;

pub(crate) use self::map::{Layer, Mapped, Mix, Piece, Place, Run};
pub(crate) use self::read::{Unpack, read_at, read_plain};
