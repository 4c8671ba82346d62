//! What a system mounts, as far as it is on the disk.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::linux::fstab::{Entry, Fstab};
use crate::text::printable;
use crate::tree::below::Closed;
use crate::tree::{Result, Subvolume, Tree, TreeError};
use crate::view::View;
use crate::volume::{Content, Device, FileSystem, Volume, find};

/// Mounts of one system.
const MAX_MOUNTS: usize = 64;

/// Without these a system cannot be judged: when they are not there, looking into them fails.
const NEEDED: &[&[u8]] = &[b"/usr", b"/boot", b"/var"];

/// Files that only a file system for /boot has at its top.
const BOOT_FILES: &[&str] = &[
    "/grub/grub.cfg",
    "/grub2/grub.cfg",
    "/grub/menu.lst",
    "/grub/grub.conf",
    "/loader/entries",
    "/extlinux/extlinux.conf",
    "/extlinux.conf",
];

/// Types of GPT partitions that hold a /usr, by the Discoverable Partitions Specification.
const USR: &[&str] = &[
    // x86-64, ARM of 64 bits, x86.
    "8484680c-9521-48c6-9c11-b0720656f69e",
    "b0e01050-ee5f-4390-949a-9101b17104e9",
    "75250d76-8cc6-458e-bd66-bd47cc81a812",
];

/// A subvolume by its path.
type Named = (Vec<u8>, Rc<dyn Tree>);

/// The volumes and their file systems.
pub(super) struct Disk<'a> {
    pub(super) volumes: &'a [Volume],
    pub(super) trees: &'a [Option<Rc<dyn Tree>>],
    /// The subvolumes of those that were asked for: listing them is a walk.
    subvolumes: RefCell<BTreeMap<usize, Rc<[Subvolume]>>>,
}

impl<'a> Disk<'a> {
    pub(super) fn new(volumes: &'a [Volume], trees: &'a [Option<Rc<dyn Tree>>]) -> Self {
        Self {
            volumes,
            trees,
            subvolumes: RefCell::default(),
        }
    }

    /// The subvolumes on `volume`, whose file system is `tree`.
    pub(super) fn subvolumes(&self, volume: usize, tree: &dyn Tree) -> Result<Rc<[Subvolume]>> {
        if let Some(known) = self.subvolumes.borrow().get(&volume) {
            return Ok(Rc::clone(known));
        }
        let found: Rc<[Subvolume]> = tree.subvolumes()?.into();
        let mut subvolumes = self.subvolumes.borrow_mut();
        subvolumes.insert(volume, Rc::clone(&found));
        Ok(found)
    }

    fn tree(&self, volume: usize) -> Option<&Rc<dyn Tree>> {
        self.trees.get(volume)?.as_ref()
    }

    fn is_fat(&self, volume: usize) -> bool {
        let content = self.volumes.get(volume).map(|volume| &volume.content);
        content == Some(&Content::FileSystem(FileSystem::Fat))
    }

    fn is_usr(&self, volume: usize) -> bool {
        let kind = self.volumes.get(volume);
        let kind = kind.and_then(|volume| volume.part_type.as_deref());
        kind.is_some_and(|kind| USR.contains(&kind))
    }

    /// Mounts what `fstab` has for `view`, whose root is on `root`, and what systems mount without
    /// being told: the one file system for /boot, the one EFI system partition.
    pub(super) fn mount(&self, view: &mut View, root: usize, fstab: &Fstab) -> Result<()> {
        let mut missing = Vec::new();
        let entries = fstab
            .entries
            .iter()
            .filter(|entry| entry.at.starts_with(b"/") && entry.at != b"/")
            .take(MAX_MOUNTS);
        for entry in entries {
            match find(&Device::parse(&entry.spec), self.volumes) {
                Some(volume) => match self.part(volume, entry) {
                    Ok(tree) => view.mount(&entry.at, tree, volume),
                    Err(TreeError(reason)) => {
                        view.mount(&entry.at, Rc::new(Closed(reason)), volume);
                    }
                },
                None if NEEDED.contains(&entry.at.as_slice()) => missing.push(entry),
                None => {}
            }
        }
        let mounted = |view: &View, at: &[u8]| view.mounted().any(|(is, _)| is == at);
        if !mounted(view, b"/boot")
            && let Some(volume) = self.only(root, |tree, _| looks_like_boot(tree))?
            && (missing.iter().any(|entry| entry.at == b"/boot") || !has_kernel(view)?)
        {
            view.mount(b"/boot", self.whole(volume)?, volume);
        }
        // A root whose /bin leads to a /usr that no line mounts.
        if !mounted(view, b"/usr")
            && !missing.iter().any(|entry| entry.at == b"/usr")
            && view.stat("/bin")?.is_none()
            && let Some(volume) = self.only(root, |_, volume| Ok(self.is_usr(volume)))?
        {
            view.mount(b"/usr", self.whole(volume)?, volume);
        }
        for entry in missing {
            if !mounted(view, &entry.at) {
                let reason = format!(
                    "{} is on {}, which is not on this disk",
                    printable(&entry.at),
                    printable(&entry.spec)
                );
                view.mount(&entry.at, Rc::new(Closed(reason)), usize::MAX);
            }
        }
        let esp = |tree: &dyn Tree, volume| {
            Ok(self.is_fat(volume)
                && (tree.stat(b"/EFI")?.is_some() || tree.stat(b"/efi")?.is_some()))
        };
        if !view.mounted().any(|(_, volume)| self.is_fat(volume))
            && let Some(volume) = self.only(root, esp)?
        {
            view.mount(b"/boot/efi", self.whole(volume)?, volume);
        }
        Ok(())
    }

