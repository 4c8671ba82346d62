//! One file system: what all readers have in common.

pub(crate) mod below;
pub(crate) mod btrfs;
pub(crate) mod ext;
pub(crate) mod fat;
pub(crate) mod guarded;
#[cfg(test)]
pub(crate) mod memory;
pub(crate) mod ntfs;
mod reader;
pub(crate) mod xfs;

use std::rc::Rc;

/// Kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// Devices, pipes, sockets.
    Other,
}

/// What is known of one file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) kind: Kind,
    /// Bytes.
    pub(crate) size: u64,
    /// Permission bits, 0 where the file system has none.
    pub(crate) mode: u32,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: Kind,
}

/// A subvolume that could hold a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subvolume {
    pub(crate) id: u64,
    /// Path from the top of the file system, without a leading slash.
    pub(crate) path: Vec<u8>,
    pub(crate) default: bool,
}

/// Why a file could not be read. Absence is not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TreeError(pub(crate) String);

pub(crate) type Result<T> = std::result::Result<T, TreeError>;

/// A file system, read-only. Paths are absolute, their components are joined by `/`, without links
/// on the way: [`crate::view::View`] resolves links and mounts. Whatever is absent is `None`.
pub(crate) trait Tree {
    /// What is at `path`, without following a link there.
    fn stat(&self, path: &[u8]) -> Result<Option<Stat>>;

    /// Reads at most `buf.len()` bytes of the file at `path` from `at`; 0 at its end.
    fn read_at(&self, path: &[u8], at: u64, buf: &mut [u8]) -> Result<usize>;

    /// The names in the directory at `path`, without `.` and `..`: at most
    /// [`crate::budget::MAX_LISTED`], in the file system's order.
    fn list(&self, path: &[u8]) -> Result<Vec<Entry>>;

    /// The text of the link at `path`.
    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>>;

    /// Names are equal without regard to case.
    fn ignores_case(&self) -> bool {
        false
    }

    /// Bytes that are free, where it is known without a walk.
    fn free(&self) -> Option<u64> {
        None
    }

    /// The subvolumes of a Btrfs, the default one marked; empty elsewhere.
    fn subvolumes(&self) -> Result<Vec<Subvolume>> {
        Ok(Vec::new())
    }

    /// The tree that begins at subvolume `id`.
    fn subvolume(&self, id: u64) -> Result<Rc<dyn Tree>> {
        Err(TreeError(format!("there is no subvolume {id}")))
    }
}

/// `path` could not be read.
fn failed(path: &[u8], reason: &str) -> TreeError {
    TreeError(format!("{}: {reason}", crate::text::printable(path)))
}

/// Nothing is at `path` that should be there.
fn absent(path: &[u8]) -> TreeError {
    failed(path, "there is no such file")
}

/// The link at `path` is longer than any path.
fn long_link(path: &[u8]) -> TreeError {
    failed(path, "the link's target is too long")
}
