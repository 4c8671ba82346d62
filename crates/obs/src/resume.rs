//! Resuming an upload that another run started: what the server has decides.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::client::Client;
use crate::confirmed::{Confirmed, Expected};
use crate::error::Error;
use crate::etag;
use crate::multipart::Target;
use crate::options::{Layout, UploadOptions};
use crate::part_log::{Before, ListedPart, PartRecord, confirmed};
use crate::parts::Schedule;
use crate::sink::MultipartSink;
use crate::upload::{Upload, Uploaded};

/// The whole of an object, whatever its length is.
const EVERYTHING: Range<u64> = 0..u64::MAX;

/// What is known of an upload that another run started.
#[derive(Clone, Copy, Debug)]
pub struct EarlierUpload<'a> {
    /// The server's id of it.
    pub upload_id: &'a str,
    /// Parts that were recorded as confirmed.
    pub known: &'a [PartRecord],
    /// Length of the stream, if all of it was sent.
    pub whole: Option<u64>,
}

/// The outcome of resuming an upload.
#[derive(Debug)]
pub enum Resumption {
    /// The upload continues.
    GoesOn(Box<Resumed>),
    /// The upload had already completed: the object exists with the length and the ETag that the
    /// parts make.
    Completed(Uploaded),
    /// The server does not know the upload, and no object matches it.
    Gone,
}

/// A resumed upload.
///
/// [`Layout::Unordered`]: crate::Layout::Unordered
#[derive(Debug)]
pub struct Resumed {
    /// Takes the stream from its beginning; what the server has is dropped, or skipped. With
    /// [`Layout::Unordered`] every part is made again, and those that the server has are not sent.
    pub sink: MultipartSink,
    /// To complete, pause or abort.
    pub upload: Upload,
    /// Ranges of the stream that are to be made, ascending. The last one is open-ended, unless the
    /// whole stream is there.
    pub missing: Vec<Range<u64>>,
    /// Parts that the server has.
    pub kept_parts: u32,
    /// Their bytes.
    pub kept_bytes: u64,
}

impl Client {
    /// Resumes an upload that another run started. A part that was recorded as confirmed counts if
    /// the server lists it with that size and an ETag that is its MD5, or that says nothing. Must
    /// be called inside a tokio runtime.
    ///
    /// With [`Layout::Unordered`] every part is made again, and only what the server says counts;
    /// the records serve to recognise an object whose last answer was lost.
    ///
    /// An upload that the server does not know may have been completed, with the answer lost. The
    /// object is then checked: it is ours if it has the length and the ETag that the parts make.
    ///
    /// # Errors
    /// As for [`Client::start_upload`].
    pub async fn resume_upload(
        &self,
        bucket: &str,
        key: &str,
        earlier: &EarlierUpload<'_>,
        options: &UploadOptions,
    ) -> Result<Resumption, Error> {
        let &EarlierUpload {
            upload_id,
            known,
            whole,
        } = earlier;
        let target = Target {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            upload_id: upload_id.to_owned(),
        };
        let listed = match self.list_parts(bucket, key, upload_id).await {
            Ok(listed) => listed,
            Err(error) if error.is_unknown_upload() => {
                return self.completed_before(&target, known, whole).await;
            }
            Err(error) => return Err(error),
        };
        options.check()?;
        let known = credible(&listed, known);
        let (before, missing) = match options.layout {
            Layout::Stream(schedule) => {
                let before = sort_out(listed, &known, whole, options, schedule);
                let missing = missing(&before.kept, whole, schedule);
                (before, missing)
            }
            Layout::Unordered { .. } => (Before::stored(listed, known), Vec::from([EVERYTHING])),
            // Its parts are not always cut the same way.
            Layout::Joined { .. } => (Before::default(), Vec::from([EVERYTHING])),
        };
        let (kept_parts, kept_bytes) = match options.layout {
            Layout::Stream(_) | Layout::Joined { .. } => (
                before.kept.len(),
                sum(before.kept.iter().map(|part| part.size)),
            ),
            Layout::Unordered { .. } => (
                before.stored.len(),
                sum(before.stored.values().map(|part| part.size)),
            ),
        };
        let (sink, upload) = self.ends(target, options, Some(before));
        Ok(Resumption::GoesOn(Box::new(Resumed {
            sink,
            upload,
            missing,
            kept_parts: u32::try_from(kept_parts).unwrap_or(u32::MAX),
            kept_bytes,
        })))
    }

