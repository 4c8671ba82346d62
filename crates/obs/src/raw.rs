//! Uploading a raw disk: parts in any order, zeros made by the server.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use convert::parts::{Fill, Filled, PART_UNIT};
use convert::{PartSink, SinkError};
use serde::Serialize;
use tokio::sync::mpsc::UnboundedSender;

use crate::buffers::Buffers;
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::multipart::Target;
use crate::parts::{MAX_PARTS, MIN_PART_SIZE, Schedule, Tier};
use crate::resume::{Before, PartRecord, Resumption, credible};
use crate::sink::{Message, MultipartSink, Part, Shared};
use crate::upload::{Upload, UploadOptions, Uploaded};
use crate::zeros::{ZeroPart, Zeros};

/// Smallest part of a raw upload: below it, requests cost more than what they spare.
const LEAST_PART: u64 = 8 << 20;

const _: () = assert!(LEAST_PART >= MIN_PART_SIZE);

/// Bytes of each part of a raw object of `len` bytes but the last: as small as 10,000 parts allow,
/// so that little is sent for a disk whose data is spread, and at least 8 MiB.
#[must_use]
pub const fn raw_part_size(len: u64) -> u64 {
    let least = len.div_ceil(MAX_PARTS as u64);
    let least = if least < LEAST_PART {
        LEAST_PART
    } else {
        least
    };
    match least.checked_next_multiple_of(PART_UNIT) {
        Some(size) => size,
        None => u64::MAX,
    }
}

/// Bytes of [`UploadOptions::memory`] that the upload of a raw object of `len` bytes needs when
/// `parts` parts are to be in memory: those that are built and sent, and the zeros.
#[must_use]
pub fn raw_memory(len: u64, parts: u64) -> u64 {
    raw_part_size(len).saturating_mul(parts.max(LEAST_PARTS).saturating_add(1))
}

/// One part is built while another is sent.
const LEAST_PARTS: u64 = 2;

/// What a raw upload came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RawUploaded {
    /// The object. Its `sent_bytes` are what travelled: data, the zeros of the helper object, and
    /// repetitions.
    #[serde(flatten)]
    pub object: Uploaded,
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

impl Client {
    /// Begins the upload of a raw object of exactly `len` bytes. Must be called inside a tokio
    /// runtime. [`UploadOptions::expected_max`] is not looked at.
    ///
    /// # Errors
    /// As for [`Client::start_upload`]; [`ErrorKind::Refused`] when the object is empty or beyond
    /// what parts can hold.
    pub async fn start_raw_upload(
        &self,
        bucket: &str,
        key: &str,
        len: u64,
        options: &UploadOptions,
    ) -> Result<(RawSink, RawUpload), Error> {
        self.start_raw_with(bucket, key, (len, raw_part_size(len)), options)
            .await
    }

    pub(crate) async fn start_raw_with(
        &self,
        bucket: &str,
        key: &str,
        (len, part_size): (u64, u64),
        options: &UploadOptions,
    ) -> Result<(RawSink, RawUpload), Error> {
        let plan = RawPlan::new((len, part_size), options)?;
        let (sink, upload) = self
            .start_with(bucket, key, &plan.options, plan.schedule)
            .await?;
        let zeros = Zeros::new(upload.target(), part_size);
        Ok(plan.ends(self, sink, upload, zeros))
    }

    /// Goes on with the raw upload `upload_id`; as [`Client::resume_upload`], with this difference:
    /// every part is made again, and those that the server has already are not sent. Only what the
    /// server says counts for that, so `known`, all parts that were noted, serve to recognise an
    /// object whose last answer was lost; `whole` says that all were.
    ///
    /// # Errors
    /// As for [`Client::start_raw_upload`].
    pub async fn resume_raw_upload(
        &self,
        bucket: &str,
        key: &str,
        (upload_id, known, whole): (&str, &[PartRecord], Option<u64>),
        len: u64,
        options: &UploadOptions,
    ) -> Result<RawResumption, Error> {
        let earlier = (upload_id, known, whole);
        self.resume_raw_with(bucket, key, earlier, (len, raw_part_size(len)), options)
            .await
    }

