//! Answers that do not come from an object storage: the sign-in page of a network, a proxy's
//! refusal, a web server.
//!
//! Such an answer can look like a success: to HEAD, a page under status 200 says that the object
//! exists. What tells it apart is what it does: it is a web page, or leads elsewhere without an
//! error document. A storage shows itself by headers of its own, by a document, or by an ETag that
//! is an MD5. An answer without a body is no page, whatever type it claims: storages on web
//! frameworks send the framework's default.

use std::error::Error as StdError;
use std::fmt;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

use crate::document::{is_answered_by_document, operation};
use crate::error::{Error, ErrorKind};
use crate::etag::{is_md5, is_md5_of_parts, unquoted};
use crate::headers::redirect_endpoint;

/// Beginnings of headers that only a storage sends: ids of requests and error codes among them.
const OWN: [&str; 3] = ["x-amz-", "x-amzn-", "x-obs-"];

/// Refuses successes of others before anybody takes them for the storage's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnlyStorage;

impl Intercept for OnlyStorage {
    fn name(&self) -> &'static str {
        "OnlyStorage"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        match is_foreign_success(operation(config), context.response()) {
            true => Err(NotStorage.into()),
            false => Ok(()),
        }
    }
}

/// Marks a success that is none. The caller that gets the response says what it is.
#[derive(Debug)]
struct NotStorage;

impl fmt::Display for NotStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no answer of an object storage")
    }
}

impl StdError for NotStorage {}

