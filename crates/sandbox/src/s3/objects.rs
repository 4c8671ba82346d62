//! Objects on the disk: a plain file at `obs/BUCKET/KEY`, and what S3 knows of it in `meta`.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use md5::{Digest as _, Md5};
use parking_lot::Mutex;
use s3s::{S3ErrorCode, S3Result, s3_error};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tempfile::NamedTempFile;

use super::access;
use super::attributes::Attributes;
use super::error::disk;
use super::uploads::Uploads;
use crate::error::Error;
use crate::faults::FaultState;
use crate::layout::{Layout, read_json};

/// Storage class of a bucket that none was set for.
pub(crate) const STANDARD: &str = "STANDARD";

/// What S3 knows of an object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ObjectMeta {
    /// To be read by people; the file's name is a hash of it.
    pub(super) key: String,
    /// Without quotes.
    pub(super) etag: String,
    /// The multipart upload that made it.
    pub(super) upload_id: Option<String>,
    pub(super) attributes: Attributes,
    /// Of the file that this describes. Another file at the same path is another object.
    identity: Identity,
}

/// Tells files apart that were at the same path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    size: u64,
    inode: u64,
    modified: SystemTime,
}

impl Identity {
    fn of(metadata: &Metadata) -> io::Result<Self> {
        Ok(Self {
            size: metadata.len(),
            inode: metadata.ino(),
            modified: metadata.modified()?,
        })
    }
}

/// An object that exists.
pub(super) struct Object {
    pub(super) file: File,
    /// Bytes.
    pub(super) size: u64,
    pub(super) modified: SystemTime,
    pub(super) meta: ObjectMeta,
}

/// What an import sees of an object.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    NoBucket,
    NoObject,
    /// The disk of the sandbox fails.
    Unreadable,
    Object {
        /// Bytes.
        size: u64,
        storage_class: String,
        bucket_class: String,
    },
}

/// What is kept for a bucket.
#[derive(Serialize, Deserialize)]
struct BucketMeta {
    storage_class: String,
    /// Where it is, if not in the sandbox's region.
    #[serde(default)]
    region: Option<String>,
}

/// All buckets, objects and uploads. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct ObjectStore(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(super) layout: Layout,
    pub(super) region: String,
    pub(super) uploads: Uploads,
    pub(super) faults: Arc<FaultState>,
    /// Held while an object's file and its meta file are exchanged.
    changes: Mutex<()>,
    /// Held from the look at a condition to the store that it allows.
    pub(super) conditional: Mutex<()>,
}

impl ObjectStore {
    /// The store in a directory that is prepared.
    pub(crate) fn open(
        layout: Layout,
        region: String,
        faults: Arc<FaultState>,
    ) -> Result<Self, Error> {
        let uploads =
            Uploads::open(layout.clone()).map_err(|e| Error::io("open", layout.uploads(), e))?;
        Ok(Self(Arc::new(Inner {
            layout,
            region,
            uploads,
            faults,
            changes: Mutex::new(()),
            conditional: Mutex::new(()),
        })))
    }

    /// Makes a bucket when it is missing.
    pub(crate) fn make_bucket(&self, bucket: &str) -> Result<(), Error> {
        if !s3s::path::check_bucket_name(bucket) {
            return Err(Error::BucketName {
                name: bucket.to_owned(),
            });
        }
        let dir = self.0.layout.objects().join(bucket);
        fs::create_dir_all(&dir).map_err(|e| Error::io("create", dir, e))
    }

    /// Sets the default storage class of a bucket, and its region.
    pub(crate) fn describe_bucket(
        &self,
        bucket: &str,
        class: Option<&String>,
        region: Option<&String>,
    ) -> Result<(), Error> {
        let path = self.0.bucket_meta(bucket);
        let meta = BucketMeta {
            storage_class: class.map_or_else(|| STANDARD.to_owned(), Clone::clone),
            region: region.cloned(),
        };
        let write = || {
            fs::create_dir_all(self.0.layout.meta().join(bucket))?;
            self.0.layout.write_json(&path, &meta)
        };
        write().map_err(|e| Error::io("write", &path, e))
    }
}

