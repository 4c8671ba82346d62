//! VMDK, the format of VMware's products: disks in one file, and in several that a descriptor
//! names.
//!
//! ```text
//! descriptor, in the file or of its own ──▶ Disk ──▶ Parts: each extent, in which file
//!                                                      │
//!   sparse extents: header ──▶ Shape ──▶ Sparse (directory) ──▶ Tables ──▶ Walk: runs
//!                                                                           │
//!   extent_at: what is where ◀──────────────────────────────────────────────┤
//!   read_at: plain runs joined, compressed grains unpacked ◀────────────────┘
//! ```
//!
//! Which files are opened is for [`crate::chain`] to say. A snapshot's parent is checked against
//! the identifier and the size that the snapshot was made on. What the files promise past their
//! ends is an error, not zeros.

mod check;
mod cowd;
mod descriptor;
mod directory;
mod disk;
mod entries;
mod files;
mod footer;
mod header;
mod hosted;
mod image;
mod layout;
mod lines;
mod mapping;
mod parent;
mod parts;
mod sesparse;
mod shape;
mod tables;
mod types;

pub use self::image::VmdkImage;
use crate::driver::Driver;
use crate::format::Format;

/// VMDK. Claims parts of disks as well, so that they are refused by name instead of being taken for
/// raw.
pub(crate) const DRIVER: Driver = Driver {
    format: Format::Vmdk,
    claims: |probe| {
        probe.starts_with(0, &layout::HOSTED_MAGIC)
            || probe.starts_with(0, &layout::COWD_MAGIC)
            || probe.starts_with(0, &layout::SESPARSE_MAGIC)
            || descriptor::begins_as_descriptor(probe.head())
    },
    begins_with_disk: |_| false,
    open: |source, context| Ok(Box::new(VmdkImage::open_with(source, context)?)),
    check: check::check,
};
