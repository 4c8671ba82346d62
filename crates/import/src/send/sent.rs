//! An object that was sent, and what became of the disk in it.

use std::time::Duration;

use ::convert::bitmap::Figures;
use ::convert::delta::TableEntries;
use ::convert::{ContentDigest, Levels, Report};
use obs::Uploaded;
use serde::Serialize;

use super::changed::ChangedBy;

/// An object that is complete and verified.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) uploaded: Uploaded,
    /// What became of the disk's bytes, where the file was read as a disk.
    pub(crate) content: Option<Content>,
    /// The blocks of a stream, where all of them are known.
    pub(crate) table: Option<TableEntries>,
    /// Blocks that were not those of the earlier object, where the server copied from one.
    pub(crate) changed_blocks: Option<u64>,
    /// Where a raw object was uploaded by this run.
    pub(crate) raw: Option<RawTransferred>,
    /// Whether its manifest and the table of its blocks were stored by this run.
    pub(crate) is_described: bool,
    /// Whether the object existed and holds the same disk.
    pub(crate) reused: bool,
    /// From the first byte read to the last part handed over.
    pub(crate) converting: Duration,
    /// From there to the verified object.
    pub(crate) completing: Duration,
}

/// What became of the disk's bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Content {
    /// Bytes of the disk that the guest sees.
    pub virtual_size: u64,
    /// Content digest of what was read from the source.
    pub digest: ContentDigest,
    /// Bytes read from the source as guest data.
    pub read_bytes: u64,
    /// Bytes never read, because the source's metadata says that they are zero.
    pub skipped_bytes: u64,
    /// Bytes of the disk that an earlier, interrupted run has dealt with.
    pub kept_bytes: u64,
    /// Bytes read that turned out to be zero.
    pub zero_bytes: u64,
    /// The bitmap that was believed about what has changed since an earlier object: the digest is
    /// partly of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<ChangedBy>,
    /// How many blocks have which level, those of an earlier run too.
    #[serde(skip_serializing_if = "Levels::is_empty")]
    pub levels: Levels,
}

/// A raw object beyond what every object has.
#[derive(Clone, Debug, Serialize)]
pub struct RawTransferred {
    /// Parts that were sent, and those that the server made.
    pub upload: Uploaded,
    /// Key of the bitmap object.
    pub bitmap_key: String,
    /// Its length in bytes.
    pub bitmap_bytes: u64,
    /// What it marks, when it was made here.
    pub bitmap: Option<Figures>,
}

impl From<&Report> for Content {
    fn from(report: &Report) -> Self {
        Self {
            digest: report.digest,
            virtual_size: report.virtual_size,
            read_bytes: report.read_bytes,
            skipped_bytes: report.skipped_bytes,
            kept_bytes: report.kept_bytes,
            zero_bytes: report.zero_bytes,
            changed_by: None,
            levels: report.levels.clone(),
        }
    }
}

impl Sent {
    pub(super) fn new(uploaded: Uploaded) -> Self {
        Self {
            uploaded,
            content: None,
            table: None,
            changed_blocks: None,
            raw: None,
            is_described: false,
            reused: false,
            converting: Duration::ZERO,
            completing: Duration::ZERO,
        }
    }

    /// The digest of the object's content, if it was read as a disk.
    pub(crate) fn digest(&self) -> Option<ContentDigest> {
        self.content.as_ref().map(|content| content.digest)
    }
}
