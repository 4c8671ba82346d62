//! Reading objects back, in ranges of one unchanging object; and deleting them.

use bytes::Bytes;
use net::retry::retry;

use crate::classify::from_sdk;
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::names;

impl Client {
    /// Bytes `from` to `from + len` of the object, while its ETag is `etag`.
    ///
    /// # Errors
    /// What the server says; [`ErrorKind::Integrity`] when the object is another one meanwhile, or the answer is not
    /// as long as what was asked for, after all attempts.
    pub async fn get_range(
        &self,
        bucket: &str,
        key: &str,
        etag: &str,
        from: u64,
        len: u64,
    ) -> Result<Bytes, Error> {
        self.check_bucket_name(bucket)?;
        names::check_key(key)?;
        let Some(last) = len
            .checked_sub(1)
            .and_then(|before| from.checked_add(before))
        else {
            return Ok(Bytes::new());
        };
        let what = format!("reading {bucket}/{key} from byte {from}");
        retry(self.policy(), &what, |_| async move {
            let answer = self
                .s3()
                .get_object()
                .bucket(bucket)
                .key(key)
                .if_match(format!("\"{etag}\""))
                .range(format!("bytes={from}-{last}"))
                .send()
                .await
                .map_err(|error| changed(from_sdk(error)))?;
            let told = answer.content_length().and_then(|n| u64::try_from(n).ok());
            if told != Some(len) {
                // A server that ignores the range would fill the memory with the whole object.
                return Err(Error::new(
                    ErrorKind::Integrity,
                    format!("the answer has {told:?} bytes, expected {len}"),
                ));
            }
            let body = answer.body.collect().await.map_err(|error| {
                Error::new(ErrorKind::Network, format!("the answer broke off: {error}"))
                    .with_verdict(net::retry::Verdict::Retry)
            })?;
            let bytes = body.into_bytes();
            if u64::try_from(bytes.len()).ok() != Some(len) {
                return Err(Error::new(
                    ErrorKind::Integrity,
                    format!("the answer has {} bytes, expected {len}", bytes.len()),
                )
                .with_verdict(net::retry::Verdict::Retry));
            }
            Ok(bytes)
        })
        .await
        .map_err(|error: Error| error.doing(what.clone()))
    }

    /// Deletes an object; that there is none is fine.
    ///
    /// # Errors
    /// What the server says.
    pub async fn delete_object(&self, bucket: &str, key: &str) -> Result<(), Error> {
        self.check_bucket_name(bucket)?;
        names::check_key(key)?;
        let what = format!("deleting {bucket}/{key}");
        retry(self.policy(), &what, |_| async move {
            let request = self.s3().delete_object().bucket(bucket).key(key);
            request.send().await.map_err(from_sdk)
        })
        .await
        .map(drop)
        .map_err(|error: Error| error.doing(what.clone()))
    }
}

/// Another object stands under the key now.
fn changed(error: Error) -> Error {
    if error.status() == Some(412) {
        return Error::new(ErrorKind::Integrity, "the object was replaced meanwhile");
    }
    error
}
