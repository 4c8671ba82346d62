//! A source that somebody writes to while it is read: what comes of it is a mix of states that
//! never were.
//!
//! Its files are looked at before and after. A running QEMU is found before, by the locks that it
//! holds: it locks a byte of the file for each thing that it does with it (bytes from 100) and for
//! each that others must not do (from 200). Source: QEMU, "Disk image file locking" and
//! `block/file-posix.c`.

use cloud::{Class, Failure, ImportHint, Result};
use std::fs::File;
use std::path::{Path, PathBuf};

use diskimg::Opened;
use journal::SourceIdentity;
use rustix::process::{Flock, FlockType, fcntl_getlk};

use super::stdin::{is_standard_input, redirected_file};

/// Bytes on which a QEMU that may write to a file, resize it, or that keeps others from reading it,
/// holds a lock.
const LOCKS: [(u64, &str); 3] = [
    (101, "writes to it"),
    (103, "may resize it"),
    (200, "lets nobody else read it"),
];

/// The files of a disk, as they were when they were opened.
#[derive(Clone, Debug, Default)]
pub struct Watch(Vec<(PathBuf, SourceIdentity)>);

impl Watch {
    /// Of the disk at `path`, or on standard input, which was just `opened`.
    ///
    /// # Errors
    /// When a running QEMU has one of its files open for writing, unless `force_share`; when one
    /// cannot be looked at.
    pub fn begin(path: &Path, opened: &Opened, force_share: bool) -> Result<Self> {
        let first = match is_standard_input(path) {
            // By its own name, for messages.
            true => redirected_file()
                .map(|device| std::fs::canonicalize(device).unwrap_or_else(|_| device.to_owned())),
            false => Some(path.to_owned()),
        };
        let files: Vec<PathBuf> = first.into_iter().chain(opened.files.clone()).collect();
        if !force_share {
            for file in &files {
                refuse_writer(file)?;
            }
        }
        let identities = files
            .into_iter()
            .map(|file| match SourceIdentity::of(&file) {
                Ok(identity) => Ok((file, identity)),
                Err(error) => Err(cannot_look(&file, &error)),
            });
        identities.collect::<Result<_>>().map(Self)
    }

    /// Whether nothing is watched: there is no file that could be looked at.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuses what was read if one of the files has changed since.
    pub fn unchanged(&self) -> Result {
        let mut files = self.0.iter();
        files.try_for_each(|(path, source)| check(path, source))
    }
}

/// Refuses what was read of the file at `path` if that has changed since it was `source`.
pub(crate) fn check(path: &Path, source: &SourceIdentity) -> Result {
    let now = SourceIdentity::of(path).map_err(|error| cannot_look(path, &error))?;
    match source.difference(&now) {
        None => Ok(()),
        Some(difference) => Err(Failure::new(
            Class::Refused,
            format!(
                "{} changed while it was read: {difference}. What was read mixes two states of the disk",
                path.display()
            ),
        )
        .hint("read a disk that nobody writes to: shut the machine down, or take a snapshot and read that")),
    }
}

fn cannot_look(path: &Path, error: &std::io::Error) -> Failure {
    Failure::from_error(Class::Io, error)
        .context(format!("{}: looking at the file failed", path.display()))
}

fn refuse_writer(path: &Path) -> Result {
    // What cannot be opened or asked has no locks that could be seen.
    let Some(does) = File::open(path).ok().and_then(|file| foreign_lock(&file)) else {
        return Ok(());
    };
    Err(Failure::new(
        Class::Refused,
        format!(
            "{} is in use: another process, such as a running QEMU, {does}",
            path.display()
        ),
    )
    .hint(ImportHint::ShareDisk))
}

/// What a process that locks images as QEMU does is doing with `file`.
fn foreign_lock(file: &File) -> Option<&'static str> {
    let locked = |start| {
        let wanted = Flock {
            start,
            length: 1,
            ..Flock::from(FlockType::WriteLock)
        };
        matches!(fcntl_getlk(file, &wanted), Ok(Some(_)))
    };
    LOCKS
        .into_iter()
        .find_map(|(start, does)| locked(start).then_some(does))
}
