//! Opens a file that looks like a disk, and looks at what is on it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use diskimg::{
    BackingPolicy, Container, DiskImage, Error, ErrorKind, Format, Hint, OpenOptions, Opened,
    PipeOptions, ReadAt, Result, open_beside, partitions,
};

use super::Disk;

/// Whether to stop.
pub type Stop = Arc<dyn Fn() -> bool + Send + Sync>;

/// Most files that build on each other. Ours.
const MAX_CHAIN: usize = 32;

/// The disk image at `path`.
pub(super) fn image(path: &Path) -> Result<(Format, Disk)> {
    let opened = diskimg::open(path, &OpenOptions::of(None), &zvhd2::DRIVERS)?;
    Ok((opened.format, of(opened, path)))
}

/// What is on a disk that was opened.
pub(super) fn of(opened: Opened, path: &Path) -> Disk {
    let virtual_size = opened.image.virtual_size();
    let mut disk = blank(&opened, path);
    match partitions::read(opened.image.as_ref()) {
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
    Disk {
        path: path.to_owned(),
        format: opened.format,
        virtual_size: opened.image.virtual_size(),
        bytes_on_disk: opened.bytes_on_disk,
        boot: None,
        firmware: None,
        system: None,
        compression: None,
        builds_on: Vec::new(),
        warnings: opened.image.details().warnings,
    }
}

/// The raw disk that the file at `path` holds compressed; `None` when it holds none. Where the
/// stream does not tell its size, all of it is read.
pub(super) fn packed(path: &Path, stop: &Stop) -> Result<Option<Disk>> {
    let options = PipeOptions {
        name: path.to_owned(),
        size: None,
        format: None,
        readers: 1,
        stop: Arc::clone(stop),
    };
    let Some(image) = diskimg::open_packed(path, options, &zvhd2::DRIVERS)? else {
        return Ok(None);
    };
    let failed = |error| Error::io("cannot be read", error).in_file(path);
    let file = File::open(path).map_err(failed)?;
    let container = Container::of_file(&file).map_err(failed)?;
    let table = partitions::read_front(&image).ok();
    Ok(Some(Disk {
        path: path.to_owned(),
        format: Format::Raw,
        virtual_size: image.virtual_size(),
        bytes_on_disk: file.metadata().map_err(failed)?.len(),
        boot: table.map(|table| table.boot),
        firmware: None,
        system: None,
        compression: container.map(Container::name),
        builds_on: Vec::new(),
        warnings: image.details().warnings,
    }))
}

/// The disk image `name` in `dir`, which the configuration of a machine there names. One that
/// builds on other files is described, and they are not opened.
pub(super) fn named(configuration: &dyn ReadAt, dir: &Path, name: &str) -> Result<Disk> {
    let path = dir.join(name);
    // Neither a link nor anything that is no file, and of the same owner.
    if open_beside(configuration, name)?.is_none() {
        return Err(Error::new(ErrorKind::Io, "it is not there"));
    }
    match image(&path) {
        Ok((_, disk)) => Ok(disk),
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
