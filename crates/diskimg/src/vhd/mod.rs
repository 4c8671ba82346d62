//! VHD, the format of Virtual PC, Hyper-V before 2012, Azure and XenServer: fixed, dynamic and
//! differencing disks.
//!
//! ```text
//! footer, or its copy ──▶ Footer (checked) ──▶ Map: fixed, or BAT and sector bitmaps ──▶ runs
//!                                                                                         │
//!            extent_at: what is where ◀───────────────────────────────────────────────────┤
//!            read_at: stored runs read, the rest filled with zeros ◀──────────────────────┘
//! ```
//!
//! What a differencing disk does not hold comes from its parent, which is opened by the policy in
//! the [`Context`] and checked against the identifier that the disk was made on. What the file
//! promises past its end is an error, not zeros.

mod blocks;
mod check;
mod copies;
mod dynamic;
mod footer;
mod image;
mod layout;
mod left_out;
mod mapping;
mod parent;
mod sizes;
mod table;

pub use self::image::VhdImage;
use crate::driver::Driver;
use crate::format::Format;
use crate::probe::Probe;

/// VHD. A fixed disk differs from a raw one by its footer alone.
pub(crate) const DRIVER: Driver = Driver {
    format: Format::Vhd,
    claims: |probe| {
        [layout::FOOTER_LEN, layout::OLD_FOOTER_LEN]
            .into_iter()
            .filter_map(|len| usize::try_from(len).ok())
            .any(|len| probe.ends_with(len, &layout::FOOTER_COOKIE))
            || probe.starts_with(0, &layout::FOOTER_COOKIE)
    },
    begins_with_disk: is_fixed,
    open: |source, context| Ok(Box::new(VhdImage::open_with(source, context)?)),
    check: check::check,
};

/// Whether the footer at the file's end, not checked yet, is that of a fixed disk: the file
/// begins with the disk as it is.
fn is_fixed(probe: &Probe) -> bool {
    [layout::FOOTER_LEN, layout::OLD_FOOTER_LEN]
        .into_iter()
        .filter_map(|len| usize::try_from(len).ok())
        .filter(|len| probe.ends_with(*len, &layout::FOOTER_COOKIE))
        .any(|len| {
            let kind = layout::disk_type::FIXED.to_be_bytes();
            probe.ends_with(len - std::mem::offset_of!(layout::Footer, disk_type), &kind)
        })
}
