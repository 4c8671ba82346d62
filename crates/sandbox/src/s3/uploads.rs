//! Unfinished multipart uploads on the disk.
//!
//! `uploads/ID/` holds `meta.json` and one file `part-NNNNN-MD5` for each part. Number, ETag, size
//! and time of a part are those of its file, so one rename makes a part visible with all of them.
//! Of a part that lies in its place in the [`Assembly`] there is an empty file
//! `part-NNNNN-MD5@OFFSET+SIZE`.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use parking_lot::Mutex;
use s3s::{S3Error, S3Result, s3_error};
use serde::{Deserialize, Serialize};
use tempfile::{NamedTempFile, TempPath};

use super::assembly::{self, Assembly, Place, StoredPart};
use super::attributes::Attributes;
use super::error::disk;
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

/// What has arrived of a part.
pub(super) struct Arrived {
    /// Lower-case hex MD5.
    pub(super) md5: String,
    pub(super) body: ArrivedIn,
}

/// Where the bytes of a part are.
pub(super) enum ArrivedIn {
    File(NamedTempFile),
    /// In its place, with so many bytes.
    Place(Place, u64),
}

/// What is known of an upload that got parts in this run. Listing the directory for each of 10,000
/// parts would take longer than storing them.
#[derive(Debug)]
struct Upload {
    /// Files of the parts by number.
    files: HashMap<i32, PathBuf>,
    /// `None` before the first part, and where there can be none.
    assembly: Option<Assembly>,
}

impl Upload {
    fn read(dir: &Path) -> io::Result<Self> {
        let found = parts(dir)?.into_values();
        Ok(Self {
            files: found.map(|part| (part.number, part.path)).collect(),
            assembly: None,
        })
    }
}

/// By upload id.
type Known = HashMap<String, Upload>;

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

    /// The place for a part of `len` bytes, unless it must lie in a file of its own.
    pub(super) fn place(&self, id: &str, number: i32, len: u64) -> S3Result<Option<Place>> {
        let dir = self.dir.join(id);
        let mut known = self.changes.lock();
        let upload = upload(&mut known, id, &dir)?;
        if len == 0 {
            return Ok(None);
        }
        if upload.assembly.is_none() {
            upload.assembly = match Assembly::begin(&dir, len) {
                Ok(assembly) => Some(assembly),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
                Err(error) => return Err(disk("store the part")(error)),
            };
        }
        let place = upload.assembly.as_mut().map(|all| all.place(number, len));
        place.map_or(Ok(None), |place| place.map_err(disk("store the part")))
    }

    /// Makes what has arrived part `number`; one of the same number is replaced.
    pub(super) fn add_part(&self, id: &str, number: i32, arrived: Arrived) -> S3Result<()> {
        let dir = self.dir.join(id);
        let mut known = self.changes.lock();
        let files = &mut upload(&mut known, id, &dir)?.files;
        let name = format!("part-{number:05}-{}", arrived.md5);
        let path = match arrived.body {
            ArrivedIn::File(file) => {
                let path = dir.join(name);
                file.persist(&path)
                    .map_err(|error| disk("store the part")(error.error))?;
                path
            }
            ArrivedIn::Place(place, size) => {
                let path = dir.join(format!("{name}@{}+{size}", place.offset));
                File::create(&path).map_err(disk("store the part"))?;
                path
            }
        };
        let earlier = files.insert(number, path.clone());
        if let Some(earlier) = earlier.filter(|earlier| *earlier != path) {
            match fs::remove_file(earlier) {
                // Whoever looks into the directory may have taken it away.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.map_err(disk("replace the part"))?,
            }
        }
        Ok(())
    }

    /// The parts of an upload by number.
    pub(super) fn parts(&self, id: &str) -> S3Result<BTreeMap<i32, StoredPart>> {
        let _changing = self.changes.lock();
        match parts(&self.dir.join(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ended()),
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
        let assembly = self.rename(&home, &dir)?;
        Ok(Completing {
            uploads: self,
            dir,
            home,
            assembly,
            done: false,
        })
    }

    /// Renames the directory of an upload. Nothing is known of it any more; its assembly.
    fn rename(&self, from: &Path, to: &Path) -> S3Result<Option<Assembly>> {
        let mut known = self.changes.lock();
        let id = from.file_name().and_then(|id| id.to_str());
        let upload = id.and_then(|id| known.remove(id));
        fs::rename(from, to).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                ended()
            } else {
                disk("end the upload")(error)
            }
        })?;
        Ok(upload.and_then(|upload| upload.assembly))
    }
}

