//! Answers that do not come from an object storage: the sign-in page of a network, a proxy's refusal, a web server.
//!
//! Such an answer can look like a success: to HEAD, a page under status 200 says that the object exists. What tells it apart
//! is what S3 servers and OBS send and nobody else does: headers of their own, such as the id of the request; and what they
//! never send without: a web page, or a redirect that is no error document.

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

use crate::classify::told_endpoint;
use crate::error::{Error, ErrorKind};

/// Beginnings of headers that only the storage sends: ids of requests and error codes among them.
const OWN: [&str; 2] = ["x-amz-", "x-obs-"];

/// Refuses answers of others before anybody takes them for the storage's.
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
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        match is_foreign(context.response()) {
            // What it is, is said by whoever gets the response.
            true => Err("no answer of an object storage".into()),
            false => Ok(()),
        }
    }
}

/// Whether `response` comes from something else. Gateways in front of a storage that is overloaded or down have pages of
/// their own, which are no reason to give up: those are judged by their status.
pub(crate) fn is_foreign(response: &HttpResponse) -> bool {
    let status = response.status().as_u16();
    let headers = response.headers();
    let own = |name: &str| OWN.iter().any(|beginning| name.starts_with(beginning));
    if headers.iter().any(|(name, _)| own(name)) || matches!(status, 408 | 429 | 500..) {
        return false;
    }
    let kind = headers.get("content-type").unwrap_or_default();
    let is = |wanted: &str| {
        let media = kind.split(';').next().unwrap_or_default().trim();
        media.eq_ignore_ascii_case(wanted)
    };
    let is_page = is("text/html") || is("application/xhtml+xml");
    let leads_away = matches!(status, 301..=303 | 307 | 308);
    let is_document = is("application/xml") || is("text/xml");
    is_page || (leads_away && !is_document)
}

/// What such an answer means.
pub(crate) fn foreign(response: &HttpResponse) -> Error {
    let status = response.status().as_u16();
    let leads = match told_endpoint(response) {
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
            "the answer {status}{more} is not one of an object storage: a sign-in page of this network, a proxy or a web \
             server has answered instead"
        ),
    )
    .with_answer(status, None, None)
    .with_hint(
        "open a web page in a browser and sign in to the network, or name its proxy in HTTPS_PROXY; if neither is \
         needed here, check --obs-endpoint",
    )
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::primitives::SdkBody;

    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)]) -> HttpResponse {
        let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::empty());
        for (name, value) in headers {
            response.headers_mut().insert(*name, *value);
        }
        response
    }

    #[test]
    fn pages_and_redirects_without_an_id_are_nobodys_answer() {
        let page = ("content-type", "text/HTML; charset=utf-8");
        for status in [200, 302, 403, 404, 407] {
            assert!(is_foreign(&answer(status, &[page])), "{status}");
        }
        let away = ("location", "http://login.example.com/?from=b");
        let sent_away = answer(302, &[away]);
        assert!(is_foreign(&sent_away));
        assert!(
            foreign(&sent_away)
                .to_string()
                .contains("302, which leads to login.example.com")
        );
    }

    #[test]
    fn answers_of_a_storage_and_of_its_gateways_are_what_they_are() {
        let page = ("content-type", "text/html");
        for answer in [
            // An object that is a web page.
            answer(200, &[page, ("x-amz-request-id", "1")]),
            answer(200, &[page, ("x-obs-request-id", "1")]),
            answer(503, &[page]),
            answer(429, &[page]),
            answer(404, &[("content-type", "application/xml")]),
            // Servers without such headers, and without types where there is no body.
            answer(200, &[("etag", "1")]),
            answer(204, &[]),
            answer(307, &[("content-type", "application/xml")]),
            answer(307, &[("x-amz-request-id", "1"), ("location", "http://a/")]),
            answer(304, &[]),
        ] {
            assert!(!is_foreign(&answer), "{answer:?}");
        }
    }
}
