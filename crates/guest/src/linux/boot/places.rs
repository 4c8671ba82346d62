//! Where in the guest the files are that boot loaders name by their own paths.

use crate::tree::{Kind, Result};
use crate::view::View;
use crate::volume::{Content, FileSystem, Stack, Volume};

/// Directories that a boot loader's paths can begin at.
const TOPS: &[&[u8]] = &[b"/boot", b"", b"/boot/efi", b"/efi"];

/// The guest's paths, with what boot loaders know of the disk.
pub(super) struct Places<'a> {
    pub(super) view: &'a View,
    pub(super) volumes: &'a [Volume],
    /// Path of the root's subvolume on a Btrfs, without slashes at its ends; else empty.
    pub(super) subvolume: &'a [u8],
}

impl Places<'_> {
    /// The file that a boot loader calls `written`, with the volume that it searched for. A
    /// search that finds nothing leaves GRUB where it was: all places are tried.
    pub(super) fn find(&self, volume: Option<usize>, written: &[u8]) -> Result<Option<Vec<u8>>> {
        let (named, path) = match written.strip_prefix(b"(") {
            Some(rest) => match rest.iter().position(|&byte| byte == b')') {
                Some(at) => {
                    let (device, path) = rest.split_at(at);
                    (self.grub_device(device), path.get(1..).unwrap_or_default())
                }
                None => (None, written),
            },
            None => (None, written),
        };
        let mount = named
            .or(volume)
            .and_then(|volume| self.view.mount_point(volume));
        match mount {
            Some(mount) => self.below(mount, path),
            None => {
                for top in TOPS {
                    if let Some(found) = self.below(top, path)? {
                        return Ok(Some(found));
                    }
                }
                Ok(None)
            }
        }
    }

    /// The regular file at `path` on the file system that is mounted at `top`.
    pub(super) fn below(&self, top: &[u8], path: &[u8]) -> Result<Option<Vec<u8>>> {
        if path.is_empty() {
            return Ok(None);
        }
        let whole = [top, b"/", path].concat();
        // Where GRUB sees all of a Btrfs, paths begin with the subvolume.
        let inner = path
            .strip_prefix(b"/")
            .and_then(|path| path.strip_prefix(self.subvolume))
            .filter(|rest| !self.subvolume.is_empty() && rest.starts_with(b"/"))
            .map(<[u8]>::to_vec);
        for path in [Some(whole), inner].into_iter().flatten() {
            let stat = self.view.stat(&path)?;
            if stat.is_some_and(|stat| stat.kind == Kind::File) {
                return Ok(self.view.real(&path)?.map(|(real, _)| real));
            }
        }
        Ok(None)
    }

    /// Whether the directory at `at` is on the root's volume.
    pub(super) fn is_on_root(&self, at: &[u8]) -> bool {
        let root = self.view.mounted().next().map(|(_, volume)| volume);
        self.view
            .mounted()
            .filter(|(place, _)| *place == at)
            .all(|(_, volume)| Some(volume) == root)
    }

    /// The volume of `hd0,0`, `hd0,1`, `hd0,msdos1`, `hd0,gpt1`; the numbers of the old GRUB, which
    /// have no name before them, begin with 0.
    pub(super) fn legacy_device(&self, device: &[u8]) -> Option<usize> {
        let number: u32 = parsed(device.strip_prefix(b"hd0,")?)?;
        self.partition(number.checked_add(1)?)
    }

    fn grub_device(&self, device: &[u8]) -> Option<usize> {
        let rest = device.strip_prefix(b"hd0,")?;
        let digits = rest
            .strip_prefix(b"msdos")
            .or_else(|| rest.strip_prefix(b"gpt"))
            .unwrap_or(rest);
        self.partition(parsed(digits)?)
    }

    fn partition(&self, number: u32) -> Option<usize> {
        self.volumes
            .iter()
            .position(|volume| volume.stack == Stack::Plain && volume.partition == Some(number))
    }

    /// Where FAT file systems are mounted: the EFI system partition, and /boot if it is one.
    pub(super) fn fat_mounts(&self) -> impl Iterator<Item = &[u8]> {
        self.view.mounted().filter_map(|(at, volume)| {
            let content = &self.volumes.get(volume)?.content;
            (*content == Content::FileSystem(FileSystem::Fat)).then_some(at)
        })
    }
}

fn parsed(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
