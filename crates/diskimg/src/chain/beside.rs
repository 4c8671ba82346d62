//! The files that hold a disk's own bytes, beside the file that names them.
//!
//! They are opened without being asked for when the name can only be one that the user would have
//! meant: that of the file he gave, with an ending that says which part it is, in the same
//! directory. A hostile file reaches nothing but files that are called after itself.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::source::{FileSource, ReadAt};
use crate::text::is_descriptor;

/// Longest name in bytes.
const MAX_NAME: usize = 255;
/// Endings of parts that have one file.
const SINGLE: [&[u8]; 3] = [b"-flat", b"-delta", b"-sesparse"];
/// Endings of parts that are counted.
const COUNTED: [&[u8]; 2] = [b"-f", b"-s"];
const EXTENSION: &[u8] = b".vmdk";

/// The directory of a file that the user named.
struct Directory {
    fd: OwnedFd,
    path: PathBuf,
    device: u64,
    owner: u32,
}

/// That directory, and which names in it are those of the file's parts.
pub(super) struct Beside {
    dir: Directory,
    /// The file's name without its extension.
    stem: OsString,
}

/// Why a file is not opened without permission.
pub(super) type Why = String;

impl Beside {
    /// Beside the file in `source`; `None` when the user named no file, or not by a name of its
    /// own.
    pub(super) fn of(source: &dyn ReadAt) -> Option<Self> {
        let stem = without_extension(source.path()?.file_name()?.as_bytes())?;
        Some(Self {
            dir: Directory::of(source)?,
            stem: OsString::from_vec(stem.to_vec()),
        })
    }

    /// Why the file `name` needs permission; `None` when it does not.
    pub(super) fn refuses(&self, name: &[u8]) -> Option<Why> {
        let plain = !name.is_empty()
            && name.len() <= MAX_NAME
            && !matches!(name, b"." | b"..")
            && !name
                .iter()
                .any(|byte| matches!(byte, b'/' | b'\\' | b':') || byte.is_ascii_control());
        if !plain {
            return Some("that is no plain name of a file in the same directory".to_owned());
        }
        let part = name
            .strip_prefix(self.stem.as_bytes())
            .and_then(without_extension);
        match part {
            Some(part) if is_part(part) => None,
            _ => Some("the file is not called after its descriptor".to_owned()),
        }
    }

    /// Opens the file `name`, which [`Self::refuses`] lets pass; `None` when it is not there.
    ///
    /// # Errors
    /// Why it is not opened without permission; those of opening it.
    pub(super) fn open(&self, name: &[u8]) -> Result<Option<Result<FileSource, Why>>> {
        self.dir.open(name)
    }
}

impl Directory {
    /// The directory of the file in `source`; `None` when the user named no file, or not by a name
    /// of its own.
    fn of(source: &dyn ReadAt) -> Option<Self> {
        let path = source.path().filter(|path| !is_descriptor(path))?;
        let name = path.file_name()?;
        let dir = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(dir, flags, Mode::empty()).ok()?;
        // A part of an archive has the archive's path, and a file may have taken another's place.
        let found = statat(&fd, name, AtFlags::empty()).ok()?;
        let id = source.id()?;
        let same = (found.st_dev, found.st_ino) == (id.device, id.inode)
            && u64::try_from(found.st_size).ok() == Some(source.len())
            && is_regular(&found);
        same.then(|| Self {
            fd,
            path: dir.to_owned(),
            device: found.st_dev,
            owner: found.st_uid,
        })
    }

    /// Opens the file `name` in it; `None` when it is not there.
    ///
    /// # Errors
    /// Why it is not opened without permission; those of opening it.
    fn open(&self, name: &[u8]) -> Result<Option<Result<FileSource, Why>>> {
        let path = self.path.join(OsStr::from_bytes(name));
        let failed = |e: Errno| Error::io("cannot be opened", e.into()).in_file(&path);
        // Asked before opening, because opening some devices does something to them.
        let found = match statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        if !is_regular(&found) {
            return Ok(Some(
                Err("the file is a link or no regular file".to_owned()),
            ));
        }
        if found.st_dev != self.device {
            return Ok(Some(Err("the file is on another file system".to_owned())));
        }
        // Not blocking, in case a pipe has taken the file's place meanwhile.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
        let file = File::from(openat(&self.fd, name, flags, Mode::empty()).map_err(failed)?);
        let metadata = file
            .metadata()
            .map_err(|e| Error::io("cannot be examined", e).in_file(&path))?;
        let (device, owner) = (metadata.dev(), metadata.uid());
        if !metadata.is_file() || device != self.device {
            return Ok(Some(Err("the file was replaced meanwhile".to_owned())));
        }
        // Root can read what the owner of the descriptor cannot.
        if rustix::process::geteuid().is_root() && owner != self.owner && owner != 0 {
            return Ok(Some(Err(
                "the file belongs to somebody else than its descriptor".to_owned(),
            )));
        }
        FileSource::new(file, &path).map(|file| Some(Ok(file)))
    }
}

/// Opens the file `name` beside the file in `source`, which the user named; `None` when it is not
/// there.
///
/// # Errors
/// `Unsupported` when `name` is a path, or what has the name is a link, no regular file, on another
/// file system or of another owner; `Io`.
pub fn open_beside(source: &dyn ReadAt, name: &str) -> Result<Option<FileSource>> {
    let dir = Directory::of(source).filter(|_| !name.contains('/'));
    let Some(dir) = dir else {
        return Err(Error::unsupported(
            "only files in the directory of a file that is named itself are opened",
        ));
    };
    match dir.open(name.as_bytes())? {
        Some(Err(why)) => Err(Error::unsupported(why).in_file(&dir.path.join(name))),
        Some(Ok(file)) => Ok(Some(file)),
        None => Ok(None),
    }
}

