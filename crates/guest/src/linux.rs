//! Linux: the system, how it starts, and how it is configured.

pub(crate) mod boot;
pub(crate) mod command_line;
pub(crate) mod fstab;
pub(crate) mod identify;
pub(crate) mod initramfs;
pub(crate) mod kernel;
