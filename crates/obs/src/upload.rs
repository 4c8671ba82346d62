//! One multipart upload: starting it, sending its parts, completing or aborting it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use convert::{Monitor, VoidMonitor};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::multipart::{Confirmed, Expected, Target, Traffic};
use crate::names;
use crate::pace::Pace;
use crate::parts::{self, Schedule};
use crate::resume::{Before, PartLog, VoidPartLog};
use crate::sending::{Sending, Stop, broken};
use crate::sink::{MultipartSink, Shared};

/// How to upload.
#[derive(Clone)]
pub struct UploadOptions {
    /// Bytes that parts may hold in memory, in all: the one being filled, those waiting and those
    /// being sent.
    pub memory: u64,
    /// Upper bound of the stream's length in bytes. How large parts can become follows from it, and
    /// so how much memory is needed; a stream that turns out longer fails.
    pub expected_max: u64,
    /// Parts that are sent at the same time, at most. At least 1.
    pub max_in_flight: usize,
    /// Begins with few parts at the same time and finds out how many pay, up to
    /// [`UploadOptions::max_in_flight`]: more while that is faster, half as many when the server is
    /// busy.
    pub adaptive: bool,
    /// The object's `Content-Type`.
    pub content_type: String,
    /// The object's own metadata (`x-amz-meta-…`): ASCII names and values.
    pub metadata: BTreeMap<String, String>,
    /// Counts [`convert::Counter::UploadedBytes`] for each part that the server has confirmed.
    pub monitor: Arc<dyn Monitor>,
    /// Is told of each part that the server has confirmed.
    pub log: Arc<dyn PartLog>,
}

impl Default for UploadOptions {
    /// 480 MiB, which holds three of the largest parts; a length that fits the largest image.
    fn default() -> Self {
        Self {
            memory: 480 << 20,
            expected_max: parts::LARGEST_IMAGE,
            max_in_flight: 4,
            adaptive: false,
            content_type: "application/octet-stream".into(),
            metadata: BTreeMap::new(),
            monitor: Arc::new(VoidMonitor),
            log: Arc::new(VoidPartLog),
        }
    }
}

impl fmt::Debug for UploadOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadOptions")
            .field("memory", &self.memory)
            .field("expected_max", &self.expected_max)
            .field("max_in_flight", &self.max_in_flight)
            .field("adaptive", &self.adaptive)
            .field("content_type", &self.content_type)
            .field("metadata", &self.metadata)
            .finish_non_exhaustive()
    }
}

impl UploadOptions {
    /// Bytes of [`UploadOptions::memory`] that a stream of up to `expected_max` bytes needs at
    /// least.
    #[must_use]
    pub fn least_memory(expected_max: u64) -> u64 {
        parts::STANDARD.memory(expected_max)
    }
}

/// What was uploaded and verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Uploaded {
    /// Length of the object in bytes, as the server tells it.
    pub size: u64,
    /// The object's ETag, without quotes.
    pub etag: String,
    /// Whether an ETag was held against the MD5 of what was sent. False where the storage reports
    /// no MD5s, because it encrypts or has ETags of another kind: `Content-MD5` still covered each
    /// part on its way.
    pub etag_verified: bool,
    /// Number of parts.
    pub parts: u32,
    /// The server's id of the upload.
    pub upload_id: String,
    /// Bytes of part bodies in all attempts of this run.
    pub sent_bytes: u64,
    /// Bytes of parts that an earlier run has sent.
    pub kept_bytes: u64,
    /// Attempts to send a part beyond its first.
    pub retries: u64,
}

