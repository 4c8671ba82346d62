//! One error type: what was being done, what the service said, whether to try again, and what to
//! do.

use std::error::Error as StdError;
use std::fmt;

use net::credentials::KeyError;
use net::http::{HttpError, HttpErrorKind, Response, StatusCode};
use net::mask::mask;
use net::retry::{Retryable, Verdict, chain};
use net::secret::SecretString;
use net::status::{self, Repeat};
use time::OffsetDateTime;

use crate::answer::{Complaint, complaint, tidy};
use crate::hints::{self, Hint};

/// What this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, for callers that decide by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Refused here, before anything was sent.
    Invalid,
    /// The service does not accept the credentials (401).
    Credentials,
    /// The thing asked for does not exist (404).
    NotFound,
    /// The service understood and refused.
    Refused,
    /// The service cannot answer now (429, 5xx, flow control), also after all attempts.
    Unavailable,
    /// No answer, after all attempts.
    Network,
    /// Something else answered in the service's place: a sign-in page, a proxy.
    Foreign,
    /// Nobody knows whether the request was carried out, so it was not repeated.
    Ambiguous,
    /// The answer makes no sense.
    BadAnswer,
    /// The job ended without an image.
    JobFailed,
    /// The job still runs after the time that the caller gave it.
    JobTimeout,
    /// The caller asked to stop.
    Cancelled,
}

