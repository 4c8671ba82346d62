//! Rules for endpoints, buckets and keys, checked before any request.

use std::net::IpAddr;

use url::{Host, Url};

use crate::error::Error;
use crate::hint::Hint;

/// Longest key, in bytes of UTF-8.
const MAX_KEY: usize = 1024;

/// Whether `endpoint` can serve: scheme, host, and nothing else.
pub(crate) fn check_endpoint(
    endpoint: &Url,
    path_style: bool,
    allow_http: bool,
) -> Result<(), Error> {
    let refuse = |message: String| Err(Error::refused(message));
    let Some(host) = endpoint.host() else {
        return refuse(format!("the endpoint {endpoint} names no host"));
    };
    if !endpoint.username().is_empty() || endpoint.password().is_some() {
        // Not shown: there is a password in it.
        return refuse("the endpoint contains credentials, expected scheme and host only".into());
    }
    if !matches!(endpoint.path(), "" | "/")
        || endpoint.query().is_some()
        || endpoint.fragment().is_some()
    {
        return Err(Error::refused(format!(
            "the endpoint {endpoint} has more than scheme, host and port"
        ))
        .with_hint("name the bucket and the key separately from the endpoint"));
    }
    match endpoint.scheme() {
        "https" => {}
        "http" if allow_http || net::http::is_loopback(endpoint) => {}
        "http" => {
            return Err(Error::refused(format!(
                "the endpoint {endpoint} is not encrypted, expected https"
            ))
            .with_hint(Hint::AllowHttp));
        }
        other => return refuse(format!("the endpoint has scheme {other}, expected https")),
    }
    if !path_style && !matches!(host, Host::Domain(_)) {
        return Err(Error::refused(format!(
            "the endpoint {endpoint} is an IP address, which a bucket's name cannot be put in \
             front of"
        ))
        .with_hint(Hint::NameEndpoint));
    }
    Ok(())
}

/// Whether `bucket` can exist, and can be reached through `endpoint`.
pub(crate) fn check_bucket(bucket: &str, endpoint: &Url, path_style: bool) -> Result<(), Error> {
    let wrong = |rule: &str| Err(Error::refused(format!("bucket name {bucket:?} {rule}")));
    if !(3..=63).contains(&bucket.len()) {
        return wrong(&format!(
            "has {} characters, expected 3 to 63",
            bucket.len()
        ));
    }
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if !bucket
        .bytes()
        .all(|byte| is_plain(byte) || b".-".contains(&byte))
    {
        return wrong("has characters other than a-z, 0-9, '-' and '.'");
    }
    let bytes = bucket.as_bytes();
    if !bytes.first().is_some_and(|byte| is_plain(*byte))
        || !bytes.last().is_some_and(|byte| is_plain(*byte))
    {
        return wrong("must begin and end with a letter or a digit");
    }
    if bucket.contains("..") || bucket.contains(".-") || bucket.contains("-.") {
        return wrong("has '.' beside '.' or '-'");
    }
    if bucket.parse::<IpAddr>().is_ok() {
        return wrong("looks like an address");
    }
    // The SDK reads meanings of another provider into these endings.
    if ["--x-s3", "--xa-s3", "--op-s3", "-s3alias"]
        .iter()
        .any(|end| bucket.ends_with(end))
    {
        return wrong("has an ending that is reserved");
    }
    if path_style {
        return Ok(());
    }
    if bucket.contains('.') && endpoint.scheme() == "https" {
        return Err(Error::refused(format!(
            "bucket name {bucket:?} has dots, and the server's certificate covers one level only"
        ))
        .with_hint(Hint::AvoidDots));
    }
    let host = endpoint.host_str().unwrap_or_default();
    let doubled = host
        .strip_prefix(bucket)
        .is_some_and(|rest| rest.starts_with('.'));
    // `obs.region.domain` is an endpoint, even for somebody whose bucket is called obs.
    if doubled && !matches!(bucket, "obs" | "s3") {
        return Err(Error::refused(format!(
            "the endpoint {endpoint} already contains the bucket's name {bucket:?}; every \
             signature \
             would be wrong"
        ))
        .with_hint("use the endpoint of the region, without the bucket"));
    }
    Ok(())
}

