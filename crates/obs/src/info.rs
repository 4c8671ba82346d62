//! What is known of buckets and objects.

use serde::Serialize;

use crate::etag;

/// What is known of a bucket. Fields that the server does not report are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BucketInfo {
    /// Storage class that new objects get, such as `STANDARD`.
    pub storage_class: Option<String>,
    /// The region that the bucket is in.
    pub region: Option<String>,
    /// Whether this is a parallel file system, which is no plain bucket.
    pub parallel_file_system: bool,
}

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ObjectInfo {
    /// Length in bytes.
    pub size: u64,
    /// ETag without quotes, if the server reports one.
    pub etag: Option<String>,
    /// Whether the server calls that ETag weak: it is compared, and never sent as a condition.
    #[serde(skip)]
    pub weak_etag: bool,
    /// When it was stored, in seconds since 1970, if the server reports it.
    #[serde(skip)]
    pub modified: Option<i64>,
    /// Storage class; some servers do not report the standard one.
    pub storage_class: Option<String>,
    /// Whether the server says that it encrypts the object: its ETag is then no MD5.
    pub encrypted: bool,
}

impl ObjectInfo {
    /// The MD5 of the object's bytes, in hexadecimal, where its ETag is one: not of objects that
    /// were stored in parts (`MD5-PARTS`), and not of encrypted ones.
    #[must_use]
    pub fn md5(&self) -> Option<&str> {
        let etag = self.etag.as_deref().filter(|_| !self.encrypted)?;
        etag::is_md5(etag).then_some(etag)
    }

    /// The ETag, where it is made of the MD5s of the object's parts.
    #[must_use]
    pub fn md5_of_parts(&self) -> Option<&str> {
        let etag = self.etag.as_deref().filter(|_| !self.encrypted)?;
        etag::is_md5_of_parts(etag).then_some(etag)
    }

    /// The ETag as a condition of another request, where it can be one.
    pub(crate) fn condition(&self) -> Option<String> {
        let etag = self.etag.as_deref().filter(|_| !self.weak_etag)?;
        Some(format!("\"{etag}\""))
    }

    /// Whether this may be the object that had `size` bytes and `etag`. Where either ETag was not
    /// reported, the length has to do.
    #[must_use]
    pub fn may_be(&self, size: u64, etag: &str) -> bool {
        let same = match self.etag.as_deref() {
            None | Some("") => true,
            Some(found) => etag.is_empty() || found.eq_ignore_ascii_case(etag),
        };
        self.size == size && same
    }
}
