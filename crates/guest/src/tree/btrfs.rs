//! Btrfs, by the crate `lambutter`.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use lambutter::{Error, Inode, Metadata, Path};

use super::reader::Reader;
use super::{Entry, Kind, Result, Stat, Subvolume, Tree, TreeError};
use crate::budget::{MAX_ENTRIES_SEEN, MAX_LISTED, MAX_PATH, MAX_SUBVOLUMES};
use crate::media::Slice;

/// The subvolume that holds all others.
const TOP: u64 = 5;
/// Plain directories in each other in which subvolumes are looked for.
const MAX_DEPTH: usize = 2;
/// Directories in which subvolumes are looked for.
const MAX_DIRECTORIES: usize = 1024;

/// Paths that are remembered.
const MAX_KNOWN: usize = 16_384;

/// What a path leads to, as far as it was read.
type Known = Option<(Inode, Option<Metadata>)>;

/// A subvolume of a Btrfs.
pub(crate) struct Btrfs {
    fs: RefCell<lambutter::Btrfs<Reader>>,
    slice: Slice,
    free: Option<u64>,
    /// What paths lead to. The crate walks down the tree for every name on the way each time.
    known: RefCell<HashMap<Vec<u8>, Known>>,
}

impl Btrfs {
    /// Opens the default subvolume of the file system on `slice`.
    ///
    /// # Errors
    /// The file system is damaged, or has features that the crate does not know.
    pub(crate) fn open(slice: &Slice, free: Option<u64>) -> std::result::Result<Self, String> {
        let fs = lambutter::Btrfs::open(Reader(slice.clone()), slice.size());
        let fs = fs.map_err(|error| shown(&error))?;
        Ok(Self::new(fs, slice, free))
    }

    fn new(fs: lambutter::Btrfs<Reader>, slice: &Slice, free: Option<u64>) -> Self {
        Self {
            fs: RefCell::new(fs),
            slice: slice.clone(),
            free,
            known: RefCell::default(),
        }
    }

    fn at(&self, id: u64) -> Result<Self> {
        let reader = Reader(self.slice.clone());
        match lambutter::Btrfs::open_subvol_id(reader, self.slice.size(), id) {
            Ok(fs) => Ok(Self::new(fs, &self.slice, self.free)),
            Err(Error::NotFound) => Err(TreeError(format!("there is no subvolume {id}"))),
            Err(error) => Err(TreeError(shown(&error))),
        }
    }

    fn resolve(&self, path: &[u8]) -> Result<Option<(Inode, Metadata)>> {
        let known = self.known.borrow().get(path).copied();
        let mut fs = self.fs.borrow_mut();
        let inode = match known {
            Some(Some((inode, Some(metadata)))) => return Ok(Some((inode, metadata))),
            Some(Some((inode, None))) => Some(inode),
            Some(None) => None,
            None => {
                let path_of_crate = Path::new(path).ok_or_else(|| super::absent(path))?;
                match fs.resolve(path_of_crate) {
                    Ok(inode) => Some(inode),
                    Err(Error::NotFound) => None,
                    Err(error) => return Err(failed(path, &error)),
                }
            }
        };
        let found = match inode {
            Some(inode) => {
                let metadata = fs.metadata(&inode).map_err(|error| failed(path, &error))?;
                Some((inode, metadata))
            }
            None => None,
        };
        let known = found.map(|(inode, metadata)| (inode, Some(metadata)));
        self.remember(vec![(path.to_vec(), known)]);
        Ok(found)
    }

    fn remember(&self, paths: Vec<(Vec<u8>, Known)>) {
        let mut known = self.known.borrow_mut();
        if known.len() + paths.len() > MAX_KNOWN {
            known.clear();
        }
        known.extend(paths);
    }

    /// Remembers where the names in a directory lead to, so that none of them is walked to again.
    fn remember_entries(&self, directory: &[u8], entries: &[lambutter::DirEntry]) {
        let directory = directory.strip_suffix(b"/").unwrap_or(directory);
        let known = self.known.borrow();
        let paths = entries.iter().take(MAX_LISTED).map(|entry| {
            let path = [directory, b"/", entry.name.as_slice()].concat();
            (path, Some((entry.inode, None)))
        });
        let new = paths
            .filter(|(path, _)| !known.contains_key(path))
            .collect();
        drop(known);
        self.remember(new);
    }

