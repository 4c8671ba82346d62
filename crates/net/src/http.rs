//! One HTTP request, sent once: no repeats, no redirects, no credentials in clear text by accident.

use std::error::Error as StdError;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

pub use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
pub use bytes::Bytes;
pub use url::{Host, Url};

use crate::retry::{Retryable, Verdict, chain};
use crate::status::Repeat;

/// Longest time for name lookup, TCP and TLS. Ours: a server on the other side of the world answers
/// within one second; ten cover lost packets, and a wrong address is reported while the user waits.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time for a whole request. Ours: these calls only start work or ask for its state, and
/// gateways in front of such services give up after one minute themselves.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest time that an idle connection is kept. Ours: shorter than the idle time of common load
/// balancers (60 s), so that a request does not meet a connection that is just being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);

/// Most bytes of a body that are taken. Ours: answers of these services have a few KiB, a token's
/// catalogue some hundred.
pub const MAX_BODY_BYTES: usize = 1 << 20;

const USER_AGENT: &str = concat!("imgferry/", env!("CARGO_PKG_VERSION"));

/// How a [`Client`] talks.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Also talk to other machines without TLS.
    pub allow_http: bool,
    /// For name lookup, TCP and TLS.
    pub connect_timeout: Duration,
    /// For a whole request.
    pub request_timeout: Duration,
    /// Never through a proxy, whatever the environment says.
    pub direct: bool,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            allow_http: false,
            connect_timeout: CONNECT_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            direct: false,
        }
    }
}

/// A request as plain data. `Debug` shows neither headers nor body: both carry credentials.
#[derive(Clone)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Where to; the query is sent as it stands here.
    pub url: Url,
    /// Headers beside those that every request has.
    pub headers: HeaderMap,
    /// Body; empty for none.
    pub body: Bytes,
}

