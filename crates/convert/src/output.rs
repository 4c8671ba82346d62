//! The output file: it appears complete, under its name, or not at all.
//!
//! Bytes go into `.NAME.imgferry-XXXXXX.part` beside the target, so that the last step can be a
//! rename, which is atomic: fsync of the file, rename, fsync of the directory. A run that fails
//! removes the temporary file; one that is killed leaves it, and the target as it was. A file that
//! is finished and cannot get its name is kept.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use diskimg::source::type_name;
use diskimg::text::shown;
use diskimg::units::human;
use rustix::fs::{Advice, fadvise};
use tempfile::{NamedTempFile, PersistError};

use crate::append::{self, Appender};
use crate::error::{Error, Result};
use crate::hint::Hint;
use crate::sink::{Sink, SinkError};

/// What to do when the target exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// Refuse, at [`OutputFile::create`] and again at [`OutputFile::commit`].
    Refuse,
    /// Replace it, at [`OutputFile::commit`] and not before.
    Replace,
}

/// A file that is being written. Dropping it without [`OutputFile::commit`] removes it.
#[derive(Debug)]
pub struct OutputFile {
    file: NamedTempFile,
    target: PathBuf,
    overwrite: Overwrite,
    /// Where [`Sink::write`] continues.
    position: u64,
    /// How it goes there, once it has begun: past the page cache if that can be.
    appender: Option<Option<Appender>>,
    /// Up to where what was appended is on its way to the disk.
    sent: u64,
    /// What was sent to the disk last, oldest first.
    on_the_way: Mutex<OnTheWay>,
    sync: bool,
}

/// Stretches of a file that are on their way to the disk, or there.
#[derive(Debug, Default)]
struct OnTheWay {
    /// Offset and length.
    stretches: VecDeque<(u64, u64)>,
    bytes: u64,
}

/// Bytes that the disk gets time for, before their pages are asked for back.
const ON_THE_WAY_BYTES: u64 = 64 << 20;

impl OnTheWay {
    /// Adds a stretch. Returns the oldest one when there are more bytes than the disk gets time
    /// for.
    fn push(&mut self, offset: u64, len: u64) -> Option<(u64, u64)> {
        self.stretches.push_back((offset, len));
        self.bytes = self.bytes.saturating_add(len);
        if self.bytes <= ON_THE_WAY_BYTES {
            return None;
        }
        let oldest = self.stretches.pop_front()?;
        self.bytes = self.bytes.saturating_sub(oldest.1);
        Some(oldest)
    }
}

/// Bytes that are sent on their way to the disk at once, at least.
const WRITEBACK_BYTES: u64 = 1 << 20;

/// Longest part of the target's name in the temporary name, in bytes: most file systems allow 255.
const NAME_BYTES: usize = 200;

impl OutputFile {
    /// Most bytes that appending holds in memory: what a plan counts for a sink that is a file.
    pub const MEMORY: u64 = append::MEMORY;

    /// Begins a file that is to become `target`. A target that is a symbolic link stands for the
    /// file it leads to. Permissions are those of any new file, by the umask.
    ///
    /// # Errors
    /// `Refused` when the target exists and must not be replaced, or is no regular file; `Output`
    /// when the directory takes no new file.
    pub fn create(target: &Path, overwrite: Overwrite) -> Result<Self> {
        let failed = |source| Error::Output {
            path: target.to_owned(),
            doing: "creating the file",
            source,
        };
        let resolved = resolve(target, overwrite)?;
        let Some(name) = resolved.file_name() else {
            return Err(Error::refused(format!(
                "{} names no file to write",
                shown(target)
            )));
        };
        let file = tempfile::Builder::new()
            .prefix(&temporary_prefix(name))
            .suffix(".part")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(directory_of(&resolved))
            .map_err(failed)?;
        try_renaming(&file).map_err(|source| Error::Output {
            path: target.to_owned(),
            doing: "trying to rename a file in its directory",
            source,
        })?;
        Ok(Self {
            file,
            target: resolved,
            overwrite,
            position: 0,
            appender: None,
            sent: 0,
            on_the_way: Mutex::default(),
            sync: true,
        })
    }