    pub(crate) async fn resume_raw_with(
        &self,
        bucket: &str,
        key: &str,
        (upload_id, known, whole): (&str, &[PartRecord], Option<u64>),
        (len, part_size): (u64, u64),
        options: &UploadOptions,
    ) -> Result<RawResumption, Error> {
        let plan = RawPlan::new((len, part_size), options)?;
        let target = Target {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            upload_id: upload_id.to_owned(),
        };
        let listed = match self.list_parts(bucket, key, upload_id).await {
            Ok(listed) => listed,
            Err(error) if error.is_unknown_upload() => {
                let ended = self.completed_before(&target, known, whole).await?;
                return Ok(match ended {
                    Resumption::Completed(uploaded) => RawResumption::Completed(uploaded),
                    Resumption::GoesOn(_) | Resumption::Gone => RawResumption::Gone,
                });
            }
            Err(error) => return Err(error),
        };
        self.check_start(&plan.options, plan.schedule)?;
        let stored_parts = u32::try_from(listed.len()).unwrap_or(u32::MAX);
        let stored_bytes = listed
            .iter()
            .fold(0, |sum: u64, part| sum.saturating_add(part.size));
        let noted = credible(&listed, known)
            .into_iter()
            .map(|part| (part.number, part))
            .collect();
        let before = Before {
            kept: Vec::new(),
            stored: listed.into_iter().map(|part| (part.number, part)).collect(),
            noted,
        };
        let (sink, upload) = self.begin(target, &plan.options, plan.schedule, before);
        let zeros = Zeros::of_earlier(upload.target(), part_size);
        let (sink, upload) = plan.ends(self, sink, upload, zeros);
        Ok(RawResumption::GoesOn(Box::new(RawResumed {
            sink,
            upload,
            stored_parts,
            stored_bytes,
        })))
    }
}

/// What became of a raw upload that is to go on.
#[derive(Debug)]
pub enum RawResumption {
    /// It goes on.
    GoesOn(Box<RawResumed>),
    /// All parts were joined already: the object is there with the length and the ETag that they
    /// make.
    Completed(Uploaded),
    /// The server does not know the upload, and the object is not what it was to become.
    Gone,
}

/// A raw upload that goes on.
#[derive(Debug)]
pub struct RawResumed {
    /// Takes every part; those that the server has are not sent.
    pub sink: RawSink,
    /// To complete, pause or abort.
    pub upload: RawUpload,
    /// Parts that the server has.
    pub stored_parts: u32,
    /// Their bytes.
    pub stored_bytes: u64,
}

/// How a raw object of some length is cut into parts.
struct RawPlan {
    part_size: u64,
    parts: u32,
    schedule: Schedule,
    options: UploadOptions,
}

impl RawPlan {
    fn new((len, part_size): (u64, u64), options: &UploadOptions) -> Result<Self, Error> {
        if len == 0 {
            return Err(Error::refused("a raw object of 0 bytes is no disk"));
        }
        let needed = part_size.saturating_mul(LEAST_PARTS + 1);
        if options.memory < needed {
            return Err(Error::refused(format!(
                "{} bytes for parts, expected at least {needed}: a raw object of {len} bytes has parts of {part_size}",
                options.memory
            ))
            .with_hint("allow more memory with --memory"));
        }
        let parts = u32::try_from(len.div_ceil(part_size)).unwrap_or(u32::MAX);
        Ok(Self {
            part_size,
            parts,
            schedule: Schedule::uniform(Tier {
                parts,
                size: part_size,
            }),
            options: UploadOptions {
                // The zeros take one part's share for as long as the upload lasts.
                memory: options.memory.saturating_sub(part_size),
                expected_max: len,
                ..options.clone()
            },
        })
    }

    /// Both ends of the upload.
    fn ends(
        self,
        client: &Client,
        sink: MultipartSink,
        upload: Upload,
        zeros: Zeros,
    ) -> (RawSink, RawUpload) {
        let (shared, sender) = sink.into_bridge();
        let zeros = Arc::new(zeros);
        let sink = RawSink {
            buffers: Buffers::new(
                Arc::clone(&shared.budget),
                usize::try_from(self.part_size).unwrap_or(usize::MAX),
            ),
            shared,
            sender,
            zeros: Arc::clone(&zeros),
            parts: self.parts,
            taken: AtomicU64::new(0),
        };
        let upload = RawUpload {
            client: client.clone(),
            upload,
            zeros,
            part_size: self.part_size,
        };
        (sink, upload)
    }
}

/// Takes the parts of a raw disk, from many plain threads and in any order.
///
/// [`PartSink::part`] blocks while all memory is held by parts that are built or sent. A sink that
/// is dropped without [`RawSink::close`] makes the upload fail, as does closing it before every
/// part was taken.
#[derive(Debug)]
pub struct RawSink {
    shared: Arc<Shared>,
    buffers: Arc<Buffers>,
    sender: UnboundedSender<Message>,
    zeros: Arc<Zeros>,
    /// Parts that there must be.
    parts: u32,
    /// Parts that were taken.
    taken: AtomicU64,
}

impl RawSink {
    fn send(&self, message: Message) -> Result<(), SinkError> {
        self.sender
            .send(message)
            .map_err(|_| SinkError::from(self.shared.stopped()))?;
        self.taken.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Ends the stream of parts. The upload can be completed after this.
    ///
    /// # Errors
    /// The upload's first error, if it has failed already; [`ErrorKind::Refused`] when parts are
    /// missing.
    pub fn close(self) -> Result<(), Error> {
        if self.shared.failure().is_some() {
            return Err(self.shared.stopped());
        }
        let taken = self.taken.load(Ordering::Relaxed);
        if taken != u64::from(self.parts) {
            self.shared.fail(Error::refused(format!(
                "{taken} parts were made, the object has {}",
                self.parts
            )));
            return Err(self.shared.stopped());
        }
        self.sender
            .send(Message::End)
            .map_err(|_| self.shared.stopped())
    }
}

impl PartSink for RawSink {
    fn zeros(&self, number: u32, len: u64) -> Result<(), SinkError> {
        if self.shared.failure().is_some() {
            return Err(self.shared.stopped().into());
        }
        self.send(Message::Zeros(ZeroPart {
            number,
            size: len,
            zeros: Arc::clone(&self.zeros),
        }))
    }

