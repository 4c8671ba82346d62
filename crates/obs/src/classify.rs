//! What an answer, or the lack of one, means: error kind, whether to try again, and a hint.
//!
//! The rules follow OBS's table of error codes; a code that is not listed is judged by its status.

use std::error::Error as StdError;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use net::credentials::KeyError;
use net::retry::{Retryable as _, Verdict};

use crate::error::{Error, ErrorKind};
use crate::foreign::{foreign, is_foreign, was_stopped};
use crate::headers::{bucket_region, redirect_endpoint, request_id, retry_after};
use crate::hint::Hint;
use crate::text::{MAX_SCAN, clean_code, clean_text, element};

/// Pauses from this length on are named in the error; shorter ones are just waited for.
const LONG_PAUSE: Duration = Duration::from_secs(60);

/// Turns the SDK's error into ours. The SDK's own texts say little and its `Debug` shows whole
/// requests, so nothing of it is kept.
pub(crate) fn from_sdk<E>(error: SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    match &error {
        SdkError::ServiceError(service) if is_foreign(service.raw()) => foreign(service.raw()),
        SdkError::ResponseError(response) if was_stopped(&error) => foreign(response.raw()),
        SdkError::ServiceError(service) => {
            let meta = service.err().meta();
            if meta.code().is_some() || !service.raw().status().is_success() {
                return from_answer(service.raw(), meta.code(), meta.message());
            }
            // The server began to answer and then failed.
            let body = service.raw().body().bytes().unwrap_or_default();
            let body = String::from_utf8_lossy(body.get(..MAX_SCAN).unwrap_or(body));
            match element(&body, "Error") {
                Some(error) => from_answer(
                    service.raw(),
                    element(error, "Code"),
                    element(error, "Message"),
                ),
                None => unreadable(service.raw(), &chain(service.err())),
            }
        }
        SdkError::ResponseError(response) => {
            let status = response.raw().status().as_u16();
            let reason = chain(&error);
            Error::new(
                ErrorKind::Server,
                format!("the answer with status {status} cannot be read: {reason}"),
            )
            .with_verdict(Verdict::Retry)
            .with_answer(status, None, request_id(response.raw()))
        }
        SdkError::TimeoutError(_) => {
            Error::new(ErrorKind::Network, "no answer within the time limit")
                .with_verdict(Verdict::Retry)
        }
        SdkError::DispatchFailure(failure) => from_transport(&chain(&error), failure.is_user()),
        _ => Error::refused(format!("the request cannot be made: {}", chain(&error))),
    }
}

/// A success whose document is not what was asked for. One that arrived whole will be the same next
/// time.
fn unreadable(response: &HttpResponse, reason: &str) -> Error {
    let status = response.status().as_u16();
    let body = response.body().bytes().unwrap_or_default();
    let headers = response.headers();
    let is_whole = headers.contains_key("content-length")
        || headers.contains_key("transfer-encoding")
        || body.trim_ascii_end().ends_with(b">");
    let (what, verdict) = match body.trim_ascii() {
        // The server began to answer, and had nothing to say.
        b"" => (
            "the answer is empty, expected a document".to_owned(),
            Verdict::Retry,
        ),
        _ if !is_whole => (format!("the answer ended early: {reason}"), Verdict::Retry),
        body => {
            let beginning = String::from_utf8_lossy(body.get(..400).unwrap_or(body));
            let beginning: String = clean_text(&beginning).chars().take(100).collect();
            (
                format!(
                    "the answer with status {status} cannot be understood: {reason}; \
                     it begins with {beginning:?}"
                ),
                Verdict::Fatal,
            )
        }
    };
    Error::new(ErrorKind::Server, what)
        .with_verdict(verdict)
        .with_answer(status, None, request_id(response))
}

/// There is no key to sign with.
pub(crate) fn no_key(error: &KeyError) -> Error {
    let failure = Error::new(
        ErrorKind::Auth,
        format!("there is no access key: {}", error.reason()),
    )
    .with_verdict(error.verdict());
    match error.hint() {
        Some(hint) => failure.with_hint(hint.to_owned()),
        None => failure,
    }
}

