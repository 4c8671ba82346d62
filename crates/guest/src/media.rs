//! The disk's bytes and what divides them: a cached reader with a budget, partitions, LVM, MD.

mod cache;
mod content;
pub mod field;
mod lvm;
mod md;
mod slice;

pub(crate) use cache::{Media, Source};
pub(crate) use content::{Found, other_mark, recognise};
pub(crate) use field::{le16, le32, le64};
pub(crate) use lvm::{LogicalVolume, PhysicalVolume, groups, physical_volume};
pub(crate) use md::{Member, arrays, member};
pub(crate) use slice::Slice;
