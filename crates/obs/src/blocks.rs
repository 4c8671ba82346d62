//! The table of an image's blocks, an object beside the image: what a later import needs to have
//! the server copy blocks of it.

use bytes::{Bytes, BytesMut};
use convert::delta::MAX_TABLE_BYTES;

use crate::client::Client;
use crate::error::{Error, ErrorKind};

/// Bytes that are read at a time.
const CHUNK: u64 = 8 << 20;

/// Key of the table of the blocks of the object `key`.
#[must_use]
pub fn blocks_key(key: &str) -> String {
    format!("{key}.blocks")
}

impl Client {
    /// Stores `table` beside the object `key`, replacing an older one.
    ///
    /// # Errors
    /// As for [`Client::put_object`].
    pub async fn put_blocks(&self, bucket: &str, key: &str, table: Bytes) -> Result<(), Error> {
        let key = blocks_key(key);
        let stored = self.put_object(bucket, &key, table, "application/octet-stream");
        stored.await.map(drop)
    }

    /// The table beside the object `key`; `None` when there is none, or one longer than a table can
    /// be.
    ///
    /// # Errors
    /// What the server says; [`ErrorKind::Integrity`] when it is replaced meanwhile.
    pub async fn blocks(&self, bucket: &str, key: &str) -> Result<Option<Bytes>, Error> {
        let key = blocks_key(key);
        let Some(object) = self.object(bucket, &key).await? else {
            return Ok(None);
        };
        if object.size == 0 || object.size > MAX_TABLE_BYTES {
            return Ok(None);
        }
        let mut table = BytesMut::new();
        let mut at = 0;
        while at < object.size {
            let end = at.saturating_add(CHUNK).min(object.size);
            match self.range(bucket, &key, at..end, &object).await {
                Ok(bytes) => table.extend_from_slice(&bytes),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            }
            at = end;
        }
        Ok(Some(table.freeze()))
    }
}