/// One multipart upload on its way.
///
/// ```text
///  start_upload ──▶ Upload + MultipartSink
///                     │           │ write … write, close      (a plain thread)
///                     │           ▼
///                     │        parts ──▶ sent, several at a time, each tried again on its own
///                     ▼
///                 complete ──▶ Uploaded        joined, looked at, length and ETag compared
///                     │ error
///                     ▼
///                   abort  ──▶ nothing is left in the bucket
/// ```
///
/// The first error stops everything: parts on their way are dropped, the sink fails with the same
/// error, and [`Upload::complete`] returns it.
///
/// Dropping an `Upload` stops sending, and makes the sink fail. The parts that the server has stay
/// there, invisible and paid for, until [`Upload::abort`] or [`Client::abort_upload`] throws them
/// away; [`Upload::upload_id`] names them.
#[derive(Debug)]
pub struct Upload {
    client: Client,
    target: Target,
    shared: Arc<Shared>,
    traffic: Arc<Traffic>,
    kept_bytes: u64,
    stop: Arc<Stop>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Parts are being sent.
    Sending(JoinHandle<Option<Vec<Confirmed>>>),
    /// All parts are confirmed. Joining them may have been asked for, with an unknown outcome.
    Sent {
        parts: Vec<Confirmed>,
        joining: bool,
    },
    /// The object is there, and was not looked at yet or is not what it should be.
    Joined {
        expected: Expected,
        parts: u32,
        told: Option<String>,
    },
    /// The object is there and right.
    Completed,
    /// There will be none.
    Failed,
}

impl Client {
    /// Begins a multipart upload of `key` in storage class STANDARD. Must be called inside a tokio
    /// runtime, whose tasks will send the parts.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when bucket or key cannot be, the stream cannot fit, or the memory
    /// does not suffice; otherwise what the server says.
    pub async fn start_upload(
        &self,
        bucket: &str,
        key: &str,
        options: &UploadOptions,
    ) -> Result<(MultipartSink, Upload), Error> {
        self.start_with(bucket, key, options, parts::STANDARD).await
    }

    pub(crate) async fn start_with(
        &self,
        bucket: &str,
        key: &str,
        options: &UploadOptions,
        schedule: Schedule,
    ) -> Result<(MultipartSink, Upload), Error> {
        self.check_bucket_name(bucket)?;
        names::check_key(key)?;
        self.check_start(options, schedule)?;
        let upload_id = self
            .create_upload(bucket, key, &options.content_type, &options.metadata)
            .await?;
        tracing::info!("upload of {bucket}/{key} has id {upload_id}");
        let target = Target {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            upload_id,
        };
        Ok(self.begin(target, options, schedule, Before::default()))
    }

    /// Refuses streams that cannot fit, and memory that does not suffice.
    pub(crate) fn check_start(
        &self,
        options: &UploadOptions,
        schedule: Schedule,
    ) -> Result<(), Error> {
        if options.expected_max > schedule.capacity() {
            return Err(Error::refused(format!(
                "up to {} bytes are announced, and {} parts hold {}",
                options.expected_max,
                schedule.parts(),
                schedule.capacity()
            )));
        }
        let needed = schedule.memory(options.expected_max);
        if options.memory < needed {
            return Err(Error::refused(format!(
                "{} for parts, expected at least {}: an object of up to {} bytes needs two parts in memory",
                mebibytes(options.memory),
                mebibytes(needed),
                options.expected_max
            ))
            .with_hint(format!("pass --memory {}MiB", needed.div_ceil(1 << 20))));
        }
        Ok(())
    }

