//! Answers in XML that every parser can read, whatever clients named their objects.
//!
//! Keys may hold any character, XML 1.0 cannot carry most control characters. `s3s` writes them as
//! they are; here they become character references, as S3 writes them. A client that cannot read
//! those asks for `encoding-type=url`.

use std::fmt::Write as _;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use hyper::Response;
use s3s::Body;

/// Makes the XML of an answer readable.
pub(super) fn escape(response: &mut Response<Body>) {
    let is_xml = |value: &http::HeaderValue| value.as_bytes().starts_with(b"application/xml");
    if !response.headers().get(CONTENT_TYPE).is_some_and(is_xml) {
        return;
    }
    // Objects are streams; what is there at once was written by the server.
    let Some(bytes) = response.body().bytes() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return;
    };
    if text.contains(must_be_escaped) {
        let escaped = escaped(text);
        response.headers_mut().remove(CONTENT_LENGTH);
        *response.body_mut() = Body::from(escaped);
    }
}

/// Characters that XML 1.0 does not have, and the one that its parsers turn into a line feed.
fn must_be_escaped(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if must_be_escaped(c) {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "&#x{:X};", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_become_references_and_the_rest_stays() {
        let text = "<Key>a\u{1b}b\r\n\tä\u{ffff}\u{7f}</Key>";
        assert_eq!(escaped(text), "<Key>a&#x1B;b&#xD;\n\tä&#xFFFF;\u{7f}</Key>");
    }

    #[test]
    fn objects_and_other_types_are_left_alone() {
        for (kind, body) in [
            ("application/octet-stream", "\u{1b}"),
            ("application/xml", "ä"),
        ] {
            let mut response = Response::new(Body::from(body.to_owned()));
            let kind = http::HeaderValue::from_static(kind);
            response.headers_mut().insert(CONTENT_TYPE, kind);
            escape(&mut response);
            assert_eq!(response.body().bytes().unwrap(), body);
        }
    }
}