/// An error with what the service said.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    status: Option<u16>,
    code: Option<String>,
    request_id: Option<String>,
    hints: Vec<Hint>,
    verdict: Verdict,
    /// Whether something else answered, whatever the kind.
    foreign: bool,
    /// Whether an attempt reached anybody.
    reached: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error that another attempt cannot mend.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            status: None,
            code: None,
            request_id: None,
            hints: Vec::new(),
            verdict: Verdict::Fatal,
            foreign: false,
            reached: false,
            source: None,
        }))
    }

    /// No answer to the request that was `doing` something.
    pub(crate) fn network(doing: &str, repeat: Repeat, source: HttpError) -> Self {
        let verdict = source.verdict_for(repeat);
        let needs_tls = source.is_plain_http();
        let mut error = if source.may_have_been_sent() && repeat == Repeat::Unsafe {
            Self::ambiguous(doing, "the answer did not arrive")
        } else if source.kind() == HttpErrorKind::Refused {
            Self::new(ErrorKind::Invalid, format!("{doing} is not possible"))
        } else {
            Self::new(ErrorKind::Network, format!("{doing} failed"))
        };
        error.0.verdict = verdict;
        if needs_tls {
            error = error.with_hint(Hint::AllowHttp);
        }
        error.0.source = Some(source.into());
        error
    }

    /// There is no key to sign with; its source has been asked often enough.
    pub(crate) fn no_key(source: KeyError) -> Self {
        let kind = match source.verdict() {
            Verdict::Fatal => ErrorKind::Credentials,
            _ => ErrorKind::Network,
        };
        let hint = source.hint().map(str::to_owned);
        let error = Self::new(kind, "there is no access key").caused_by(source);
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }

    /// The request may have been carried out.
    pub(crate) fn ambiguous(doing: &str, why: &str) -> Self {
        Self::new(
            ErrorKind::Ambiguous,
            format!("{doing} may have been carried out or not, and was not repeated: {why}"),
        )
    }

    /// An answer with an error status.
    pub(crate) fn from_answer(
        doing: &str,
        answer: &Response,
        repeat: Repeat,
        secrets: &[SecretString],
        now: OffsetDateTime,
    ) -> Self {
        let complaint = complaint(&answer.body, secrets);
        let request_id = answer
            .headers
            .get("x-request-id")
            .and_then(|id| id.to_str().ok())
            .map(|id| tidy(&mask(id, secrets), 64))
            .filter(|id| !id.is_empty());
        let status = answer.status;
        let code = complaint.code.as_deref();
        let service_spoke = code.is_some_and(|code| code.starts_with("IMG."));
        let mut verdict = status::verdict(status, &answer.headers, repeat, now);
        let kind = match status.as_u16() {
            // Flow control: turned away before the work, in the shape of a bad request.
            _ if code == Some("IMG.0060") => {
                verdict = match status::retry_after(&answer.headers, now) {
                    Some(told) => Verdict::RetryAfter(told),
                    None => Verdict::Retry,
                };
                ErrorKind::Unavailable
            }
            _ if repeat == Repeat::Unsafe && status::is_ambiguous(status) && !service_spoke => {
                ErrorKind::Ambiguous
            }
            401 => ErrorKind::Credentials,
            404 => ErrorKind::NotFound,
            408 | 429 | 500..=599 => ErrorKind::Unavailable,
            _ => ErrorKind::Refused,
        };
        let what = describe(&complaint, status, request_id.as_deref());
        let message = match kind {
            ErrorKind::Ambiguous => {
                return Self::ambiguous(doing, &what).told(status, complaint, request_id);
            }
            ErrorKind::Unavailable => format!("{doing} failed: {what}"),
            _ => format!("{doing} was refused: {what}"),
        };
        let mut error = Self::new(kind, message).told(status, complaint, request_id);
        error.0.verdict = verdict;
        error
    }

    /// Adds what the answer said.
    fn told(
        mut self,
        status: StatusCode,
        complaint: Complaint,
        request_id: Option<String>,
    ) -> Self {
        let mut hints: Vec<Hint> = complaint
            .code
            .as_deref()
            .and_then(hints::for_code)
            .or_else(|| hints::for_status(status.as_u16()))
            .into_iter()
            .collect();
        if let Some(canonical) = complaint.canonical_request {
            let text = format!("the server computed this canonical request:\n{canonical}");
            hints.push(text.into());
        }
        self.0.status = Some(status.as_u16());
        self.0.code = complaint.code;
        self.0.request_id = request_id;
        self.0.hints = hints;
        self
    }

    /// Says that something else answered with `status`.
    pub(crate) fn foreign(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self.0.foreign = true;
        self
    }

    /// Says that this attempt, or one before it, reached somebody.
    pub(crate) fn after(mut self, reached: bool) -> Self {
        self.0.reached = reached;
        self
    }

    pub(crate) fn with_code(mut self, code: Option<String>) -> Self {
        if let Some(hint) = code.as_deref().and_then(hints::for_code) {
            self.0.hints = vec![hint];
        }
        self.0.code = code;
        self
    }

    /// Adds what the caller can do.
    pub(crate) fn with_hint(mut self, hint: impl Into<Hint>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The stable kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether something else answered in the service's place.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.0.foreign
    }

    /// Whether no attempt of the call reached anybody, so that nothing can have been carried out.
    #[must_use]
    pub fn was_not_sent(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Network | ErrorKind::Invalid) && !self.0.reached
    }

    /// HTTP status of the answer, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The service's code, such as `IMG.0009`, `APIGW.0301` or `401`.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// Id of the request, which the service's support asks for.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn hints(&self) -> &[Hint] {
        &self.0.hints
    }

    /// The hints in general words, a line each.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let lines: Vec<String> = self.0.hints.iter().map(Hint::to_string).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

/// `IMG.0009: The image name already exists (HTTP 400, request id r-1)`.
fn describe(complaint: &Complaint, status: StatusCode, request_id: Option<&str>) -> String {
    let mut text = String::new();
    // IAM repeats the status as code.
    let code = complaint
        .code
        .as_deref()
        .filter(|code| *code != status.as_str());
    for part in [code.unwrap_or_default(), &complaint.message] {
        if !part.is_empty() {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(part);
        }
    }
    if text.is_empty() {
        text.push_str("no reason is given");
    }
    text.push_str(&format!(" (HTTP {}", status.as_u16()));
    if let Some(id) = request_id {
        text.push_str(&format!(", request id {id}"));
    }
    text.push(')');
    text
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

impl Retryable for Error {
    fn verdict(&self) -> Verdict {
        self.0.verdict
    }

    fn reason(&self) -> String {
        chain(self)
    }
}
