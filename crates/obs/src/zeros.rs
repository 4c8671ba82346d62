//! Parts that are all zero: made by the server, from one object of zeros that is uploaded once.
//!
//! The object lies beside the target while the upload lasts. If the server refuses to copy, the
//! zeros are sent.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use md5::{Digest as _, Md5};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::OnceCell;

use crate::client::Client;
use crate::confirmed::Confirmed;
use crate::error::{Error, ErrorKind, broken};
use crate::hashing::Hashes;
use crate::multipart::{Target, Traffic};

/// Longest key of an object, less what the helper's name adds.
const MAX_STEM: usize = 1024 - 40;

/// What the server copied instead of being sent it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServerCopies {
    /// Bytes of each part but the last.
    pub part_size: u64,
    /// Parts that the server copied from the helper object.
    pub copied_parts: u64,
    /// Their bytes.
    pub copied_bytes: u64,
    /// Parts of zeros that were sent, because the server did not copy.
    pub zero_parts_sent: u64,
    /// Why the server did not copy, if it did not.
    pub copies_refused: Option<String>,
    /// The helper object, when it could not be deleted, and why.
    pub left_behind: Option<String>,
}

/// A part that is all zero.
#[derive(Debug)]
pub(crate) struct ZeroPart {
    pub(crate) number: u32,
    /// Bytes.
    pub(crate) size: u64,
    pub(crate) zeros: Arc<Zeros>,
}

impl ZeroPart {
    /// MD5 of its bytes.
    pub(crate) async fn md5(&self) -> Result<[u8; 16], Error> {
        self.zeros.md5(self.size).await
    }

    /// Has the server make it, or sends it. `md5` is the MD5 of its bytes.
    pub(crate) async fn make(
        self,
        client: &Client,
        target: &Target,
        md5: [u8; 16],
        traffic: &Traffic,
    ) -> Result<Confirmed, Error> {
        let Self {
            number,
            size,
            zeros,
        } = self;
        zeros.part(client, target, number, size, md5, traffic).await
    }
}

/// The zeros of one upload.
pub(crate) struct Zeros {
    /// Bytes of a full part, and of the helper object.
    part_size: u64,
    /// Whether an earlier run may have stored the helper.
    resumed: bool,
    /// The helper's key.
    key: String,
    /// Whether the helper is there; false when the server did not take it.
    helper: OnceCell<bool>,
    /// Whether storing the helper was ever begun, so that it may be there.
    begun: AtomicBool,
    /// Why nothing is copied any more.
    refused: Mutex<Option<Error>>,
    /// The zeros in memory, once they had to be sent.
    body: OnceCell<Bytes>,
    /// MD5 by length: that of a full part, and that of the last one.
    md5s: tokio::sync::Mutex<HashMap<u64, [u8; 16]>>,
    copied_parts: AtomicU64,
    copied_bytes: AtomicU64,
    sent_parts: AtomicU64,
}

impl fmt::Debug for Zeros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zeros")
            .field("key", &self.key)
            .field("copies", &self.copies())
            .finish_non_exhaustive()
    }
}

impl Zeros {
    /// For the upload `target` with parts of `part_size` bytes.
    pub(crate) fn new(target: &Target, part_size: u64) -> Self {
        Self {
            resumed: false,
            part_size,
            key: helper_key(&target.key, &target.upload_id),
            helper: OnceCell::new(),
            begun: AtomicBool::new(false),
            refused: Mutex::new(None),
            body: OnceCell::new(),
            md5s: tokio::sync::Mutex::default(),
            copied_parts: AtomicU64::new(0),
            copied_bytes: AtomicU64::new(0),
            sent_parts: AtomicU64::new(0),
        }
    }

    /// For a resumed upload: the helper may exist.
    pub(crate) fn of_earlier(target: &Target, part_size: u64) -> Self {
        Self {
            resumed: true,
            begun: AtomicBool::new(true),
            ..Self::new(target, part_size)
        }
    }

    /// Bytes of a full part.
    pub(crate) fn part_size(&self) -> u64 {
        self.part_size
    }

    /// Key of the helper object, if it may be there.
    pub(crate) fn key(&self) -> Option<&str> {
        let begun = self.begun.load(Ordering::Relaxed);
        begun.then_some(self.key.as_str())
    }

    /// What was copied so far, and what was not.
    pub(crate) fn copies(&self) -> ServerCopies {
        ServerCopies {
            part_size: self.part_size,
            copied_parts: self.copied_parts.load(Ordering::Relaxed),
            copied_bytes: self.copied_bytes.load(Ordering::Relaxed),
            zero_parts_sent: self.sent_parts.load(Ordering::Relaxed),
            copies_refused: self.refused().map(|error| error.to_string()),
            left_behind: None,
        }
    }

    /// Why the server does not copy, if it does not.
    fn refused(&self) -> Option<Error> {
        self.refused.lock().clone()
    }

    async fn part(
        &self,
        client: &Client,
        target: &Target,
        number: u32,
        size: u64,
        md5: [u8; 16],
        traffic: &Traffic,
    ) -> Result<Confirmed, Error> {
        if self.refused().is_none() && self.helper(client, target, traffic).await? {
            let copied = client.copy_part(target, number, &self.key, self.part_size, size, md5);
            match copied.await {
                Ok(confirmed) => {
                    self.copied_parts.fetch_add(1, Ordering::Relaxed);
                    self.copied_bytes.fetch_add(size, Ordering::Relaxed);
                    return Ok(confirmed);
                }
                Err(error) if error.refuses_copy() => self.give_up(error),
                Err(error) => return Err(error),
            }
        }
        let len = usize::try_from(size).unwrap_or(usize::MAX);
        let body = self.body().await?;
        let body = body.slice(..len.min(body.len()));
        self.sent_parts.fetch_add(1, Ordering::Relaxed);
        let hashes = Hashes { md5, sha256: None };
        client
            .upload_part(target, number, body, &hashes, traffic)
            .await
    }