/// Whether [`OnlyStorage`] is the cause of `error`.
pub(crate) fn was_stopped(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<NotStorage>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Whether a success comes from something else, as far as its head tells. Documents are read first:
/// one that is what was asked for is the storage's.
fn is_foreign_success(operation: &str, response: &HttpResponse) -> bool {
    let status = response.status().as_u16();
    if !matches!(status, 200..=299) || status == 206 || is_answered_by_document(operation) {
        return false;
    }
    is_page(response) && !is_own(response) && length(response) != Some(0)
}

/// Whether an answer that is no success, or one that cannot be read, comes from something else. Its
/// body was read. Gateways in front of a storage that is overloaded or down have pages of their
/// own, which are no reason to give up: those are judged by their status.
pub(crate) fn is_foreign(response: &HttpResponse) -> bool {
    let status = response.status().as_u16();
    if is_own(response) || matches!(status, 408 | 429 | 500..) {
        return false;
    }
    let body = response.body().bytes().unwrap_or_default();
    let leads_away = matches!(status, 301..=303 | 307 | 308);
    // A proxy wants its own password.
    status == 407
        || (leads_away && !is_document(response, body))
        || (is_page(response) && !body.is_empty() && !is_document(response, body))
}

/// Whether the answer has what only storages say.
fn is_own(response: &HttpResponse) -> bool {
    let headers = response.headers();
    let has_own = headers
        .iter()
        .any(|(name, _)| OWN.iter().any(|beginning| name.starts_with(beginning)));
    has_own
        || headers.get("etag").map(unquoted).is_some_and(|etag| {
            // Web servers make their ETags of time and length.
            is_md5(&etag) || is_md5_of_parts(&etag)
        })
}

fn media(response: &HttpResponse) -> &str {
    let kind = response.headers().get("content-type").unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim()
}

fn is_page(response: &HttpResponse) -> bool {
    let media = media(response);
    media.eq_ignore_ascii_case("text/html") || media.eq_ignore_ascii_case("application/xhtml+xml")
}

/// Whether this is an XML document, by its body or, where that is empty, by what it is called.
fn is_document(response: &HttpResponse, body: &[u8]) -> bool {
    if body.is_empty() {
        let media = media(response);
        return media.eq_ignore_ascii_case("application/xml")
            || media.eq_ignore_ascii_case("text/xml");
    }
    let text = String::from_utf8_lossy(body.get(..1024).unwrap_or(body)).to_ascii_lowercase();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let is_web = text.contains("<html") || text.contains("<!doctype html");
    text.starts_with('<') && !is_web && (text.starts_with("<?xml") || text.contains("<error"))
}

/// What the answer says about the length of its body; of the answer to HEAD, the length of what it
/// is about.
fn length(response: &HttpResponse) -> Option<u64> {
    response
        .headers()
        .get("content-length")?
        .trim()
        .parse()
        .ok()
}

/// What such an answer means.
pub(crate) fn foreign(response: &HttpResponse) -> Error {
    let status = response.status().as_u16();
    let leads = match redirect_endpoint(response) {
        Some(host) => format!(", which leads to {host}"),
        None => String::new(),
    };
    with_status(status, &leads)
}

/// An answer with `status` that has nothing of what a storage says.
pub(crate) fn with_status(status: u16, more: &str) -> Error {
    Error::new(
        ErrorKind::Network,
        format!(
            "the answer {status}{more} does not come from an object storage: a sign-in page of \
             this \
             network, a proxy or a web server answered instead"
        ),
    )
    .with_answer(status, None, None)
    .with_hint(
        "open a web page in a browser and sign in to the network, or name its proxy in \
         HTTPS_PROXY; if neither is needed here, check --obs-endpoint",
    )
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::primitives::SdkBody;

    use super::*;

    const PAGE: (&str, &str) = ("content-type", "text/HTML; charset=utf-8");
    const HTML: &str = "<!DOCTYPE html><html><head><title>Sign in</title></head></html>";

    fn answer(
        status: u16,
        headers: &[(&'static str, &'static str)],
        body: &'static str,
    ) -> HttpResponse {
        let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
        for (name, value) in headers {
            response.headers_mut().insert(*name, *value);
        }
        response
    }

    #[test]
    fn pages_and_redirects_without_an_id_are_nobodys_answer() {
        for status in [200, 302, 400, 403, 404, 407] {
            assert!(is_foreign(&answer(status, &[PAGE], HTML)), "{status}");
        }
        assert!(is_foreign(&answer(407, &[], "")));
        let away = ("location", "http://login.example.com/?from=b");
        let sent_away = answer(302, &[away], "");
        assert!(is_foreign(&sent_away));
        assert!(
            foreign(&sent_away)
                .to_string()
                .contains("302, which leads to login.example.com")
        );
    }

    #[test]
    fn answers_of_a_storage_and_of_its_gateways_are_what_they_are() {
        let document = "<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>";
        for answer in [
            answer(403, &[PAGE, ("x-amz-request-id", "1")], HTML),
            answer(403, &[PAGE, ("x-obs-request-id", "1")], HTML),
            answer(403, &[PAGE, ("x-amzn-requestid", "1")], HTML),
            answer(503, &[PAGE], HTML),
            answer(429, &[PAGE], HTML),
            answer(404, &[("content-type", "application/xml")], document),
            // The type is a web framework's default: there is no body, or it is a document.
            answer(404, &[PAGE], ""),
            answer(403, &[PAGE], ""),
            answer(404, &[PAGE, ("content-length", "207")], ""),
            answer(404, &[PAGE], document),
            answer(307, &[PAGE], document),
            answer(307, &[("content-type", "application/xml")], ""),
            answer(
                307,
                &[("x-amz-request-id", "1"), ("location", "http://a/")],
                "",
            ),
            answer(304, &[], ""),
        ] {
            assert!(!is_foreign(&answer), "{answer:?}");
        }
    }

    #[test]
    fn a_success_is_a_page_if_it_has_a_body_and_nothing_of_a_storage() {
        let md5 = ("etag", "\"d41d8cd98f00b204e9800998ecf8427e\"");
        let parts = ("etag", "W/\"d41d8cd98f00b204e9800998ecf8427e-3\"");
        let long = ("content-length", "4711");
        let none = ("content-length", "0");
        for operation in ["HeadObject", "HeadBucket", "UploadPart", "DeleteObject"] {
            for headers in [
                &[PAGE, long][..],
                &[PAGE],
                &[PAGE, long, ("etag", "\"5f-1b\"")],
            ] {
                assert!(is_foreign_success(operation, &answer(200, headers, "")));
            }
            for headers in [
                &[PAGE, none][..],
                &[PAGE, long, md5],
                &[PAGE, long, parts],
                &[PAGE, long, ("x-amzn-requestid", "1")],
                &[long],
                &[("etag", "1")],
            ] {
                let answer = answer(200, headers, "");
                assert!(!is_foreign_success(operation, &answer), "{headers:?}");
            }
        }
        // Whether this is a document is seen when it is read.
        assert!(!is_foreign_success(
            "ListParts",
            &answer(200, &[PAGE, long], "")
        ));
        assert!(!is_foreign_success(
            "GetObject",
            &answer(206, &[PAGE, long], "")
        ));
    }
}
