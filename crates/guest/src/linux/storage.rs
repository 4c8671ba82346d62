//! What the guest expects of its disks: mounts, encryption, LVM, multipath, arrays.

mod lvm;
pub(crate) mod mapping;
pub(crate) mod mounts;
mod place;

use super::fstab::{self, Fstab};
use super::source::{Source, first};
use crate::Seen;
use crate::known::Known;
use crate::view::View;
use lvm::Lvm;

/// What makes a root file system grow into a larger disk at the first start.
const GROWERS: &[&str] = &[
    "/usr/bin/growpart",
    "/usr/sbin/growpart",
    "/usr/share/initramfs-tools/hooks/growroot",
    "/usr/lib/dracut/modules.d/50growroot",
    "/usr/lib/dracut/modules.d/98growroot",
    "/etc/repart.d",
    "/usr/lib/repart.d",
];

/// A line of `/etc/crypttab`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Crypt {
    pub(crate) seen: Seen,
    /// Name of the mapping.
    pub(crate) name: Vec<u8>,
    /// It is opened with a key that is on the disk or made at random, not with a passphrase.
    pub(crate) has_key: bool,
    pub(crate) nofail: bool,
}

/// What the guest expects of its disks.
#[derive(Clone, Debug)]
pub(crate) struct Storage {
    /// `None`: there is no table.
    pub(crate) fstab: Known<Option<Fstab>>,
    pub(crate) crypttab: Known<Vec<Crypt>>,
    pub(crate) lvm: Known<Lvm>,
    /// World-wide names of disks that multipath has taken.
    pub(crate) wwids: Known<Vec<Seen>>,
    /// multipath's configuration; without one its service may do nothing.
    pub(crate) multipath: Known<Option<Seen>>,
    /// Lines of mdadm's configuration that name devices.
    pub(crate) arrays: Known<Vec<Seen>>,
    /// What makes the root file system grow.
    pub(crate) grower: Known<Option<Seen>>,
}

impl Storage {
    pub(crate) fn collect(view: &View) -> Self {
        Self {
            fstab: Source::read(view, fstab::PATH)
                .map(|file| file.map(|file| Fstab::parse(&file.content))),
            crypttab: crypttab(view),
            lvm: Lvm::collect(view),
            wwids: wwids(view),
            multipath: first(
                view,
                &["/etc/multipath.conf", "/etc/multipath/multipath.conf"],
            ),
            arrays: arrays(view),
            grower: first(view, GROWERS),
        }
    }
}

/// Entries of `/etc/crypttab` that are opened when the system starts.
fn crypttab(view: &View) -> Known<Vec<Crypt>> {
    let Some(file) = Source::read(view, "/etc/crypttab")? else {
        return Ok(Vec::new());
    };
    let mut entries = Vec::new();
    for (line, text) in file.lines().filter(|(_, text)| !text.starts_with(b"#")) {
        let mut fields = text
            .split(|byte| byte.is_ascii_whitespace())
            .filter(|field| !field.is_empty());
        let (Some(name), Some(_)) = (fields.next(), fields.next()) else {
            continue;
        };
        let key = fields.next().unwrap_or(b"none");
        let options = fields.next().unwrap_or_default();
        let has = |name: &[u8]| options.split(|&byte| byte == b',').any(|is| is == name);
        if !has(b"noauto") {
            entries.push(Crypt {
                seen: Seen::line(&file.path, line, text),
                name: name.to_vec(),
                has_key: key != b"none" && key != b"-",
                nofail: has(b"nofail"),
            });
        }
    }
    Ok(entries)
}

fn wwids(view: &View) -> Known<Vec<Seen>> {
    let Some(file) = Source::read(view, "/etc/multipath/wwids")? else {
        return Ok(Vec::new());
    };
    Ok(file
        .lines()
        .filter(|(_, text)| text.starts_with(b"/"))
        .map(|(line, text)| Seen::line(&file.path, line, text))
        .collect())
}

/// `DEVICE` lines that name devices, `ARRAY` lines with `devices=`.
fn arrays(view: &View) -> Known<Vec<Seen>> {
    let mut seen = Vec::new();
    for path in ["/etc/mdadm.conf", "/etc/mdadm/mdadm.conf"] {
        let Some(file) = Source::read(view, path)? else {
            continue;
        };
        for (line, text) in file.lines() {
            let mut words = text
                .split(|byte| byte.is_ascii_whitespace())
                .filter(|word| !word.is_empty());
            let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
            let names = match keyword.as_slice() {
                b"DEVICE" => words.any(|word| word.starts_with(b"/dev/")),
                b"ARRAY" => words.any(|word| word.to_ascii_lowercase().starts_with(b"devices=")),
                _ => false,
            };
            if names {
                seen.push(Seen::line(path, line, text));
            }
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::tree::memory::MemoryTree;

    #[test]
    fn only_what_is_opened_at_start_counts() {
        let tree = MemoryTree::new()
            .file(
                "/etc/crypttab",
                "# comment\nroot UUID=1 none luks\nswap /dev/sda2 /dev/urandom swap,nofail\n\
                 later UUID=2 none luks,noauto\n",
            )
            .file("/etc/multipath/wwids", "# Valid WWIDs:\n/36000c29/\n")
            .file(
                "/etc/mdadm/mdadm.conf",
                "DEVICE partitions\nDEVICE /dev/sd[ab]1\nARRAY /dev/md0 UUID=1\n\
                 ARRAY /dev/md1 devices=/dev/sda2,/dev/sdb2\n",
            );
        let storage = Storage::collect(&View::new(Rc::new(tree), 0));
        let crypttab = storage.crypttab.unwrap();
        assert_eq!(crypttab.len(), 2);
        assert!(!crypttab[0].has_key && !crypttab[0].nofail && crypttab[0].seen.line == Some(2));
        assert!(crypttab[1].has_key && crypttab[1].nofail);
        assert_eq!(storage.wwids.unwrap()[0].line, Some(2));
        let lines: Vec<_> = storage.arrays.unwrap().iter().map(|is| is.line).collect();
        assert_eq!(lines, [Some(2), Some(4)]);
        assert_eq!(storage.fstab, Ok(None));
        assert_eq!(storage.grower, Ok(None));
    }

    #[test]
    fn a_file_that_cannot_be_read_leaves_the_others_alone() {
        let tree = MemoryTree::new()
            .broken("/etc/crypttab")
            .file("/etc/fstab", "UUID=1 / ext4\n");
        let storage = Storage::collect(&View::new(Rc::new(tree), 0));
        assert!(storage.crypttab.is_err());
        assert_eq!(storage.fstab.unwrap().unwrap().entries.len(), 1);
    }
}
