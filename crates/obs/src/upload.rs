//! One multipart upload in progress: completing, pausing or aborting it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinHandle;

use crate::bridge::Shared;
use crate::client::Client;
use crate::confirmed::{Confirmed, Expected};
use crate::error::{Error, ErrorKind, broken};
use crate::multipart::{Target, Traffic};
use crate::sending::Stop;
use crate::zeros::{ServerCopies, Zeros};

/// What was uploaded and verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Uploaded {
    /// Length of the object in bytes, as the server reports it.
    pub size: u64,
    /// The object's ETag, without quotes.
    pub etag: String,
    /// Whether an ETag was compared with the MD5 of what was sent. False if the storage reports no
    /// MD5s, because it encrypts or has ETags of another kind: `Content-MD5` still protected each
    /// part in transit.
    pub etag_verified: bool,
    /// Number of parts.
    pub parts: u32,
    /// The server's id of the upload.
    pub upload_id: String,
    /// Bytes that travelled in all attempts of this run: bodies of parts, and the helper object of
    /// zeros.
    pub sent_bytes: u64,
    /// Bytes of parts that an earlier run sent.
    pub kept_bytes: u64,
    /// Bytes that the server copied from an earlier object.
    #[serde(skip_serializing_if = "is_none")]
    pub copied_bytes: u64,
    /// Attempts to send a part beyond its first.
    pub retries: u64,
    /// What the server copied, with [`Layout::Unordered`].
    ///
    /// [`Layout::Unordered`]: crate::Layout::Unordered
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub copies: Option<ServerCopies>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "what serde calls it with"
)]
const fn is_none(bytes: &u64) -> bool {
    *bytes == 0
}

/// One multipart upload in progress.
///
/// ```text
///  start_upload ──▶ Upload + MultipartSink
///                     │           │ write … write, close      (a plain thread)
///                     │           ▼
///                     │        parts ──▶ sent, several at a time, each tried again on its own
///                     ▼
///                 complete ──▶ Uploaded        joined, then checked: length and ETag compared
///                     │ error
///                     ▼
///                   abort  ──▶ nothing is left in the bucket
/// ```
///
/// The first error stops everything: parts in flight are dropped, the sink fails with the same
/// error, and [`Upload::complete`] returns it.
///
/// Dropping an `Upload` stops sending, and makes the sink fail. The parts that the server has stay
/// there, invisible but billed, until [`Upload::abort`] or [`Client::abort_upload`] deletes them;
/// [`Upload::upload_id`] names them.
///
/// With [`Layout::Unordered`] a helper object may lie beside the target. Completing and aborting
/// delete it; pausing does not, because a later run copies from it.
///
/// [`Layout::Unordered`]: crate::Layout::Unordered
#[derive(Debug)]
pub struct Upload {
    pub(crate) client: Client,
    pub(crate) target: Target,
    pub(crate) shared: Arc<Shared>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) kept_bytes: u64,
    pub(crate) stop: Arc<Stop>,
    /// The zeros that the server copies, with `Layout::Unordered`.
    pub(crate) zeros: Option<Arc<Zeros>>,
    pub(crate) state: State,
}

#[derive(Debug)]
pub(crate) enum State {
    /// Parts are being sent.
    Sending(JoinHandle<Option<Vec<Confirmed>>>),
    /// All parts are confirmed. Completing may have been requested, with an unknown outcome.
    Sent {
        parts: Vec<Confirmed>,
        joining: bool,
    },
    /// The object exists, but has not been checked yet or is wrong.
    Joined {
        expected: Expected,
        parts: u32,
        told: Option<String>,
    },
    /// The object exists and is verified.
    Completed,
    /// There will be no object.
    Failed,
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

    /// Key of the helper object of zeros, if it may be in the bucket.
    #[must_use]
    pub fn helper(&self) -> Option<&str> {
        self.zeros.as_deref()?.key()
    }

    /// Why this upload failed by itself, if it did. Stopping it from this side, by aborting it or
    /// dropping its sink, is not a failure of its own and not reported here.
    #[must_use]
    pub fn failure(&self) -> Option<&Error> {
        self.shared
            .failure()
            .filter(|error| error.kind() != ErrorKind::Cancelled)
    }

    /// Waits until the sink is closed and all parts are confirmed; the length of the stream. Until
    /// [`Upload::complete`] is called, nothing can be seen in the bucket.
    ///
    /// The future may be dropped and created again: no progress is lost.
    ///
    /// # Errors
    /// The upload's first error. [`ErrorKind::Cancelled`] when the sink was dropped without
    /// [`MultipartSink::close`](crate::MultipartSink::close).
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