    /// Does not wait for the disk at [`OutputFile::commit`]: the file still appears complete or not
    /// at all, but what a power failure soon after leaves of it is not known.
    #[must_use]
    pub fn without_sync(mut self) -> Self {
        self.sync = false;
        self
    }

    /// [`OutputFile::create`] for the output of reading `sources`: a target that is one of them,
    /// under whatever name, is refused even when it may be replaced.
    ///
    /// # Errors
    /// Those of [`OutputFile::create`].
    pub fn create_from(sources: &[&Path], target: &Path, overwrite: Overwrite) -> Result<Self> {
        let id = |path: &Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
        let written = id(target);
        if written.is_some() && sources.iter().any(|source| id(source) == written) {
            return Err(Error::refused(format!(
                "{} is the source image itself, or a file of it",
                shown(target)
            ))
            .with_hint("name another file to write"));
        }
        Self::create(target, overwrite)
    }

    /// The file that will appear.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Writes `bytes` at `offset`; many threads may do so at once.
    ///
    /// # Errors
    /// `Output`.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.put(offset, bytes)?;
        if bytes.len() as u64 >= WRITEBACK_BYTES {
            self.send(offset, bytes.len() as u64);
        }
        Ok(())
    }

    fn put(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file
            .as_file()
            .write_all_at(bytes, offset)
            .map_err(|e| self.failed("writing", e))
    }

    /// Lets the disk begin with `len` bytes at `offset`, so that the flush at the end finds little
    /// left to do; and gives back the pages of what the disk has by now, so that the next bytes go
    /// into the same few pages and evict nobody's. The advice that pages are not needed does both:
    /// it starts the way of changed pages to the disk, and frees unchanged ones. Nothing depends on
    /// it.
    fn send(&self, offset: u64, len: u64) {
        if !self.sync {
            return;
        }
        let not_needed = |offset, len| {
            let len = NonZeroU64::new(len);
            let _ = fadvise(self.file.as_file(), offset, len, Advice::DontNeed);
        };
        not_needed(offset, len);
        let oldest = self.on_the_way.lock().push(offset, len);
        if let Some((offset, len)) = oldest {
            not_needed(offset, len);
        }
    }

    /// Makes the file `len` bytes long; what has not been written is a hole.
    ///
    /// # Errors
    /// `Output`.
    pub fn set_len(&self, len: u64) -> Result<()> {
        self.file
            .as_file()
            .set_len(len)
            .map_err(|e| self.failed("setting the length", e))
    }

    /// Refuses when the file system has less than `bytes` free.
    ///
    /// # Errors
    /// `Refused`, with what is needed and what is free.
    pub fn require_space(&self, bytes: u64) -> Result<()> {
        // A file system that does not say how full it is may be tried.
        let Ok(stat) = rustix::fs::fstatvfs(self.file.as_file()) else {
            return Ok(());
        };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if stat.f_blocks == 0 || bytes <= free {
            return Ok(());
        }
        Err(Error::refused(format!(
            "{}: {} are needed, {} are free",
            shown(&self.target),
            human(bytes),
            human(free)
        ))
        .with_hint("make room there, or write to another disk"))
    }

    /// Makes the file appear under its name, safely on disk unless [`OutputFile::without_sync`].
    ///
    /// # Errors
    /// `Output`, with the target as it was, except when only flushing its directory failed;
    /// `Unnamed` when the file is finished and cannot get its name, as when one that must not be
    /// replaced has appeared meanwhile.
    pub fn commit(self) -> Result<()> {
        let Self {
            file,
            target,
            overwrite,
            sync,
            appender,
            ..
        } = self;
        let failed = |doing, source| Error::Output {
            path: target.clone(),
            doing,
            source,
        };
        if let Some(mut appender) = appender.flatten() {
            appender
                .flush(file.as_file())
                .map_err(|e| failed("writing", e))?;
        }
        if sync {
            file.as_file()
                .sync_all()
                .map_err(|e| failed("flushing to disk", e))?;
        }
        match overwrite {
            Overwrite::Replace => put_in_place(file, &target, NamedTempFile::persist)?,
            Overwrite::Refuse => put_in_place(file, &target, persist_new)?,
        }
        if !sync {
            return Ok(());
        }
        match File::open(directory_of(&target)).and_then(|directory| directory.sync_all()) {
            // Some network file systems cannot flush a directory, and need not.
            Err(e) if e.kind() != io::ErrorKind::InvalidInput => {
                Err(failed("flushing the directory", e))
            }
            _ => Ok(()),
        }
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> Error {
        Error::Output {
            path: self.target.clone(),
            doing,
            source,
        }
    }
}

