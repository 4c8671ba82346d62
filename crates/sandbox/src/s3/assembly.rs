//! Parts that are written where they belong in the object, so that joining them costs nothing.
//!
//! The place follows from the size of the first part that arrives: all parts of an upload but the
//! last have one size. Parts of another size, and parts that are sent twice, get files of their own
//! and are copied when the parts are joined.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// File name, in the directory of the upload.
const NAME: &str = "body";

/// Where the last place may end: file systems have files of that size.
const MOST: u64 = 1 << 40;

/// A part that has arrived.
#[derive(Clone, Debug)]
pub(super) struct StoredPart {
    /// 1 to 10000.
    pub(super) number: i32,
    /// Lower-case hex MD5.
    pub(super) etag: String,
    /// Bytes.
    pub(super) size: u64,
    pub(super) modified: SystemTime,
    /// The file that says so, and holds the bytes unless they are in the assembly.
    pub(super) path: PathBuf,
    /// Where in the assembly its bytes begin.
    pub(super) place: Option<u64>,
}

/// What becomes the object.
#[derive(Debug)]
pub(super) struct Assembly {
    path: PathBuf,
    /// Bytes of each place.
    unit: u64,
    /// Numbers of the parts that were given a place: each is given once, so that what is in it is
    /// clean.
    given: HashSet<i32>,
    /// A larger part has come: those behind it belong elsewhere.
    ended: bool,
    /// Held by every writer.
    writing: Arc<()>,
}

/// Where a part is to be written.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) file: File,
    /// First byte in the file.
    pub(super) offset: u64,
    /// Bytes that the part has at most.
    pub(super) len: u64,
    _writing: Arc<()>,
}

/// The path of the assembly of the upload whose directory is `dir`.
pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

impl Assembly {
    /// Begins one in `dir` with places of `unit` bytes.
    ///
    /// # Errors
    /// `AlreadyExists` when an earlier run has begun one: what is in its places is not known.
    pub(super) fn begin(dir: &Path, unit: u64) -> io::Result<Self> {
        let path = path(dir);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok(Self {
            path,
            unit,
            given: HashSet::new(),
            ended: false,
            writing: Arc::new(()),
        })
    }

    /// The place of part `number`, of `len` bytes; `None` when it must lie elsewhere.
    ///
    /// # Errors
    /// Those of opening the file.
    pub(super) fn place(&mut self, number: i32, len: u64) -> io::Result<Option<Place>> {
        self.ended |= len > self.unit;
        let before = u64::try_from(number).unwrap_or(0).checked_sub(1);
        let offset = before.and_then(|before| before.checked_mul(self.unit));
        let Some(offset) =
            offset.filter(|offset| !self.ended && offset.saturating_add(len) <= MOST)
        else {
            return Ok(None);
        };
        if !self.given.insert(number) {
            return Ok(None);
        }
        Ok(Some(Place {
            file: OpenOptions::new().write(true).open(&self.path)?,
            offset,
            len,
            _writing: Arc::clone(&self.writing),
        }))
    }

    /// Whether `parts`, in this order, make the object where they are, with those in files of their
    /// own copied in.
    pub(super) fn fits(&self, parts: &[&StoredPart]) -> bool {
        let mut at = 0_u64;
        let mut placed = 0_usize;
        for part in parts {
            match part.place {
                Some(offset) if offset == at => placed = placed.saturating_add(1),
                Some(_) => return false,
                None => {}
            }
            at = at.saturating_add(part.size);
        }
        // What was begun in a place and is not there now could show through holes, or still be
        // written.
        placed == self.given.len() && Arc::strong_count(&self.writing) == 1
    }

    /// The file under another name, at `to`. It stays where it is for as long as the upload may be
    /// needed.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn link(&self, to: &Path, dir: &Path) -> io::Result<File> {
        fs::hard_link(path(dir), to)?;
        OpenOptions::new().read(true).write(true).open(to)
    }
}
