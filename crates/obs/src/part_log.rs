//! Parts as they are remembered between runs: what a log is given, and what the server lists.

use std::collections::BTreeMap;
use std::sync::Arc;

use convert::SinkError;

use crate::confirmed::{Confirmed, Expected};
use crate::error::{Error, broken};
use crate::etag;

/// A part that the server has confirmed, as a log keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartRecord {
    /// Number, from 1.
    pub number: u32,
    /// Bytes.
    pub size: u64,
    /// MD5 of what was sent.
    pub md5: [u8; 16],
    /// The ETag, if the server reported one that is not that MD5.
    pub etag: Option<String>,
}

/// Records each part that the server has confirmed, so that another run can resume the upload.
pub trait PartLog: Send + Sync {
    /// Records `part`. May block: it runs on a blocking thread. Parts come in any order.
    ///
    /// # Errors
    /// When the part cannot be recorded: the upload fails with this error.
    fn confirmed(&self, part: &PartRecord) -> Result<(), SinkError>;
}

/// Records nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct VoidPartLog;

impl PartLog for VoidPartLog {
    fn confirmed(&self, _: &PartRecord) -> Result<(), SinkError> {
        Ok(())
    }
}

/// A part in the server's listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPart {
    /// Number, from 1.
    pub number: u32,
    /// Bytes.
    pub size: u64,
    /// ETag without quotes; empty when the server reports none.
    pub etag: String,
}

impl ListedPart {
    /// The stored part, if it has `size` bytes and this MD5. `noted` is the ETag with which it was
    /// confirmed, if that is known and not an MD5.
    ///
    /// With `was_confirmed`, a part whose ETag says nothing counts too: the server has checked its
    /// `Content-MD5`, and no one else knows the upload.
    pub(crate) fn is(
        &self,
        size: u64,
        md5: [u8; 16],
        noted: Option<&str>,
        was_confirmed: bool,
    ) -> Option<Confirmed> {
        let etag_is_md5 = self.etag.eq_ignore_ascii_case(&hex::encode(md5));
        let is_inconclusive = match noted {
            // It could be an MD5, of other bytes.
            None => !etag::is_md5(&self.etag),
            Some(noted) => self.etag.is_empty() || self.etag.eq_ignore_ascii_case(noted),
        };
        let same = self.size == size && (etag_is_md5 || (was_confirmed && is_inconclusive));
        same.then(|| Confirmed {
            number: self.number,
            size,
            etag: match self.etag.as_str() {
                "" => noted.unwrap_or_default().to_owned(),
                etag => etag.to_owned(),
            },
            md5,
            etag_is_md5,
            etag_may_differ: false,
        })
    }
}

/// What is known of the parts before anything is sent.
#[derive(Debug, Default)]
pub(crate) struct Before {
    /// Stored and known by their MD5: never sent again.
    pub(crate) kept: Vec<Confirmed>,
    /// Stored: not sent again if the same part is made again.
    pub(crate) stored: BTreeMap<u32, ListedPart>,
    /// The records of those that are stored.
    pub(crate) noted: BTreeMap<u32, PartRecord>,
}

impl Before {
    /// Nothing is certain yet: each part is compared when it is made again.
    pub(crate) fn stored(listed: Vec<ListedPart>, noted: Vec<PartRecord>) -> Self {
        Self {
            kept: Vec::new(),
            stored: listed.into_iter().map(|part| (part.number, part)).collect(),
            noted: noted.into_iter().map(|part| (part.number, part)).collect(),
        }
    }

    /// The stored part `number`, if it has `size` bytes and this MD5.
    pub(crate) fn found(&self, number: u32, size: u64, md5: [u8; 16]) -> Option<Confirmed> {
        let noted = self.noted.get(&number);
        let was_confirmed = noted.is_some_and(|noted| noted.md5 == md5 && noted.size == size);
        let etag = noted.and_then(|noted| noted.etag.as_deref());
        self.stored
            .get(&number)?
            .is(size, md5, etag.filter(|_| was_confirmed), was_confirmed)
    }
}

/// The ETag of an object made of `parts`, all of its parts in order. `None` where the server
/// encrypts, because the ETag cannot be predicted then.
#[must_use]
pub fn etag_of(parts: &[PartRecord]) -> Option<String> {
    let parts: Vec<_> = parts.iter().map(confirmed).collect();
    Expected::of(&parts).etag
}

pub(crate) fn confirmed(part: &PartRecord) -> Confirmed {
    Confirmed {
        number: part.number,
        size: part.size,
        etag: part.etag.clone().unwrap_or_else(|| hex::encode(part.md5)),
        md5: part.md5,
        etag_is_md5: part.etag.is_none(),
        etag_may_differ: false,
    }
}

/// Hands `part` to `log`, on a thread that may block.
pub(crate) async fn note(log: &Arc<dyn PartLog>, part: &Confirmed) -> Result<(), Error> {
    let record = PartRecord {
        number: part.number,
        size: part.size,
        md5: part.md5,
        etag: Some(part.etag.clone()).filter(|etag| !part.etag_is_md5 && !etag.is_empty()),
    };
    let log = Arc::clone(log);
    let noted = tokio::task::spawn_blocking(move || log.confirmed(&record))
        .await
        .map_err(|error| broken(&error))?;
    noted.map_err(Error::local)
}
