//! Files that are open for a while: a disk may have more parts than a process may have files.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use lru::LruCache;

use crate::error::{Error, Result};
use crate::limits::MAX_OPEN_EXTENTS;
use crate::source::{FileId, FileSource, ReadAt, SourceExtent};
use crate::units::FileOffset;

/// The files that were used last, for all images of a chain.
pub(crate) struct Handles {
    open: Mutex<LruCache<u64, Arc<FileSource>>>,
    next: AtomicU64,
}

impl Default for Handles {
    fn default() -> Self {
        let most = NonZeroUsize::new(MAX_OPEN_EXTENTS).unwrap_or(NonZeroUsize::MIN);
        Self {
            open: Mutex::new(LruCache::new(most)),
            next: AtomicU64::new(0),
        }
    }
}

/// Opens a file again.
type Reopen = Box<dyn Fn() -> Result<FileSource> + Send + Sync>;

/// A file that is closed when others are read, and opened again.
pub(crate) struct Pooled {
    handles: Arc<Handles>,
    number: u64,
    reopen: Reopen,
    path: PathBuf,
    id: Option<FileId>,
    len: u64,
    stored_len: u64,
}

impl Pooled {
    /// The file that `reopen` opened as `file`.
    pub(super) fn new(handles: &Arc<Handles>, file: FileSource, reopen: Reopen) -> Self {
        let pooled = Self {
            handles: Arc::clone(handles),
            number: handles.next.fetch_add(1, Ordering::Relaxed),
            reopen,
            path: file.path().map(Path::to_owned).unwrap_or_default(),
            id: file.id(),
            len: file.len(),
            stored_len: file.stored_len(),
        };
        handles.open.lock().put(pooled.number, Arc::new(file));
        pooled
    }

    fn file(&self) -> Result<Arc<FileSource>> {
        if let Some(file) = self.handles.open.lock().get(&self.number) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new((self.reopen)()?);
        if file.id() != self.id || file.len() != self.len {
            return Err(Error::truncated(
                "file",
                0,
                "it was replaced, or its length changed, while the disk was read",
            )
            .in_file(&self.path));
        }
        let open = Arc::clone(&file);
        self.handles.open.lock().put(self.number, open);
        Ok(file)
    }
}

impl ReadAt for Pooled {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, at: FileOffset, buf: &mut [u8]) -> Result<()> {
        self.file()?.read_exact_at(at, buf)
    }

    fn extent_at(&self, at: FileOffset, limit: u64) -> Result<SourceExtent> {
        self.file()?.extent_at(at, limit)
    }

    fn stored_len(&self) -> u64 {
        self.stored_len
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn id(&self) -> Option<FileId> {
        self.id
    }

    fn note(&self) -> Option<String> {
        let open = self.handles.open.lock();
        open.peek(&self.number).and_then(|file| file.note())
    }
}
