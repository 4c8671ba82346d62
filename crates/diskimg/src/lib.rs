//! Reads virtual machine disk images: safely, from many threads at once, without touching holes.
//!
//! ```text
//! path ──open()──▶ FileSource (ReadAt) ──probe──▶ Driver ──▶ Box<dyn DiskImage>
//!                                                             │
//!                      extents(range): what is where ◀────────┤  metadata only
//!                      read_at(guest, buf): the bytes ◀───────┘  positioned reads, no seek position
//! ```
//!
//! Everything that comes from a file is hostile: sums are checked, tables are held against the
//! file's length and a named cap ([`limits`]) before they are allocated, and a second file is
//! opened because the first one names it only as [`BackingPolicy`] allows. Errors say what was
//! found, what was expected and where.
//!
//! The crate is synchronous and knows no network and no terminal. Images are `Send + Sync`; all
//! methods take `&self`, so that workers share one opened image.

pub mod chain;
pub mod check;
pub mod error;
pub mod extension;
pub mod holes;
pub mod image;
mod layer;
pub mod limits;
pub mod open;
pub mod partitions;
pub mod pipe;
pub mod probe;
pub mod qcow2;
pub mod raw;
mod sectors;
pub mod source;
mod stored;
pub mod survey;
pub mod text;
pub mod units;
pub mod vhd;
pub mod vhdx;
mod work;
pub mod zero;

pub use chain::{BackingPolicy, Context};
pub use check::{CheckReport, Finding, Severity, check};
pub use error::{Error, ErrorKind, Result};
pub use image::{
    BitmapInfo, Details, DiskImage, DiskImageExt, Extent, ExtentKind, Extents, Reference,
    SnapshotInfo,
};
pub use open::{Driver, OpenOptions, Opened, open};
pub use pipe::{PipeImage, PipeOptions};
pub use probe::Format;
pub use source::{FileId, FileSource, MemorySource, ReadAt, SourceExtent};
pub use survey::Tally;
pub use units::{FileOffset, GuestOffset};
pub use work::Work;
