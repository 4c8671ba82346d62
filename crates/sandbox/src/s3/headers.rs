//! What OBS demands of the headers of a request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use hyper::Method;
use s3s::{S3Result, s3_error};

use super::error::obs_error;

/// Bodies that signatures of version 4 may have on OBS: OBS FAQ obs_faq_0274.
const PAYLOADS: [&str; 2] = ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"];

/// Most bytes of names and values of an object's own metadata: 8 KB.
const MAX_METADATA: usize = 8 * 1024;

/// The one checksum that OBS has. The sandbox does not compute it.
const OWN_CHECKSUM: &str = "x-amz-checksum-crc64ecma";

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Signed payloads are taken here, so that a client without encryption can protect its bodies.
    Http,
    /// As on OBS.
    Https,
}

/// Refuses what OBS refuses.
pub(super) fn check(
    operation: &str,
    method: &Method,
    headers: &HeaderMap,
    scheme: Scheme,
) -> S3Result<()> {
    check_payload(headers, scheme)?;
    if method != Method::PUT && method != Method::POST {
        return Ok(());
    }
    // OBS error codes, obs_04_0115; also where the body is empty.
    if !headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(TRANSFER_ENCODING) {
        return Err(s3_error!(
            MissingContentLength,
            "the request has no Content-Length"
        ));
    }
    if operation == "DeleteObjects" {
        check_content_md5(headers)?;
    }
    check_checksums(headers)?;
    check_metadata(headers)
}

fn check_payload(headers: &HeaderMap, scheme: Scheme) -> S3Result<()> {
    let Some(payload) = text(headers, "x-amz-content-sha256") else {
        return Ok(());
    };
    // OBS knows no trailers, which AWS SDKs send by default since 2025.
    let is_taken = match scheme {
        Scheme::Http => !payload.ends_with("-TRAILER"),
        Scheme::Https => PAYLOADS.contains(&payload),
    };
    if is_taken {
        return Ok(());
    }
    Err(obs_error(
        "XAmzContentSHA256Mismatch",
        format_args!(
            "x-amz-content-sha256 is {payload:?}; OBS takes {} and {}",
            PAYLOADS[0], PAYLOADS[1]
        ),
    ))
}

/// A batch of deletions must have its MD5: OBS API reference, obs_04_0086.
fn check_content_md5(headers: &HeaderMap) -> S3Result<()> {
    let Some(md5) = text(headers, "content-md5") else {
        return Err(obs_error(
            "MissingRequiredHeader",
            "the request has no Content-MD5, which deleting objects in a batch must have",
        ));
    };
    match BASE64.decode(md5) {
        Ok(digest) if digest.len() == 16 => Ok(()),
        _ => Err(s3_error!(
            InvalidDigest,
            "the Content-MD5 you specified is not valid"
        )),
    }
}

/// OBS has none of the checksums of S3: Terraform provider for Huawei Cloud, guide "Remote state
/// backend", and huaweicloud/terraform-provider-huaweicloud, issue 7021.
fn check_checksums(headers: &HeaderMap) -> S3Result<()> {
    let mut names = headers.keys().map(http::HeaderName::as_str);
    let found = names.find(|name| {
        name.starts_with("x-amz-checksum-")
            || *name == "x-amz-sdk-checksum-algorithm"
            || *name == "x-amz-trailer"
    });
    match found {
        None => Ok(()),
        Some(OWN_CHECKSUM) => Err(s3_error!(
            NotImplemented,
            "the sandbox does not check {OWN_CHECKSUM}"
        )),
        Some(name) => Err(obs_error(
            "XAmzContentSHA256Mismatch",
            format_args!("OBS does not have the header {name:?}"),
        )),
    }
}

