//! The error of this crate: a kind to decide by, what the server said, and what the user can do.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use net::retry::{Retryable, Verdict};
use tokio::task::JoinError;

use crate::hint::Hint;

/// What went wrong, for callers that decide by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Authentication failed: access key, signature, clock, expired token.
    Auth,
    /// Authenticated, but not allowed to do this.
    AccessDenied,
    /// No such bucket, object or upload.
    NotFound,
    /// The bucket is in another region than the endpoint.
    WrongRegion,
    /// What the server holds differs from what was sent.
    Integrity,
    /// No answer of the storage: connection, name lookup, TLS, time limit, or an answer of another
    /// server.
    Network,
    /// The server failed, or its answer cannot be understood.
    Server,
    /// The server refused the request for another reason.
    Rejected,
    /// Refused here, before any request: a setting or a name that cannot work.
    Refused,
    /// The upload was stopped from this side.
    Cancelled,
    /// This side could not record the progress of the upload.
    Local,
}

/// An error; clones are cheap and share everything, so that the sink and the upload return the same
/// first error.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    verdict: Verdict,
    doing: Option<String>,
    message: String,
    code: Option<String>,
    status: Option<u16>,
    request_id: Option<String>,
    hint: Option<Hint>,
    notes: Vec<String>,
    date: Option<String>,
    region: Option<String>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A fatal error; `message` gives found and expected.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            verdict: Verdict::Fatal,
            doing: None,
            message: message.into(),
            code: None,
            status: None,
            request_id: None,
            hint: None,
            notes: Vec::new(),
            date: None,
            region: None,
            source: None,
        }))
    }

    /// Something on this side failed: shown as itself, with its own sources.
    pub(crate) fn local(source: Box<dyn StdError + Send + Sync>) -> Self {
        let mut error = Self::new(ErrorKind::Local, source.to_string());
        error.inner().source = Some(Arc::from(source));
        error
    }

    /// Refused before any request.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, message)
    }

    fn inner(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.0)
    }

    pub(crate) fn with_verdict(mut self, verdict: Verdict) -> Self {
        self.inner().verdict = verdict;
        self
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<Hint>) -> Self {
        self.inner().hint = Some(hint.into());
        self
    }

    pub(crate) fn with_answer(
        mut self,
        status: u16,
        code: Option<String>,
        request_id: Option<String>,
    ) -> Self {
        let inner = self.inner();
        inner.status = Some(status);
        inner.code = code;
        inner.request_id = request_id;
        self
    }

    /// Keeps the answer's `Date`.
    pub(crate) fn with_date(mut self, date: impl Into<String>) -> Self {
        self.inner().date = Some(date.into());
        self
    }

    /// The answer's `Date`, as it came.
    pub(crate) fn date(&self) -> Option<&str> {
        self.0.date.as_deref()
    }

    /// Keeps the region that the answer names.
    pub(crate) fn with_region(mut self, region: String) -> Self {
        self.inner().region = Some(region);
        self
    }

    /// The region that the answer names.
    pub(crate) fn region(&self) -> Option<&str> {
        self.0.region.as_deref()
    }

    /// The same with another kind.
    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.inner().kind = kind;
        self
    }

    /// The same with each of its texts passed through `masked`. Hints are made of what servers say
    /// too.
    pub(crate) fn with_texts(mut self, masked: impl Fn(&str) -> String) -> Self {
        let inner = self.inner();
        inner.message = masked(&inner.message);
        for text in [&mut inner.code, &mut inner.request_id, &mut inner.region] {
            *text = text.as_deref().map(&masked);
        }
        inner.hint = inner.hint.take().map(|hint| hint.with_texts(&masked));
        for note in &mut inner.notes {
            *note = masked(note);
        }
        self
    }

    /// Whether the server refused the request because it is overloaded.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.status(), Some(429 | 503))
            || matches!(self.code(), Some("SlowDown" | "TooManyRequests"))
    }

    /// Says which operation failed, unless a deeper layer already did.
    pub(crate) fn doing(mut self, doing: impl Into<String>) -> Self {
        self.inner().doing.get_or_insert_with(|| doing.into());
        self
    }

    /// Adds something that went wrong afterwards, such as a clean-up that failed as well.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.inner().notes.push(note.into());
        self
    }

    /// The stable kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The server's error code, such as `NoSuchBucket`.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// Whether the server does not know the upload that a request named. Ceph says `NoSuchKey` when
    /// its parts are listed after it was completed.
    pub(crate) fn is_unknown_upload(&self) -> bool {
        matches!(self.code(), Some("NoSuchUpload" | "NoSuchKey"))
    }

    /// Whether sending a part may succeed where having the server copy it did not.
    #[must_use]
    pub fn refuses_copy(&self) -> bool {
        match self.kind() {
            ErrorKind::AccessDenied
            | ErrorKind::Rejected
            | ErrorKind::Server
            | ErrorKind::Integrity => true,
            // The source is gone; that the upload is gone is another matter.
            ErrorKind::NotFound => self.code() == Some("NoSuchKey"),
            _ => false,
        }
    }

    /// The HTTP status of the answer, when there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The server's id of the request: what its support asks for.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&Hint> {
        self.0.hint.as_ref()
    }

    /// What went wrong afterwards, in order.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.0.notes
    }
}

impl Retryable for Error {
    fn verdict(&self) -> Verdict {
        self.0.verdict
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        if let Some(doing) = &inner.doing {
            write!(f, "{doing}: ")?;
        }
        f.write_str(&inner.message)?;
        if let Some(id) = &inner.request_id {
            write!(f, " (request id {id})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        f.debug_struct("Error")
            .field("kind", &inner.kind)
            .field("verdict", &inner.verdict)
            .field("text", &self.to_string())
            .field("hint", &inner.hint)
            .field("notes", &inner.notes)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // The source of what is shown as this error itself.
        self.0.source.as_ref()?.source()
    }
}

impl Error {
    /// What failed on this side, for [`ErrorKind::Local`].
    #[must_use]
    pub fn local_error(&self) -> Option<&(dyn StdError + Send + Sync + 'static)> {
        self.0.source.as_deref()
    }
}

/// A task of this crate panicked or was stopped.
pub(crate) fn broken(error: &JoinError) -> Error {
    let reason = if error.is_panic() {
        "panicked"
    } else {
        "was stopped"
    };
    Error::new(
        ErrorKind::Cancelled,
        format!("a task that sends parts {reason}"),
    )
}