    /// Whether an upload that the server does not know was completed.
    async fn completed_before(
        &self,
        target: &Target,
        known: &[PartRecord],
        whole: Option<u64>,
    ) -> Result<Resumption, Error> {
        let numbers_follow = (1..).zip(known).all(|(number, part)| part.number == number);
        let all = whole == Some(sum(known.iter().map(|part| part.size)));
        if !(numbers_follow && all) {
            return Ok(Resumption::Gone);
        }
        let parts: Vec<_> = known.iter().map(confirmed).collect();
        let expected = Expected::of(&parts);
        let found = self.object(&target.bucket, &target.key).await?;
        let (Some(etag), Some(found)) = (&expected.etag, found) else {
            return Ok(Resumption::Gone);
        };
        // Nothing but its ETag tells that it is ours.
        if !matches!(expected.check(None, &found), Ok(true)) {
            return Ok(Resumption::Gone);
        }
        Ok(Resumption::Completed(Uploaded {
            size: expected.size,
            etag: etag.clone(),
            etag_verified: true,
            parts: u32::try_from(parts.len()).unwrap_or(u32::MAX),
            upload_id: target.upload_id.clone(),
            sent_bytes: 0,
            kept_bytes: expected.size,
            copied_bytes: 0,
            retries: 0,
            copies: None,
        }))
    }
}

fn sum(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}

/// What of `known` still counts: where the list has the MD5s of parts, one that was confirmed with
/// another MD5 was not stored as it was sent.
fn credible(listed: &[ListedPart], known: &[PartRecord]) -> Vec<PartRecord> {
    let etags: BTreeMap<u32, &str> = listed
        .iter()
        .map(|part| (part.number, part.etag.as_str()))
        .collect();
    let is_md5 = |etag: &str, part: &PartRecord| etag.eq_ignore_ascii_case(&hex::encode(part.md5));
    let lists_md5s = known.iter().any(|part| {
        let etag = etags.get(&part.number);
        etag.is_some_and(|etag| is_md5(etag, part))
    });
    let is_credible = |part: &&PartRecord| match part.etag.as_deref() {
        Some(etag) if lists_md5s && etag::is_md5(etag) => is_md5(etag, part),
        _ => true,
    };
    known.iter().filter(is_credible).cloned().collect()
}

/// Which of the `listed` parts stay as they are.
fn sort_out(
    listed: Vec<ListedPart>,
    known: &[PartRecord],
    whole: Option<u64>,
    options: &UploadOptions,
    schedule: Schedule,
) -> Before {
    let known: BTreeMap<u32, &PartRecord> = known.iter().map(|part| (part.number, part)).collect();
    let mut before = Before::default();
    let mut start = 0_u64;
    let mut number = 0;
    for part in listed {
        while number + 1 < part.number {
            number += 1;
            start = start.saturating_add(schedule.size(number).unwrap_or(0));
        }
        number = part.number;
        let full = schedule.size(number).unwrap_or(0);
        let end = start.saturating_add(part.size);
        // A shorter part is the last one, of a stream that was made to its end.
        let fits = part.size == full || whole == Some(end) || end == options.expected_max;
        start = start.saturating_add(full);
        let kept = known
            .get(&number)
            .filter(|_| fits)
            .and_then(|known| part.is(known.size, known.md5, known.etag.as_deref(), true));
        match kept {
            Some(kept) => before.kept.push(kept),
            // Made again; whether it is the same shows then.
            None => {
                before.stored.insert(number, part);
            }
        }
    }
    before
}

/// Ranges of the stream that are not in `kept`, which ascends.
fn missing(kept: &[Confirmed], whole: Option<u64>, schedule: Schedule) -> Vec<Range<u64>> {
    let mut missing = Vec::new();
    let mut kept = kept.iter().peekable();
    let mut at = 0_u64;
    let mut from = 0_u64;
    let mut number = 1;
    while let Some(part) = kept.peek() {
        if part.number > number {
            at = at.saturating_add(schedule.size(number).unwrap_or(0));
        } else {
            if from < at {
                missing.push(from..at);
            }
            at = at.saturating_add(part.size);
            from = at;
            kept.next();
        }
        number += 1;
    }
    if whole.is_none_or(|whole| from < whole) {
        missing.push(from..u64::MAX);
    }
    missing
}
