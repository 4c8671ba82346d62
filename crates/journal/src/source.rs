//! Which file, and whether it is still the same.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use diskimg::source::open_disk;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Bytes at the beginning that are hashed: the headers of every format, with some of their tables.
const HEAD: u64 = 64 << 10;
/// Bytes at the end that are hashed: VHD and ZVHD2 have a footer there.
const TAIL: u64 = 4 << 10;

/// A disk image as it was at some time. Two that are equal are the same file, unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceIdentity {
    /// Absolute path, without links.
    pub path: String,
    /// Bytes; of a block device too.
    pub size: u64,
    /// Last modification, seconds since 1970.
    pub modified: i64,
    /// And nanoseconds.
    pub modified_nanos: i64,
    /// Number of the file on its file system.
    pub inode: u64,
    /// SHA-256 of the first 64 KiB and the last 4 KiB, in hexadecimal digits.
    pub header: String,
}

impl SourceIdentity {
    /// Looks at the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(path: &Path) -> io::Result<Self> {
        let absolute = fs::canonicalize(path)?;
        let mut file = open_disk(&absolute)?;
        let metadata = file.metadata()?;
        // Block devices tell their size by seeking only.
        let size = file.seek(SeekFrom::End(0))?;
        let mut hash = Sha256::new();
        for (start, len) in [(0, HEAD), (size.saturating_sub(TAIL), TAIL)] {
            file.seek(SeekFrom::Start(start))?;
            let mut bytes = Vec::new();
            file.by_ref().take(len).read_to_end(&mut bytes)?;
            hash.update(&bytes);
        }
        Ok(Self {
            path: absolute.to_string_lossy().into_owned(),
            size,
            modified: metadata.mtime(),
            modified_nanos: metadata.mtime_nsec(),
            inode: metadata.ino(),
            header: hex::encode(hash.finalize()),
        })
    }

    /// How `now` differs from this, if it does: the first difference, in words.
    #[must_use]
    pub fn difference(&self, now: &Self) -> Option<String> {
        if self.path != now.path {
            return Some(format!("it was {}, and is {}", self.path, now.path));
        }
        if self.size != now.size {
            return Some(format!("it had {} bytes, and has {}", self.size, now.size));
        }
        if self.header != now.header {
            return Some("its first or last bytes differ".to_owned());
        }
        if (self.modified, self.modified_nanos) != (now.modified, now.modified_nanos) {
            return Some("it was modified".to_owned());
        }
        (self.inode != now.inode).then(|| "it is another file of the same name".to_owned())
    }
}
