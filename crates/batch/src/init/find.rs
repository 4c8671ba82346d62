//! Walks directories and opens what looks like a disk.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use diskimg::text::{printable, shown};
use diskimg::{ErrorKind, Format, Stop};

use super::machine::{self, Looked};
use super::{Disk, Found, Refused, open};
use crate::expand::MAX_ITEMS;

/// Most files and directories that are looked at. Ours.
const MAX_ENTRIES: usize = 100_000;
/// Deepest directory below those that are named. Ours.
const MAX_DEPTH: usize = 32;
/// Extensions of files that are meant to be disks: when they are refused, it is told why.
const DISKS: [&str; 14] = [
    "qcow2", "qcow", "img", "raw", "vhd", "avhd", "vhdx", "avhdx", "vmdk", "vdi", "zvhd", "zvhd2",
    "hdd", "qed",
];
/// Extensions of raw disks: any file could be one by its content.
pub(super) const RAW: [&str; 4] = ["raw", "img", "hdd", "dd"];
/// Extensions of compressed files.
pub(super) const PACKED: [&str; 5] = ["gz", "xz", "zst", "bz2", "lz4"];

/// Why nothing could be found.
#[derive(Debug)]
pub enum Error {
    /// A directory cannot be read.
    Unreadable(PathBuf, io::Error),
    /// There is more than a manifest takes.
    TooMany(String),
    /// The caller asked to stop.
    Cancelled,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable(path, error) => {
                write!(f, "{} cannot be read: {error}", shown(path))
            }
            Self::TooMany(what) => f.write_str(what),
            Self::Cancelled => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for Error {}

/// The disks in `places`, which are directories or files. Links and hidden files are passed over,
/// as are files that are no disks. `stop` is asked between files.
///
/// # Errors
/// When a directory cannot be read, or there is too much in them.
pub fn find(places: &[PathBuf], stop: &Stop) -> Result<Found, Error> {
    let mut walk = Walk {
        found: Found::default(),
        taken: HashSet::new(),
        entries: 0,
        stop: stop.clone(),
    };
    for place in places {
        let unreadable = |error| Error::Unreadable(place.clone(), error);
        // The place itself may be a link: it was named.
        let path = fs::canonicalize(place).map_err(unreadable)?;
        match fs::metadata(&path).map_err(unreadable)?.is_dir() {
            true => walk.directory(&path, 0)?,
            false => walk.file(path, true)?,
        }
    }
    let Found {
        disks,
        machines,
        refused,
        ..
    } = &mut walk.found;
    machines.sort_by(|a, b| a.path.cmp(&b.path));
    // What was looked at before its machine was found.
    disks.retain(|disk| !walk.taken.contains(&disk.path));
    refused.retain(|refused| !walk.taken.contains(&refused.path));
    disks.sort_by(|a, b| a.path.cmp(&b.path));
    disks.dedup_by(|a, b| a.path == b.path);
    refused.sort_by(|a, b| a.path.cmp(&b.path));
    refused.dedup_by(|a, b| a.path == b.path);
    Ok(walk.found)
}

struct Walk {
    found: Found,
    /// Files that belong to machines.
    taken: HashSet<PathBuf>,
    entries: usize,
    stop: Stop,
}

impl Walk {
    fn directory(&mut self, dir: &Path, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(Error::TooMany(format!(
                "{} lies more than {MAX_DEPTH} directories deep",
                shown(dir)
            )));
        }
        let unreadable = |error| Error::Unreadable(dir.to_owned(), error);
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir).map_err(unreadable)? {
            self.entries = self.entries.saturating_add(1);
            if self.entries > MAX_ENTRIES {
                return Err(Error::TooMany(format!(
                    "there are more than {MAX_ENTRIES} files, the last in {}",
                    shown(dir)
                )));
            }
            let entry = entry.map_err(unreadable)?;
            entries.push((entry.path(), entry.file_type().map_err(unreadable)?));
        }
        // Machines first: they say which files are theirs.
        let order = |(path, _): &(PathBuf, fs::FileType)| (!machine::is_one(path), path.clone());
        entries.sort_by_cached_key(order);
        for (path, kind) in entries {
            let name = path.file_name().unwrap_or_default();
            let is_hidden = name.as_encoded_bytes().starts_with(b".");
            if is_hidden || !(kind.is_dir() || kind.is_file()) {
                self.pass_over();
            } else if kind.is_dir() {
                self.directory(&path, depth.saturating_add(1))?;
            } else {
                self.file(path, false)?;
            }
        }
        Ok(())
    }

    fn pass_over(&mut self) {
        self.found.passed_over = self.found.passed_over.saturating_add(1);
    }

    /// Opens the file; one that was `named` is told about in any case.
    fn file(&mut self, path: PathBuf, named: bool) -> Result<(), Error> {
        if self.stop.asked() {
            return Err(Error::Cancelled);
        }
        if machine::is_one(&path) {
            return self.machine(path, named);
        }
        // The disk is found by its descriptor, or with its machine.
        let is_part = || diskimg::descriptor_of(&path).is_some_and(|found| found.is_file());
        if !named && (self.taken.contains(&path) || is_part()) {
            self.pass_over();
            return Ok(());
        }
        self.disk(path, named)
    }

    /// The machine of the file, which is called like that of one.
    fn machine(&mut self, path: PathBuf, named: bool) -> Result<(), Error> {
        let Looked { files, machine } = machine::look(&path, &self.stop);
        let shared = files.iter().find(|file| self.taken.contains(*file));
        let shared = shared.map(|file| file.to_string_lossy().into_owned());
        self.taken.extend(files);
        match (machine, shared) {
            (Err(refused), _) => self.found.refused.push(refused),
            (Ok(None), _) if named => return self.disk(path, named),
            (Ok(None), _) => self.pass_over(),
            (Ok(Some(_)), Some(file)) => self.found.refused.push(Refused {
                path,
                reason: format!("another machine uses its disk \"{}\" too", printable(&file)),
                hint: None,
            }),
            (Ok(Some(machine)), None) => self.found.machines.push(machine),
        }
        self.refuse_too_many()
    }

    fn disk(&mut self, path: PathBuf, named: bool) -> Result<(), Error> {
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        let is = |known: &[&str]| known.iter().any(|known| extension == *known);
        // Decoding takes long: what is not called like a disk is left alone.
        let is_ours = named || is_packed_name(&path) || is(&DISKS);
        if !is_ours && open::is_compressed(&path) {
            self.pass_over();
            return Ok(());
        }
        let is_guessed = |disk: &Disk| disk.format == Format::Raw && disk.compression.is_none();
        match open::image(&path, &self.stop) {
            Ok(disk) if is_guessed(&disk) && !is(&RAW) && !named => self.pass_over(),
            Ok(_) if path.to_str().is_none() => self.found.refused.push(Refused {
                path,
                reason: "its name is no text".to_owned(),
                hint: Some("rename it".into()),
            }),
            Ok(disk) => self.found.disks.push(disk),
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(Error::Cancelled),
            Err(error) => {
                // Recognised by content, whatever it is called.
                let is_disk = matches!(
                    error.kind(),
                    ErrorKind::Corrupt | ErrorKind::Truncated | ErrorKind::Limit | ErrorKind::Io
                );
                if is_disk || is(&DISKS) || is_raw_inside(&path) || named {
                    self.found.refused.push(Refused {
                        reason: error.message().to_owned(),
                        hint: error.hint().cloned(),
                        path,
                    });
                } else {
                    self.pass_over();
                }
            }
        }
        self.refuse_too_many()
    }

    fn refuse_too_many(&self) -> Result<(), Error> {
        let machines = self.found.machines.iter();
        let disks = machines.fold(self.found.disks.len(), |disks, machine| {
            disks.saturating_add(machine.data.len()).saturating_add(1)
        });
        match disks > MAX_ITEMS {
            true => Err(Error::TooMany(format!(
                "there are more than {MAX_ITEMS} disks; write several manifests"
            ))),
            false => Ok(()),
        }
    }
}

/// Whether a file is called like a raw disk that is compressed: `disk.raw.gz`, or an archive of
/// Google Cloud's.
fn is_packed_name(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_ascii_lowercase();
    is_raw_inside(path)
        || [".tar.gz", ".tgz"]
            .iter()
            .any(|end| name.to_string_lossy().ends_with(end))
}

/// Whether a file is called like a compressed raw disk.
fn is_raw_inside(path: &Path) -> bool {
    let is = |path: &Path, known: &[&str]| {
        let extension = path.extension().unwrap_or_default();
        known
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
    };
    let inside = path.file_stem().map(Path::new);
    is(path, &PACKED) && inside.is_some_and(|inside| is(inside, &RAW))
}
