//! Installed kernels: their images, drivers and initramfs.

mod drivers;
mod image;
pub(crate) mod rules;

use std::collections::BTreeMap;

pub(crate) use drivers::Driver;

use super::boot::entry::{Entry, Menu};
use super::initramfs::Initramfs;
use super::version;
use crate::budget::MAX_KERNELS;
use crate::known::Known;
use crate::text::printable;
use crate::tree::{Kind, Result};
use crate::view::View;

/// What the names of images in /boot begin with; the rest is the version.
const PREFIXES: &[&str] = &[
    "vmlinuz-", "vmlinux-", "kernel-", "Image-", "zImage-", "vmlinuz",
];

/// Directories with images.
const DIRECTORIES: &[&str] = &["/boot", "/boot/flatcar", "/boot/coreos"];

/// One kernel.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    /// Path of its image in the guest.
    pub(crate) path: Vec<u8>,
    /// As `uname -r` prints it.
    pub(crate) version: Option<String>,
    /// `x86_64`, `i386`, `aarch64`, …
    pub(crate) machine: Option<&'static str>,
    /// Whether it has a driver, by the module's name with underscores.
    pub(crate) drivers: BTreeMap<&'static str, Known<Driver>>,
    /// Path of its initramfs in the guest.
    pub(crate) initramfs: Option<Vec<u8>>,
    /// What is in the initramfs; `None`: not looked into, or there is none.
    pub(crate) inside: Option<Known<Initramfs>>,
    /// Another initramfs that an entry starts it with, and what is in it.
    pub(crate) spare: Option<(Vec<u8>, Initramfs)>,
}

impl Kernel {
    /// Whether it runs below Xen only, without virtual hardware.
    pub(crate) fn is_for_xen_only(&self) -> bool {
        let name = self.path.rsplit(|&byte| byte == b'/').next();
        let name = String::from_utf8_lossy(name.unwrap_or_default());
        [Some(name.as_ref()), self.version.as_deref()]
            .into_iter()
            .flatten()
            .any(|name| name.ends_with("xen") || name.ends_with("xenU") || name.ends_with("xen0"))
    }

    /// Where it has driver `name`.
    pub(crate) fn driver(&self, name: &str) -> Known<Driver> {
        match self.drivers.get(name) {
            Some(known) => known.clone(),
            None => Err(match &self.version {
                Some(version) => format!("the drivers of kernel {version} are not known"),
                None => format!("the version of {} is not known", printable(&self.path)),
            }),
        }
    }

    /// Whether its initramfs brings module `name`; without an initramfs nothing is brought.
    pub(crate) fn brings(&self, name: &str) -> Known<bool> {
        match (&self.inside, &self.initramfs) {
            (Some(Ok(inside)), _) => inside.module(self.version.as_deref().unwrap_or(""), name),
            (Some(Err(reason)), _) => Err(reason.clone()),
            (None, None) => Ok(false),
            (None, Some(path)) => Err(format!("{} is not looked into", printable(path))),
        }
    }
}

/// The kernels on the disk, those that entries start first. `machine` is what the system's
/// programs are for.
pub(crate) fn collect(
    view: &View,
    menu: Option<&Menu>,
    machine: Option<&'static str>,
) -> Result<Vec<Kernel>> {
    let mut images: Vec<Vec<u8>> = Vec::new();
    let mut add = |path: Vec<u8>| {
        if images.len() < MAX_KERNELS && !images.contains(&path) {
            images.push(path);
        }
    };
    // What the default entry says of a kernel goes before what others say of it.
    let default = menu.and_then(|menu| menu.entries.get(menu.default?));
    let others = menu.map(|menu| menu.entries.as_slice()).unwrap_or_default();
    let entries: Vec<&Entry> = default.into_iter().chain(others).collect();
    entries
        .iter()
        .filter_map(|entry| entry.kernel.as_ref()?.path.clone())
        .for_each(&mut add);
    for path in found(view)? {
        add(path);
    }
    let mut kernels: Vec<Kernel> = Vec::new();
    for path in images {
        let kernel = describe(view, path, &entries, machine)?;
        // /lib/modules has copies of what is in /boot.
        let copy = kernel.path.ends_with(b"/vmlinuz")
            && kernels.iter().any(|known| known.version == kernel.version);
        if !copy {
            kernels.push(kernel);
        }
    }
    Ok(kernels)
}

