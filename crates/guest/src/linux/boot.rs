//! How the system starts: boot entries, kernels and what their initramfs brings.

mod bls;
pub(crate) mod entry;
mod grub;
mod menus;
mod places;
pub(crate) mod rules;
mod script;
mod settings;
mod uki;

pub(crate) use entry::{BootFile, Entry, Menu, Timeout};

use places::Places;

use super::command_line::CommandLine;
use super::initramfs::{self, Allowance};
use super::kernel::{self, Kernel};
use crate::Seen;
use crate::known::Known;
use crate::tree::Result;
use crate::view::View;
use crate::volume::{Device, Volume};

/// Kernels beside the default one whose initramfs is looked into when that lacks drivers.
const MAX_OTHERS: usize = 3;

/// How the system starts.
#[derive(Debug)]
pub(crate) struct LinuxBoot {
    /// In the order of the menu.
    pub(crate) entries: Known<Vec<Entry>>,
    /// Index of the entry that starts by itself.
    pub(crate) default: Option<usize>,
    pub(crate) timeout: Option<Timeout>,
    pub(crate) kernels: Known<Vec<Kernel>>,
    /// Index of the kernel of the default entry.
    pub(crate) default_kernel: Option<usize>,
    /// Devices to resume from that are named elsewhere than on the command line.
    pub(crate) resume: Known<Vec<(Device, Seen)>>,
    /// What keeps the module `virtio_net` from being loaded.
    pub(crate) blocked: Known<Vec<Seen>>,
}

/// Where the system is that starts.
pub(crate) struct Start<'a> {
    pub(crate) view: &'a View,
    pub(crate) volumes: &'a [Volume],
    /// Path of the root's subvolume on a Btrfs, without slashes at its ends; else empty.
    pub(crate) subvolume: &'a [u8],
    /// `bios` or `uefi`, when it is said.
    pub(crate) firmware: Option<&'a str>,
    /// What the system's programs are for.
    pub(crate) machine: Option<&'static str>,
}

impl LinuxBoot {
    /// The entry that starts by itself.
    pub(crate) fn entry(&self) -> Option<&Entry> {
        self.entries.as_ref().ok()?.get(self.default?)
    }

    /// Its command line.
    pub(crate) fn command_line(&self) -> Option<&CommandLine> {
        self.entry().map(|entry| &entry.command_line)
    }

    /// The kernel that it starts.
    pub(crate) fn kernel(&self) -> Option<&Kernel> {
        self.kernels.as_ref().ok()?.get(self.default_kernel?)
    }

    /// Reads what is known of how the system starts.
    pub(crate) fn collect(start: &Start<'_>, allowance: &Allowance) -> Self {
        let menu = menu(start);
        let found = menu.as_ref().ok().and_then(Option::as_ref);
        let kernels = kernel::collect(start.view, found, start.machine);
        let mut boot = Self {
            default: found.and_then(|menu| menu.default),
            timeout: found.and_then(|menu| menu.timeout.clone()),
            entries: match &menu {
                Ok(_) => Ok(found.map(|menu| menu.entries.clone()).unwrap_or_default()),
                Err(error) => Err(error.0.clone()),
            },
            kernels: kernels.map_err(|error| error.0),
            default_kernel: None,
            resume: settings::resume(start.view).map_err(|error| error.0),
            blocked: settings::blocked(start.view).map_err(|error| error.0),
        };
        boot.default_kernel = boot.started();
        boot.look_inside(start.view, allowance);
        boot
    }

    /// The kernel of the default entry; without any entry the only kernel that there is.
    fn started(&self) -> Option<usize> {
        let kernels = self.kernels.as_ref().ok()?;
        match self.entry() {
            Some(entry) => kernels.iter().position(|kernel| entry.starts(&kernel.path)),
            None if kernels.len() == 1 => Some(0),
            None => None,
        }
    }

    /// Reads the initramfs of the default kernel, and others when that lacks drivers.
    fn look_inside(&mut self, view: &View, allowance: &Allowance) {
        let together: Vec<Vec<u8>> = self
            .entry()
            .into_iter()
            .flat_map(|entry| &entry.initrds)
            .filter_map(|file| file.path.clone())
            .collect();
        let (Ok(kernels), Ok(entries)) = (&mut self.kernels, &self.entries) else {
            return;
        };
        let Some(kernel) = self.default_kernel.and_then(|at| kernels.get_mut(at)) else {
            return;
        };
        if let Some(own) = kernel.initramfs.clone() {
            let paths = if together.contains(&own) {
                together
            } else {
                vec![own]
            };
            kernel.inside = Some(initramfs::read(view, &paths, allowance));
        }
        let lacks = ["virtio_blk", "virtio_pci"].iter().any(|name| {
            kernel.driver(name) == Ok(kernel::Driver::Module) && kernel.brings(name) == Ok(false)
        });
        if !lacks {
            return;
        }
        let spare = entries
            .iter()
            .filter(|entry| entry.starts(&kernel.path))
            .filter_map(Entry::initramfs)
            .find(|path| kernel.initramfs.as_deref() != Some(path))
            .map(<[u8]>::to_vec);
        kernel.spare = spare.and_then(|path| {
            let inside = initramfs::read(view, std::slice::from_ref(&path), allowance);
            Some((path, inside.ok()?))
        });
        let others = kernels.iter_mut().filter(|kernel| kernel.inside.is_none());
        for kernel in others.take(MAX_OTHERS) {
            if let Some(path) = kernel.initramfs.clone() {
                kernel.inside = Some(initramfs::read(view, &[path], allowance));
            }
        }
    }
}