/// Gives a finished file its name by `rename`; if that fails, the file is kept.
fn put_in_place(
    file: NamedTempFile,
    target: &Path,
    rename: impl FnOnce(NamedTempFile, PathBuf) -> Result<File, PersistError>,
) -> Result<()> {
    let Err(PersistError {
        error: source,
        file,
    }) = rename(file, target.to_owned())
    else {
        return Ok(());
    };
    match file.keep() {
        Ok((_, kept)) => Err(Error::unnamed(target.to_owned(), kept, source)),
        Err(_) => Err(Error::Output {
            path: target.to_owned(),
            doing: "renaming to its name",
            source,
        }),
    }
}

/// Renames `file` unless something has the name `target`.
fn persist_new(file: NamedTempFile, target: PathBuf) -> Result<File, PersistError> {
    let renamed = file.persist_noclobber(&target);
    renamed.or_else(|failed| persist_where_free(failed, target))
}

/// Some file systems have neither renames that replace nothing nor hard links: folders shared with
/// a virtual machine, exFAT, some network shares. There it is looked whether something has the
/// name; what appears in between is replaced.
fn persist_where_free(failed: PersistError, target: PathBuf) -> Result<File, PersistError> {
    if failed.error.kind() == io::ErrorKind::AlreadyExists {
        return Err(failed);
    }
    match fs::symlink_metadata(&target) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => failed.file.persist(target),
        Ok(_) => Err(PersistError {
            error: io::ErrorKind::AlreadyExists.into(),
            file: failed.file,
        }),
        Err(_) => Err(failed),
    }
}

/// Finds out before the work whether its directory lets files be renamed: `file` is empty, and
/// another one is renamed beside it.
fn try_renaming(file: &NamedTempFile) -> io::Result<()> {
    let probe = tempfile::Builder::new()
        .prefix(".imgferry-")
        .suffix(".part")
        .tempfile_in(directory_of(file.path()))?;
    let renamed = probe.path().with_extension("probe");
    fs::rename(probe.path(), &renamed)?;
    // Nothing has the old name any more.
    let _ = probe.keep();
    fs::remove_file(renamed)
}

/// Appends, for formats that are written front to back.
impl Sink for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        let file = self.file.as_file();
        // A caller that does not wait for the disk wants the page cache.
        let appender = self
            .appender
            .get_or_insert_with(|| self.sync.then(|| Appender::new(file)).flatten());
        if let Some(appender) = appender {
            let appended = appender.append(file, bytes);
            appended.map_err(|e| self.failed("writing", e))?;
            self.position += bytes.len() as u64;
            return Ok(());
        }
        self.put(self.position, bytes)?;
        self.position += bytes.len() as u64;
        let unsent = self.position - self.sent;
        if unsent >= WRITEBACK_BYTES {
            self.send(self.sent, unsent);
            self.sent = self.position;
        }
        Ok(())
    }
}

