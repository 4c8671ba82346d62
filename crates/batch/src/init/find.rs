//! Walks directories and opens what looks like a disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use diskimg::text::shown;
use diskimg::{ErrorKind, Format, OpenOptions, partitions};

use super::{Disk, Found, Refused};
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
const RAW: [&str; 4] = ["raw", "img", "hdd", "dd"];

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
pub fn find(places: &[PathBuf], stop: &dyn Fn() -> bool) -> Result<Found, Error> {
    let mut walk = Walk {
        found: Found::default(),
        entries: 0,
        stop,
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
    let Found { disks, refused, .. } = &mut walk.found;
    disks.sort_by(|a, b| a.path.cmp(&b.path));
    disks.dedup_by(|a, b| a.path == b.path);
    refused.sort_by(|a, b| a.path.cmp(&b.path));
    refused.dedup_by(|a, b| a.path == b.path);
    Ok(walk.found)
}

struct Walk<'a> {
    found: Found,
    entries: usize,
    stop: &'a dyn Fn() -> bool,
}

impl Walk<'_> {
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
        entries.sort_by(|a, b| a.0.cmp(&b.0));
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
        if (self.stop)() {
            return Err(Error::Cancelled);
        }
        // The disk is found by its descriptor.
        if !named && diskimg::descriptor_of(&path).is_some_and(|descriptor| descriptor.is_file()) {
            self.pass_over();
            return Ok(());
        }
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        let is = |known: &[&str]| known.iter().any(|known| extension == *known);
        let opened = diskimg::open(&path, &OpenOptions::of(None), &zvhd2::DRIVERS);
        match opened {
            Ok(opened) if opened.format == Format::Raw && !is(&RAW) && !named => self.pass_over(),
            Ok(_) if path.to_str().is_none() => self.found.refused.push(Refused {
                path,
                reason: "its name is no text".to_owned(),
                hint: Some("rename it".into()),
            }),
            Ok(opened) => {
                let mut warnings = opened.image.details().warnings;
                let virtual_size = opened.image.virtual_size();
                let boot = match partitions::read(opened.image.as_ref()) {
                    Ok(table) => {
                        warnings.extend(table.sector_problem());
                        warnings.extend(table.size_problem(virtual_size));
                        Some(table.boot)
                    }
                    Err(error) => {
                        warnings.push(format!("its partitions cannot be read: {error}"));
                        None
                    }
                };
                self.found.disks.push(Disk {
                    format: opened.format,
                    virtual_size,
                    bytes_on_disk: opened.bytes_on_disk,
                    boot,
                    warnings,
                    path,
                });
                if self.found.disks.len() > MAX_ITEMS {
                    return Err(Error::TooMany(format!(
                        "there are more than {MAX_ITEMS} disks; write several manifests"
                    )));
                }
            }
            Err(error) => {
                // Recognised by content, whatever it is called.
                let is_disk = matches!(
                    error.kind(),
                    ErrorKind::Corrupt | ErrorKind::Truncated | ErrorKind::Limit | ErrorKind::Io
                );
                if is_disk || is(&DISKS) || named {
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
        Ok(())
    }
}