impl ObjectStore {
    /// Looks for an object on behalf of an import.
    pub(crate) fn find(&self, bucket: &str, key: &str) -> Found {
        let found = self.0.object(bucket, key).and_then(|object| {
            Ok(Found::Object {
                size: object.size,
                storage_class: object.meta.attributes.storage_class,
                bucket_class: self.0.storage_class(bucket)?,
            })
        });
        found.unwrap_or_else(|error| match error.code() {
            S3ErrorCode::NoSuchBucket => Found::NoBucket,
            S3ErrorCode::NoSuchKey | S3ErrorCode::InvalidArgument => Found::NoObject,
            _ => Found::Unreadable,
        })
    }

    /// Default storage class of a bucket that is there.
    pub(crate) fn bucket_class(&self, bucket: &str) -> Option<String> {
        self.0.storage_class(bucket).ok()
    }

    /// Region of a bucket that is there.
    pub(crate) fn bucket_region(&self, bucket: &str) -> Option<String> {
        self.0.bucket_region(bucket).ok()
    }

    /// Bytes of an object, without a look at its content.
    pub(crate) fn size_of(&self, bucket: &str, key: &str) -> Option<u64> {
        let path = self.0.object_path(bucket, key).ok()?;
        let metadata = fs::metadata(path).ok()?;
        metadata.is_file().then_some(metadata.len())
    }

    /// Where the file of an object is, if its bucket is there.
    pub(crate) fn path_of(&self, bucket: &str, key: &str) -> Option<PathBuf> {
        self.0.object_path(bucket, key).ok()
    }
}

impl Inner {
    /// Directory of a bucket.
    ///
    /// # Errors
    /// NoSuchBucket.
    pub(super) fn bucket_dir(&self, bucket: &str) -> S3Result<PathBuf> {
        let dir = self.layout.objects().join(bucket);
        // A name that is no bucket's could lead elsewhere.
        if s3s::path::check_bucket_name(bucket) && dir.is_dir() {
            Ok(dir)
        } else {
            Err(s3_error!(
                NoSuchBucket,
                "the specified bucket does not exist"
            ))
        }
    }

    /// Where the file of an object is, whether it exists or not.
    pub(super) fn object_path(&self, bucket: &str, key: &str) -> S3Result<PathBuf> {
        access::check_key(key)?;
        Ok(self.bucket_dir(bucket)?.join(key))
    }

    fn bucket_meta(&self, bucket: &str) -> PathBuf {
        self.layout.meta().join(bucket).join("bucket.json")
    }

    fn object_meta(&self, bucket: &str, key: &str) -> PathBuf {
        let name = format!("{}.json", hex::encode(Sha256::digest(key)));
        self.layout.meta().join(bucket).join(name)
    }

    /// Default storage class of a bucket.
    pub(super) fn storage_class(&self, bucket: &str) -> S3Result<String> {
        let meta: Option<BucketMeta> =
            read_json(&self.bucket_meta(bucket)).map_err(disk("read the bucket"))?;
        Ok(meta.map_or_else(|| STANDARD.to_owned(), |meta| meta.storage_class))
    }

    /// Region of a bucket.
    pub(super) fn bucket_region(&self, bucket: &str) -> S3Result<String> {
        self.bucket_dir(bucket)?;
        let meta: Option<BucketMeta> =
            read_json(&self.bucket_meta(bucket)).map_err(disk("read the bucket"))?;
        let region = meta.and_then(|meta| meta.region);
        Ok(region.unwrap_or_else(|| self.region.clone()))
    }

