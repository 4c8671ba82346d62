//! Answers that do not come from the service: a network's sign-in page, a proxy's refusal, a web
//! server.
//!
//! The services answer in JSON. A web page whose status does not mean overload, or a redirect, comes
//! from another server; with status 200 it would look like a success.

use net::http::{Response, header};
use net::status::Repeat;

use crate::endpoint::Service;
use crate::error::{Error, ErrorKind};
use crate::hints::Hint;

/// The error that `answer` to `doing` is, if it comes from something else. Pages of gateways whose
/// service is overloaded or down are judged by their status, and 401 by what becomes of other
/// credentials.
pub(crate) fn refuse(
    doing: &str,
    service: Service,
    answer: &Response,
    repeat: Repeat,
) -> Option<Error> {
    let status = answer.status.as_u16();
    if matches!(status, 401 | 408 | 429 | 500..) {
        return None;
    }
    // OpenStack's own services answer unknown calls with a web page that names the request.
    if answer.headers.contains_key("x-openstack-request-id") {
        return None;
    }
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&answer.body).is_ok();
    let leads_away = matches!(status, 301..=303 | 307 | 308);
    if is_json || !(leads_away || is_page(answer)) {
        return None;
    }
    Some(error(doing, service, status, repeat))
}

/// Whether the body is a web page, by its type or by how it begins.
fn is_page(answer: &Response) -> bool {
    let kind = answer.headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let media = kind.split(';').next().unwrap_or_default().trim();
    let named = ["text/html", "application/xhtml+xml"];
    let body = answer.body.trim_ascii_start();
    let begins = |with: &[u8]| {
        let head = body.get(..with.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(with))
    };
    named.iter().any(|name| media.eq_ignore_ascii_case(name))
        || begins(b"<html")
        || begins(b"<!doctype html")
}

fn error(doing: &str, service: Service, status: u16, repeat: Repeat) -> Error {
    let (name, hint) = match service {
        Service::Iam => ("identity", Hint::NotIam),
        Service::Ims => ("image", Hint::NotIms),
    };
    let what = format!(
        "the answer {status} is not one of the {name} service: a sign-in page of this network, a \
         proxy or a web server has \
         answered instead"
    );
    let error = match repeat {
        Repeat::Safe => Error::new(ErrorKind::Foreign, format!("{doing} failed: {what}")),
        Repeat::Unsafe => Error::ambiguous(doing, &what),
    };
    error.foreign(status).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use net::http::{Bytes, HeaderMap, HeaderValue, StatusCode};

    use super::*;

    fn answer(status: u16, kind: &'static str, body: &'static str) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    fn kind(answer: &Response, repeat: Repeat) -> Option<ErrorKind> {
        refuse("asking", Service::Ims, answer, repeat).map(|error| error.kind())
    }

    #[test]
    fn pages_and_redirects_are_nobodys_answer() {
        for answer in [
            answer(200, "text/HTML; charset=utf-8", "please sign in"),
            answer(200, "", "\n<HTML>"),
            answer(200, "text/plain", "<!DOCTYPE html>"),
            answer(403, "text/html", "<html>"),
            answer(404, "text/html", "<html>"),
            answer(302, "text/plain", ""),
        ] {
            assert_eq!(kind(&answer, Repeat::Safe), Some(ErrorKind::Foreign));
            // Whoever answered may have passed the request on before.
            assert_eq!(kind(&answer, Repeat::Unsafe), Some(ErrorKind::Ambiguous));
        }
    }

    #[test]
    fn answers_of_the_service_and_of_its_gateways_are_what_they_are() {
        for answer in [
            answer(200, "text/html", r#"{"job_id": "j"}"#),
            answer(204, "", ""),
            answer(400, "application/xml", "<Error/>"),
            answer(404, "application/json", "{}"),
            answer(404, "text/plain", "no"),
            answer(401, "text/html", "<html>"),
            answer(503, "text/html", "<html>"),
            answer(429, "text/html", "<html>"),
        ] {
            assert_eq!(kind(&answer, Repeat::Safe), None, "{answer:?}");
        }
        let mut page = answer(404, "text/html", "<html>");
        let id = HeaderValue::from_static("req-1");
        page.headers.insert("x-openstack-request-id", id);
        assert_eq!(kind(&page, Repeat::Safe), None);
    }
}
