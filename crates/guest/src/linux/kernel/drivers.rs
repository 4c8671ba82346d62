//! Which drivers a kernel has: built in, or as files below `/lib/modules`.

use std::collections::{BTreeMap, BTreeSet};

use crate::budget::MAX_FILE;
use crate::known::Known;
use crate::linux::initramfs::module_name;
use crate::tree::{Result, TreeError};
use crate::view::View;

/// Bytes of `modules.dep`.
const MAX_DEPENDENCIES: u64 = 8 << 20;

/// Where a kernel has a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    BuiltIn,
    /// A file below `/lib/modules`.
    Module,
    Missing,
}

/// A driver that rules ask for.
struct Watched {
    name: &'static str,
    option: &'static str,
    /// Its directory below `kernel`.
    dir: &'static str,
}

const fn watched(name: &'static str, option: &'static str, dir: &'static str) -> Watched {
    Watched { name, option, dir }
}

const WATCHED: &[Watched] = &[
    watched("virtio", "CONFIG_VIRTIO", "drivers/virtio"),
    watched("virtio_ring", "CONFIG_VIRTIO", "drivers/virtio"),
    watched("virtio_pci", "CONFIG_VIRTIO_PCI", "drivers/virtio"),
    watched("virtio_blk", "CONFIG_VIRTIO_BLK", "drivers/block"),
    watched("virtio_net", "CONFIG_VIRTIO_NET", "drivers/net"),
    watched("virtio_scsi", "CONFIG_SCSI_VIRTIO", "drivers/scsi"),
    watched(
        "xen_blkfront",
        "CONFIG_XEN_BLKDEV_FRONTEND",
        "drivers/block",
    ),
    watched("xen_netfront", "CONFIG_XEN_NETDEV_FRONTEND", "drivers/net"),
    watched("dm_mod", "CONFIG_BLK_DEV_DM", "drivers/md"),
    watched("dm_multipath", "CONFIG_DM_MULTIPATH", "drivers/md"),
    watched("linear", "CONFIG_MD_LINEAR", "drivers/md"),
    watched("raid0", "CONFIG_MD_RAID0", "drivers/md"),
    watched("raid1", "CONFIG_MD_RAID1", "drivers/md"),
    watched("raid10", "CONFIG_MD_RAID10", "drivers/md"),
    watched("raid456", "CONFIG_MD_RAID456", "drivers/md"),
    watched("xfs", "CONFIG_XFS_FS", "fs/xfs"),
    watched("btrfs", "CONFIG_BTRFS_FS", "fs/btrfs"),
    watched("ext4", "CONFIG_EXT4_FS", "fs/ext4"),
    watched("ext3", "CONFIG_EXT3_FS", "fs/ext3"),
];

/// The drivers of kernel `version`.
pub(super) fn read(view: &View, version: &str) -> BTreeMap<&'static str, Known<Driver>> {
    let sources = sources(view, version).map_err(|TreeError(reason)| reason);
    WATCHED
        .iter()
        .map(|watched| {
            let known = match &sources {
                Ok(sources) => sources.driver(watched, version),
                Err(reason) => Err(reason.clone()),
            };
            (watched.name, known)
        })
        .collect()
}

/// What says where drivers are.
struct Sources {
    /// Modules that are files.
    files: BTreeSet<Vec<u8>>,
    /// Modules in the list of those that are built in.
    built_in: Option<BTreeSet<Vec<u8>>>,
    /// Lines of the kernel's configuration.
    config: Option<BTreeSet<Vec<u8>>>,
}

impl Sources {
    fn driver(&self, watched: &Watched, version: &str) -> Known<Driver> {
        let named = |names: &BTreeSet<Vec<u8>>| names.contains(watched.name.as_bytes());
        let yes = format!("{}=y", watched.option);
        if self.built_in.as_ref().is_some_and(named)
            || self
                .config
                .as_ref()
                .is_some_and(|lines| lines.contains(yes.as_bytes()))
        {
            Ok(Driver::BuiltIn)
        } else if named(&self.files) {
            Ok(Driver::Module)
        } else if self.built_in.is_some() || self.config.is_some() {
            Ok(Driver::Missing)
        } else {
            Err(format!(
                "what is built into kernel {version} is not known: there is neither \
                 /lib/modules/{version}/modules.builtin nor /boot/config-{version}"
            ))
        }
    }
}

fn sources(view: &View, version: &str) -> Result<Sources> {
    let mut dir = format!("/lib/modules/{version}");
    if !view.exists(&dir)? {
        dir = format!("/usr/lib/modules/{version}");
    }
    let built_in = view.read(format!("{dir}/modules.builtin"), MAX_FILE)?;
    Ok(Sources {
        files: files(view, &dir)?,
        built_in: built_in.map(|content| {
            let lines = content.split(|&byte| byte == b'\n');
            lines.filter_map(module_at).collect()
        }),
        config: config(view, version)?,
    })
}

/// The lines of the configuration of kernel `version`.
pub(super) fn config(view: &View, version: &str) -> Result<Option<BTreeSet<Vec<u8>>>> {
    for path in [
        format!("/boot/config-{version}"),
        format!("/lib/modules/{version}/config"),
        format!("/usr/lib/modules/{version}/config"),
    ] {
        if let Some(content) = view.read(path, MAX_FILE)? {
            return Ok(Some(
                content
                    .split(|&byte| byte == b'\n')
                    .map(|line| line.trim_ascii().to_vec())
                    .filter(|line| line.ends_with(b"=y"))
                    .collect(),
            ));
        }
    }
    Ok(None)
}

/// The watched modules that are files below `dir`, where they belong or where `modules.dep` says.
fn files(view: &View, dir: &str) -> Result<BTreeSet<Vec<u8>>> {
    let dirs: BTreeSet<&str> = WATCHED.iter().map(|watched| watched.dir).collect();
    let mut files = BTreeSet::new();
    for inner in dirs {
        let entries = view.list(format!("{dir}/kernel/{inner}"))?;
        files.extend(entries.iter().filter_map(|entry| module_name(&entry.name)));
    }
    let all_found = WATCHED
        .iter()
        .all(|watched| files.contains(watched.name.as_bytes()));
    if all_found {
        return Ok(files);
    }
    let list = view.read(format!("{dir}/modules.dep"), MAX_DEPENDENCIES)?;
    for line in list.unwrap_or_default().split(|&byte| byte == b'\n') {
        let path = line.split(|&byte| byte == b':').next().unwrap_or_default();
        let Some(name) = module_at(path) else {
            continue;
        };
        let asked_for = WATCHED
            .iter()
            .any(|watched| watched.name.as_bytes() == name);
        if asked_for && !files.contains(&name) {
            let path = match path.first() {
                Some(b'/') => path.to_vec(),
                _ => [dir.as_bytes(), b"/", path].concat(),
            };
            if view.exists(path)? {
                files.insert(name);
            }
        }
    }
    Ok(files)
}

/// The module in the file at `path`.
fn module_at(path: &[u8]) -> Option<Vec<u8>> {
    module_name(path.rsplit(|&byte| byte == b'/').next()?)
}
