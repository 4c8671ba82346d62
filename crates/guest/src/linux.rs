//! Linux: the system, how it starts, and how it is configured.

pub(crate) mod fstab;
