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
use std::sync::Arc;

use ::convert::CancelToken;
use diskimg::text::shown;
use diskimg::{ErrorKind, Opened};
use journal::SourceIdentity;
use ova::{Package, Verification};
use rustix::process::{Flock, FlockType, fcntl_getlk};

use super::export::{is_export, public_name};
use super::stdin::{is_standard_input, redirected_file};
use super::verifying::Verifying;

/// Bytes on which a QEMU that may write to a file, resize it, or that keeps others from reading it,
/// holds a lock.
const LOCKS: [(u64, &str); 3] = [
    (101, "writes to it"),
    (103, "may resize it"),
    (200, "lets nobody else read it"),
];

/// The files of a disk, as they were when they were opened, and what the manifest of its package
/// says of it.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    files: Vec<(PathBuf, SourceIdentity)>,
    /// All files of the package, which are not watched.
    package: Vec<PathBuf>,
    verifying: Option<Arc<Verifying>>,
    /// Whether the files may change while they are read.
    may_move: bool,
    /// What a server exported when it was opened. Nothing shows whether it changes.
    export: Option<SourceIdentity>,
}

impl Watch {
    /// Of the disk at `path`, or on standard input, which was just `opened`.
    ///
    /// # Errors
    /// When a running QEMU has one of its files open for writing, unless `force_share`; when one
    /// cannot be looked at.
    pub fn begin(path: &Path, opened: &Opened, force_share: bool) -> Result<Self> {
        let mut watch = Self::default();
        watch.begin_with(path, opened, force_share)?;
        Ok(watch)
    }

    /// Of a disk of `package`, with what the manifest says of it.
    pub(crate) fn verifying(
        package: &Package,
        verification: Option<Verification>,
        cancel: &CancelToken,
    ) -> Self {
        Self {
            package: package.files(),
            verifying: verification.map(|found| Arc::new(Verifying::new(found, cancel))),
            ..Self::default()
        }
    }

    /// Adds the files of the disk that begins at `path`, or on standard input, which was just
    /// `opened`.
    pub(crate) fn begin_with(
        &mut self,
        path: &Path,
        opened: &Opened,
        force_share: bool,
    ) -> Result<()> {
        if is_export(path) {
            let name = public_name(path).display().to_string();
            self.export = Some(SourceIdentity::of_export(name, opened.image.as_ref())?);
            return Ok(());
        }
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
        self.files = identities.collect::<Result<_>>()?;
        Ok(())
    }

    /// From here on the files may change.
    pub(crate) fn may_move(&mut self) {
        self.may_move = true;
    }

    /// Whether the files may change while they are read.
    pub(crate) fn moves(&self) -> bool {
        self.may_move
    }

    /// The files of the disk, and those of its package: no output may take the place of one.
    #[must_use]
    pub fn sources(&self) -> Vec<&Path> {
        let files = self.files.iter().map(|(path, _)| path);
        files.chain(&self.package).map(PathBuf::as_path).collect()
    }

    /// Warnings of files that a VMware program has left a lock for: unlike the locks of QEMU one
    /// may be of a machine that has crashed.
    pub(crate) fn left_locks(&self) -> Vec<String> {
        let locks = self.files.iter().map(|(path, _)| {
            let mut lock = path.clone().into_os_string();
            lock.push(".lck");
            PathBuf::from(lock)
        });
        let left = locks.filter(|lock| lock.is_dir());
        left.map(|lock| {
            format!(
                "{} exists: a VMware program may be running the machine; shut it down, or take a \
                 snapshot and read that",
                shown(&lock)
            )
        })
        .collect()
    }

    /// Begins to hold the disk against the manifest of its package, on a thread of its own.
    ///
    /// # Errors
    /// When there are no threads left.
    pub fn verify(&self) -> Result {
        self.verifying.as_ref().map_or(Ok(()), |it| it.start())
    }

    /// Whether the disk is held against the manifest of its package.
    pub(crate) fn verifies(&self) -> bool {
        self.verifying.is_some()
    }

    /// Whether nothing is watched: there is no file that could be looked at.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.export.is_none()
    }

    /// What a server exported, if the disk comes from one.
    pub(crate) fn export(&self) -> Option<&SourceIdentity> {
        self.export.as_ref()
    }

    /// One digest for what the files besides the first were, if looking at them proves anything.
    pub(crate) fn others(&self) -> Option<String> {
        SourceIdentity::digest_of(self.files.iter().skip(1).map(|(_, file)| file))
    }

    /// Whether there are files besides the first.
    pub(crate) fn has_more_files(&self) -> bool {
        self.files.len() > 1
    }

    /// Refuses what was read if one of the files has changed since, or is not what the manifest of
    /// the package says. Waits until all of it was looked at.
    pub fn unchanged(&self) -> Result {
        self.verifying.as_ref().map_or(Ok(()), |it| it.finish())?;
        self.same_files()
    }

    /// Why the disk could not be read. That it changed meanwhile, or is not what the manifest of
    /// the package says, explains what is wrong with it, which becomes a note. Waits until all of
    /// it was looked at.
    pub fn cause(&self, error: impl Into<::convert::Error>) -> Failure {
        Self::cause_of(&[self], error.into())
    }

    /// The same of several disks that were read together.
    pub fn cause_of(watches: &[&Self], error: ::convert::Error) -> Failure {
        let is_damage = matches!(
            &error,
            ::convert::Error::Source(error)
                if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Truncated)
        );
        let failure = Failure::from(error);
        if !is_damage {
            return failure;
        }
        let causes = watches.iter().filter_map(|watch| watch.unchanged().err());
        let mut causes =
            causes.filter(|cause| matches!(cause.class(), Class::Mismatch | Class::Refused));
        match causes.next() {
            Some(cause) => cause.note(failure.line()),
            None => failure,
        }
    }

    /// Refuses what was read if one of the files has changed since.
    pub(crate) fn same_files(&self) -> Result {
        let mut files = self.files.iter().filter(|_| !self.may_move);
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
