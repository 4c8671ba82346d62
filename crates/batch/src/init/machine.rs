//! Machines by what they were exported or configured as: OVA archives, OVF descriptors, `.vmx`.

use std::path::{Path, PathBuf};

use diskimg::text::printable;
use diskimg::{BackingPolicy, FileSource, OpenOptions, Stop, Vmx, member_path, open_source};
use ova::{Firmware, Package, Role};

use super::{Disk, Machine, Refused, open};

/// Whether a file is called like the configuration or the package of a machine.
pub(super) fn is_one(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default();
    ["vmx", "ova", "ovf"]
        .iter()
        .any(|known| extension.eq_ignore_ascii_case(known))
}

/// What a file says of a machine.
pub(super) struct Looked {
    /// Files that belong to the machine: whether it can be imported or not, they are not imported
    /// on their own.
    pub(super) files: Vec<PathBuf>,
    /// The machine; `None` when the file is none.
    pub(super) machine: Result<Option<Machine>, Refused>,
}

/// Looks at the file at `path`, which is called like that of a machine.
pub(super) fn look(path: &Path, stop: &Stop) -> Looked {
    let is_vmx = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("vmx"));
    let mut files = Vec::new();
    let machine = match is_vmx {
        true => configured(path, &mut files, stop),
        false => packaged(path, &mut files, stop),
    };
    Looked { files, machine }
}

fn refused(path: &Path, reason: String, hint: Option<diskimg::Hint>) -> Refused {
    Refused {
        path: path.to_owned(),
        reason,
        hint,
    }
}

fn because(path: &Path) -> impl Fn(diskimg::Error) -> Refused {
    |error| refused(path, error.message().to_owned(), error.hint().cloned())
}

/// A machine of which one disk cannot be imported is not imported: it would lack that disk.
fn lacking(path: &Path, disk: &str, error: &diskimg::Error) -> Refused {
    let reason = format!("its disk \"{}\": {}", printable(disk), error.message());
    refused(path, reason, error.hint().cloned())
}

/// The machine that the configuration at `path` describes.
fn configured(
    path: &Path,
    files: &mut Vec<PathBuf>,
    stop: &Stop,
) -> Result<Option<Machine>, Refused> {
    let source = FileSource::open(path).map_err(because(path))?;
    let vmx = Vmx::read(&source).map_err(because(path))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    files.extend(vmx.disks.iter().map(|name| dir.join(name)));
    if let Some(name) = vmx.elsewhere.first() {
        let reason = format!("its disk \"{name}\" is no disk image beside it");
        let hint = "list its disks as a server in the manifest";
        return Err(refused(path, reason, Some(hint.into())));
    }
    let mut disks = Vec::new();
    for name in &vmx.disks {
        let disk =
            open::named(&source, dir, name, stop).map_err(|error| lacking(path, name, &error))?;
        files.extend(disk.builds_on.iter().map(|name| dir.join(name)));
        disks.push(disk);
    }
    let mut disks = disks.into_iter();
    let Some(system) = disks.next() else {
        return Ok(None);
    };
    Ok(Some(Machine {
        path: path.to_owned(),
        is_package: false,
        name: vmx.name,
        system: Disk {
            firmware: vmx.firmware,
            system: vmx.system,
            ..system
        },
        data: disks.collect(),
    }))
}

/// The machine in the package at `path`; `None` when it is none.
fn packaged(
    path: &Path,
    files: &mut Vec<PathBuf>,
    stop: &Stop,
) -> Result<Option<Machine>, Refused> {
    let opened = Package::open(path, &BackingPolicy::Refuse).map_err(because(path))?;
    let Some(package) = opened else {
        return Ok(None);
    };
    if !package.is_archive() {
        let dir = path.parent().unwrap_or(Path::new("."));
        let disks = package.members().iter();
        let disks = disks.filter(|member| member.role == Role::Disk);
        files.extend(disks.map(|member| dir.join(&member.name)));
    }
    let mut disks = Vec::new();
    for disk in package.disks() {
        let options = package.options(&OpenOptions::of(None));
        let opened = disk
            .source(stop)
            .and_then(|source| open_source(source, &options, &zvhd2::DRIVERS))
            .map_err(|error| lacking(path, &disk.member, &error))?;
        let mut found = open::of(opened, &member_path(path, &disk.member));
        found.bytes_on_disk = disk.size();
        disks.push(found);
    }
    if package.system() >= disks.len() {
        return Ok(None);
    }
    let mut system = disks.remove(package.system());
    let hints = package.hints();
    system.path = path.to_owned();
    system.firmware = hints.firmware.map(|firmware| match firmware {
        Firmware::Bios => "bios",
        Firmware::Uefi => "uefi",
    });
    system.system = hints.os.first().cloned();
    system.warnings.extend(package.warnings().iter().cloned());
    Ok(Some(Machine {
        path: path.to_owned(),
        is_package: true,
        name: hints.name.clone(),
        system,
        data: disks,
    }))
}
