//! Unfinished multipart uploads on the disk.
//!
//! `uploads/ID/` holds `meta.json` and one file `part-NNNNN-MD5` for each part. Number, ETag, size
//! and time of a part are those of its file, so one rename makes a part visible with all of them.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use s3s::{S3Result, s3_error};
use serde::{Deserialize, Serialize};

use super::disk;
use super::objects::Attributes;
use super::receive::Received;
use crate::keys::hex_id;
use crate::layout::{Layout, read_json};
use crate::sparse;

/// Directory name of an upload that is becoming an object; its own name again if that fails.
const COMPLETING: &str = ".completing-";

/// What an upload was begun with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct UploadMeta {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) initiated: SystemTime,
    pub(super) attributes: Attributes,
}

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
    pub(super) path: PathBuf,
}

/// Files of the parts, by upload id and number, of uploads that got parts in this run. Listing the
/// directory for each of 10,000 parts would take longer than storing them.
type Known = HashMap<String, HashMap<i32, PathBuf>>;

/// All unfinished uploads.
#[derive(Debug)]
pub(super) struct Uploads {
    layout: Layout,
    dir: PathBuf,
    /// Held while parts appear and uploads vanish: renames and listings, never data.
    changes: Mutex<Known>,
}

impl Uploads {
    /// Takes over the uploads of an earlier run; those that were becoming objects are unfinished
    /// again.
    pub(super) fn open(layout: Layout) -> io::Result<Self> {
        let dir = layout.uploads();
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if let Some(id) = name.to_str().and_then(|name| name.strip_prefix(COMPLETING)) {
                fs::rename(entry.path(), dir.join(id))?;
            }
        }
        Ok(Self {
            layout,
            dir,
            changes: Mutex::default(),
        })
    }

    /// Begins an upload; its id.
    pub(super) fn begin(&self, meta: &UploadMeta) -> S3Result<String> {
        let id = hex_id();
        let begin = || {
            let new = self.layout.tmp().join(&id);
            fs::create_dir(&new)?;
            self.layout.write_json(&new.join("meta.json"), meta)?;
            fs::rename(new, self.dir.join(&id))
        };
        begin().map_err(disk("begin the upload"))?;
        Ok(id)
    }

    /// What upload `id` was begun with.
    ///
    /// # Errors
    /// NoSuchUpload when there is none for this bucket and key.
    pub(super) fn meta(&self, bucket: &str, key: &str, id: &str) -> S3Result<UploadMeta> {
        self.find(id)?
            .filter(|meta| meta.bucket == bucket && meta.key == key)
            .ok_or_else(|| s3_error!(NoSuchUpload, "the specified upload does not exist"))
    }

    fn find(&self, id: &str) -> S3Result<Option<UploadMeta>> {
        // The id becomes a path: nothing but what `begin` makes may pass.
        let valid = id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
        if !valid {
            return Ok(None);
        }
        read_json(&self.dir.join(id).join("meta.json")).map_err(disk("read the upload"))
    }

    /// All uploads, by key and id.
    pub(super) fn list(&self, bucket: &str) -> S3Result<BTreeMap<(String, String), UploadMeta>> {
        let mut uploads = BTreeMap::new();
        for entry in fs::read_dir(&self.dir).map_err(disk("list uploads"))? {
            let name = entry.map_err(disk("list uploads"))?.file_name();
            let Some(id) = name.to_str() else { continue };
            if let Some(meta) = self.find(id)?.filter(|meta| meta.bucket == bucket) {
                uploads.insert((meta.key.clone(), id.to_owned()), meta);
            }
        }
        Ok(uploads)
    }

    /// Makes a received body part `number`; one of the same number is replaced.
    pub(super) fn add_part(&self, id: &str, number: i32, received: Received) -> S3Result<()> {
        let dir = self.dir.join(id);
        let name = format!("part-{number:05}-{}", received.md5);
        let mut known = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if !dir.is_dir() {
            return Err(s3_error!(NoSuchUpload, "the upload ended meanwhile"));
        }
        let files = match known.entry(id.to_owned()) {
            Entry::Occupied(files) => files.into_mut(),
            Entry::Vacant(files) => {
                let found = parts(&dir).map_err(disk("list parts"))?.into_values();
                files.insert(found.map(|part| (part.number, part.path)).collect())
            }
        };
        let path = dir.join(name);
        received
            .file
            .persist(&path)
            .map_err(|error| disk("store the part")(error.error))?;
        let earlier = files.insert(number, path.clone());
        if let Some(earlier) = earlier.filter(|earlier| *earlier != path) {
            fs::remove_file(earlier).map_err(disk("replace the part"))?;
        }
        Ok(())
    }

    /// The parts of an upload by number.
    pub(super) fn parts(&self, id: &str) -> S3Result<BTreeMap<i32, StoredPart>> {
        let _changing = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        match parts(&self.dir.join(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(s3_error!(NoSuchUpload, "the upload ended meanwhile"))
            }
            other => other.map_err(disk("list parts")),
        }
    }

    /// Ends an upload and deletes its parts.
    pub(super) fn abort(&self, id: &str) -> S3Result<()> {
        let gone = self.layout.tmp().join(hex_id());
        self.rename(&self.dir.join(id), &gone)?;
        fs::remove_dir_all(gone).map_err(disk("delete the parts"))
    }

    /// Takes the upload out of sight, so that nobody changes it while it becomes an object.
    pub(super) fn begin_completing(&self, id: &str) -> S3Result<Completing<'_>> {
        let dir = self.dir.join(format!("{COMPLETING}{id}"));
        let home = self.dir.join(id);
        self.rename(&home, &dir)?;
        Ok(Completing {
            uploads: self,
            dir,
            home,
            done: false,
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> S3Result<()> {
        let mut known = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = from.file_name().and_then(|id| id.to_str()) {
            known.remove(id);
        }
        fs::rename(from, to).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                s3_error!(NoSuchUpload, "the upload ended meanwhile")
            } else {
                disk("end the upload")(error)
            }
        })
    }
}