    fn entries(&self, path: &[u8]) -> Result<Vec<lambutter::DirEntry>> {
        let path_of_crate = Path::new(path).ok_or_else(|| super::absent(path))?;
        let (_, metadata) = self.resolve(path)?.ok_or_else(|| super::absent(path))?;
        // A directory's size is twice the sum of its names' lengths.
        if metadata.size > MAX_ENTRIES_SEEN as u64 * 64 {
            return Err(super::failed(path, "the directory is too large"));
        }
        let entries = self.fs.borrow_mut().read_dir(path_of_crate);
        let entries = entries.map_err(|error| failed(path, &error))?;
        self.remember_entries(path, &entries);
        Ok(entries)
    }
}

impl Tree for Btrfs {
    fn stat(&self, path: &[u8]) -> Result<Option<Stat>> {
        Ok(self.resolve(path)?.map(|(_, metadata)| Stat {
            kind: kind(&metadata),
            size: metadata.size,
            mode: metadata.mode & 0o7777,
        }))
    }

    fn read_at(&self, path: &[u8], at: u64, buf: &mut [u8]) -> Result<usize> {
        let (inode, _) = self.resolve(path)?.ok_or_else(|| super::absent(path))?;
        let read = self.fs.borrow_mut().read_file_at(&inode, at, buf);
        read.map_err(|error| failed(path, &error))
    }

    fn list(&self, path: &[u8]) -> Result<Vec<Entry>> {
        Ok(self
            .entries(path)?
            .into_iter()
            .take(MAX_LISTED)
            .map(|entry| Entry {
                name: entry.name,
                kind: match entry.kind_byte {
                    1 => Kind::File,
                    2 => Kind::Directory,
                    7 => Kind::Link,
                    _ => Kind::Other,
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
        let path_of_crate = Path::new(path).ok_or_else(|| super::absent(path))?;
        let target = self.fs.borrow_mut().read_link(path_of_crate);
        target.map_err(|error| failed(path, &error))
    }

    fn free(&self) -> Option<u64> {
        self.free
    }

    /// The top level, then those that are found from there in few steps. A default one that is
    /// not among them has its number in place of a path.
    fn subvolumes(&self) -> Result<Vec<Subvolume>> {
        let default = lambutter::Btrfs::open(Reader(self.slice.clone()), self.slice.size());
        let default = default
            .map_err(|error| TreeError(shown(&error)))?
            .subvolume();
        let top = self.at(TOP)?;
        let subvolume = |id, path| Subvolume {
            id,
            path,
            default: id == default,
        };
        let mut found = vec![subvolume(TOP, Vec::new())];
        let mut queue = VecDeque::from([(Vec::new(), TOP, 0)]);
        for _ in 0..MAX_DIRECTORIES {
            let Some((directory, parent, depth)) = queue.pop_front() else {
                break;
            };
            for entry in top.entries(&[b"/", directory.as_slice()].concat())? {
                const DIRECTORY: u8 = 2;
                if entry.kind_byte != DIRECTORY || found.len() >= MAX_SUBVOLUMES {
                    continue;
                }
                let mut path = directory.clone();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend(&entry.name);
                let id = entry.inode.subvolume();
                if id != parent {
                    found.push(subvolume(id, path.clone()));
                    queue.push_back((path, id, 0));
                } else if depth + 1 < MAX_DEPTH {
                    queue.push_back((path, id, depth + 1));
                }
            }
        }
        if !found.iter().any(|subvolume| subvolume.default) {
            found.push(subvolume(
                default,
                format!("subvolid={default}").into_bytes(),
            ));
        }
        Ok(found)
    }

    fn subvolume(&self, id: u64) -> Result<Rc<dyn Tree>> {
        Ok(Rc::new(self.at(id)?))
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
    format!("the Btrfs cannot be read ({error})")
}

fn failed(path: &[u8], error: &Error) -> TreeError {
    super::failed(path, &shown(error))
}
