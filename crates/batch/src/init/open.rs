//! Opens a file that looks like a disk, and looks at what is on it.

use std::path::{Path, PathBuf};

use diskimg::source::open_regular;
use diskimg::{
    BackingPolicy, Container, Error, ErrorKind, Hint, OpenOptions, Opened, ReadAt, Result, Stop,
    open_beside, partitions,
};

use super::Disk;

/// Most files that build on each other. Ours.
const MAX_CHAIN: usize = 32;

/// The disk image at `path`. All of a compressed one is read where it does not tell its size.
pub(super) fn image(path: &Path, stop: &Stop) -> Result<Disk> {
    let options = OpenOptions {
        stop: stop.clone(),
        ..OpenOptions::default()
    };
    let opened = diskimg::open(path, &options, &zvhd2::DRIVERS)?;
    Ok(of(opened, path))
}

/// Whether the file at `path` is compressed, as far as that can be read.
pub(super) fn is_compressed(path: &Path) -> bool {
    let file = open_regular(path);
    file.is_ok_and(|file| matches!(Container::of_file(&file), Ok(Some(_))))
}

/// What is on a disk that was opened.
pub(super) fn of(opened: Opened, path: &Path) -> Disk {
    let virtual_size = opened.image.virtual_size();
    let mut disk = blank(&opened, path);
    let image = opened.image.as_ref();
    let table = match image.details().streamed {
        true => partitions::read_front(image),
        false => partitions::read(image),
    };
    match table {
        Ok(table) => {
            disk.warnings.extend(table.sector_problem());
            disk.warnings.extend(table.size_problem(virtual_size));
            disk.boot = Some(table.boot);
        }
        Err(error) => {
            let warning = format!("its partitions cannot be read: {error}");
            disk.warnings.push(warning);
        }
    }
    disk
}

fn blank(opened: &Opened, path: &Path) -> Disk {
    let details = opened.image.details();
    Disk {
        path: path.to_owned(),
        format: opened.format,
        virtual_size: opened.image.virtual_size(),
        bytes_on_disk: opened.bytes_on_disk,
        boot: None,
        firmware: None,
        system: None,
        compression: details.compression.filter(|_| details.streamed),
        builds_on: Vec::new(),
        warnings: details.warnings,
    }
}

/// The disk image `name` in `dir`, which the configuration of a machine there names. One that
/// builds on other files is described, and they are not opened.
pub(super) fn named(
    configuration: &dyn ReadAt,
    dir: &Path,
    name: &str,
    stop: &Stop,
) -> Result<Disk> {
    let path = dir.join(name);
    // Neither a link nor anything that is no file, and of the same owner.
    if open_beside(configuration, name)?.is_none() {
        return Err(Error::new(ErrorKind::Io, "it is not there"));
    }
    match image(&path, stop) {
        Ok(disk) => Ok(disk),
        Err(error) if builds_on_others(&error) => {
            let opened = describe(&path)?;
            let mut disk = blank(&opened, &path);
            disk.builds_on = below(configuration, dir, &opened);
            Ok(disk)
        }
        Err(error) => Err(error),
    }
}

fn builds_on_others(error: &Error) -> bool {
    matches!(
        error.hint(),
        Some(Hint::AllowBacking { .. } | Hint::NameBackingDir { .. })
    )
}

fn describe(path: &Path) -> Result<Opened> {
    let options = OpenOptions {
        backing: BackingPolicy::Describe,
        metadata_only: true,
        ..OpenOptions::default()
    };
    diskimg::open(path, &options, &zvhd2::DRIVERS)
}

/// The files that an image in `dir` builds on, nearest first, as far as they are beside it.
fn below(configuration: &dyn ReadAt, dir: &Path, opened: &Opened) -> Vec<String> {
    let parent = |opened: &Opened| {
        let named = opened.image.details().refers_to.into_iter();
        let mut named = named.filter(|reference| reference.role != "extent");
        named.next().map(|reference| reference.name)
    };
    let mut names = Vec::new();
    let mut next = parent(opened);
    while let Some(name) = next.filter(|name| !names.contains(name) && names.len() < MAX_CHAIN) {
        let is_beside = matches!(open_beside(configuration, &name), Ok(Some(_)));
        let path: PathBuf = dir.join(&name);
        names.push(name);
        let opened = is_beside.then(|| describe(&path).ok()).flatten();
        next = opened.as_ref().and_then(parent);
    }
    names
}
