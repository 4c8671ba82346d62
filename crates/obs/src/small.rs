//! Small objects through which processes coordinate: created only if absent, read whole, listed.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{EncodingType, StorageClass};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use md5::{Digest, Md5};
use serde::Serialize;

use crate::classify::from_sdk;
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::etag::unquoted;
use crate::listing::{PAGE, decoded};
use crate::names;

/// Most objects that are listed; more are an error.
const MOST: usize = 100_000;

/// The outcome of storing an object only if it is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// This call stored it.
    New,
    /// Another one has the key.
    Taken,
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedObject {
    /// Its key.
    pub key: String,
    /// Length in bytes.
    pub size: u64,
    /// ETag without quotes, if the server reports it.
    pub etag: Option<String>,
    /// When it was stored, in seconds since 1970, if the server reports it.
    pub modified: Option<i64>,
}

impl Client {
    /// Stores `body` as `key` if no object has that key (`If-None-Match: *`). A server that does
    /// not know the condition ignores it and replaces the object: test it before relying on it. A
    /// lost answer does not matter if bodies differ between callers: an object that holds `body`
    /// counts as stored by this call.
    ///
    /// # Errors
    /// What the server says.
    pub async fn put_if_absent(
        &self,
        bucket: &str,
        key: &str,
        body: Bytes,
    ) -> Result<Stored, Error> {
        self.check_bucket_name(bucket)?;
        names::check_key(key)?;
        let what = format!("storing {bucket}/{key}");
        let md5 = BASE64.encode(Md5::digest(&body));
        let stored = self
            .call(self.policy(), &what, |_| {
                let request = self
                    .s3()
                    .put_object()
                    .bucket(bucket)
                    .key(key)
                    .if_none_match("*")
                    .content_type("application/json")
                    .storage_class(StorageClass::Standard)
                    .content_md5(&md5)
                    .body(ByteStream::from(body.clone()));
                async move { request.send().await.map_err(from_sdk) }
            })
            .await;
        match stored {
            Ok(_) => Ok(Stored::New),
            // 409: another request for the key was at work at the same time.
            Err(error) if matches!(error.status(), Some(409 | 412)) => {
                let most = u64::try_from(body.len()).unwrap_or(u64::MAX);
                let found = self.small_object(bucket, key, most).await?;
                Ok(match found {
                    Some(found) if found == body => Stored::New,
                    _ => Stored::Taken,
                })
            }
            Err(error) => Err(error.doing(what)),
        }
    }

    /// All bytes of an object of at most `most` bytes; `None` when there is none, or a longer one.
    ///
    /// # Errors
    /// What the server says.
    pub async fn small_object(
        &self,
        bucket: &str,
        key: &str,
        most: u64,
    ) -> Result<Option<Bytes>, Error> {
        // It may be replaced between the two requests, for a while again and again.
        const TRIES: u32 = 5;
        let mut replaced = None;
        for _ in 0..TRIES {
            let Some(object) = self.object(bucket, key).await? else {
                return Ok(None);
            };
            if object.size > most {
                return Ok(None);
            }
            if object.size == 0 {
                return Ok(Some(Bytes::new()));
            }
            match self.range(bucket, key, 0..object.size, &object).await {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Integrity => replaced = Some(error),
                Err(error) => return Err(error),
            }
        }
        match replaced {
            Some(error) => Err(error),
            None => Ok(None),
        }
    }

    /// All objects of `bucket` whose keys begin with `prefix`, in the order of their keys.
    ///
    /// # Errors
    /// What the server says; [`ErrorKind::Server`] when its pages lead nowhere.
    pub async fn list_objects(
        &self,
        bucket: &str,
        prefix: &str,
    ) -> Result<Vec<ListedObject>, Error> {
        self.check_bucket_name(bucket)?;
        let what = format!("listing the objects of {bucket} below {prefix}");
        let mut objects: Vec<ListedObject> = Vec::new();
        let mut after: Option<String> = None;
        loop {
            // The older listing: every server knows it, and it continues after a key.
            let page = self
                .call(self.policy(), &what, |_| {
                    let request = self
                        .s3()
                        .list_objects()
                        .bucket(bucket)
                        .prefix(prefix)
                        .set_marker(after.clone())
                        .encoding_type(EncodingType::Url)
                        .max_keys(PAGE);
                    async move { request.send().await.map_err(from_sdk) }
                })
                .await
                .map_err(|error| error.doing(what.clone()))?;
            let before = objects.len();
            let decoded = |key: &str| decoded(key, page.encoding_type());
            objects.extend(page.contents().iter().filter_map(|object| {
                Some(ListedObject {
                    key: decoded(object.key()?),
                    size: object
                        .size()
                        .and_then(|size| size.try_into().ok())
                        .unwrap_or(0),
                    etag: object.e_tag().map(unquoted),
                    modified: object.last_modified().map(|time| time.secs()),
                })
            }));
            if page.is_truncated() != Some(true) {
                objects.sort_by(|a, b| a.key.cmp(&b.key));
                return Ok(objects);
            }
            let next = page
                .next_marker()
                .filter(|marker| !marker.is_empty())
                .map(decoded)
                .or_else(|| objects.iter().map(|object| object.key.clone()).max());
            if objects.len() > MOST || objects.len() == before || next.is_none() || next == after {
                return Err(Error::new(
                    ErrorKind::Server,
                    format!("the list does not end after {} objects", objects.len()),
                )
                .doing(what));
            }
            after = next;
        }
    }
}
