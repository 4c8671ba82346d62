//! What an inspection may cost. Every cap has a name here.

use std::time::Duration;

/// Caps for the inspection of one disk.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Bytes read from the image.
    pub read: u64,
    /// Bytes of it until all file systems are open, logs that are replayed included.
    pub metadata: u64,
    /// Wall clock.
    pub time: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            read: 1 << 30,
            metadata: 256 << 20,
            time: Duration::from_secs(20),
        }
    }
}

/// Bytes of one configuration file.
pub(crate) const MAX_FILE: u64 = 1 << 20;
/// Bytes of a release file.
pub(crate) const MAX_RELEASE: u64 = 64 << 10;
/// Bytes of a YAML file.
pub(crate) const MAX_YAML: u64 = 256 << 10;
/// Entries of one directory that are looked at.
pub(crate) const MAX_ENTRIES: usize = 4096;
/// Entries that readers give out: one more shows that there are more.
pub(crate) const MAX_LISTED: usize = MAX_ENTRIES + 1;
/// Entries of one directory that are read over before it is given up.
pub(crate) const MAX_ENTRIES_SEEN: usize = 100_000;
/// Bytes of a registry hive.
pub(crate) const MAX_HIVE: u64 = 256 << 20;
/// Bytes of an initramfs as stored.
pub(crate) const MAX_INITRAMFS: u64 = 256 << 20;
/// Bytes of an initramfs unpacked.
pub(crate) const MAX_INITRAMFS_UNPACKED: u64 = 1 << 30;
/// Names in an initramfs.
pub(crate) const MAX_INITRAMFS_NAMES: usize = 200_000;
/// Bytes of LVM metadata text.
pub(crate) const MAX_LVM_TEXT: u64 = 1 << 20;
/// Logical volumes.
pub(crate) const MAX_LOGICAL_VOLUMES: usize = 256;
/// Subvolumes of a Btrfs that are considered as roots.
pub(crate) const MAX_SUBVOLUMES: usize = 256;
/// Kernels.
pub(crate) const MAX_KERNELS: usize = 32;
/// Boot entries.
pub(crate) const MAX_BOOT_ENTRIES: usize = 64;
/// Symbolic links on the way to one file.
pub(crate) const MAX_LINKS: usize = 40;
/// Bytes of a path while links are followed.
pub(crate) const MAX_PATH: usize = 4096;