    /// The one volume beside `root` whose file system is as `wanted`.
    fn only(
        &self,
        root: usize,
        wanted: impl Fn(&dyn Tree, usize) -> Result<bool>,
    ) -> Result<Option<usize>> {
        let mut found = None;
        for (volume, tree) in self.trees.iter().enumerate() {
            if let Some(tree) = tree
                && volume != root
                && wanted(tree.as_ref(), volume)?
                && found.replace(volume).is_some()
            {
                return Ok(None);
            }
        }
        Ok(found)
    }

    fn whole(&self, volume: usize) -> Result<Rc<dyn Tree>> {
        self.tree(volume).map(Rc::clone).ok_or_else(|| {
            let volume = self.volumes.get(volume);
            let name = volume.map(Volume::name).unwrap_or_default();
            let reason = volume
                .and_then(|volume| volume.closed.clone())
                .unwrap_or_else(|| "it holds no file system that is read".to_owned());
            TreeError(format!("{name} cannot be read: {reason}"))
        })
    }

    /// What `entry` mounts of `volume`: all of it, or a subvolume.
    fn part(&self, volume: usize, entry: &Entry) -> Result<Rc<dyn Tree>> {
        let tree = self.whole(volume)?;
        let (path, id) = (entry.option("subvol"), entry.option("subvolid"));
        if path.is_none() && id.is_none() {
            return Ok(tree);
        }
        self.subvolume(volume, tree.as_ref(), path, id)?
            .map_or_else(
                || {
                    let shown = printable(&entry.text);
                    Err(TreeError(format!("there is no such subvolume: {shown}")))
                },
                |(_, tree)| Ok(tree),
            )
    }

    /// The subvolume of a Btrfs at `path`, or with the number `id`; and its path.
    pub(super) fn subvolume(
        &self,
        volume: usize,
        tree: &dyn Tree,
        path: Option<&[u8]>,
        id: Option<&[u8]>,
    ) -> Result<Option<Named>> {
        let path = path.map(|path| {
            let path = path.strip_prefix(b"/").unwrap_or(path);
            path.strip_suffix(b"/").unwrap_or(path)
        });
        let id = id.and_then(|id| std::str::from_utf8(id).ok()?.parse::<u64>().ok());
        let subvolumes = self.subvolumes(volume, tree)?;
        let found = subvolumes.iter().find(|subvolume| match path {
            Some(path) => subvolume.path == path,
            None => Some(subvolume.id) == id,
        });
        found
            .map(|found| Ok((found.path.clone(), tree.subvolume(found.id)?)))
            .transpose()
    }
}

fn looks_like_boot(tree: &dyn Tree) -> Result<bool> {
    for path in BOOT_FILES {
        // Paths of trees have no links on the way; these have none in practice.
        if tree.stat(path.as_bytes())?.is_some() {
            return Ok(true);
        }
    }
    let kernel = |name: &[u8]| name.starts_with(b"vmlinuz");
    Ok(tree.list(b"/")?.iter().any(|entry| kernel(&entry.name))
        // A root has links to its kernel at its top.
        && tree.stat(b"/etc")?.is_none())
}

fn has_kernel(view: &View) -> Result<bool> {
    let names = view.list("/boot")?;
    Ok(names.iter().any(|entry| {
        ["vmlinuz", "vmlinux", "Image", "kernel", "ostree", "flatcar"]
            .iter()
            .any(|begin| entry.name.starts_with(begin.as_bytes()))
    }))
}