/// OBS API reference, obs_04_0080 and obs_04_0115.
fn check_metadata(headers: &HeaderMap) -> S3Result<()> {
    let own = headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().strip_prefix("x-amz-meta-")?, value)));
    let size = own
        .map(|(name, value)| name.len().saturating_add(value.len()))
        .fold(0_usize, usize::saturating_add);
    if size > MAX_METADATA {
        return Err(s3_error!(
            MetadataTooLarge,
            "the metadata has {size} bytes; {MAX_METADATA} are allowed"
        ));
    }
    Ok(())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(operation: &str, method: &Method, headers: &[(&str, &str)], scheme: Scheme) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = http::HeaderName::try_from(*name).unwrap();
            map.append(name, value.parse().unwrap());
        }
        match check(operation, method, &map, scheme) {
            Ok(()) => "fine".to_owned(),
            Err(error) => error.code().as_str().to_owned(),
        }
    }

    #[test]
    fn https_takes_only_the_payloads_of_obs_and_http_hashes_too() {
        const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        const OTHER: &str = "XAmzContentSHA256Mismatch";
        for (payload, http, https) in [
            ("UNSIGNED-PAYLOAD", "fine", "fine"),
            ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "fine", "fine"),
            (HASH, "fine", OTHER),
            ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", OTHER, OTHER),
            ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", OTHER, OTHER),
        ] {
            let headers = [("x-amz-content-sha256", payload)];
            let found = [Scheme::Http, Scheme::Https]
                .map(|scheme| code("GetObject", &Method::GET, &headers, scheme));
            assert_eq!(found, [http, https], "{payload}");
        }
    }

    #[test]
    fn requests_that_may_have_a_body_must_tell_its_length() {
        for method in [Method::PUT, Method::POST] {
            let found = |headers: &[_]| code("PutObject", &method, headers, Scheme::Http);
            assert_eq!(found(&[]), "MissingContentLength");
            assert_eq!(found(&[("content-length", "0")]), "fine");
            assert_eq!(found(&[("transfer-encoding", "chunked")]), "fine");
        }
        for method in [Method::GET, Method::HEAD, Method::DELETE] {
            assert_eq!(code("GetObject", &method, &[], Scheme::Http), "fine");
        }
    }

    #[test]
    fn checksums_of_s3_are_refused_where_something_is_stored() {
        let length = ("content-length", "0");
        for (name, expected) in [
            ("x-amz-checksum-crc32", "XAmzContentSHA256Mismatch"),
            ("x-amz-checksum-sha256", "XAmzContentSHA256Mismatch"),
            ("x-amz-checksum-algorithm", "XAmzContentSHA256Mismatch"),
            ("x-amz-sdk-checksum-algorithm", "XAmzContentSHA256Mismatch"),
            ("x-amz-trailer", "XAmzContentSHA256Mismatch"),
            ("x-amz-checksum-crc64ecma", "NotImplemented"),
        ] {
            let headers = [length, (name, "x")];
            let found = code("PutObject", &Method::PUT, &headers, Scheme::Http);
            assert_eq!(found, expected, "{name}");
        }
        let headers = [("x-amz-checksum-mode", "ENABLED")];
        assert_eq!(
            code("GetObject", &Method::GET, &headers, Scheme::Http),
            "fine"
        );
    }

    #[test]
    fn a_batch_of_deletions_must_have_a_valid_md5() {
        let length = ("content-length", "0");
        let found = |headers: &[_]| code("DeleteObjects", &Method::POST, headers, Scheme::Http);
        assert_eq!(found(&[length]), "MissingRequiredHeader");
        assert_eq!(found(&[length, ("content-md5", "eA==")]), "InvalidDigest");
        let good = ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==");
        assert_eq!(found(&[length, good]), "fine");
    }

    #[test]
    fn metadata_is_limited_to_8_kb() {
        let length = ("content-length", "0");
        let half = "x".repeat(4 * 1024 - 1);
        let metadata = [
            length,
            ("x-amz-meta-a", half.as_str()),
            ("x-amz-meta-b", half.as_str()),
        ];
        let found = |headers: &[_]| code("PutObject", &Method::PUT, headers, Scheme::Http);
        assert_eq!(found(&metadata), "fine");
        let more = [&metadata[..], &[("x-amz-meta-c", "")]].concat();
        assert_eq!(found(&more), "MetadataTooLarge");
    }
}