impl Request {
    /// A request without headers and body.
    #[must_use]
    pub fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// Adds a JSON body.
    #[must_use]
    pub fn with_json(mut self, body: impl Into<Bytes>) -> Self {
        let json = HeaderValue::from_static("application/json");
        self.headers.insert(header::CONTENT_TYPE, json);
        self.body = body.into();
        self
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("place", &place(&self.url))
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// An answer, whatever its status. `Debug` shows neither headers nor body: a token is one of them.
#[derive(Clone)]
pub struct Response {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, at most [`MAX_BODY_BYTES`].
    pub body: Bytes,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpErrorKind {
    /// The request must not or cannot be sent: no TLS, no host, a header with a line break.
    Refused,
    /// No connection: name lookup, TCP or TLS failed. Nothing of the request was sent.
    Connect,
    /// No complete answer in time.
    Timeout,
    /// The connection ended before the answer was complete.
    Interrupted,
    /// The answer breaks HTTP, or is longer than [`MAX_BODY_BYTES`].
    BadAnswer,
}

/// No answer, and whether the server may have seen the request.
#[derive(Debug)]
pub struct HttpError {
    kind: HttpErrorKind,
    message: String,
    plain_http: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl HttpError {
    fn new(kind: HttpErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            plain_http: false,
            source: None,
        }
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> HttpErrorKind {
        self.kind
    }

    /// Whether the request was refused because its address has no TLS.
    #[must_use]
    pub fn is_plain_http(&self) -> bool {
        self.plain_http
    }

    /// Whether the server may have received the request, and so may have carried it out.
    #[must_use]
    pub fn may_have_been_sent(&self) -> bool {
        !matches!(self.kind, HttpErrorKind::Refused | HttpErrorKind::Connect)
    }

    /// Whether to send a request again that failed like this.
    ///
    /// | kind | safe to repeat | unsafe to repeat |
    /// |---|---|---|
    /// | connect | retry | retry: not sent |
    /// | timeout, interrupted | retry | fatal: may have been carried out |
    /// | refused, bad answer | fatal | fatal |
    #[must_use]
    pub fn verdict_for(&self, repeat: Repeat) -> Verdict {
        match (self.kind, repeat) {
            (HttpErrorKind::Connect, _)
            | (HttpErrorKind::Timeout | HttpErrorKind::Interrupted, Repeat::Safe) => Verdict::Retry,
            _ => Verdict::Fatal,
        }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for HttpError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

/// The verdict on a request that must not be carried out twice.
impl Retryable for HttpError {
    fn verdict(&self) -> Verdict {
        self.verdict_for(Repeat::Unsafe)
    }

    fn reason(&self) -> String {
        chain(self)
    }
}

/// Sends requests. Clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    /// Through the proxy that the environment names, if any.
    remote: reqwest::Client,
    /// Without a proxy: to this machine, which none can reach.
    loopback: reqwest::Client,
    options: ClientOptions,
}

impl Client {
    /// A client; connects to nothing yet.
    ///
    /// # Errors
    /// `Refused` when TLS cannot be set up on this machine.
    pub fn new(options: &ClientOptions) -> Result<Self, HttpError> {
        let build = |builder: reqwest::ClientBuilder| {
            builder
                .user_agent(USER_AGENT)
                // Credentials must not follow a redirect, and these services send none.
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                .connect_timeout(options.connect_timeout)
                .timeout(options.request_timeout)
                .pool_idle_timeout(IDLE_TIMEOUT)
                .build()
                .map_err(|e| HttpError {
                    source: Some(e.into()),
                    ..HttpError::new(HttpErrorKind::Refused, "the HTTP client cannot be set up")
                })
        };
        Ok(Self {
            remote: build(reqwest::Client::builder())?,
            loopback: build(reqwest::Client::builder().no_proxy())?,
            options: options.clone(),
        })
    }

    /// Sends `request` once and takes the whole answer. Every status is an answer, not an error.
    ///
    /// # Errors
    /// By [`HttpErrorKind`]; [`HttpError::may_have_been_sent`] tells whether repeating is safe.
    pub async fn send(&self, request: Request) -> Result<Response, HttpError> {
        let place = place(&request.url);
        let local = is_loopback(&request.url);
        match request.url.scheme() {
            "https" => {}
            "http" if local || self.options.allow_http => {}
            "http" => {
                return Err(HttpError {
                    plain_http: true,
                    ..HttpError::new(
                        HttpErrorKind::Refused,
                        format!(
                            "{place} is reached without TLS, credentials would be readable on the \
                             way"
                        ),
                    )
                });
            }
            other => {
                return Err(HttpError::new(
                    HttpErrorKind::Refused,
                    format!("{place} has the scheme {other}, expected https"),
                ));
            }
        }
        let client = if local || self.options.direct {
            &self.loopback
        } else {
            &self.remote
        };
        let mut response = client
            .request(request.method, request.url)
            .headers(request.headers)
            .body(request.body)
            .send()
            .await
            .map_err(|e| self.failed(&place, e))?;
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|e| self.failed(&place, e))? {
            if body.len().saturating_add(piece.len()) > MAX_BODY_BYTES {
                return Err(HttpError::new(
                    HttpErrorKind::BadAnswer,
                    format!("the answer of {place} has more than {MAX_BODY_BYTES} bytes"),
                ));
            }
            body.extend_from_slice(&piece);
        }
        Ok(Response {
            status: response.status(),
            headers: std::mem::take(response.headers_mut()),
            body: body.into(),
        })
    }

    fn failed(&self, place: &str, error: reqwest::Error) -> HttpError {
        let connect = error.is_connect();
        let (kind, message) = if error.is_builder() {
            (
                HttpErrorKind::Refused,
                format!("the request to {place} cannot be built"),
            )
        } else if connect && error.is_timeout() {
            let limit = self.options.connect_timeout.as_secs_f64();
            (
                HttpErrorKind::Connect,
                format!("no connection to {place} within {limit} s"),
            )
        } else if connect {
            (HttpErrorKind::Connect, format!("no connection to {place}"))
        } else if error.is_timeout() {
            let limit = self.options.request_timeout.as_secs_f64();
            (
                HttpErrorKind::Timeout,
                format!("no complete answer of {place} within {limit} s"),
            )
        } else if is_http_breach(&error) {
            (
                HttpErrorKind::BadAnswer,
                format!("the answer of {place} is not HTTP"),
            )
        } else {
            (
                HttpErrorKind::Interrupted,
                format!("the connection to {place} ended before the answer was complete"),
            )
        };
        HttpError {
            // The URL stands in the message already, without its query.
            source: Some(error.without_url().into()),
            ..HttpError::new(kind, message)
        }
    }
}

/// Whether the server broke the protocol, rather than the connection.
fn is_http_breach(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>() {
            return hyper.is_parse();
        }
        source = cause.source();
    }
    false
}

/// Host and path, for messages; a query may hold private names.
fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or("(no host)");
    match url.port() {
        Some(port) => format!("{host}:{port}{}", url.path()),
        None => format!("{host}{}", url.path()),
    }
}

/// Whether `url` names this machine.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).to_canonical().is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}