    fn part(&self, number: u32, len: u64, fill: &mut Fill<'_>) -> convert::Result<()> {
        let failed = |error: Error| convert::Error::Sink(error.into());
        let size = usize::try_from(len).unwrap_or(usize::MAX);
        // The buffer is counted until the last clone of the body is gone; the part itself holds
        // nothing.
        let (Some(mut buffer), Some(permit)) =
            (self.buffers.take(size), self.shared.budget.acquire(0))
        else {
            return Err(failed(self.shared.stopped()));
        };
        match fill(buffer.as_mut())? {
            Filled::Zeros => {
                drop(buffer);
                self.zeros(number, len).map_err(convert::Error::Sink)
            }
            Filled::Data => self
                .send(Message::Part(Part {
                    number,
                    body: buffer.into_bytes(),
                    permit,
                }))
                .map_err(convert::Error::Sink),
        }
    }
}

/// One upload of a raw object on its way: [`Upload`], and the helper object of zeros that goes when
/// it ends.
pub struct RawUpload {
    client: Client,
    upload: Upload,
    zeros: Arc<Zeros>,
    part_size: u64,
}

impl fmt::Debug for RawUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawUpload")
            .field("upload", &self.upload)
            .field("part_size", &self.part_size)
            .finish_non_exhaustive()
    }
}

impl RawUpload {
    /// The upload: its id, key, and why it failed.
    #[must_use]
    pub fn upload(&self) -> &Upload {
        &self.upload
    }

    /// [`Upload::complete`], and deletes the helper object. That this fails is no failure of the
    /// upload; it is in [`RawUploaded::left_behind`].
    ///
    /// # Errors
    /// Those of [`Upload::complete`]. Call [`RawUpload::abort`] then.
    pub async fn complete(&mut self) -> Result<RawUploaded, Error> {
        let object = self.upload.complete().await?;
        let removed = self.remove_helper().await;
        Ok(RawUploaded {
            object,
            part_size: self.part_size,
            copied_parts: self.zeros.copied_parts(),
            copied_bytes: self.zeros.copied_bytes(),
            zero_parts_sent: self.zeros.sent_parts(),
            copies_refused: self.zeros.refused().map(|error| error.to_string()),
            left_behind: removed.err().map(|error| error.to_string()),
        })
    }

    /// Key of the helper object, if it may be in the bucket.
    #[must_use]
    pub fn helper(&self) -> Option<&str> {
        self.zeros.key()
    }

    /// [`Upload::sent`].
    ///
    /// # Errors
    /// Those of [`Upload::sent`].
    pub async fn sent(&mut self) -> Result<u64, Error> {
        self.upload.sent().await
    }

    /// [`Upload::pause`]. The helper object stays: another run copies from it.
    pub async fn pause(&mut self, grace: Duration) {
        self.upload.pause(grace).await;
    }

    /// [`Upload::abort`], and deletes the helper object in any case.
    ///
    /// # Errors
    /// The first of what the server says to either; the second is a note of it.
    pub async fn abort(&mut self) -> Result<(), Error> {
        let aborted = self.upload.abort().await;
        let removed = self.remove_helper().await;
        match (aborted, removed) {
            (Ok(()), removed) => removed,
            (Err(error), Ok(())) => Err(error),
            (Err(error), Err(later)) => Err(error.with_note(later.to_string())),
        }
    }

    async fn remove_helper(&self) -> Result<(), Error> {
        let removed = self.zeros.remove(&self.client, self.upload.bucket()).await;
        removed.map_err(|error| match error.kind() {
            ErrorKind::AccessDenied => {
                error.with_hint("delete the object by hand: the key may not delete objects")
            }
            _ => error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn parts_are_small_whole_blocks_and_never_too_many() {
        assert_eq!(raw_part_size(512), 8 << 20);
        assert_eq!(raw_part_size(100 * GIB), 12 << 20);
        assert_eq!(raw_part_size(1024 * GIB), 106 << 20);
        for len in [
            1,
            78 * GIB,
            79 * GIB,
            500 * GIB,
            1024 * GIB,
            2048 * GIB + 512,
        ] {
            let size = raw_part_size(len);
            assert!(size.is_multiple_of(PART_UNIT) && size >= MIN_PART_SIZE);
            assert!(len.div_ceil(size) <= u64::from(MAX_PARTS), "{len}");
        }
    }
}
