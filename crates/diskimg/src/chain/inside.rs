//! Opening a file that an image names, inside one directory and nowhere else.

use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::source::FileSource;
use crate::text::shown;

/// The directory in which files may be opened.
pub(super) struct Inside {
    /// As the user gave it, for messages.
    given: PathBuf,
    /// Without symbolic links.
    dir: PathBuf,
}

impl Inside {
    /// # Errors
    /// `Io` when the directory is not there.
    pub(super) fn new(given: &Path) -> Result<Self> {
        let failed = |e| Error::io("the allowed directory cannot be opened", e).in_file(given);
        let dir = std::fs::canonicalize(given).map_err(failed)?;
        if !dir.is_dir() {
            return Err(failed(std::io::ErrorKind::NotADirectory.into()));
        }
        Ok(Self {
            given: given.to_owned(),
            dir,
        })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Opens the regular file at `path`; `None` when there is nothing.
    ///
    /// # Errors
    /// `Unsupported` when the path, with all its symbolic links followed, leads out of the
    /// directory, or to something that is no regular file; `Io`.
    pub(super) fn open(&self, path: &Path) -> Result<Option<FileSource>> {
        let real = match std::fs::canonicalize(path) {
            Ok(real) => real,
            Err(e) if is_missing(&e) => return Ok(None),
            Err(e) if is_impossible(&e) => {
                return Err(Error::unsupported("no file can have that name")
                    .caused_by(e)
                    .with_hint(
                        "put the name of a file into a copy of the image: qemu-img rebase \
                        -u -b FILE -F FORMAT COPY",
                    ));
            }
            Err(e) => return Err(Error::io("cannot be opened", e).in_file(path)),
        };
        let Ok(within) = real.strip_prefix(&self.dir) else {
            return Err(Error::unsupported(format!(
                "it lies outside {}, the directory that is allowed",
                shown(&self.given)
            ))
            .in_file(&real)
            .with_hint("only files in that directory or below it are opened"));
        };
        self.open_within(within, &real)
    }

    /// Opens `within`, which has no symbolic links, from the directory on, component by component:
    /// if somebody put one there meanwhile, it is not followed.
    fn open_within(&self, within: &Path, real: &Path) -> Result<Option<FileSource>> {
        let failed = |e: Errno| Error::io("cannot be opened", e.into()).in_file(real);
        let not_regular =
            || Error::unsupported("an image names it, but it is no regular file").in_file(real);
        let path_only = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut dir: OwnedFd =
            rustix::fs::open(&self.dir, path_only, Mode::empty()).map_err(failed)?;
        let mut components = within.components().peekable();
        while let Some(component) = components.next() {
            let Component::Normal(name) = component else {
                return Err(not_regular());
            };
            if components.peek().is_some() {
                dir = openat(&dir, name, path_only | OFlags::NOFOLLOW, Mode::empty())
                    .map_err(failed)?;
                continue;
            }
            // Asked before opening, because opening some devices does something to them.
            let found = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
            if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
                return Err(not_regular());
            }
            // Not blocking, in case a pipe has taken the file's place meanwhile.
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
            let file = openat(&dir, name, flags, Mode::empty()).map_err(failed)?;
            let file = std::fs::File::from(file);
            let metadata = file
                .metadata()
                .map_err(|e| Error::io("cannot be examined", e).in_file(real))?;
            if !metadata.is_file() {
                return Err(not_regular());
            }
            return FileSource::new(file, real).map(Some);
        }
        Err(not_regular())
    }
}

/// Whether the name itself is at fault, so that trying again is of no use: it has a NUL byte, is
/// longer than any name, or goes round in symbolic links.
fn is_impossible(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::InvalidInput
        || matches!(
            Errno::from_io_error(error),
            Some(Errno::NAMETOOLONG | Errno::LOOP | Errno::INVAL)
        )
}

fn is_missing(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
    )
}

/// Opens the regular file at `path`, which must be in `dir` or below it when all links are
/// followed; `None` when there is nothing.
///
/// # Errors
/// `Unsupported` when it lies elsewhere, or is no regular file; `Io`.
pub fn open_inside(dir: &Path, path: &Path) -> Result<Option<FileSource>> {
    Inside::new(dir)?.open(path)
}