/// An upload that becomes an object. Dropped before [`Completing::finish`], it is an unfinished
/// upload again.
pub(super) struct Completing<'a> {
    uploads: &'a Uploads,
    dir: PathBuf,
    home: PathBuf,
    done: bool,
}

impl Completing<'_> {
    /// The parts as they are; nobody adds to them any more.
    pub(super) fn parts(&self) -> S3Result<BTreeMap<i32, StoredPart>> {
        parts(&self.dir).map_err(disk("list parts"))
    }

    /// Writes `parts` one behind the other into a new file.
    pub(super) fn join(&self, parts: &[&StoredPart]) -> S3Result<tempfile::NamedTempFile> {
        let join = || {
            let file = tempfile::NamedTempFile::new_in(self.uploads.layout.tmp())?;
            let size = parts.iter().map(|part| part.size).sum();
            file.as_file().set_len(size)?;
            let mut at = 0_u64;
            for part in parts {
                sparse::copy(&File::open(&part.path)?, 0..part.size, file.as_file(), at)?;
                at = at.saturating_add(part.size);
            }
            Ok(file)
        };
        join().map_err(disk("join the parts"))
    }

    /// The object is there: deletes the parts.
    pub(super) fn finish(mut self) {
        self.done = true;
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::warn!("cannot delete {}: {error}", self.dir.display());
        }
    }
}

impl Drop for Completing<'_> {
    fn drop(&mut self) {
        if !self.done
            && let Err(error) = self.uploads.rename(&self.dir, &self.home)
        {
            tracing::warn!("cannot keep {}: {error}", self.home.display());
        }
    }
}

/// The parts in the directory of an upload.
fn parts(dir: &Path) -> io::Result<BTreeMap<i32, StoredPart>> {
    let mut parts = BTreeMap::<i32, StoredPart>::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some((number, etag)) = name
            .to_str()
            .and_then(|name| name.strip_prefix("part-"))
            .and_then(|name| name.split_once('-'))
        else {
            continue;
        };
        let Ok(number) = number.parse() else { continue };
        let metadata = entry.metadata()?;
        let part = StoredPart {
            number,
            etag: etag.to_owned(),
            size: metadata.len(),
            modified: metadata.modified()?,
            path: entry.path(),
        };
        // Two of one number are what a stop between storing and deleting leaves: the later counts.
        match parts.get(&number) {
            Some(other) if other.modified > part.modified => {}
            _ => {
                parts.insert(number, part);
            }
        }
    }
    Ok(parts)
}