    /// Whether the helper object is there, which is stored now if it is the first time.
    async fn helper(
        &self,
        client: &Client,
        target: &Target,
        traffic: &Traffic,
    ) -> Result<bool, Error> {
        let there = self.helper.get_or_try_init(|| async {
            if self.resumed && self.is_stored(client, target).await? {
                return Ok(true);
            }
            let body = self.body().await?;
            self.begun.store(true, Ordering::Relaxed);
            traffic
                .sent_bytes
                .fetch_add(self.part_size, Ordering::Relaxed);
            let stored =
                client.put_object(&target.bucket, &self.key, body, "application/octet-stream");
            match stored.await {
                Ok(_) => Ok(true),
                Err(error) if error.refuses_copy() => {
                    self.give_up(error);
                    Ok(false)
                }
                Err(error) => Err(error),
            }
        });
        there.await.copied()
    }

    /// Whether the helper object of an earlier run is there, and is what it must be.
    async fn is_stored(&self, client: &Client, target: &Target) -> Result<bool, Error> {
        let expected = hex::encode(self.md5(self.part_size).await?);
        match client.object(&target.bucket, &self.key).await {
            Ok(found) => Ok(found.is_some_and(|found| {
                found.size == self.part_size && found.md5() == Some(expected.as_str())
            })),
            // A key that may only write stores it once more.
            Err(error) if error.kind() == ErrorKind::AccessDenied => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Copies nothing from now on.
    fn give_up(&self, error: Error) {
        let mut refused = self.refused.lock();
        if refused.is_none() {
            tracing::warn!(
                "sending parts of zeros, because the server does not copy them: {error}"
            );
            *refused = Some(error);
        }
    }

    async fn body(&self) -> Result<Bytes, Error> {
        let body = self.body.get_or_try_init(|| async {
            let len = usize::try_from(self.part_size).unwrap_or(usize::MAX);
            let mut zeros = Vec::new();
            if zeros.try_reserve_exact(len).is_err() {
                return Err(Error::refused(format!(
                    "cannot allocate {len} bytes of zeros"
                )));
            }
            zeros.resize(len, 0);
            Ok(Bytes::from(zeros))
        });
        body.await.cloned()
    }

    async fn md5(&self, size: u64) -> Result<[u8; 16], Error> {
        let mut md5s = self.md5s.lock().await;
        if let Some(md5) = md5s.get(&size) {
            return Ok(*md5);
        }
        let md5 = tokio::task::spawn_blocking(move || md5_of_zeros(size))
            .await
            .map_err(|error| broken(&error))?;
        md5s.insert(size, md5);
        Ok(md5)
    }

    /// Deletes the helper object, if it may be there.
    ///
    /// # Errors
    /// What the server says, with the key: the object is then still there, and costs money.
    pub(crate) async fn remove(&self, client: &Client, bucket: &str) -> Result<(), Error> {
        if !self.begun.load(Ordering::Relaxed) {
            return Ok(());
        }
        client.delete_object(bucket, &self.key).await?;
        self.begun.store(false, Ordering::Relaxed);
        Ok(())
    }
}

fn md5_of_zeros(size: u64) -> [u8; 16] {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut hash = Md5::new();
    let mut rest = size;
    while rest > 0 {
        let now = usize::try_from(rest).unwrap_or(usize::MAX).min(ZEROS.len());
        hash.update(ZEROS.get(..now).unwrap_or_default());
        rest = rest.saturating_sub(now as u64);
    }
    hash.finalize().into()
}

/// The key of the helper object of an upload: beside the target, and no other upload's.
pub(crate) fn helper_key(key: &str, upload_id: &str) -> String {
    let end = (0..=key.len().min(MAX_STEM))
        .rev()
        .find(|end| key.is_char_boundary(*end))
        .unwrap_or(0);
    let stem = key.get(..end).unwrap_or_default();
    let id = hex::encode(Md5::digest(upload_id));
    format!("{stem}.zeros-{}", id.get(..16).unwrap_or(&id))
}

impl Client {
    /// Deletes the helper object that the raw upload `upload_id` of `key` may have left. That there
    /// is none is no error.
    ///
    /// # Errors
    /// What the server says.
    pub async fn delete_zeros(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
    ) -> Result<(), Error> {
        self.delete_object(bucket, &helper_key(key, upload_id))
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_helper_lies_beside_its_object_and_has_a_key_that_is_possible() {
        let key = helper_key("a/b/disk.raw", "upload-1");
        assert!(key.starts_with("a/b/disk.raw.zeros-"), "{key}");
        assert_ne!(key, helper_key("a/b/disk.raw", "upload-2"));
        let long = helper_key(&"ü".repeat(512), "upload-1");
        assert!(long.len() <= 1024);
        crate::names::check_key(&long).unwrap();
    }

    #[test]
    fn zeros_have_the_md5_of_zeros() {
        for size in [0, 1, 65_536, 65_537, 300_000] {
            let expected: [u8; 16] = Md5::digest(vec![0; size]).into();
            assert_eq!(md5_of_zeros(size as u64), expected);
        }
    }
}
