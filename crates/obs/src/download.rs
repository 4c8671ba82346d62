//! Reading objects back, in ranges of one unchanging object; and deleting them.

use bytes::Bytes;

use crate::classify::from_sdk;
use crate::client::Client;
use crate::error::Error;
use crate::info::ObjectInfo;
use crate::names;

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
