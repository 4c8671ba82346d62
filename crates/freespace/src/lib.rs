//! Free space: what of a disk holds nothing that anybody could read, so that it need not be copied.
//!
//! ```text
//! DiskImage ─▶ guest::layout: volumes ─▶ ext, XFS, …: free ranges, or why not ─▶ FreeMap
//!                                                                               │
//! DiskImage ───────────────────────────▶ Discarded: zeros where the map says so ◀┘
//! ```
//!
//! Safety comes before speed. A file system takes part only if it is clean, fits its volume, has no
//! feature that is not known here, and does not contradict itself; otherwise it is copied whole and
//! [`VolumeSpace::kept`] says why. The crate is synchronous and knows no network and no terminal.

mod bits;
mod btrfs;
mod ext;
mod fat;
mod find;
mod gaps;
mod image;
mod map;
mod ntfs;
mod report;
mod swap;
mod volume;
mod xfs;

pub use find::{Options, find};
pub use image::Discarded;
pub use map::FreeMap;
pub use report::{FreeSpace, VolumeSpace};
