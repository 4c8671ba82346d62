//! Where a sandbox keeps what, and writing small files whole or not at all.
//!
//! ```text
//! DIR/lock             held while a sandbox runs
//!     certificate.pem  of the servers, where they speak https; made at each start
//!     keys.json        credentials, made at the first start; mode 0600
//!     obs/BUCKET/KEY   the objects, as plain files
//!     meta/BUCKET/     bucket.json (storage class), HASH.json for each object (ETag, class, ...)
//!     uploads/ID/      meta.json and part-NNNNN-MD5 of each unfinished multipart upload
//!     images/ID.json   images
//!     contents/ID      what the images hold, in the format in which it came
//!     jobs/ID.json     jobs
//!     tmp/             bytes under way; emptied at start
//! ```

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;

/// The directory of a sandbox.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Makes the directories that are missing and empties `tmp`.
    pub(crate) fn create(root: &Path) -> Result<Self, Error> {
        fs::create_dir_all(root).map_err(|e| Error::io("create", root, e))?;
        let root = fs::canonicalize(root).map_err(|e| Error::io("open", root, e))?;
        Ok(Self { root })
    }

    /// Makes the subdirectories. To be called by the holder of the lock only: it empties `tmp`.
    pub(crate) fn prepare(&self) -> Result<(), Error> {
        let tmp = self.tmp();
        if tmp.exists() {
            fs::remove_dir_all(&tmp).map_err(|e| Error::io("empty", &tmp, e))?;
        }
        for dir in [
            self.objects(),
            self.meta(),
            self.uploads(),
            self.images(),
            self.jobs(),
            self.contents(),
            tmp,
        ] {
            fs::create_dir_all(&dir).map_err(|e| Error::io("create", &dir, e))?;
        }
        Ok(())
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.root.join("keys.json")
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.root.join("certificate.pem")
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.root.join("obs")
    }

    pub(crate) fn meta(&self) -> PathBuf {
        self.root.join("meta")
    }

    pub(crate) fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(crate) fn contents(&self) -> PathBuf {
        self.root.join("contents")
    }

    pub(crate) fn jobs(&self) -> PathBuf {
        self.root.join("jobs")
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Writes `value` as JSON to `path`: a reader sees the old or the new file, whole. Mode 0600.
    pub(crate) fn write_json(&self, path: &Path, value: &impl Serialize) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(self.tmp())?;
        serde_json::to_writer_pretty(&mut file, value)?;
        file.write_all(b"\n")?;
        file.persist(path)?;
        Ok(())
    }
}

/// The JSON in `path`; `None` when there is no such file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// [`read_json`] at start, where anything unexpected ends it.
pub(crate) fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    read_json(path).map_err(|source| match source.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Error::Damaged {
            path: path.to_owned(),
            source,
        },
        _ => Error::io("read", path, source),
    })
}
