//! Requests that tell the time of their signature in `Date`.
//!
//! Signature version 4 takes it from `x-amz-date`, or from `Date` where that is missing. Huawei's
//! SDK for Python sends only `Date`; `s3s` knows only the other.

use http::header::{AUTHORIZATION, DATE, HeaderMap, HeaderValue};
use s3s::{S3Result, s3_error};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use time::macros::{format_description, offset};

const AMZ_DATE: &str = "x-amz-date";

/// Adds `x-amz-date` to a request that is signed with version 4 and has only `Date`.
///
/// # Errors
/// AccessDenied when such a request tells no time: OBS error codes, obs_04_0115.
pub(super) fn complete(headers: &mut HeaderMap) -> S3Result<()> {
    let is_v4 = |value: &HeaderValue| value.as_bytes().starts_with(b"AWS4-HMAC-SHA256");
    if headers.contains_key(AMZ_DATE) || !headers.get(AUTHORIZATION).is_some_and(is_v4) {
        return Ok(());
    }
    let date = headers.get(DATE).and_then(|date| date.to_str().ok());
    let Some(Ok(date)) = date.and_then(amz_date).map(HeaderValue::try_from) else {
        return Err(s3_error!(
            AccessDenied,
            "the request has no valid Date or x-amz-date header"
        ));
    };
    headers.insert(AMZ_DATE, date);
    Ok(())
}

/// `Sun, 29 Nov 2026 22:03:17 GMT` as `20261129T220317Z`; what has that form already stays.
fn amz_date(date: &str) -> Option<String> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    if time::PrimitiveDateTime::parse(date, format).is_ok() {
        return Some(date.to_owned());
    }
    let date = OffsetDateTime::parse(date, &Rfc2822).ok()?;
    date.to_offset(offset!(UTC)).format(format).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_http_and_of_signatures_are_understood() {
        for date in ["Sun, 29 Nov 2026 22:03:17 GMT", "20261129T220317Z"] {
            assert_eq!(
                amz_date(date).as_deref(),
                Some("20261129T220317Z"),
                "{date}"
            );
        }
        for date in ["", "yesterday", "2026-11-29T22:03:17Z", "20261329T220317Z"] {
            assert_eq!(amz_date(date), None, "{date}");
        }
    }

    #[test]
    fn only_requests_of_version_4_without_a_date_of_their_own_get_one() {
        let date = "Sun, 29 Nov 2026 22:03:17 GMT";
        for (authorization, own, expected) in [
            ("AWS4-HMAC-SHA256 x", None, Some("20261129T220317Z")),
            ("AWS4-HMAC-SHA256 x", Some("other"), Some("other")),
            ("AWS id:signature", None, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_static(authorization));
            headers.insert(DATE, HeaderValue::from_static(date));
            if let Some(own) = own {
                headers.insert(AMZ_DATE, HeaderValue::from_static(own));
            }
            complete(&mut headers).unwrap();
            let found = headers.get(AMZ_DATE).map(|value| value.to_str().unwrap());
            assert_eq!(found, expected);
        }
    }
}
