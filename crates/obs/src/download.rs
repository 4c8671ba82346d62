//! Reading objects back, in ranges of one unchanging object; and deleting them.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use bytes::Bytes;
use convert::{Counter, Monitor};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use md5::{Digest as _, Md5};

use crate::classify::from_sdk;
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::info::ObjectInfo;
use crate::names;

/// Bytes of a range. With [`AT_ONCE`] this is the memory that a download takes.
const RANGE: u64 = 8 << 20;
/// Ranges that are read at the same time.
const AT_ONCE: usize = 4;

impl Client {
    /// Bytes `from` to `from + len` of the object, while it is the one that `info` describes.
    ///
    /// # Errors
    /// What the server says; [`crate::ErrorKind::Integrity`] when the object was replaced, or the
    /// answer stays shorter than requested after all attempts.
    pub async fn get_range(
        &self,
        bucket: &str,
        key: &str,
        info: &ObjectInfo,
        from: u64,
        len: u64,
    ) -> Result<Bytes, Error> {
        self.check_bucket_name(bucket)?;
        names::check_key(key)?;
        if len == 0 {
            return Ok(Bytes::new());
        }
        let range = from..from.saturating_add(len);
        self.range(bucket, key, range, info).await
    }

    /// Writes the object that `info` describes to `file`, and says whether its MD5 was compared
    /// with the ETag: that is none for objects that were stored in parts, or encrypted. `monitor`
    /// counts [`Counter::GuestBytes`].
    ///
    /// # Errors
    /// Those of [`Client::get_range`]; [`ErrorKind::Integrity`] when the MD5 differs, and
    /// [`ErrorKind::Local`] when the file cannot be written.
    pub async fn download(
        &self,
        (bucket, key): (&str, &str),
        info: &ObjectInfo,
        file: &File,
        monitor: &dyn Monitor,
    ) -> Result<bool, Error> {
        let starts = (0..info.size.div_ceil(RANGE)).map(|n| n.saturating_mul(RANGE));
        let ranges = stream::iter(starts).map(|from| async move {
            let len = RANGE.min(info.size.saturating_sub(from));
            let bytes = self.get_range(bucket, key, info, from, len).await?;
            Ok::<_, Error>((from, bytes))
        });
        let mut md5 = Md5::new();
        // In order, for the MD5.
        let mut ranges = std::pin::pin!(ranges.buffered(AT_ONCE));
        while let Some((from, bytes)) = ranges.try_next().await? {
            md5.update(&bytes);
            file.write_all_at(&bytes, from)
                .map_err(|error| Error::local(error.into()).doing("writing the download"))?;
            let len = u64::try_from(bytes.len()).unwrap_or_default();
            monitor.count(Counter::GuestBytes, len);
        }
        let found = hex::encode(md5.finalize());
        match info.md5() {
            Some(expected) if !expected.eq_ignore_ascii_case(&found) => Err(Error::new(
                ErrorKind::Integrity,
                format!(
                    "the download of {bucket}/{key} has MD5 {found}, the object's ETag is {expected}"
                ),
            )),
            known => Ok(known.is_some()),
        }
    }

    /// Deletes an object; that there is none is fine.
    ///
    /// # Errors
    /// What the server says.
    pub async fn delete_object(&self, bucket: &str, key: &str) -> Result<(), Error> {
        self.check_bucket_name(bucket)?;
        names::check_key(key)?;
        let what = format!("deleting {bucket}/{key}");
        self.call(self.policy(), &what, |_| async move {
            let request = self.s3().delete_object().bucket(bucket).key(key);
            request.send().await.map_err(from_sdk)
        })
        .await
        .map(drop)
        .map_err(|error: Error| error.doing(what.clone()))
    }
}
