//! Makers of what is on a guest's disk: partition tables, LVM, arrays, registry hives, archives of
//! an initramfs, heads of kernels and programs, descriptions for `mkfs.xfs`. They write by the formats' descriptions and share
//! no code with the readers. Nothing that they make boots.

pub mod archive;
pub mod array;
pub mod hive;
pub mod lvm;
pub mod program;
pub mod proto;
mod seals;
pub mod table;

pub use seals::repaired;
