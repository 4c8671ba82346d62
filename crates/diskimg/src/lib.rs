//! Reads virtual machine disk images: safely, from many threads at once, without touching holes.
//!
//! ```text
//! path ──open()──▶ FileSource (ReadAt) ──probe──▶ Driver ──▶ Box<dyn DiskImage>
//!                                                             │
//!                      extents(range): what is where ◀────────┤  metadata only
//!                      read_at(guest, buf): the bytes ◀───────┘  positioned reads, no seek position
//! ```
//!
//! Everything that comes from a file is hostile: sums are checked, tables are compared with the
//! file's length and a named cap ([`limits`]) before they are allocated, and a second file is
//! opened because the first one names it only as [`BackingPolicy`] allows. Errors say what was
//! found, what was expected and where.
//!
//! The crate is synchronous and knows no network and no terminal. Images are `Send + Sync`; all
//! methods take `&self`, so that workers share one opened image.

mod chain;
mod changes;
mod check;
mod details;
mod disguise;
mod driver;
mod error;
mod extension;
mod extent;
mod format;
mod hint;
pub mod holes;
mod image;
mod layer;
pub mod limits;
mod machine;
mod map;
mod named;
mod open;
mod options;
mod packed;
pub mod partitions;
pub mod pipe;
mod places;
mod probe;
mod qcow2;
mod raw;
mod report;
mod sectors;
mod select;
mod slices;
pub mod source;
mod stored;
pub mod text;
pub mod units;
mod unpack;
mod vdi;
mod vhd;
mod vhdx;
mod vmdk;
mod walk;
mod work;
pub mod zero;

pub use chain::{Context, descriptor_of, open_beside, open_inside};
pub use changes::Changes;
pub use check::{check, check_source};
pub use details::{BitmapInfo, Details, Reference, SnapshotInfo};
pub use driver::{CheckFn, Driver, OpenFn, check_by_extents};
pub use error::{Error, ErrorKind, Result, member_path};
pub use extension::{Extension, contradiction};
pub use extent::{Extent, ExtentKind, Tally, check_answer, check_range, clip_extent};
pub use format::Format;
pub use hint::Hint;
pub use image::DiskImage;
pub use machine::Vmx;
pub use map::{DiskMap, Share};
pub use open::{Opened, open, open_pipe, open_source};
pub use options::{BackingPolicy, OpenOptions, Stop};
pub use packed::{Container, Decoded};
pub use pipe::{PipeImage, PipeOptions};
pub use probe::{Foreign, Probe};
pub use qcow2::Qcow2Image;
pub use raw::RawImage;
pub use report::{CheckReport, Finding, FirstError, MAX_LISTED, Report, Severity};
pub use source::{FileId, FileSource, Joined, MemorySource, ReadAt, SourceExtent, Window};
pub use text::printable;
pub use units::{FileOffset, GuestOffset};
pub use vdi::VdiImage;
pub use vhd::VhdImage;
pub use vhdx::VhdxImage;
pub use vmdk::VmdkImage;
pub use walk::{DiskImageExt, Extents, Tallies};
pub use work::Work;
