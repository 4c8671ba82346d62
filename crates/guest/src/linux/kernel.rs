//! Installed kernels: their images, drivers and initramfs.

use std::collections::BTreeMap;

use super::initramfs::Initramfs;
use crate::known::Known;

/// Where a kernel has a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    BuiltIn,
    /// A file below `/lib/modules`.
    Module,
    Missing,
}

/// One kernel.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    /// Path of its image in the guest.
    pub(crate) path: Vec<u8>,
    /// As `uname -r` prints it.
    pub(crate) version: Option<String>,
    /// `x86_64`, `i386`, `aarch64`, …
    pub(crate) machine: Option<&'static str>,
    /// Whether it has a driver, by the module's name with underscores.
    pub(crate) drivers: BTreeMap<&'static str, Known<Driver>>,
    /// Path of its initramfs in the guest.
    pub(crate) initramfs: Option<Vec<u8>>,
    /// What is in the initramfs; `None`: not looked into, or there is none.
    pub(crate) inside: Option<Known<Initramfs>>,
}
