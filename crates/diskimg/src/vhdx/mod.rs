//! VHDX, the format of Hyper-V since 2012: fixed, dynamic and differencing disks.
//!
//! ```text
//! headers ──▶ log, replayed in memory ──▶ regions ──▶ metadata ──▶ BAT by slices ──▶ runs
//!                                                                                     │
//!            extent_at: what is where ◀───────────────────────────────────────────────┤
//!            read_at: stored runs read, the rest filled with zeros ◀──────────────────┘
//! ```
//!
//! What a differencing disk does not hold comes from its parent, which is opened by the policy in
//! the [`Context`] and checked against the GUID that the disk was made on. Refused by name: regions
//! and metadata items that the file needs and that are not known. What the file promises past its
//! end is an error, not zeros. The source is never written, so a log that has to be replayed is
//! replayed over it, not into it.

mod bat;
mod check;
mod entries;
mod header;
mod image;
mod layout;
mod log;
mod metadata;
mod overlay;
mod parent;
mod region;

pub use self::image::VhdxImage;
use crate::driver::Driver;
use crate::format::Format;

/// VHDX, whatever its version: other versions are refused by number.
pub(crate) const DRIVER: Driver = Driver {
    format: Format::Vhdx,
    claims: |probe| probe.starts_with(0, &layout::FILE_SIGNATURE),
    begins_with_disk: |_| false,
    open: |source, context| Ok(Box::new(VhdxImage::open_with(source, context)?)),
    check: check::check,
};
