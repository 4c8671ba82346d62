//! XFS, by the crate `lamxfs`.

use std::cell::RefCell;
use std::collections::HashMap;

use lamxfs::{EntryKind, Error, Inode, Metadata, Path};

use super::reader::Reader;
use super::{Entry, Kind, Result, Stat, Tree, TreeError};
use crate::budget::{MAX_ENTRIES_SEEN, MAX_LISTED, MAX_PATH};
use crate::media::Slice;

/// Paths that are remembered.
const MAX_KNOWN: usize = 16_384;

/// An XFS.
pub(crate) struct Xfs {
    fs: RefCell<lamxfs::Xfs<Reader>>,
    free: Option<u64>,
    /// What paths lead to. The crate reads every directory on the way each time.
    known: RefCell<HashMap<Vec<u8>, Option<Inode>>>,
}

impl Xfs {
    /// Opens the file system on `slice`; its log is applied in memory.
    ///
    /// # Errors
    /// The file system is damaged, or has features that the crate does not know.
    pub(crate) fn open(slice: &Slice, free: Option<u64>) -> std::result::Result<Self, String> {
        let fs = lamxfs::Xfs::open(Reader(slice.clone()), slice.size())
            .map_err(|error| shown(&error))?;
        Ok(Self {
            fs: RefCell::new(fs),
            free,
            known: RefCell::default(),
        })
    }

    fn resolve(&self, path: &[u8]) -> Result<Option<Inode>> {
        if let Some(known) = self.known.borrow().get(path) {
            return Ok(*known);
        }
        let found = match self.fs.borrow_mut().resolve(Path::new(path)) {
            Ok(inode) => Some(inode),
            Err(Error::NotFound { .. }) => None,
            Err(error) => return Err(failed(path, &error)),
        };
        let mut known = self.known.borrow_mut();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(path.to_vec(), found);
        Ok(found)
    }
}

impl Tree for Xfs {
    fn stat(&self, path: &[u8]) -> Result<Option<Stat>> {
        let Some(inode) = self.resolve(path)? else {
            return Ok(None);
        };
        let metadata = self.fs.borrow_mut().metadata(&inode);
        let metadata = metadata.map_err(|error| failed(path, &error))?;
        Ok(Some(Stat {
            kind: kind(&metadata),
            size: metadata.size(),
            mode: metadata.mode() & 0o7777,
        }))
    }

    fn read_at(&self, path: &[u8], at: u64, buf: &mut [u8]) -> Result<usize> {
        let inode = self.resolve(path)?.ok_or_else(|| super::absent(path))?;
        let read = self.fs.borrow_mut().read_file_at(&inode, at, buf);
        read.map_err(|error| failed(path, &error))
    }

    fn list(&self, path: &[u8]) -> Result<Vec<Entry>> {
        /// Bytes of the shortest entry.
        const SHORTEST: usize = 8;
        let most = (MAX_ENTRIES_SEEN * SHORTEST * 8) as u64;
        if self.stat(path)?.is_some_and(|stat| stat.size > most) {
            return Err(super::failed(path, "the directory is too large"));
        }
        let entries = self.fs.borrow_mut().read_dir(Path::new(path));
        let entries = entries.map_err(|error| failed(path, &error))?;
        Ok(entries
            .into_iter()
            .filter(|entry| entry.name != b"." && entry.name != b"..")
            .take(MAX_LISTED)
            .map(|entry| Entry {
                name: entry.name,
                kind: match entry.kind {
                    EntryKind::Regular => Kind::File,
                    EntryKind::Directory => Kind::Directory,
                    EntryKind::Symlink => Kind::Link,
                    EntryKind::Other => Kind::Other,
                },
            })
            .collect())
    }

    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>> {
        if self
            .stat(path)?
            .is_some_and(|stat| stat.size > MAX_PATH as u64)
        {
            return Err(super::long_link(path));
        }
        let target = self.fs.borrow_mut().read_link(Path::new(path));
        target.map_err(|error| failed(path, &error))
    }

    fn free(&self) -> Option<u64> {
        self.free
    }
}

fn kind(metadata: &Metadata) -> Kind {
    if metadata.is_file() {
        Kind::File
    } else if metadata.is_dir() {
        Kind::Directory
    } else if metadata.is_symlink() {
        Kind::Link
    } else {
        Kind::Other
    }
}

fn shown(error: &Error) -> String {
    format!("the XFS cannot be read ({})", error.token())
}

fn failed(path: &[u8], error: &Error) -> TreeError {
    super::failed(path, &shown(error))
}