    /// Opens an object.
    ///
    /// # Errors
    /// NoSuchBucket, NoSuchKey.
    pub(super) fn object(&self, bucket: &str, key: &str) -> S3Result<Object> {
        let path = self.object_path(bucket, key)?;
        let missing = || s3_error!(NoSuchKey, "the specified key does not exist");
        let _changing = self.changes.lock();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return Err(missing()),
            Err(error) => return Err(disk("open the object")(error)),
        };
        let metadata = file.metadata().map_err(disk("open the object"))?;
        if !metadata.is_file() {
            return Err(missing());
        }
        let identity = Identity::of(&metadata).map_err(disk("open the object"))?;
        let meta_path = self.object_meta(bucket, key);
        let kept: Option<ObjectMeta> = read_json(&meta_path).map_err(disk("open the object"))?;
        let meta = match kept.filter(|meta| meta.identity == identity) {
            Some(meta) => meta,
            None => {
                // Somebody put the file there by hand, or the sandbox was stopped in between.
                let meta = ObjectMeta {
                    key: key.to_owned(),
                    etag: md5_of(&path).map_err(disk("read the object"))?,
                    upload_id: None,
                    attributes: Attributes {
                        storage_class: self.storage_class(bucket)?,
                        ..Attributes::default()
                    },
                    identity: identity.clone(),
                };
                self.write_meta(&meta_path, &meta)?;
                meta
            }
        };
        Ok(Object {
            file,
            size: identity.size,
            modified: identity.modified,
            meta,
        })
    }

    /// Makes `file` the object: it appears whole, in place of any earlier one.
    ///
    /// # Errors
    /// NoSuchBucket; InvalidArgument when a part of the key is an object already, as a file cannot
    /// be a directory too.
    pub(super) fn commit(
        &self,
        bucket: &str,
        key: &str,
        file: NamedTempFile,
        etag: String,
        upload_id: Option<String>,
        attributes: Attributes,
    ) -> S3Result<()> {
        let path = self.object_path(bucket, key)?;
        let metadata = file
            .as_file()
            .metadata()
            .map_err(disk("store the object"))?;
        let meta = ObjectMeta {
            key: key.to_owned(),
            etag,
            upload_id,
            attributes,
            identity: Identity::of(&metadata).map_err(disk("store the object"))?,
        };
        let _changing = self.changes.lock();
        let conflict = || {
            s3_error!(
                InvalidArgument,
                "the sandbox keeps objects as files: this key or a part of it is both a file and a \
                 directory"
            )
        };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|_| conflict())?;
        }
        if path.is_dir() {
            return Err(conflict());
        }
        // The description first: until the file follows, it is not the present file's.
        self.write_meta(&self.object_meta(bucket, key), &meta)?;
        file.persist(&path)
            .map_err(|error| disk("store the object")(error.error))?;
        Ok(())
    }

    /// Deletes an object; that there is none is fine.
    pub(super) fn delete(&self, bucket: &str, key: &str) -> S3Result<()> {
        let dir = self.bucket_dir(bucket)?;
        let path = self.object_path(bucket, key)?;
        let _changing = self.changes.lock();
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(disk("delete the object")(error)),
        }
        let _ = fs::remove_file(self.object_meta(bucket, key));
        // Directories exist because of the objects below them: empty ones go.
        let above = path.ancestors().skip(1).take_while(|above| *above != dir);
        for parent in above {
            if fs::remove_dir(parent).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn write_meta(&self, path: &Path, meta: &ObjectMeta) -> S3Result<()> {
        let write = || {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            self.layout.write_json(path, meta)
        };
        write().map_err(disk("describe the object"))
    }
}

/// Whether the error says that there is nothing at the path.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory
    )
}

fn md5_of(path: &Path) -> io::Result<String> {
    struct Hash(Md5);
    impl io::Write for Hash {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut hash = Hash(Md5::new());
    io::copy(&mut File::open(path)?, &mut hash)?;
    Ok(hex::encode(hash.0.finalize()))
}
