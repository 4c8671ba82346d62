//! What is kept of an initramfs.

use std::collections::{BTreeMap, BTreeSet};

use crate::budget::{MAX_FILE, MAX_INITRAMFS_NAMES};
use crate::known::Known;
use crate::text::printable;

/// Configuration files that are kept.
const MAX_FILES: usize = 256;

/// Programs that a root needs.
const PROGRAMS: &[&[u8]] = &[
    b"lvm",
    b"lvm.static",
    b"vgchange",
    b"mdadm",
    b"multipath",
    b"multipathd",
    b"cryptsetup",
    b"btrfs",
];

/// Configuration that is kept.
const CONFIGURATION: &[&[u8]] = &[
    b"etc/udev/rules.d/",
    b"etc/modprobe.d/",
    b"etc/cmdline.d/",
    b"etc/lvm/",
    b"etc/multipath",
    b"etc/mdadm",
    b"etc/crypttab",
    b"usr/lib/dracut/",
];

/// The files in an initramfs that matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Initramfs {
    /// Names of modules with underscores, by kernel version; empty where a module is in no
    /// version's directory.
    pub(crate) modules: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>,
    /// Names of programs in `bin` and `sbin`.
    pub(crate) programs: BTreeSet<Vec<u8>>,
    /// Configuration, without a leading slash: udev rules, modprobe.d, LVM, crypttab.
    pub(crate) files: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Why some of it could not be read: what is absent from the above may be there.
    pub(crate) unread: Option<String>,
    /// Files and links so far.
    pub(super) names: usize,
}

impl Initramfs {
    /// Whether it brings module `name` (with underscores) for the kernel `version`.
    pub(crate) fn module(&self, version: &str, name: &str) -> Known<bool> {
        let found = [version.as_bytes(), b""].iter().any(|version| {
            let names = self.modules.get(*version);
            names.is_some_and(|names| names.contains(name.as_bytes()))
        });
        self.certain(found)
    }

    /// Whether it brings one of `names`, programs.
    pub(crate) fn program(&self, names: &[&str]) -> Known<bool> {
        self.certain(
            names
                .iter()
                .any(|name| self.programs.contains(name.as_bytes())),
        )
    }

    fn certain(&self, found: bool) -> Known<bool> {
        match &self.unread {
            Some(reason) if !found => Err(reason.clone()),
            _ => Ok(found),
        }
    }

    /// Whether the content of file `name` is kept.
    pub(super) fn keeps(&self, name: &[u8]) -> bool {
        let name = plain(name);
        CONFIGURATION.iter().any(|dir| name.starts_with(dir))
    }

    /// Takes note of a file or link; its content is given when [`Self::keeps`] says so and it is
    /// not too long.
    pub(super) fn add(&mut self, name: &[u8], content: Option<Vec<u8>>) -> Result<(), String> {
        self.names += 1;
        if self.names > MAX_INITRAMFS_NAMES {
            return Err(format!("it has more than {MAX_INITRAMFS_NAMES} files"));
        }
        let name = plain(name);
        let base = name.rsplit(|&byte| byte == b'/').next().unwrap_or(name);
        if let Some(module) = module_name(base) {
            let version = version_of(name).to_vec();
            self.modules.entry(version).or_default().insert(module);
        } else if PROGRAMS.contains(&base) {
            self.programs.insert(base.to_vec());
        }
        if self.keeps(name) {
            match content {
                Some(content) if self.files.len() < MAX_FILES => {
                    self.files.insert(name.to_vec(), content);
                }
                _ => {
                    let shown = printable(name);
                    self.unread.get_or_insert(format!(
                        "{shown} is not read: at most {MAX_FILES} files of {MAX_FILE} bytes are"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// `name` without a leading `./` or `/`.
fn plain(name: &[u8]) -> &[u8] {
    let name = name
        .strip_prefix(b".")
        .filter(|rest| rest.starts_with(b"/"))
        .unwrap_or(name);
    name.strip_prefix(b"/").unwrap_or(name)
}

/// The name of the module in file `base`, with underscores.
pub(crate) fn module_name(base: &[u8]) -> Option<Vec<u8>> {
    let stem = [
        b".ko".as_slice(),
        b".ko.gz",
        b".ko.xz",
        b".ko.zst",
        b".ko.lz4",
    ]
    .iter()
    .find_map(|end| base.strip_suffix(*end))?;
    let underscored = stem
        .iter()
        .map(|&byte| if byte == b'-' { b'_' } else { byte });
    Some(underscored.collect())
}

/// The directory below `modules` that `name` lies in.
fn version_of(name: &[u8]) -> &[u8] {
    let mut parts = name.split(|&byte| byte == b'/');
    if parts.by_ref().any(|part| part == b"modules") {
        parts.next().unwrap_or_default()
    } else {
        b""
    }
}