fn ended() -> S3Error {
    s3_error!(NoSuchUpload, "the upload has ended")
}

/// What is known of upload `id`, whose directory is `dir`.
fn upload<'a>(known: &'a mut Known, id: &str, dir: &Path) -> S3Result<&'a mut Upload> {
    if !dir.is_dir() {
        return Err(ended());
    }
    match known.entry(id.to_owned()) {
        Entry::Occupied(upload) => Ok(upload.into_mut()),
        Entry::Vacant(upload) => Ok(upload.insert(Upload::read(dir).map_err(disk("list parts"))?)),
    }
}

/// An upload that becomes an object. Dropped before [`Completing::finish`], it is an unfinished
/// upload again.
pub(super) struct Completing<'a> {
    uploads: &'a Uploads,
    dir: PathBuf,
    home: PathBuf,
    assembly: Option<Assembly>,
    done: bool,
}

impl Completing<'_> {
    /// The parts as they are; nobody adds to them any more.
    pub(super) fn parts(&self) -> S3Result<BTreeMap<i32, StoredPart>> {
        parts(&self.dir).map_err(disk("list parts"))
    }

    /// A file that holds `parts` one behind the other: the assembly if they are in their places,
    /// else a new one.
    pub(super) fn join(&self, parts: &[&StoredPart]) -> S3Result<NamedTempFile> {
        let join = || {
            let (file, assembled) = match self.assembled(parts)? {
                Some(file) => (file, true),
                None => (NamedTempFile::new_in(self.uploads.layout.tmp())?, false),
            };
            let size = parts.iter().map(|part| part.size).sum();
            file.as_file().set_len(size)?;
            let mut at = 0_u64;
            for part in parts {
                let (path, start) = match part.place {
                    Some(_) if assembled => (None, 0),
                    Some(offset) => (Some(assembly::path(&self.dir)), offset),
                    None => (Some(part.path.clone()), 0),
                };
                if let Some(path) = path {
                    let range = start..start.saturating_add(part.size);
                    sparse::copy(&File::open(path)?, range, file.as_file(), at)?;
                }
                at = at.saturating_add(part.size);
            }
            Ok(file)
        };
        join().map_err(disk("join the parts"))
    }

    /// The assembly under a temporary name, if it can become the object.
    fn assembled(&self, listed: &[&StoredPart]) -> io::Result<Option<NamedTempFile>> {
        let fits = |assembly: &&Assembly| assembly.fits(listed);
        let Some(assembly) = self.assembly.as_ref().filter(fits) else {
            return Ok(None);
        };
        let path = self.uploads.layout.tmp().join(hex_id());
        // Where there are no links the parts are copied.
        let Ok(file) = assembly.link(&path, &self.dir) else {
            return Ok(None);
        };
        let path = TempPath::try_from_path(path)?;
        Ok(Some(NamedTempFile::from_parts(file, path)))
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
        let (etag, place) = match etag.split_once('@') {
            None => (etag, None),
            Some((etag, place)) => match numbers(place) {
                Some(place) => (etag, Some(place)),
                None => continue,
            },
        };
        let part = StoredPart {
            number,
            etag: etag.to_owned(),
            size: place.map_or(metadata.len(), |(_, size)| size),
            modified: metadata.modified()?,
            path: entry.path(),
            place: place.map(|(offset, _)| offset),
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

/// `OFFSET+SIZE`.
fn numbers(text: &str) -> Option<(u64, u64)> {
    let (offset, size) = text.split_once('+')?;
    Some((offset.parse().ok()?, size.parse().ok()?))
}
