//! What an initramfs brings.

use std::collections::{BTreeMap, BTreeSet};

/// The files in an initramfs that matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Initramfs {
    /// Names of modules with underscores, by kernel version.
    pub(crate) modules: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>,
    /// Names of programs in `bin` and `sbin`.
    pub(crate) programs: BTreeSet<Vec<u8>>,
    /// Configuration below `etc`, without a leading slash: udev rules, modprobe.d, LVM, crypttab.
    pub(crate) files: BTreeMap<Vec<u8>, Vec<u8>>,
}