/// The menu of the boot loader that the firmware starts; `None` when there is none that is read.
pub(crate) fn menu(start: &Start<'_>) -> Result<Option<Menu>> {
    let places = Places {
        view: start.view,
        volumes: start.volumes,
        subvolume: start.subvolume,
    };
    let mut esps: Vec<Vec<u8>> = Vec::new();
    for at in places.fat_mounts() {
        if start.view.exists([at, b"/EFI"].concat())? {
            esps.push(at.to_vec());
        }
    }
    let uefi = match start.firmware {
        Some(firmware) => firmware == "uefi",
        None => !esps.is_empty(),
    };
    if !uefi {
        esps.clear();
    }
    for esp in &esps {
        if is_systemd_boot(start.view, esp)?
            && let Some(menu) = systemd_boot(&places, &esps)?
        {
            return Ok(Some(menu));
        }
    }
    for path in grub_paths(start.view, &esps)? {
        if let Some(menu) = grub::read(&places, &path)? {
            return Ok(Some(menu));
        }
    }
    for path in [
        "/boot/grub/menu.lst",
        "/boot/grub/grub.conf",
        "/etc/grub.conf",
    ] {
        let real = start.view.real(path)?.map(|(real, _)| real);
        if let Some(menu) = menus::legacy(&places, &real.unwrap_or_default())? {
            return Ok(Some(menu));
        }
    }
    for path in [
        "/boot/extlinux/extlinux.conf",
        "/boot/extlinux.conf",
        "/boot/syslinux/syslinux.cfg",
        "/boot/syslinux.cfg",
        "/extlinux.conf",
        "/boot/efi/syslinux/syslinux.cfg",
    ] {
        if let Some(menu) = menus::syslinux(&places, path.as_bytes())? {
            return Ok(Some(menu));
        }
    }
    if let Some(menu) = systemd_boot(&places, &esps)? {
        return Ok(Some(menu));
    }
    menus::lilo(&places, b"/etc/lilo.conf")
}

/// Whether systemd-boot is installed on the EFI system partition, and no GRUB beside it.
fn is_systemd_boot(view: &View, esp: &[u8]) -> Result<bool> {
    let dir = [esp, b"/EFI"].concat();
    let mut systemd = false;
    for vendor in view.list(&dir)? {
        let names = view.list([dir.as_slice(), b"/", &vendor.name].concat())?;
        let begins = |with: &[u8]| {
            names
                .iter()
                .any(|entry| entry.name.to_ascii_lowercase().starts_with(with))
        };
        if begins(b"grub") {
            return Ok(false);
        }
        systemd |= begins(b"systemd-boot");
    }
    Ok(systemd)
}

/// Entries of the boot loader specification and unified images, as systemd-boot shows them.
fn systemd_boot(places: &Places<'_>, esps: &[Vec<u8>]) -> Result<Option<Menu>> {
    let mut tops = esps.to_vec();
    tops.push(b"/boot".to_vec());
    tops.dedup();
    for top in &tops {
        if let Some(mut menu) = bls::menu(places, top)? {
            for esp in esps {
                let more = uki::menu(places, esp)?;
                menu.entries
                    .extend(more.into_iter().flat_map(|menu| menu.entries));
            }
            return Ok(Some(menu));
        }
    }
    for esp in esps {
        if let Some(menu) = uki::menu(places, esp)? {
            return Ok(Some(menu));
        }
    }
    Ok(None)
}

/// Where scripts of GRUB 2 are: on the EFI system partition, which firmware starts from, or in
/// /boot.
fn grub_paths(view: &View, esps: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
    let mut paths = Vec::new();
    for esp in esps {
        let dir = [esp.as_slice(), b"/EFI"].concat();
        for vendor in view.list(&dir)? {
            let path = [dir.as_slice(), b"/", &vendor.name, b"/grub.cfg"].concat();
            if view.exists(&path)? {
                paths.push(path);
            }
        }
    }
    paths.extend([
        b"/boot/grub2/grub.cfg".to_vec(),
        b"/boot/grub/grub.cfg".to_vec(),
    ]);
    Ok(paths)
}

#[cfg(test)]
pub(crate) mod tests;