    /// Both ends of an upload that the server knows.
    pub(crate) fn begin(
        &self,
        target: Target,
        options: &UploadOptions,
        schedule: Schedule,
        before: Before,
    ) -> (MultipartSink, Upload) {
        let shared = Shared::new(options.memory);
        let traffic = Arc::new(Traffic::paced(Pace::new(
            options.max_in_flight,
            options.adaptive,
        )));
        let stop = Arc::new(Stop::default());
        let (sender, receiver) = mpsc::unbounded_channel();
        let kept = before.kept.iter().map(|part| (part.number, part.size));
        let sink = MultipartSink::new(
            Arc::clone(&shared),
            sender,
            schedule,
            options.expected_max,
            kept.collect(),
        );
        let kept_bytes = before
            .kept
            .iter()
            .fold(0, |sum: u64, part| sum.saturating_add(part.size));
        let sending = Sending {
            client: self.clone(),
            target: Arc::new(target.clone()),
            shared: Arc::clone(&shared),
            traffic: Arc::clone(&traffic),
            monitor: Arc::clone(&options.monitor),
            log: Arc::clone(&options.log),
            before: Arc::new(before),
        };
        let driver = tokio::spawn(sending.run(receiver, Arc::clone(&stop)));
        let upload = Upload {
            client: self.clone(),
            target,
            shared,
            traffic,
            kept_bytes,
            stop,
            state: State::Sending(driver),
        };
        (sink, upload)
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

impl Upload {
    /// The server's id of this upload.
    #[must_use]
    pub fn upload_id(&self) -> &str {
        &self.target.upload_id
    }

    /// The bucket.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.target.bucket
    }

    /// The object's key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.target.key
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Why this upload has failed by itself, if it has. That it was stopped from this side, by
    /// aborting it or by giving up its sink, is no failure of its own and not told.
    #[must_use]
    pub fn failure(&self) -> Option<&Error> {
        self.shared
            .failure()
            .filter(|error| error.kind() != ErrorKind::Cancelled)
    }

    /// Waits until the sink is closed and all parts are confirmed; the length of the stream. Until
    /// [`Upload::complete`] is called, nothing can be seen in the bucket.
    ///
    /// The future can be dropped and made again: nothing that was done is lost.
    ///
    /// # Errors
    /// The upload's first error. [`ErrorKind::Cancelled`] when the sink was dropped without
    /// [`MultipartSink::close`].
    pub async fn sent(&mut self) -> Result<u64, Error> {
        if let State::Sending(driver) = &mut self.state {
            let sent = driver.await;
            self.state = match sent {
                Ok(Some(parts)) => State::Sent {
                    parts,
                    joining: false,
                },
                Ok(None) => State::Failed,
                Err(error) => {
                    self.shared.fail(broken(&error));
                    State::Failed
                }
            };
        }
        match &self.state {
            State::Sent { parts, .. } => Ok(Expected::of(parts).size),
            State::Joined { expected, .. } => Ok(expected.size),
            State::Sending(_) | State::Completed | State::Failed => Err(self.ended()),
        }
    }

    fn ended(&self) -> Error {
        self.shared
            .failure()
            .cloned()
            .unwrap_or_else(|| Error::new(ErrorKind::Cancelled, "the upload has already ended"))
    }

    /// As [`Upload::sent`]; then joins the parts, and holds length and ETag of the object against
    /// what was sent.
    ///
    /// The future can be dropped and made again: nothing that was done is lost.
    ///
    /// # Errors
    /// Those of [`Upload::sent`]. [`ErrorKind::Integrity`] when the object is not what was sent: it
    /// is left in the bucket for looking at, and must not be used. After any other error the parts
    /// are still stored: go on later with [`Client::resume_upload`], or call [`Upload::abort`].
    pub async fn complete(&mut self) -> Result<Uploaded, Error> {
        if matches!(self.state, State::Sending(_)) {
            self.sent().await?;
        }
        if let State::Sent { parts, joining } = &mut self.state {
            if !*joining {
                self.client.settle(&self.target, parts).await?;
            }
            let expected = Expected::of(parts);
            let asked_before = std::mem::replace(joining, true);
            let told = self
                .client
                .complete_upload(&self.target, parts, &expected, asked_before)
                .await?;
            self.state = State::Joined {
                expected,
                parts: u32::try_from(parts.len()).unwrap_or(u32::MAX),
                told,
            };
        }
        let State::Joined {
            expected,
            parts,
            told,
        } = &self.state
        else {
            return Err(self.ended());
        };
        let (etag, etag_verified) = self.verify(expected, told.as_deref()).await?;
        if !etag_verified {
            self.client.etags().note(&etag);
        }
        let uploaded = Uploaded {
            size: expected.size,
            etag,
            etag_verified,
            parts: *parts,
            upload_id: self.target.upload_id.clone(),
            sent_bytes: self.traffic.sent_bytes.load(Ordering::Relaxed),
            kept_bytes: self.kept_bytes + self.traffic.found_bytes.load(Ordering::Relaxed),
            retries: self.traffic.retries.load(Ordering::Relaxed),
        };
        self.state = State::Completed;
        Ok(uploaded)
    }

    /// Looks at the joined object. Its ETag, and whether that proves it.
    async fn verify(
        &self,
        expected: &Expected,
        told: Option<&str>,
    ) -> Result<(String, bool), Error> {
        let Target { bucket, key, .. } = &self.target;
        let doing = || format!("verifying {bucket}/{key}");
        let found = match self.client.object(bucket, key).await {
            // A key that may only write: the server's word on joining, an MD5 over all parts, has
            // to do.
            Err(error)
                if error.kind() == ErrorKind::AccessDenied
                    && told.is_some()
                    && told == expected.etag.as_deref() =>
            {
                return Ok((told.map(str::to_owned).unwrap_or_default(), true));
            }
            found => found?,
        };
        let found = found.ok_or_else(|| {
            Error::new(
                ErrorKind::Integrity,
                "the server confirmed the object, and then has none of this name",
            )
            .doing(doing())
        })?;
        let is_proved = expected.check(told, &found).map_err(|error| {
            error
                .doing(doing())
                .with_hint("do not use the object; delete it and upload again")
        })?;
        let etag = found.etag.or_else(|| told.map(str::to_owned));
        Ok((etag.unwrap_or_default(), is_proved))
    }

    /// Stops the stream, lets parts that are on their way arrive for up to `grace`, and ends. What
    /// has arrived was told to [`UploadOptions::log`]: [`Client::resume_upload`] goes on from
    /// there. Nothing happens to an upload whose parts are all stored.
    pub async fn pause(&mut self, grace: Duration) {
        if let State::Sending(driver) = &mut self.state {
            self.stop.within(grace);
            self.shared
                .fail(Error::new(ErrorKind::Cancelled, "the upload was stopped"));
            let _ = driver.await;
            self.state = State::Failed;
        }
    }

    /// Stops sending, and throws away what the server has. Nothing happens to an object that
    /// [`Upload::complete`] has finished.
    ///
    /// # Errors
    /// What the server says; parts may then still be stored and cost money. [`ErrorKind::Refused`]
    /// when the parts were joined already and the object, verified or not, is in the bucket.
    pub async fn abort(&mut self) -> Result<(), Error> {
        self.shared
            .fail(Error::new(ErrorKind::Cancelled, "the upload was aborted"));
        if let State::Sending(driver) = &mut self.state {
            self.stop.within(Duration::ZERO);
            // A part that arrives after the abort could stay for ever, so all of them end first.
            let _ = driver.await;
            self.state = State::Failed;
        }
        match &self.state {
            State::Completed => return Ok(()),
            State::Joined { .. } => return Err(self.joined()),
            State::Sending(_) | State::Sent { .. } | State::Failed => {}
        }
        let Target {
            bucket,
            key,
            upload_id,
        } = &self.target;
        self.client.abort_upload(bucket, key, upload_id).await?;
        if let State::Sent {
            parts,
            joining: true,
        } = &self.state
            && self
                .client
                .is_there(&self.target, &Expected::of(parts))
                .await
        {
            return Err(self.joined());
        }
        self.state = State::Failed;
        Ok(())
    }

    /// There is nothing left to abort, because the object is there.
    fn joined(&self) -> Error {
        let Target { bucket, key, .. } = &self.target;
        Error::refused(format!(
            "its parts are joined already, and the object {bucket}/{key} is in the bucket"
        ))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if matches!(self.state, State::Sending(_)) {
            self.shared
                .fail(Error::new(ErrorKind::Cancelled, "the upload was given up"));
            self.stop.within(Duration::ZERO);
        }
    }
}
