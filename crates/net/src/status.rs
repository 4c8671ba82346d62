//! What an HTTP status says about trying again.

use std::time::Duration;

use ::http::header::RETRY_AFTER;
use ::http::{HeaderMap, StatusCode};
use time::OffsetDateTime;

use crate::clock::parse_http_date;
use crate::retry::Verdict;

/// Whether a request may be sent again if its outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Carrying it out twice is the same as once: reading, deleting, putting whole things, signing
    /// in.
    Safe,
    /// Carrying it out twice makes two of something.
    Unsafe,
}

/// The verdict on an answer with `status`; anything that is no transient failure is fatal.
///
/// | status | safe to repeat | unsafe to repeat |
/// |---|---|---|
/// | 429, 503 | retry | retry: turned away before the work |
/// | 408, 500, 502, 504 | retry | fatal: the work may have been done |
/// | others | fatal | fatal |
///
/// `Retry-After` turns a retry into [`Verdict::RetryAfter`].
#[must_use]
pub fn verdict(
    status: StatusCode,
    headers: &HeaderMap,
    repeat: Repeat,
    now: OffsetDateTime,
) -> Verdict {
    let again = match status.as_u16() {
        429 | 503 => true,
        408 | 500 | 502 | 504 => repeat == Repeat::Safe,
        _ => false,
    };
    match retry_after(headers, now) {
        _ if !again => Verdict::Fatal,
        Some(pause) => Verdict::RetryAfter(pause),
        None => Verdict::Retry,
    }
}

/// Whether an answer with `status` leaves open whether the request was carried out.
#[must_use]
pub fn is_ambiguous(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 500 | 502 | 504)
}

/// The pause that `Retry-After` asks for, in seconds or as a date (RFC 9110 section 10.2.3). A date
/// in the past asks for none.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    pause(headers.get(RETRY_AFTER)?.to_str().ok()?, now)
}

/// The pause that the text of a `Retry-After` header means.
#[must_use]
pub fn pause(text: &str, now: OffsetDateTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let pause = parse_http_date(text)? - now;
    Some(pause.try_into().unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-22 01:30 UTC);

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, value.parse().unwrap());
        headers
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let read = |value| retry_after(&headers(value), NOW);
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(
            read("Sun, 22 Nov 2026 01:30:45 GMT"),
            Some(Duration::from_secs(45))
        );
        assert_eq!(
            read("Sun, 22 Nov 2026 01:00:00 GMT"),
            Some(Duration::ZERO),
            "a date in the past"
        );
        assert_eq!(read("soon"), None);
        assert_eq!(read("-5"), None);
        assert_eq!(read("99999999999999999999999"), None);
        assert_eq!(retry_after(&HeaderMap::new(), NOW), None);
    }

    #[test]
    fn transient_statuses_are_retried_unless_the_work_may_be_done_twice() {
        let none = HeaderMap::new();
        for (status, safe, not_safe) in [
            (408, true, false),
            (429, true, true),
            (500, true, false),
            (502, true, false),
            (503, true, true),
            (504, true, false),
            (400, false, false),
            (401, false, false),
            (403, false, false),
            (404, false, false),
            (409, false, false),
            (501, false, false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            for (repeat, expected) in [(Repeat::Safe, safe), (Repeat::Unsafe, not_safe)] {
                let got = verdict(status, &none, repeat, NOW) == Verdict::Retry;
                assert_eq!(got, expected, "{status} {repeat:?}");
            }
        }
    }

    #[test]
    fn retry_after_counts_only_where_a_retry_helps() {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!(
            verdict(status, &headers("7"), Repeat::Unsafe, NOW),
            Verdict::RetryAfter(Duration::from_secs(7))
        );
        let status = StatusCode::FORBIDDEN;
        assert_eq!(
            verdict(status, &headers("7"), Repeat::Safe, NOW),
            Verdict::Fatal
        );
    }
}
