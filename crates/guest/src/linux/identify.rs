//! Which volumes hold systems, and what each of these sees as its files.

mod mounts;
mod roots;

use std::rc::Rc;

use super::boot::{self, LinuxBoot, Start};
use super::initramfs::Allowance;
use super::{program, release};
use crate::Os;
use crate::budget::MAX_FILE;
use crate::tree::{Tree, TreeError};
use crate::view::View;
use crate::volume::{Device, Volume, find};

/// A system on the disk, as reports name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct System {
    /// Index of the volume with its root.
    pub(crate) volume: usize,
    /// As in os-release; `windows`.
    pub(crate) id: String,
    pub(crate) version: Option<String>,
    /// Content of `/etc/machine-id`, when it is filled.
    pub(crate) machine_id: Option<Vec<u8>>,
}

/// A Linux on the disk.
pub(crate) struct Root {
    pub(crate) view: View,
    /// Index of the volume with its root.
    pub(crate) volume: usize,
    /// Path of the root's subvolume on a Btrfs, without slashes at its ends; else empty.
    pub(crate) subvolume: Vec<u8>,
    pub(crate) os: Os,
    /// Content of `/etc/machine-id`, when it is filled.
    pub(crate) machine_id: Option<Vec<u8>>,
    /// What its programs are for.
    machine: Option<&'static str>,
    /// Why its release could not be told.
    pub(crate) unread: Option<String>,
}

/// The Linux systems of a disk, and volumes that could not be looked into.
#[derive(Default)]
pub(crate) struct Identified {
    pub(crate) roots: Vec<Root>,
    pub(crate) failed: Vec<(usize, String)>,
}

/// Finds the Linux systems. `trees` are the file systems of `volumes`, where they could be opened.
pub(crate) fn identify(volumes: &[Volume], trees: &[Option<Rc<dyn Tree>>]) -> Identified {
    let disk = mounts::Disk::new(volumes, trees);
    let mut identified = Identified::default();
    for (volume, tree) in trees.iter().enumerate() {
        let Some(tree) = tree else {
            continue;
        };
        match roots::find(&disk, volume, tree) {
            Ok(Some(found)) => identified.add(Root::describe(found)),
            Ok(None) => {}
            Err(TreeError(reason)) => identified.failed.push((volume, reason)),
        }
    }
    identified
}

impl Identified {
    /// Adds `root`. Of two with the same root file system the one that has its /usr counts.
    fn add(&mut self, root: Root) {
        let has_usr = |root: &Root| root.view.mounted().any(|(at, _)| at == b"/usr");
        match self
            .roots
            .iter_mut()
            .find(|known| known.volume == root.volume)
        {
            Some(known) if has_usr(&root) && !has_usr(known) => *known = root,
            Some(_) => {}
            None => self.roots.push(root),
        }
    }
}

/// Index of the root that starts by itself: the first one whose boot menu starts itself, else one
/// that another root's menu starts, else the first one.
pub(crate) fn started(roots: &[Root], volumes: &[Volume], firmware: Option<&str>) -> usize {
    if roots.len() < 2 {
        return 0;
    }
    let targets: Vec<Option<usize>> = roots
        .iter()
        .map(|root| {
            let menu = boot::menu(&root.start(volumes, firmware)).ok()??;
            let entry = menu.entries.get(menu.default?)?;
            find(&Device::parse(entry.command_line.value("root")?), volumes)
        })
        .collect();
    let itself = roots
        .iter()
        .zip(&targets)
        .position(|(root, target)| *target == Some(root.volume));
    itself
        .or_else(|| {
            roots
                .iter()
                .position(|root| targets.contains(&Some(root.volume)))
        })
        .unwrap_or(0)
}

impl Root {
    fn describe(found: roots::Found) -> Self {
        let roots::Found {
            view,
            volume,
            subvolume,
            fstab: _,
        } = found;
        let machine = program::machine(&view).ok().flatten();
        let (os, unread) = match release::read(&view) {
            Ok(os) => (os, None),
            Err(TreeError(reason)) => (None, Some(reason)),
        };
        let mut os = os.unwrap_or_else(|| Os {
            kind: "Linux".to_owned(),
            id: "linux".to_owned(),
            ..Os::default()
        });
        os.arch = machine.map(str::to_owned);
        os.init = program::init(&view).ok().flatten().map(str::to_owned);
        let machine_id = view.read("/etc/machine-id", MAX_FILE).ok().flatten();
        Self {
            machine_id: machine_id
                .map(|id| id.trim_ascii().to_vec())
                .filter(|id| id.len() == 32 && id.iter().all(u8::is_ascii_hexdigit)),
            view,
            volume,
            subvolume,
            os,
            machine,
            unread,
        }
    }

    /// As reports name it.
    pub(crate) fn system(&self) -> System {
        System {
            volume: self.volume,
            id: self.os.id.clone(),
            version: self.os.version.clone(),
            machine_id: self.machine_id.clone(),
        }
    }

    /// The title of the entry that its boot menu starts by itself, when that starts no Linux.
    pub(crate) fn starts_another(
        &self,
        volumes: &[Volume],
        firmware: Option<&str>,
    ) -> Option<String> {
        let menu = boot::menu(&self.start(volumes, firmware)).ok()??;
        let entry = menu.entries.get(menu.default?)?;
        let title = || String::from_utf8_lossy(&entry.title).into_owned();
        entry.kernel.is_none().then(title)
    }

    /// How it starts with `firmware`, `bios` or `uefi`.
    pub(crate) fn boot(&self, volumes: &[Volume], firmware: Option<&str>) -> LinuxBoot {
        LinuxBoot::collect(&self.start(volumes, firmware), &Allowance::default())
    }

    fn start<'a>(&'a self, volumes: &'a [Volume], firmware: Option<&'a str>) -> Start<'a> {
        Start {
            view: &self.view,
            volumes,
            subvolume: &self.subvolume,
            firmware,
            machine: self.machine,
        }
    }
}

#[cfg(test)]
mod tests;