/// Where the file will really be, once everything about the target that can be refused was.
fn resolve(target: &Path, overwrite: Overwrite) -> Result<PathBuf> {
    let examining = |source| Error::Output {
        path: target.to_owned(),
        doing: "examining what is there",
        source,
    };
    let found = match fs::symlink_metadata(target) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(target.to_owned()),
        other => other.map_err(examining)?,
    };
    let (resolved, found) = if found.is_symlink() {
        // What it leads to need not have a name, as a pipe below /proc.
        let found = fs::metadata(target).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => dangling(target),
            _ => examining(e),
        })?;
        refuse_special(target, &found)?;
        let resolved = fs::canonicalize(target).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => dangling(target),
            _ => examining(e),
        })?;
        (resolved, found)
    } else {
        (target.to_owned(), found)
    };
    refuse_special(target, &found)?;
    match overwrite {
        Overwrite::Refuse => Err(exists(target)),
        Overwrite::Replace => Ok(resolved),
    }
}

fn refuse_special(target: &Path, found: &Metadata) -> Result<()> {
    if found.is_file() {
        return Ok(());
    }
    let refused = Error::refused(format!(
        "{} is {}, expected a regular file or the name of a new one",
        shown(target),
        type_name(found.file_type())
    ));
    Err(refused.with_hint(match found.is_dir() {
        true => "name the file to write in it",
        false => {
            "name a regular file; a pipe or device takes standard output, which is written \
            as - where a command can"
        }
    }))
}

/// The error of a symbolic link that leads nowhere.
fn dangling(link: &Path) -> Error {
    let error = Error::refused(format!(
        "{} is a symbolic link to a file that does not exist",
        shown(link)
    ));
    match fs::read_link(link) {
        Ok(leads_to) => {
            let place = directory_of(link).join(leads_to);
            error.with_hint(format!("name the file that it leads to: {}", shown(&place)))
        }
        Err(_) => error.with_hint("name the file that it leads to"),
    }
}

fn exists(target: &Path) -> Error {
    Error::refused(format!("{} exists", shown(target))).with_hint(Hint::Replace)
}

fn directory_of(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn temporary_prefix(name: &OsStr) -> OsString {
    let name = name.as_bytes();
    let mut prefix = OsString::from(".");
    prefix.push(OsStr::from_bytes(name.get(..NAME_BYTES).unwrap_or(name)));
    prefix.push(".imgferry-");
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that is finished, and what a file system without links says to a rename that must
    /// replace nothing.
    fn without_links(directory: &Path) -> PersistError {
        let file = NamedTempFile::new_in(directory).unwrap();
        fs::write(file.path(), "work").unwrap();
        PersistError {
            error: io::ErrorKind::PermissionDenied.into(),
            file,
        }
    }

    #[test]
    fn a_file_gets_its_name_where_there_are_no_links_and_replaces_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("disk");
        persist_where_free(without_links(directory.path()), target.clone()).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"work");

        fs::write(&target, "somebody else's").unwrap();
        let failed = persist_where_free(without_links(directory.path()), target.clone());
        assert_eq!(
            failed.unwrap_err().error.kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(fs::read(&target).unwrap(), b"somebody else's");
    }

    #[test]
    fn a_finished_file_that_cannot_be_renamed_is_kept_and_named() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("it's a disk");
        let PersistError { file, .. } = without_links(directory.path());
        let error = put_in_place(file, &target, |file, _| {
            Err(PersistError {
                error: io::ErrorKind::PermissionDenied.into(),
                file,
            })
        });
        let error = error.unwrap_err();
        let Error::Unnamed { kept, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(fs::read(kept).unwrap(), b"work");
        let hint = error.hint().unwrap().to_string();
        let moved = std::process::Command::new("sh")
            .arg("-c")
            .arg(hint.split_once(": ").unwrap().1)
            .status();
        assert!(moved.unwrap().success(), "{hint}");
        assert_eq!(fs::read(&target).unwrap(), b"work");
    }

    #[test]
    fn trying_a_rename_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = NamedTempFile::new_in(directory.path()).unwrap();
        try_renaming(&file).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
