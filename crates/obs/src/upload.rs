//! One multipart upload on its way: completing, pausing or aborting it.

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
    /// Bytes that travelled in all attempts of this run: bodies of parts, and the helper object of
    /// zeros.
    pub sent_bytes: u64,
    /// Bytes of parts that an earlier run has sent.
    pub kept_bytes: u64,
    /// Attempts to send a part beyond its first.
    pub retries: u64,
    /// What the server copied, with [`Layout::Unordered`].
    ///
    /// [`Layout::Unordered`]: crate::Layout::Unordered
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub copies: Option<ServerCopies>,
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

    /// As [`Upload::sent`]; then joins the parts, holds length and ETag of the object against what
    /// was sent, and deletes the helper object of zeros. That this fails is no failure of the
    /// upload; it is in [`ServerCopies::left_behind`].
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
            retries: self.traffic.retries.load(Ordering::Relaxed),
            copies,
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

    /// Stops sending, and throws away what the server has, the helper object in any case. Nothing
    /// happens to an object that [`Upload::complete`] has finished.
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