/// Whether the server says that the key is not, or no longer, one: another one from the same source
/// may be. OBS knows no code of its own for temporary keys that have ended, so an unknown id counts
/// too.
///
/// The answer to a HEAD has no room for a code: S3 servers say 400 and nothing else then.
pub(crate) fn is_spent_key(error: &Error) -> bool {
    let says_nothing = error.status() == Some(400) && error.code().is_none();
    says_nothing
        || matches!(
            error.code(),
            Some(
                "ExpiredToken"
                    | "InvalidToken"
                    | "InvalidSecurityToken"
                    | "InvalidAccessKeyId"
                    | "TokenRefreshRequired"
            )
        )
}

/// No answer at all. `reason` is the transport's chain of causes.
fn from_transport(reason: &str, fatal: bool) -> Error {
    let error = Error::new(ErrorKind::Network, reason.to_owned());
    // Trying again does not make a certificate valid.
    if reason.contains("certificate") {
        return error.with_hint(
            "check the endpoint's name and the system's certificates (SSL_CERT_FILE names others)",
        );
    }
    if fatal {
        return error;
    }
    let error = error.with_verdict(Verdict::Retry);
    if reason.contains("dns error") || reason.contains("lookup address") {
        return error.with_hint("check the endpoint and the region for typos");
    }
    error
}

/// An answer that is an error.
fn from_answer(response: &HttpResponse, code: Option<&str>, message: Option<&str>) -> Error {
    let status = response.status().as_u16();
    let headers = response.headers();
    // A HEAD's answer has no body: OBS puts code and message into headers.
    let code = headers
        .get("x-obs-error-code")
        .or(code)
        .map(clean_code)
        .filter(|code| !code.is_empty());
    let message = headers
        .get("x-obs-error-message")
        .or(message)
        .map(clean_text)
        .filter(|message| !message.is_empty());
    let rule = rule(code.as_deref().unwrap_or_default(), status);

    let mut text = format!("the server answered {status}");
    if let Some(code) = &code {
        text = format!("{text} {code}");
    }
    if let Some(message) = &message {
        text = format!("{text}: {message}");
    }
    let verdict = match (rule.verdict, retry_after(response)) {
        (Verdict::Retry, Some(pause)) => Verdict::RetryAfter(pause),
        (verdict, _) => verdict,
    };
    if let Verdict::RetryAfter(pause) = verdict
        && pause >= LONG_PAUSE
    {
        text.push_str(&format!(", and asks for a pause of {} s", pause.as_secs()));
    }
    let mut error = Error::new(rule.kind, text)
        .with_verdict(verdict)
        .with_answer(status, code, request_id(response));
    if let Some(date) = headers.get("date") {
        error = error.with_date(date);
    }
    if let Some(region) = bucket_region(response) {
        error = error.with_region(region);
    }
    if rule.kind == ErrorKind::WrongRegion {
        error = error.with_hint(Hint::UseRegion {
            endpoint: redirect_endpoint(response),
            region: None,
        });
    } else if let Some(hint) = rule.hint {
        error = error.with_hint(hint);
    }
    error
}

/// What a code means.
#[derive(Debug)]
struct Rule {
    kind: ErrorKind,
    verdict: Verdict,
    hint: Option<Hint>,
}

impl Rule {
    const fn fatal(kind: ErrorKind) -> Self {
        Self {
            kind,
            verdict: Verdict::Fatal,
            hint: None,
        }
    }

    const fn retry(kind: ErrorKind) -> Self {
        Self {
            kind,
            verdict: Verdict::Retry,
            hint: None,
        }
    }