/// `name` without `.vmdk`, in whatever case.
fn without_extension(name: &[u8]) -> Option<&[u8]> {
    let (stem, extension) = name.split_at(name.len().checked_sub(EXTENSION.len())?);
    (!stem.is_empty() && extension.eq_ignore_ascii_case(EXTENSION)).then_some(stem)
}

/// Whether `ending` is that of a part of a disk.
fn is_part(ending: &[u8]) -> bool {
    let single = |known: &&[u8]| ending.eq_ignore_ascii_case(known);
    let counted = |known: &&[u8]| {
        ending
            .split_at_checked(known.len())
            .is_some_and(|(start, number)| {
                start.eq_ignore_ascii_case(known)
                    && number.len() >= 3
                    && number.iter().all(u8::is_ascii_digit)
            })
    };
    SINGLE.iter().any(single) || COUNTED.iter().any(counted)
}

fn is_regular(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
}

/// The descriptor of the VMDK of which the file at `path` is a part, when its name is that of one.
#[must_use]
pub fn descriptor_of(path: &Path) -> Option<PathBuf> {
    let stem = without_extension(path.file_name()?.as_bytes())?;
    let dash = stem.iter().rposition(|byte| *byte == b'-')?;
    let (disk, ending) = stem.split_at(dash);
    let name = || OsString::from_vec([disk, EXTENSION].concat());
    (!disk.is_empty() && is_part(ending)).then(|| path.with_file_name(name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(name: &str) -> (tempfile::TempDir, Beside) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, "x").unwrap();
        let beside = Beside::of(&FileSource::open(&path).unwrap()).unwrap();
        (dir, beside)
    }

    #[test]
    fn only_names_of_parts_of_this_disk_pass() {
        let (_dir, beside) = beside("web-000001.vmdk");
        for name in [
            "web-000001-flat.vmdk",
            "web-000001-delta.VMDK",
            "web-000001-SESPARSE.vmdk",
            "web-000001-f001.vmdk",
            "web-000001-s0001.vmdk",
        ] {
            assert_eq!(beside.refuses(name.as_bytes()), None, "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            "web-flat.vmdk",
            "Web-000001-flat.vmdk",
            "web-000001.vmdk",
            "web-000001-flat.raw",
            "web-000001-flat.vmdk/",
            "./web-000001-flat.vmdk",
            "web-000001-s01.vmdk",
            "web-000001-s00x.vmdk",
            "web-000001-x-flat.vmdk",
            "web-000001-ctk.vmdk",
            "a\\web-000001-flat.vmdk",
            "nbd:web-000001-flat.vmdk",
            "/etc/passwd",
            "web-000001-flat.vmdk\0",
        ] {
            assert!(beside.refuses(name.as_bytes()).is_some(), "{name}");
        }
    }

    #[test]
    fn what_a_name_leads_to_must_be_a_plain_file_beside_it() {
        let (dir, beside) = beside("web.vmdk");
        let at = |name: &str| dir.path().join(name);
        assert!(beside.open(b"web-flat.vmdk").unwrap().is_none());
        std::os::unix::fs::symlink("/etc/passwd", at("web-flat.vmdk")).unwrap();
        assert!(beside.open(b"web-flat.vmdk").unwrap().unwrap().is_err());
        std::fs::create_dir(at("web-f001.vmdk")).unwrap();
        assert!(beside.open(b"web-f001.vmdk").unwrap().unwrap().is_err());
        std::fs::write(at("web-s001.vmdk"), "part").unwrap();
        let file = beside.open(b"web-s001.vmdk").unwrap().unwrap().unwrap();
        assert_eq!(file.len(), 4);
    }

    #[test]
    fn a_source_that_is_not_the_file_of_its_path_has_nothing_beside_it() {
        struct Member(FileSource);
        impl ReadAt for Member {
            fn len(&self) -> u64 {
                self.0.len() - 1
            }
            fn read_exact_at(&self, at: crate::FileOffset, buf: &mut [u8]) -> Result<()> {
                self.0.read_exact_at(at, buf)
            }
            fn path(&self) -> Option<&Path> {
                self.0.path()
            }
            fn id(&self) -> Option<crate::FileId> {
                self.0.id()
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web.vmdk");
        std::fs::write(&path, "xy").unwrap();
        let file = FileSource::open(&path).unwrap();
        assert!(Beside::of(&file).is_some());
        assert!(Beside::of(&Member(file)).is_none());
        let other = dir.path().join("web.img");
        std::fs::write(&other, "xy").unwrap();
        assert!(Beside::of(&FileSource::open(&other).unwrap()).is_none());
    }

    #[test]
    fn a_part_tells_its_descriptor() {
        let of = |name: &str| descriptor_of(Path::new(name));
        assert_eq!(of("/d/web-s001.vmdk"), Some("/d/web.vmdk".into()));
        assert_eq!(of("web-000001-delta.vmdk"), Some("web-000001.vmdk".into()));
        for name in ["web.vmdk", "-flat.vmdk", "web-flat.raw", "web-x.vmdk"] {
            assert_eq!(of(name), None, "{name}");
        }
    }
}
