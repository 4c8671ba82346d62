//! VDI, the format of VirtualBox: dynamic and fixed disks.
//!
//! ```text
//! Header (checked) ──▶ block map, each entry checked once ──▶ the map by slices ──▶ runs
//!                                                                                    │
//!            extent_at: what is where ◀──────────────────────────────────────────────┤
//!            read_at: stored runs read, the rest filled with zeros ◀─────────────────┘
//! ```
//!
//! A differencing disk knows its parent by a UUID alone, and which file has it is written in the
//! machine's settings. It is refused, and opened only to be described. What the file promises past
//! its end is an error, not zeros.

mod check;
mod entries;
mod header;
mod image;
mod layout;
mod map;

pub use self::image::VdiImage;
use crate::driver::Driver;
use crate::format::Format;

/// VDI, whatever its version: other versions are refused by number. The text in front of the
/// signature is free.
pub(crate) const DRIVER: Driver = Driver {
    format: Format::Vdi,
    claims: |probe| probe.starts_with(layout::SIGNATURE_OFFSET, &layout::SIGNATURE),
    begins_with_disk: |_| false,
    open: |source, context| Ok(Box::new(VdiImage::open_with(source, context)?)),
    check: check::check,
};
