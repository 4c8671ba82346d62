//! Going on with an upload that another run began: what the server has decides.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use convert::SinkError;

use crate::classify::from_sdk;
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::etag::{self, unquoted};
use crate::multipart::{Confirmed, Expected, Target};
use crate::names;
use crate::options::{Layout, UploadOptions};
use crate::parts::{self, Schedule};
use crate::sink::MultipartSink;
use crate::upload::{Upload, Uploaded};

/// A part that the server has confirmed, as it is worth remembering.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartRecord {
    /// Number, from 1.
    pub number: u32,
    /// Bytes.
    pub size: u64,
    /// MD5 of what was sent.
    pub md5: [u8; 16],
    /// The ETag where one was told that is not that MD5.
    pub etag: Option<String>,
}

/// Is told of each part that the server has confirmed, so that another run can go on from there.
pub trait PartLog: Send + Sync {
    /// Notes `part`. May block: it is called on a thread for that. Parts come in any order.
    ///
    /// # Errors
    /// When it cannot be noted: the upload fails with this error.
    fn confirmed(&self, part: &PartRecord) -> Result<(), SinkError>;
}

/// Notes nothing.
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
    /// ETag without quotes; empty when the server tells none.
    pub etag: String,
}

impl ListedPart {
    /// The part as it is stored, if that is the one with `size` bytes and this MD5. `noted` is the
    /// ETag with which it was confirmed, where that is known and no MD5.
    ///
    /// With `was_confirmed`, a part whose ETag tells nothing counts too: the server has checked its
    /// `Content-MD5`, and nobody else knows the upload.
    pub(crate) fn is(
        &self,
        (size, md5): (u64, [u8; 16]),
        noted: Option<&str>,
        was_confirmed: bool,
    ) -> Option<Confirmed> {
        let etag_is_md5 = self.etag.eq_ignore_ascii_case(&hex::encode(md5));
        let tells_nothing = match noted {
            // It could be an MD5, of other bytes.
            None => !etag::is_md5(&self.etag),
            Some(noted) => self.etag.is_empty() || self.etag.eq_ignore_ascii_case(noted),
        };
        let same = self.size == size && (etag_is_md5 || (was_confirmed && tells_nothing));
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

/// The whole of an object, whatever its length is.
const EVERYTHING: Range<u64> = 0..u64::MAX;

/// What is known of an upload that another run began.
#[derive(Clone, Copy, Debug)]
pub struct EarlierUpload<'a> {
    /// The server's id of it.
    pub upload_id: &'a str,
    /// Parts that were noted as confirmed.
    pub known: &'a [PartRecord],
    /// Length of the stream, if all of it was sent.
    pub whole: Option<u64>,
}

/// What became of an upload that is to go on.
#[derive(Debug)]
pub enum Resumption {
    /// It goes on.
    GoesOn(Box<Resumed>),
    /// All parts were joined already: the object is there with the length and the ETag that they
    /// make.
    Completed(Uploaded),
    /// The server does not know the upload, and the object is not what it was to become.
    Gone,
}

/// An upload that goes on.
///
/// [`Layout::Unordered`]: crate::Layout::Unordered
#[derive(Debug)]
pub struct Resumed {
    /// Takes the stream from its beginning; what the server has is dropped, or passed over. With
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

/// What is known of the parts before anything is sent.
#[derive(Debug, Default)]
pub(crate) struct Before {
    /// Stored and known by their MD5: never sent again.
    pub(crate) kept: Vec<Confirmed>,
    /// Stored: not sent again if the same part comes by once more.
    pub(crate) stored: BTreeMap<u32, ListedPart>,
    /// What was noted of those that are stored.
    pub(crate) noted: BTreeMap<u32, PartRecord>,
}

impl Before {
    /// Nothing is known for sure: each part is compared when it is made again.
    pub(crate) fn stored(listed: Vec<ListedPart>, noted: Vec<PartRecord>) -> Self {
        Self {
            kept: Vec::new(),
            stored: listed.into_iter().map(|part| (part.number, part)).collect(),
            noted: noted.into_iter().map(|part| (part.number, part)).collect(),
        }
    }

