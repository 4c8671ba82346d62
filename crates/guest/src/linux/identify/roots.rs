//! Which file system, or which part of one, is the root of a Linux.

use std::rc::Rc;

use super::mounts::Disk;
use crate::budget::{MAX_FILE, MAX_RELEASE};
use crate::known::Known;
use crate::linux::boot::{self, Start};
use crate::linux::fstab::Fstab;
use crate::linux::version;
use crate::tree::below::Below;
use crate::tree::{Kind, Result, Tree, TreeError};
use crate::view::View;

/// Names of subvolumes that are roots, after the default one: Ubuntu and others, Debian, Fedora;
/// last what holds all subvolumes.
const SUBVOLUMES: &[&[u8]] = &[b"@", b"@rootfs", b"root", b""];

/// A root with what it mounts.
pub(super) struct Found {
    pub(super) view: View,
    /// Index of the volume with the root.
    pub(super) volume: usize,
    pub(super) subvolume: Vec<u8>,
    pub(super) fstab: Known<Fstab>,
}

/// The root on `volume`, if there is one.
pub(super) fn find(disk: &Disk<'_>, volume: usize, tree: &Rc<dyn Tree>) -> Result<Option<Found>> {
    let subvolumes = disk.subvolumes(volume, tree.as_ref())?;
    if !subvolumes.is_empty() {
        return in_subvolumes(disk, volume, tree);
    }
    if is_root(tree)? {
        return complete(disk, volume, Rc::clone(tree), Vec::new()).map(Some);
    }
    if tree.stat(b"/ostree/deploy")?.is_some() {
        return ostree(disk, volume, tree);
    }
    if is_flatcar(tree.as_ref())? {
        return flatcar(disk, volume, tree);
    }
    Ok(None)
}

