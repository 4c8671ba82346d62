//! The one text that both sides hash.

use ::http::HeaderMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use sha2::{Digest, Sha256};

use super::scheme::{Parts, UNSIGNED_PAYLOAD, X_SDK_CONTENT_SHA256};

/// Everything but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// `text` as one segment of a path, or one key or value of a query: all but `A-Z a-z 0-9 - _ . ~`
/// as `%XX`.
#[must_use]
pub fn encode(text: &str) -> String {
    encode_bytes(text.as_bytes())
}

/// A query string of `pairs` in the form that is signed: `k=v` joined by `&`, sorted, space as
/// `%20`.
#[must_use]
pub fn encode_query(pairs: &[(&str, &str)]) -> String {
    let pairs = pairs
        .iter()
        .map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect();
    joined(pairs)
}

/// The canonical request over the headers in `names`, which must be lower case and sorted (see
/// [`super::signature`]).
#[must_use]
pub fn canonical_request(parts: &Parts<'_>, names: &[String]) -> String {
    let mut text = format!(
        "{}\n{}\n{}\n",
        parts.method,
        path(parts.path),
        query(parts.query)
    );
    for name in names {
        text.push_str(name);
        text.push(':');
        text.push_str(&header_value(parts.headers, name));
        text.push('\n');
    }
    text.push('\n');
    text.push_str(&names.join(";"));
    text.push('\n');
    text.push_str(&body_hash(parts, names));
    text
}

/// Lower-case names, sorted, without doubles.
pub(super) fn header_names(names: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Segments decoded once and encoded again; ends in a slash, which the wire path need not.
fn path(path: &str) -> String {
    let mut text = String::with_capacity(path.len() + 1);
    for (number, segment) in path.split('/').enumerate() {
        if number > 0 {
            text.push('/');
        }
        text.push_str(&encode_bytes(&decode(segment)));
    }
    if !text.ends_with('/') {
        text.push('/');
    }
    text
}

/// Pairs decoded, sorted by key then value, encoded; a key without a value gets `=`. A plus sign is
/// a plus sign: the clients of this scheme write spaces as `%20`.
pub(super) fn query(query: &str) -> String {
    let pairs = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
        .collect();
    joined(pairs)
}

fn joined(mut pairs: Vec<(Vec<u8>, Vec<u8>)>) -> String {
    pairs.sort();
    pairs
        .iter()
        .map(|(key, value)| format!("{}={}", encode_bytes(key), encode_bytes(value)))
        .collect::<Vec<_>>()
        .join("&")
}

/// All values of one header, trimmed, joined by commas as a proxy would join them.
fn header_value(headers: &HeaderMap, name: &str) -> String {
    headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
        .collect::<Vec<_>>()
        .join(",")
}

/// The body is left out only when a signed header says so.
fn body_hash(parts: &Parts<'_>, names: &[String]) -> String {
    let unsigned = names
        .iter()
        .any(|name| *name == X_SDK_CONTENT_SHA256.as_str())
        && parts
            .headers
            .get(X_SDK_CONTENT_SHA256)
            .is_some_and(|value| value == UNSIGNED_PAYLOAD);
    if unsigned {
        UNSIGNED_PAYLOAD.to_owned()
    } else {
        hex::encode(Sha256::digest(parts.body))
    }
}

fn decode(text: &str) -> Vec<u8> {
    percent_decode_str(text).collect()
}

fn encode_bytes(bytes: &[u8]) -> String {
    percent_encode(bytes, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_sorted_by_decoded_text_and_keep_empty_values() {
        assert_eq!(query(""), "");
        assert_eq!(query("b&a=2&a=1&&c="), "a=1&a=2&b=&c=");
        assert_eq!(query("q=a+b&p=%7e%2F"), "p=~%2F&q=a%2Bb");
        assert_eq!(encode_query(&[("z", "a b"), ("a", "")]), "a=&z=a%20b");
    }

    #[test]
    fn the_canonical_path_ends_in_one_slash() {
        assert_eq!(path("/v1/x"), "/v1/x/");
        assert_eq!(path("/v1/x/"), "/v1/x/");
        assert_eq!(path("/"), "/");
        assert_eq!(path("/a%20b"), "/a%20b/");
    }
}