    fn hint(mut self, hint: impl Into<Hint>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Looks `code` up, and `status` when the code says nothing.
fn rule(code: &str, status: u16) -> Rule {
    match code {
        "RequestTimeout" | "IncompleteBody" => Rule::retry(ErrorKind::Network),
        "OperationAborted" | "TooManyRequests" | "InternalError" | "ServiceUnavailable"
        | "SlowDown" => Rule::retry(ErrorKind::Server),
        // The bytes were damaged on the way: the same bytes again.
        "BadDigest" => Rule::retry(ErrorKind::Integrity),

        "InvalidAccessKeyId" => Rule::fatal(ErrorKind::Auth).hint(
            "check HW_ACCESS_KEY; temporary keys also need HW_SECURITY_TOKEN and expire after some \
             hours",
        ),
        "SignatureDoesNotMatch" | "TooManyWrongSignature" => {
            Rule::fatal(ErrorKind::Auth).hint(Hint::CheckSecretKey)
        }
        "RequestTimeTooSkewed" => Rule::fatal(ErrorKind::Auth).hint(
            "this machine's clock is more than 15 minutes off: set it, for example with \
                   chronyc makestep",
        ),
        "ExpiredToken" | "InvalidToken" | "InvalidSecurityToken" | "TokenRefreshRequired" => {
            Rule::fatal(ErrorKind::Auth).hint(
                "the temporary credentials have expired: get new ones and set HW_ACCESS_KEY, \
                   HW_SECRET_KEY and HW_SECURITY_TOKEN",
            )
        }
        // Damaged on the way, as with BadDigest, or a server that wants payloads signed in another
        // way.
        "XAmzContentSHA256Mismatch" => Rule::retry(ErrorKind::Auth).hint(
            "if this persists, something in between changes the bytes, or the server does not \
             accept \
             signed payloads; over https payloads are not signed",
        ),
        "AccessDenied" | "AllAccessDisabled" => Rule::fatal(ErrorKind::AccessDenied).hint(
            "uploading needs obs:object:PutObject and obs:object:AbortMultipartUpload; the checks \
             need obs:bucket:HeadBucket and obs:object:GetObject",
        ),
        "NoSuchBucket" => Rule::fatal(ErrorKind::NotFound).hint(Hint::CheckBucket),
        "NoSuchKey" | "NoSuchUpload" | "NotFound" => Rule::fatal(ErrorKind::NotFound),
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => Rule::fatal(ErrorKind::WrongRegion),
        "VirtualHostDomainRequired" => Rule::fatal(ErrorKind::Rejected).hint(Hint::PutBucketInHost),
        "EntityTooSmall"
        | "EntityTooLarge"
        | "InvalidPart"
        | "InvalidPartOrder"
        | "InvalidStorageClass"
        | "MalformedXML"
        | "MethodNotAllowed"
        | "InvalidDigest" => Rule::fatal(ErrorKind::Rejected),
        "" if status == 400 => Rule::fatal(ErrorKind::Rejected).hint(
            "the server gives no reason; this is the usual answer to expired temporary credentials",
        ),
        _ => by_status(status),
    }
}

fn by_status(status: u16) -> Rule {
    match status {
        301 | 302 | 307 | 308 => Rule::fatal(ErrorKind::WrongRegion),
        401 => Rule::fatal(ErrorKind::Auth),
        403 => Rule::fatal(ErrorKind::AccessDenied),
        404 => Rule::fatal(ErrorKind::NotFound),
        408 => Rule::retry(ErrorKind::Network),
        429 => Rule::retry(ErrorKind::Server),
        // An error document under status 200: the server began to answer and then failed.
        200..=299 => Rule::retry(ErrorKind::Server),
        // Not implemented, and a protocol that is not spoken.
        501 | 505 => Rule::fatal(ErrorKind::Server),
        // Proxies and gateways have statuses of their own for a server that does not answer.
        500.. => Rule::retry(ErrorKind::Server),
        _ => Rule::fatal(ErrorKind::Rejected),
    }
}

/// The causes of `error`, without its own text, in one line.
fn chain(error: &dyn StdError) -> String {
    let mut text = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = clean_text(&error.to_string());
        // Many layers pass on the text of the layer below.
        if !part.is_empty() && !text.contains(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
        cause = error.source();
    }
    if text.is_empty() {
        text.push_str("the cause is unknown");
    }
    text
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::primitives::SdkBody;

    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &'static str) -> HttpResponse {
        let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
        for (name, value) in headers {
            response.headers_mut().insert(*name, (*value).to_owned());
        }
        response
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_cannot_is_not() {
        for (code, status) in [
            ("SlowDown", 503),
            ("ServiceUnavailable", 503),
            ("InternalError", 500),
            ("RequestTimeout", 400),
            ("OperationAborted", 409),
            ("TooManyRequests", 429),
            ("BadDigest", 400),
            ("IncompleteBody", 400),
            ("XAmzContentSHA256Mismatch", 400),
            ("", 408),
            ("", 429),
            ("", 502),
            ("", 504),
            ("", 524),
        ] {
            assert_eq!(
                rule(code, status).verdict,
                Verdict::Retry,
                "{code} {status}"
            );
        }
        for (code, status) in [
            ("AccessDenied", 403),
            ("InvalidAccessKeyId", 403),
            ("SignatureDoesNotMatch", 403),
            ("RequestTimeTooSkewed", 403),
            ("NoSuchBucket", 404),
            ("NoSuchUpload", 404),
            ("EntityTooSmall", 400),
            ("InvalidPart", 400),
            ("InvalidPartOrder", 400),
            ("InvalidStorageClass", 400),
            ("MalformedXML", 400),
            ("MethodNotAllowed", 405),
            ("TooManyWrongSignature", 403),
            ("VirtualHostDomainRequired", 403),
            ("Whatever", 400),
            ("", 501),
        ] {
            assert_eq!(
                rule(code, status).verdict,
                Verdict::Fatal,
                "{code} {status}"
            );
        }
    }

    #[test]
    fn server_can_ask_for_a_pause() {
        let error = from_answer(
            &answer(503, &[("x-obs-qos-delay-time", "1500")], ""),
            Some("SlowDown"),
            None,
        );
        assert_eq!(
            net::retry::Retryable::verdict(&error),
            Verdict::RetryAfter(Duration::from_millis(1500))
        );
        let error = from_answer(&answer(503, &[("retry-after", "7")], ""), None, None);
        assert_eq!(
            net::retry::Retryable::verdict(&error),
            Verdict::RetryAfter(Duration::from_secs(7))
        );
        let error = from_answer(&answer(503, &[("retry-after", "3600")], ""), None, None);
        assert_eq!(
            error.to_string(),
            "the server answered 503, and asks for a pause of 3600 s"
        );
        let error = from_answer(&answer(403, &[("retry-after", "7")], ""), None, None);
        assert_eq!(net::retry::Retryable::verdict(&error), Verdict::Fatal);
    }

    #[test]
    fn head_answers_carry_code_and_message_in_headers() {
        let headers = [
            ("x-obs-error-code", "NoSuchBucket"),
            (
                "x-obs-error-message",
                "The specified bucket does not exist.",
            ),
            ("x-obs-request-id", "0000018A"),
        ];
        let error = from_answer(&answer(404, &headers, ""), Some("NotFound"), None);
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(
            error.to_string(),
            "the server answered 404 NoSuchBucket: The specified bucket does not exist (request id \
             0000018A)"
        );
    }

    #[test]
    fn redirect_names_the_right_endpoint() {
        let body = "<Error><Code>PermanentRedirect</Code><Endpoint>b.obs.eu-west-0.example.com</Endpoint></Error>";
        let error = from_answer(&answer(301, &[], body), Some("PermanentRedirect"), None);
        assert_eq!(error.kind(), ErrorKind::WrongRegion);
        assert!(
            error
                .hint()
                .unwrap()
                .to_string()
                .contains("b.obs.eu-west-0.example.com")
        );

        let location = [("location", "https://obs.cn-north-4.example.com/b?x")];
        let error = from_answer(&answer(307, &location, ""), None, None);
        assert!(
            error
                .hint()
                .unwrap()
                .to_string()
                .contains(" obs.cn-north-4.example.com ")
        );
    }

    #[test]
    fn texts_of_a_server_cannot_spoil_the_terminal() {
        let error = from_answer(
            &answer(400, &[], ""),
            Some("Bad\u{1b}[2JCode\n"),
            Some(&format!("one\r\n\u{1b}[31mtwo {}", "x".repeat(5000))),
        );
        let text = error.to_string();
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert!(text.len() < 500);
    }

    #[test]
    fn hostile_endpoint_is_not_passed_on() {
        let body = "<Endpoint>evil $(rm -rf)</Endpoint>";
        assert_eq!(redirect_endpoint(&answer(301, &[], body)), None);
    }
}