    /// As [`Upload::sent`]; then joins the parts, compares length and ETag of the object with what
    /// was sent, and deletes the helper object of zeros. If deleting fails, the upload still
    /// succeeds, and [`ServerCopies::left_behind`] says so.
    ///
    /// The future may be dropped and created again: no progress is lost.
    ///
    /// # Errors
    /// Those of [`Upload::sent`]. [`ErrorKind::Integrity`] when the object is not what was sent: it
    /// stays in the bucket for inspection and must not be used. After any other error the parts are
    /// still stored: resume later with [`Client::resume_upload`], or call [`Upload::abort`].
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
                .await
                .inspect_err(|error| {
                    // Asking again cannot help.
                    if error.code() == Some("EntityTooSmall") {
                        self.shared.fail(error.clone());
                    }
                })?;
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
        let copies = match &self.zeros {
            Some(zeros) => {
                let removed = self.remove_helper().await;
                Some(ServerCopies {
                    left_behind: removed.err().map(|error| error.to_string()),
                    ..zeros.copies()
                })
            }
            None => None,
        };
        let uploaded = Uploaded {
            size: expected.size,
            etag,
            etag_verified,
            parts: *parts,
            upload_id: self.target.upload_id.clone(),
            sent_bytes: self.traffic.sent_bytes.load(Ordering::Relaxed),
            kept_bytes: self.kept_bytes + self.traffic.found_bytes.load(Ordering::Relaxed),
            copied_bytes: self.traffic.copied_bytes.load(Ordering::Relaxed),
            retries: self.traffic.retries.load(Ordering::Relaxed),
            copies,
        };
        self.state = State::Completed;
        Ok(uploaded)
    }

    /// Checks the joined object. Returns its ETag, and whether that proves it.
    async fn verify(
        &self,
        expected: &Expected,
        told: Option<&str>,
    ) -> Result<(String, bool), Error> {
        let Target { bucket, key, .. } = &self.target;
        let doing = || format!("verifying {bucket}/{key}");
        let found = match self.client.object(bucket, key).await {
            // A key that may only write: the ETag from completing, an MD5 over all parts, has to
            // do.
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
                "the server confirmed the object, but then reported that it does not exist",
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

    /// Stops the stream, gives parts in flight up to `grace` to arrive, and ends. Parts that arrive
    /// are recorded in `UploadOptions::log`; [`Client::resume_upload`] resumes from there. An
    /// upload whose parts are all stored stays as it is.
    pub async fn pause(&mut self, grace: Duration) {
        if let State::Sending(driver) = &mut self.state {
            self.stop.within(grace);
            self.shared
                .fail(Error::new(ErrorKind::Cancelled, "the upload was stopped"));
            let _ = driver.await;
            self.state = State::Failed;
        }
    }

    /// Stops sending and deletes the stored parts and the helper object. An object that
    /// [`Upload::complete`] has finished stays.
    ///
    /// # Errors
    /// What the server says; parts may then still be stored and cost money. [`ErrorKind::Refused`]
    /// when the parts were joined already and the object, verified or not, is in the bucket. That
    /// the helper object could not be deleted is a note of such an error, or the error itself.
    pub async fn abort(&mut self) -> Result<(), Error> {
        let aborted = self.abort_parts().await;
        let removed = self.remove_helper().await;
        match (aborted, removed) {
            (Ok(()), removed) => removed,
            (Err(error), Ok(())) => Err(error),
            (Err(error), Err(later)) => Err(error.with_note(later.to_string())),
        }
    }

    async fn remove_helper(&self) -> Result<(), Error> {
        let Some(zeros) = &self.zeros else {
            return Ok(());
        };
        let removed = zeros.remove(&self.client, self.bucket()).await;
        removed.map_err(|error| match error.kind() {
            ErrorKind::AccessDenied => {
                error.with_hint("delete the object by hand: the key may not delete objects")
            }
            _ => error,
        })
    }

    async fn abort_parts(&mut self) -> Result<(), Error> {
        self.shared
            .fail(Error::new(ErrorKind::Cancelled, "the upload was aborted"));
        if let State::Sending(driver) = &mut self.state {
            self.stop.within(Duration::ZERO);
            // A part that arrives after the abort could stay forever, so all of them end first.
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

    /// There is nothing left to abort, because the object exists.
    fn joined(&self) -> Error {
        let Target { bucket, key, .. } = &self.target;
        Error::refused(format!(
            "the upload is already complete: the object {bucket}/{key} is in the bucket"
        ))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if matches!(self.state, State::Sending(_)) {
            self.shared
                .fail(Error::new(ErrorKind::Cancelled, "the upload was dropped"));
            self.stop.within(Duration::ZERO);
        }
    }
}