/// Whether `tree` is the root of a Linux: it has /etc and /bin, and a file that every system has.
fn is_root(tree: &Rc<dyn Tree>) -> Result<bool> {
    let view = View::new(Rc::clone(tree), 0);
    let directory = |path: &str| -> Result<bool> {
        Ok(view
            .link_stat(path)?
            .is_some_and(|stat| stat.kind == Kind::Directory))
    };
    if !directory("/etc")? {
        return Ok(false);
    }
    let merged = view
        .read_link("/bin")?
        .is_some_and(|target| target.strip_prefix(b"/").unwrap_or(&target) == b"usr/bin");
    let any = |paths: &[&str]| -> Result<bool> {
        for path in paths {
            if view.link_stat(path)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    };
    Ok(
        (directory("/bin")? || merged) && any(&["/etc/fstab", "/etc/hosts"])?
            || any(&["/etc/os-release", "/usr/lib/os-release"])? && directory("/usr/bin")?,
    )
}

/// Mounts what the root has in its fstab.
fn complete(
    disk: &Disk<'_>,
    volume: usize,
    tree: Rc<dyn Tree>,
    subvolume: Vec<u8>,
) -> Result<Found> {
    let mut view = View::new(tree, volume);
    let fstab = fstab(&view).map_err(|TreeError(reason)| reason);
    let empty = Fstab::default();
    disk.mount(&mut view, volume, fstab.as_ref().unwrap_or(&empty))?;
    Ok(Found {
        view,
        volume,
        subvolume,
        fstab,
    })
}

/// Of a Btrfs the subvolume that is started, else the one in the fstab, else the default one or one
/// with a usual name. Snapshots are no further roots.
fn in_subvolumes(disk: &Disk<'_>, volume: usize, tree: &Rc<dyn Tree>) -> Result<Option<Found>> {
    let subvolumes = disk.subvolumes(volume, tree.as_ref())?;
    let default = subvolumes.iter().find(|subvolume| subvolume.default);
    let usual = SUBVOLUMES
        .iter()
        .filter_map(|name| subvolumes.iter().find(|subvolume| subvolume.path == *name));
    for candidate in default.into_iter().chain(usual) {
        let root = tree.subvolume(candidate.id)?;
        if !is_root(&root)? {
            continue;
        }
        let found = complete(disk, volume, root, candidate.path.clone())?;
        let wanted = started(disk, &found);
        let wanted = match wanted {
            Some(wanted) => Some(wanted),
            None => by_fstab(&found),
        };
        if let Some((path, id)) = wanted
            && let Some((path, other)) =
                disk.subvolume(volume, tree.as_ref(), path.as_deref(), id.as_deref())?
            && path != found.subvolume
            && is_root(&other)?
        {
            return complete(disk, volume, other, path).map(Some);
        }
        return Ok(Some(found));
    }
    Ok(None)
}

type Named = (Option<Vec<u8>>, Option<Vec<u8>>);

/// The subvolume on the command line that the boot menu of `found` starts.
fn started(disk: &Disk<'_>, found: &Found) -> Option<Named> {
    let start = Start {
        view: &found.view,
        volumes: disk.volumes,
        subvolume: &found.subvolume,
        firmware: None,
        machine: None,
    };
    let menu = boot::menu(&start).ok()??;
    let flags = menu
        .entries
        .get(menu.default?)?
        .command_line
        .value("rootflags")?;
    let flag = |name: &[u8]| {
        flags
            .split(|&byte| byte == b',')
            .find_map(|flag| flag.strip_prefix(name))
            .map(<[u8]>::to_vec)
    };
    let (path, id) = (flag(b"subvol="), flag(b"subvolid="));
    (path.is_some() || id.is_some()).then_some((path, id))
}

/// The subvolume that the fstab of `found` mounts as root.
fn by_fstab(found: &Found) -> Option<Named> {
    let entry = found.fstab.as_ref().ok()?.mount(b"/")?;
    let option = |name| entry.option(name).map(<[u8]>::to_vec);
    let (path, id) = (option("subvol"), option("subvolid"));
    (path.is_some() || id.is_some()).then_some((path, id))
}

/// A system of ostree: the deployment that the boot menu starts, else the only one.
fn ostree(disk: &Disk<'_>, volume: usize, tree: &Rc<dyn Tree>) -> Result<Option<Found>> {
    let mut physical = View::new(Rc::clone(tree), volume);
    disk.mount(&mut physical, volume, &Fstab::default())?;
    let start = Start {
        view: &physical,
        volumes: disk.volumes,
        subvolume: b"",
        firmware: None,
        machine: None,
    };
    let menu = boot::menu(&start)?;
    let named = menu.and_then(|menu| {
        let entry = menu.entries.get(menu.default?)?;
        entry.command_line.value("ostree").map(<[u8]>::to_vec)
    });
    let deployment = match named {
        Some(named) => physical.real(&named)?.map(|(path, _)| path),
        None => only_deployment(&physical)?,
    };
    let Some(deployment) = deployment else {
        return Err(TreeError(
            "it has deployments of ostree, and no boot entry names one of them".to_owned(),
        ));
    };
    let below = |directory: &[u8]| -> Rc<dyn Tree> {
        Rc::new(Below {
            tree: Rc::clone(tree),
            directory: directory.to_vec(),
        })
    };
    let root = below(&deployment);
    if !is_root(&root)? {
        return Ok(None);
    }
    let mut found = complete(disk, volume, root, Vec::new())?;
    // /ostree/deploy/NAME/deploy/CHECKSUM.0
    let mut parts = deployment.split(|&byte| byte == b'/').skip(3);
    if let Some(name) = parts.next() {
        let var = [b"/ostree/deploy/", name, b"/var"].concat();
        if tree.stat(&var)?.is_some() {
            found.view.mount(b"/var", below(&var), volume);
        }
    }
    found.view.mount(b"/sysroot", Rc::clone(tree), volume);
    if !found.view.mounted().any(|(at, _)| at == b"/boot") && tree.stat(b"/boot")?.is_some() {
        found.view.mount(b"/boot", below(b"/boot"), volume);
    }
    Ok(Some(found))
}

/// The deployment, when there is only one.
fn only_deployment(view: &View) -> Result<Option<Vec<u8>>> {
    let mut only = None;
    for state in view.list("/ostree/deploy")? {
        let dir = [b"/ostree/deploy/", state.name.as_slice(), b"/deploy"].concat();
        for entry in view.list(&dir)? {
            if entry.kind == Kind::Directory {
                let path = [dir.as_slice(), b"/", &entry.name].concat();
                if only.replace(path).is_some() {
                    return Ok(None);
                }
            }
        }
    }
    Ok(only)
}

/// Whether `tree` is the /usr of Flatcar or of CoreOS Container Linux.
fn is_flatcar(tree: &dyn Tree) -> Result<bool> {
    Ok(
        (tree.stat(b"/share/flatcar")?.is_some() || tree.stat(b"/share/coreos")?.is_some())
            && tree.stat(b"/lib/os-release")?.is_some(),
    )
}

/// A system with two copies of /usr: this one counts when its partition has the higher priority, or
/// when it is the newer one.
fn flatcar(disk: &Disk<'_>, volume: usize, tree: &Rc<dyn Tree>) -> Result<Option<Found>> {
    let mut best: Option<(u8, Vec<u8>, usize)> = None;
    for (index, other) in disk.trees.iter().enumerate() {
        if let Some(other) = other
            && is_flatcar(other.as_ref())?
        {
            let view = View::new(Rc::clone(other), index);
            let content = view.read("/lib/os-release", MAX_RELEASE)?;
            let content = content.unwrap_or_default();
            let version = content
                .split(|&byte| byte == b'\n')
                .find_map(|line| line.strip_prefix(b"VERSION_ID="));
            let version = version.unwrap_or_default().to_vec();
            let priority = disk.volumes.get(index).map_or(0, |volume| volume.priority);
            let is_better = best.as_ref().is_none_or(|(known, newest, _)| {
                let by_version = || version::compare(&version, newest);
                priority.cmp(known).then_with(by_version).is_gt()
            });
            if is_better {
                best = Some((priority, version, index));
            }
        }
    }
    if best.is_none_or(|(_, _, best)| best != volume) {
        return Ok(None);
    }
    let labelled = |label: &str| {
        let volume = disk.volumes.iter().position(|volume| {
            volume.partlabel.as_deref() == Some(label)
                || volume.label.as_deref() == Some(label.as_bytes())
        })?;
        Some((volume, Rc::clone(disk.trees.get(volume)?.as_ref()?)))
    };
    let (root, top) = labelled("ROOT").unwrap_or_else(|| (volume, Rc::clone(tree)));
    let mut view = View::new(top, root);
    view.mount(b"/usr", Rc::clone(tree), volume);
    if let Some((esp, tree)) = labelled("EFI-SYSTEM") {
        view.mount(b"/boot", tree, esp);
    }
    let fstab = fstab(&view).map_err(|TreeError(reason)| reason);
    Ok(Some(Found {
        view,
        volume: root,
        subvolume: Vec::new(),
        fstab,
    }))
}

/// The table of mounts of `view`.
fn fstab(view: &View) -> Result<Fstab> {
    let content = view.read("/etc/fstab", MAX_FILE)?;
    Ok(content
        .map(|content| Fstab::parse(&content))
        .unwrap_or_default())
}
