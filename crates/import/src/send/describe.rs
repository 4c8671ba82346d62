//! The small objects that stand next to an object: what it holds, and the table of its blocks.

use ::convert::Plan;
use ::convert::delta::{Described, TableEntries};
use cloud::from_obs;
use ims::ImageUrl;
use obs::{Client, Manifest, Uploaded};

use super::base::encoder_of;
use super::sent::Content;

/// An object that is complete and verified.
pub(super) struct Describing<'a> {
    pub(super) storage: &'a Client,
    pub(super) url: &'a ImageUrl,
    pub(super) plan: &'a Plan,
    /// Key of the final object, where this is a generation of it.
    pub(super) generation_of: Option<&'a str>,
}

impl Describing<'_> {
    /// Stores its manifest, and the table of its blocks where there is one. Without them the object
    /// is as good, so what goes wrong is a warning.
    pub(super) async fn run(
        &self,
        content: &Content,
        uploaded: &Uploaded,
        table: Option<TableEntries>,
    ) -> Option<String> {
        let (storage, url) = (self.storage, self.url);
        let manifest = Manifest::new(
            self.plan.target.name(),
            content.digest.to_string(),
            content.virtual_size,
            self.plan.data_blocks,
            (uploaded.size, uploaded.etag.clone()),
        )
        .with_level(self.plan.level)
        .with_generation_of(self.generation_of);
        let stored = storage.put_manifest(&url.bucket, &url.key, &manifest).await;
        if let (Ok(()), Some(table)) = (&stored, table) {
            let of = Described {
                object_size: uploaded.size,
                object_etag: uploaded.etag.clone(),
                encoder: encoder_of(self.plan.target),
                virtual_size: content.virtual_size,
                digest: content.digest,
            };
            return self.tabulate(table, of).await;
        }
        stored.err().map(|error| {
            format!(
                "the manifest {} could not be stored, so another import of this disk would upload it again: {}",
                Manifest::key_of(&url.key),
                from_obs(&error).line()
            )
        })
    }

    /// Stores the table of the object's blocks. Only a later import that is based on it misses it.
    async fn tabulate(&self, table: TableEntries, of: Described) -> Option<String> {
        let ImageUrl { bucket, key } = self.url;
        let missing = |why: String| {
            format!(
                "the table of blocks {} could not be stored, so no import can be based on this object: {why}",
                obs::blocks_key(key)
            )
        };
        let table = match table.encode(&of) {
            Ok(table) => table,
            Err(error) => return Some(missing(error.to_string())),
        };
        let stored = self.storage.put_blocks(bucket, key, table.into()).await;
        stored.err().map(|error| missing(from_obs(&error).line()))
    }
}
