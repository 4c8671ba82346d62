//! A directory of a file system as a file system of its own.

use std::rc::Rc;

use super::{Entry, Result, Stat, Tree, TreeError};

/// What lies below a directory.
pub(crate) struct Below {
    pub(crate) tree: Rc<dyn Tree>,
    /// Absolute, without links and without a trailing slash.
    pub(crate) directory: Vec<u8>,
}

impl Below {
    fn path(&self, path: &[u8]) -> Vec<u8> {
        match path {
            b"/" => self.directory.clone(),
            path => [self.directory.as_slice(), path].concat(),
        }
    }
}

impl Tree for Below {
    fn stat(&self, path: &[u8]) -> Result<Option<Stat>> {
        self.tree.stat(&self.path(path))
    }

    fn read_at(&self, path: &[u8], at: u64, buf: &mut [u8]) -> Result<usize> {
        self.tree.read_at(&self.path(path), at, buf)
    }

    fn list(&self, path: &[u8]) -> Result<Vec<Entry>> {
        self.tree.list(&self.path(path))
    }

    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>> {
        self.tree.read_link(&self.path(path))
    }

    fn ignores_case(&self) -> bool {
        self.tree.ignores_case()
    }

    fn free(&self) -> Option<u64> {
        self.tree.free()
    }
}

/// A file system that is not there or cannot be read: whatever it is asked, it says why.
pub(crate) struct Closed(pub(crate) String);

impl Closed {
    fn fail<T>(&self) -> Result<T> {
        Err(TreeError(self.0.clone()))
    }
}

impl Tree for Closed {
    fn stat(&self, _path: &[u8]) -> Result<Option<Stat>> {
        self.fail()
    }

    fn read_at(&self, _path: &[u8], _at: u64, _buf: &mut [u8]) -> Result<usize> {
        self.fail()
    }

    fn list(&self, _path: &[u8]) -> Result<Vec<Entry>> {
        self.fail()
    }

    fn read_link(&self, _path: &[u8]) -> Result<Vec<u8>> {
        self.fail()
    }
}