/// Images by their names, newest first.
fn found(view: &View) -> Result<Vec<Vec<u8>>> {
    let mut paths = Vec::new();
    for dir in DIRECTORIES {
        let mut names: Vec<Vec<u8>> = view
            .list(dir)?
            .into_iter()
            .map(|entry| entry.name)
            .filter(|name| {
                PREFIXES
                    .iter()
                    .any(|prefix| name.starts_with(prefix.as_bytes()))
            })
            .collect();
        names.sort_by(|a, b| version::compare(b, a));
        paths.extend(
            names
                .iter()
                .map(|name| [dir.as_bytes(), b"/", name].concat()),
        );
    }
    let mut versions = view.list("/usr/lib/modules")?;
    versions.sort_by(|a, b| version::compare(&b.name, &a.name));
    paths.extend(
        versions
            .iter()
            .take(MAX_KERNELS)
            .map(|entry| [b"/usr/lib/modules/", entry.name.as_slice(), b"/vmlinuz"].concat()),
    );
    let mut images = Vec::new();
    for path in paths {
        let stat = view.stat(&path)?;
        if stat.is_some_and(|stat| stat.kind == Kind::File)
            && let Some((real, _)) = view.real(&path)?
        {
            images.push(real);
        }
    }
    Ok(images)
}

fn describe(
    view: &View,
    path: Vec<u8>,
    entries: &[&Entry],
    user: Option<&'static str>,
) -> Result<Kernel> {
    let image = image::read(view, &path)?;
    let version = image.version.or_else(|| version_in_path(&path));
    let machine = match image.machine {
        Some(machine) => Some(machine),
        None => guessed_machine(view, version.as_deref().unwrap_or(""), user)?,
    };
    let drivers = match &version {
        Some(version) => drivers::read(view, version),
        None => BTreeMap::new(),
    };
    let own = entries
        .iter()
        .filter(|entry| entry.starts(&path))
        .find_map(|entry| entry.initramfs());
    let started = entries.iter().any(|entry| entry.starts(&path));
    let initramfs = match own {
        Some(own) => Some(own.to_vec()),
        None if image.unified => Some(path.clone()),
        // An entry without an initramfs starts the kernel without one.
        None if started => None,
        None => initramfs_by_name(view, &path, version.as_deref())?,
    };
    // Flatcar's kernels have their initramfs inside, and others may be named in ways of their own.
    let inside = (initramfs.is_none() && !started).then(|| {
        let shown = printable(&path);
        Err(format!("which initramfs goes with {shown} is not known"))
    });
    Ok(Kernel {
        path,
        version,
        machine,
        drivers,
        initramfs,
        inside,
        spare: None,
    })
}

/// The version in `vmlinuz-VERSION` or in `modules/VERSION/vmlinuz`.
fn version_in_path(path: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    let (dir, name) = path.rsplit_once('/')?;
    let version = match name {
        "vmlinuz" => dir.strip_prefix("/usr/lib/modules/")?,
        name => PREFIXES
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix))?,
    };
    version
        .starts_with(|c: char| c.is_ascii_digit())
        .then(|| version.to_owned())
}

/// What a kernel is for whose image does not say it: by the end of its version, by its
/// configuration, by the programs it must be able to run.
fn guessed_machine(
    view: &View,
    version: &str,
    user: Option<&'static str>,
) -> Result<Option<&'static str>> {
    const ENDS: &[(&str, &str)] = &[
        ("x86_64", "x86_64"),
        ("amd64", "x86_64"),
        ("aarch64", "aarch64"),
        ("arm64", "aarch64"),
        ("i686", "i386"),
        ("i586", "i386"),
        ("i386", "i386"),
        ("PAE", "i386"),
        ("-pae", "i386"),
        ("-686", "i386"),
        ("ppc64le", "ppc64"),
        ("s390x", "s390"),
    ];
    if let Some((_, machine)) = ENDS.iter().find(|(end, _)| version.ends_with(end)) {
        return Ok(Some(machine));
    }
    if user != Some("i386") {
        return Ok(user);
    }
    let config = drivers::config(view, version)?;
    Ok(match config {
        Some(lines) if lines.contains(b"CONFIG_X86_64=y".as_slice()) => Some("x86_64"),
        _ => user,
    })
}

/// The initramfs that goes with a kernel by its name.
fn initramfs_by_name(view: &View, path: &[u8], version: Option<&str>) -> Result<Option<Vec<u8>>> {
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let suffix = name
        .strip_prefix(b"vmlinuz-")
        .map(|suffix| String::from_utf8_lossy(suffix).into_owned());
    for version in [suffix.as_deref(), version].into_iter().flatten() {
        for path in [
            format!("/boot/initrd.img-{version}"),
            format!("/boot/initramfs-{version}.img"),
            format!("/boot/initrd-{version}"),
            format!("/boot/initrd-{version}.img"),
            format!("/boot/initramfs-{version}"),
            format!("/usr/lib/modules/{version}/initrd"),
            format!("/usr/lib/modules/{version}/initramfs.img"),
        ] {
            let stat = view.stat(&path)?;
            if stat.is_some_and(|stat| stat.kind == Kind::File) {
                return Ok(view.real(&path)?.map(|(real, _)| real));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
pub(crate) mod tests;
