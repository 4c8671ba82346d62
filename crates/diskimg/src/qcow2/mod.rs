//! qcow2, versions 2 and 3: the active disk of a self-contained image, or one of its snapshots.
//!
//! ```text
//! header ──▶ Header (checked) ──▶ Tables: L1 whole, L2 by slices ──▶ Walk: runs of guest bytes
//!                                                                     │
//!            extent_at: what is where ◀───────────────────────────────┤
//!            read_at: plain runs joined, compressed clusters unpacked ◀┘
//! ```
//!
//! Backing files and external data files are opened by the policy in the [`Context`], and refused
//! without one. Refused by name: encryption, unless only metadata are wanted, and incompatible
//! features that are not known. What the file promises past its end is an error, not zeros.

mod area;
mod bitmaps;
mod check;
mod entries;
mod features;
mod files;
mod header;
mod image;
mod layout;
mod mapping;
mod marks;
mod place;
mod snapshots;
mod tables;

pub use self::image::Qcow2Image;
use crate::driver::Driver;
use crate::format::Format;

/// qcow2. Claims every version but 1, which is another format, so that later ones are refused by
/// number instead of being taken for raw.
pub(crate) const DRIVER: Driver = Driver {
    format: Format::Qcow2,
    claims: |probe| {
        probe.starts_with(0, &layout::MAGIC) && !probe.starts_with(4, &1_u32.to_be_bytes())
    },
    begins_with_disk: |_| false,
    open: |source, context| Ok(Box::new(Qcow2Image::open_with(source, context)?)),
    check: check::check,
};