/// Whether `key` can be an object's key.
pub(crate) fn check_key(key: &str) -> Result<(), Error> {
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(Error::refused(format!(
            "the key has {} bytes, expected 1 to {MAX_KEY}",
            key.len()
        )));
    }
    if key.chars().any(char::is_control) {
        return Err(Error::refused(format!(
            "the key {key:?} has control characters"
        )));
    }
    // Proxies and servers fold these away, and then the signature is wrong.
    if key.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(Error::refused(format!(
            "the key {key:?} has a segment '.' or '..'"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn endpoint_is_https_or_on_this_machine() {
        let check = |text, path_style, allow| check_endpoint(&url(text), path_style, allow).is_ok();
        assert!(check("https://obs.eu-west-101.example.com", false, false));
        assert!(check("https://obs.eu-west-101.example.com/", false, false));
        assert!(!check("http://obs.eu-west-101.example.com", false, false));
        assert!(check("http://obs.eu-west-101.example.com", false, true));
        assert!(check("http://127.0.0.1:9000", true, false));
        assert!(check("http://[::1]:9000", true, false));
        assert!(check("http://localhost:9000", true, false));
        assert!(!check("http://localhost.example.com", true, false));
        assert!(!check("ftp://obs.example.com", false, true));
        assert!(!check("https://obs.example.com/bucket", false, false));
        assert!(!check("https://obs.example.com/?x", false, false));
        assert!(!check("http://127.0.0.1:9000", false, false));
    }

    #[test]
    fn endpoint_without_tls_is_refused_with_the_option_that_allows_it() {
        let error = check_endpoint(&url("http://10.0.0.1:9000"), true, false).unwrap_err();
        assert_eq!(error.hint(), Some(&Hint::AllowHttp));
    }

    #[test]
    fn endpoint_with_a_password_is_refused_without_showing_it() {
        let error =
            check_endpoint(&url("https://me:hunter2@obs.example.com"), false, false).unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }

    #[test]
    fn endpoint_that_starts_with_the_bucket_is_refused_with_a_hint() {
        let endpoint = url("https://images.obs.eu-west-101.example.com");
        let error = check_bucket("images", &endpoint, false).unwrap_err();
        assert!(
            error
                .hint()
                .unwrap()
                .to_string()
                .contains("without the bucket")
        );
        assert!(check_bucket("image", &endpoint, false).is_ok());
        assert!(check_bucket("obs", &url("https://obs.eu-west-101.example.com"), false).is_ok());
    }

    #[test]
    fn bucket_with_dots_needs_path_style_over_https() {
        let endpoint = url("https://obs.eu-west-101.example.com");
        assert!(check_bucket("my.images", &endpoint, false).is_err());
        assert!(check_bucket("my.images", &endpoint, true).is_ok());
    }

    #[test]
    fn impossible_bucket_names_are_refused() {
        let endpoint = url("https://obs.example.com");
        for name in [
            "",
            "ab",
            "Images",
            "a_b",
            "-ab",
            "ab-",
            "a..b",
            "a.-b",
            "10.0.0.1",
            "a/b",
            "a b",
            "a:b",
            "images--x-s3",
            &"x".repeat(64),
        ] {
            assert!(check_bucket(name, &endpoint, true).is_err(), "{name:?}");
        }
    }

    #[test]
    fn keys_that_break_signatures_are_refused() {
        for key in ["", "a/../b", "./a", "a\nb", &"x".repeat(1025)] {
            assert!(check_key(key).is_err(), "{key:?}");
        }
        for key in ["a", "a/b c/ü.zvhd2", "..a", &"x".repeat(1024)] {
            assert!(check_key(key).is_ok(), "{key:?}");
        }
    }
}