    /// The part `number` as it is stored, if that is the one with `size` bytes and this MD5.
    pub(crate) fn found(&self, number: u32, size: u64, md5: [u8; 16]) -> Option<Confirmed> {
        let noted = self.noted.get(&number);
        let was_confirmed = noted.is_some_and(|noted| noted.md5 == md5 && noted.size == size);
        let etag = noted.and_then(|noted| noted.etag.as_deref());
        self.stored
            .get(&number)?
            .is((size, md5), etag.filter(|_| was_confirmed), was_confirmed)
    }
}

impl Client {
    /// The parts that the server has of an upload, ascending.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when the server does not know the upload; what the server says.
    pub async fn list_parts(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
    ) -> Result<Vec<ListedPart>, Error> {
        self.check_bucket_name(bucket)?;
        names::check_key(key)?;
        let what = format!("listing the parts of {bucket}/{key}");
        let wrong = |message: String| Err(Error::new(ErrorKind::Server, message).doing(&what));
        // Some servers do not sort.
        let mut parts: BTreeMap<u32, ListedPart> = BTreeMap::new();
        let mut marker: Option<u32> = None;
        loop {
            let page = self
                .call(self.policy(), &what, |_| async move {
                    let request = self
                        .s3()
                        .list_parts()
                        .bucket(bucket)
                        .key(key)
                        .upload_id(upload_id)
                        .max_parts(1000)
                        .set_part_number_marker(marker.map(|number| number.to_string()));
                    request.send().await.map_err(from_sdk)
                })
                .await
                .map_err(|error: Error| error.doing(&what))?;
            let before = parts.len();
            for part in page.parts() {
                let Some(listed) = listed(part) else {
                    return wrong("the list has a part without a number or a size".into());
                };
                if !(1..=parts::MAX_PARTS).contains(&listed.number) {
                    return wrong(format!("the list has a part {}", listed.number));
                }
                parts.insert(listed.number, listed);
            }
            if !page.is_truncated().unwrap_or(false) {
                return Ok(parts.into_values().collect());
            }
            // Each page must get on, or the list would never end.
            if parts.len() == before {
                return wrong("the list says that it goes on, and does not".into());
            }
            let told = page.next_part_number_marker();
            let told = told
                .and_then(|marker| marker.parse().ok())
                .filter(|marker| *marker > 0);
            marker = told.or_else(|| parts.keys().next_back().copied());
        }
    }

    /// Goes on with an upload that another run began. A part that was noted as confirmed counts
    /// when the server lists it with that size and an ETag that is its MD5, or that tells nothing.
    /// Must be called inside a tokio runtime.
    ///
    /// With [`Layout::Unordered`] every part is made again, and only what the server says counts;
    /// the notes serve to recognise an object whose last answer was lost.
    ///
    /// An upload that the server does not know may have been completed, with the answer lost. So
    /// the object is looked at then: it is ours if it has the length and the ETag that the parts
    /// make.
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
        };
        let (kept_parts, kept_bytes) = match options.layout {
            Layout::Stream(_) => (
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
            retries: 0,
            copies: None,
        }))
    }
}

/// The ETag of an object made of `parts`, all of its parts in order. `None` where the server
/// encrypts, so that nobody can know it before.
#[must_use]
pub fn etag_of(parts: &[PartRecord]) -> Option<String> {
    let parts: Vec<_> = parts.iter().map(confirmed).collect();
    Expected::of(&parts).etag
}

fn listed(part: &aws_sdk_s3::types::Part) -> Option<ListedPart> {
    Some(ListedPart {
        number: u32::try_from(part.part_number()?).ok()?,
        size: u64::try_from(part.size()?).ok()?,
        etag: part.e_tag().map(unquoted).unwrap_or_default(),
    })
}

fn confirmed(part: &PartRecord) -> Confirmed {
    Confirmed {
        number: part.number,
        size: part.size,
        etag: part.etag.clone().unwrap_or_else(|| hex::encode(part.md5)),
        md5: part.md5,
        etag_is_md5: part.etag.is_none(),
        etag_may_differ: false,
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
            .and_then(|known| part.is((known.size, known.md5), known.etag.as_deref(), true));
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
        .map_err(|error| crate::sending::broken(&error))?;
    noted.map_err(Error::local)
}
