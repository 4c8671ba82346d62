//! The small object beside an image: what is in it, without reading it.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::StorageClass;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use convert::Level;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use crate::classify::from_sdk;
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::info::ObjectInfo;
use crate::names;

/// Longest manifest that is read, in bytes.
const MAX_LEN: u64 = 64 << 10;
/// Version of the fields below.
const VERSION: u32 = 1;

/// What an object holds. It is uploaded after the object is complete and verified, so a matching
/// manifest proves that the object was once correct.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this document: 1.
    pub version: u32,
    /// Who wrote it: name and version of the program.
    pub tool: String,
    /// Format of the object: `zvhd2` or `raw`.
    pub format: String,
    /// Content digest of the disk.
    pub content_digest: String,
    /// Size of the disk in bytes.
    pub virtual_size: u64,
    /// Length of the object in bytes.
    pub object_size: u64,
    /// The object's ETag, without quotes.
    pub object_etag: String,
    /// Blocks of 2 MiB of which the source stored something.
    pub data_blocks: u64,
    /// All blocks of 2 MiB of the disk.
    pub blocks: u64,
    /// The zstd level that it was compressed at, or `auto`; not in manifests of raw objects, nor in
    /// old ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// Key of the object that a migration makes in the end, where this is one of its generations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation_of: Option<String>,
    /// When the manifest itself was stored, in seconds since 1970, if the server reports it.
    #[serde(skip)]
    pub stored: Option<i64>,
}

impl Manifest {
    /// A manifest of the present version.
    #[must_use]
    pub fn new(
        format: &str,
        content_digest: String,
        virtual_size: u64,
        data_blocks: u64,
        object: (u64, String),
    ) -> Self {
        Self {
            version: VERSION,
            tool: concat!("imgferry ", env!("CARGO_PKG_VERSION")).to_owned(),
            format: format.to_owned(),
            content_digest,
            virtual_size,
            object_size: object.0,
            object_etag: object.1,
            data_blocks,
            blocks: virtual_size.div_ceil(2 << 20),
            level: None,
            generation_of: None,
            stored: None,
        }
    }

    /// The same for an object that was compressed at `level`.
    #[must_use]
    pub fn with_level(self, level: Option<Level>) -> Self {
        Self { level, ..self }
    }

    /// The same for a generation of the object `key`.
    #[must_use]
    pub fn with_generation_of(self, key: Option<&str>) -> Self {
        Self {
            generation_of: key.map(str::to_owned),
            ..self
        }
    }

    /// Key of the manifest of the object `key`.
    #[must_use]
    pub fn key_of(key: &str) -> String {
        format!("{key}.imgferry.json")
    }

    /// Whether `object` is the one that this describes, and not one that replaced it. Where the
    /// storage reports no ETags, one that was stored after its manifest has replaced it.
    #[must_use]
    pub fn describes(&self, object: &ObjectInfo) -> bool {
        let is_reported = object.etag.is_some() && !self.object_etag.is_empty();
        let is_older = || {
            let times = object.modified.zip(self.stored);
            times.is_some_and(|(object, manifest)| object <= manifest)
        };
        object.may_be(self.object_size, &self.object_etag) && (is_reported || is_older())
    }
}

impl Client {
    /// Stores the manifest of the object `key`, replacing an older one.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when the key has no room for the ending; otherwise what the server
    /// says.
    pub async fn put_manifest(
        &self,
        bucket: &str,
        key: &str,
        manifest: &Manifest,
    ) -> Result<(), Error> {
        self.check_bucket_name(bucket)?;
        let key = Manifest::key_of(key);
        names::check_key(&key)?;
        let text = serde_json::to_vec_pretty(manifest)
            .map_err(|error| Error::refused(format!("the manifest has no JSON form: {error}")))?;
        let md5 = BASE64.encode(Md5::digest(&text));
        let what = format!("storing {bucket}/{key}");
        self.call(self.policy(), &what, |_| {
            let request = self
                .s3()
                .put_object()
                .bucket(bucket)
                .key(&key)
                .content_type("application/json")
                .storage_class(StorageClass::Standard)
                .content_md5(&md5)
                .body(ByteStream::from(text.clone()));
            async move { request.send().await.map_err(from_sdk) }
        })
        .await
        .map(drop)
        .map_err(|error| error.doing(what))
    }

    /// The manifest of the object `key`. `None` when there is none, or none that this version
    /// understands.
    ///
    /// # Errors
    /// What the server says.
    pub async fn manifest(&self, bucket: &str, key: &str) -> Result<Option<Manifest>, Error> {
        let key = Manifest::key_of(key);
        let Some(object) = self.object(bucket, &key).await? else {
            return Ok(None);
        };
        if object.size == 0 || object.size > MAX_LEN {
            return Ok(None);
        }
        let read = self.range(bucket, &key, 0..object.size, &object);
        let bytes = match read.await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let manifest: Option<Manifest> = serde_json::from_slice(&bytes).ok();
        let manifest = manifest.filter(|manifest| manifest.version == VERSION);
        Ok(manifest.map(|manifest| Manifest {
            stored: object.modified,
            ..manifest
        }))
    }
}
