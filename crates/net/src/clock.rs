//! The time that signatures carry: the system's clock, corrected by what the server says.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use ::http::HeaderMap;
use ::http::header::DATE;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Duration, OffsetDateTime, PrimitiveDateTime};

/// `X-Sdk-Date`: UTC, seconds.
const SDK_DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[year][month][day]T[hour][minute][second]Z");

/// HTTP date of RFC 9110 section 5.6.7, the only form that senders may produce.
const HTTP_DATE: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// Differences below this are left alone, in seconds: `Date` counts whole seconds, and an answer
/// may have been under way for a while. Far inside the 15 minutes that servers accept.
const TOLERATED_SECONDS: i64 = 60;

/// `time` as `20261122T013000Z`.
#[must_use]
pub fn sdk_date(time: OffsetDateTime) -> String {
    let utc = time.to_offset(time::UtcOffset::UTC);
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        utc.year(),
        u8::from(utc.month()),
        utc.day(),
        utc.hour(),
        utc.minute(),
        utc.second()
    )
}

/// The time in `20261122T013000Z`.
#[must_use]
pub fn parse_sdk_date(text: &str) -> Option<OffsetDateTime> {
    PrimitiveDateTime::parse(text, SDK_DATE)
        .ok()
        .map(PrimitiveDateTime::assume_utc)
}

/// The time in `Sun, 22 Nov 2026 01:30:00 GMT`.
#[must_use]
pub fn parse_http_date(text: &str) -> Option<OffsetDateTime> {
    PrimitiveDateTime::parse(text.trim(), HTTP_DATE)
        .ok()
        .map(PrimitiveDateTime::assume_utc)
}

/// The server's time as far as it is known. Clones share what was learned.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Server's time minus ours, in seconds.
    skew: Arc<AtomicI64>,
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The time to sign with.
    #[must_use]
    pub fn now(&self) -> OffsetDateTime {
        let now = OffsetDateTime::now_utc();
        now.checked_add(self.skew()).unwrap_or(now)
    }

    /// Server's time minus the system's; zero while the two agree well enough.
    #[must_use]
    pub fn skew(&self) -> Duration {
        Duration::seconds(self.skew.load(Ordering::Relaxed))
    }

    /// Takes the difference from an answer's `Date` header. Returns whether the time to sign with
    /// has changed noticeably, so that a refused signature is worth another attempt.
    pub fn learn(&self, headers: &HeaderMap) -> bool {
        let date = headers.get(DATE).and_then(|value| value.to_str().ok());
        date.is_some_and(|date| self.learn_date(date))
    }

    /// The same from the header's text, for clients that have no [`HeaderMap`].
    pub fn learn_date(&self, date: &str) -> bool {
        let Some(date) = parse_http_date(date) else {
            return false;
        };
        let measured = (date - OffsetDateTime::now_utc()).whole_seconds();
        let skew = if measured.abs() <= TOLERATED_SECONDS {
            0
        } else {
            measured
        };
        let before = self.skew.swap(skew, Ordering::Relaxed);
        let changed = skew.abs_diff(before) > TOLERATED_SECONDS.unsigned_abs();
        if changed && skew != 0 {
            tracing::warn!(
                "this machine's clock is {} s {} the server's; requests are signed with the \
                 server's time",
                skew.unsigned_abs(),
                if skew > 0 { "behind" } else { "ahead of" }
            );
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn answered_at(time: OffsetDateTime) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let date = time.format(HTTP_DATE).unwrap();
        headers.insert(DATE, date.parse().unwrap());
        headers
    }

    #[test]
    fn sdk_date_is_utc_in_seconds() {
        let time = datetime!(2026-11-22 02:30:00.9 +01:00);
        assert_eq!(sdk_date(time), "20261122T013000Z");
        assert_eq!(
            parse_sdk_date("20261122T013000Z"),
            Some(datetime!(2026-11-22 01:30 UTC))
        );
        assert_eq!(parse_sdk_date("2026-11-22T01:30:00Z"), None);
        assert_eq!(parse_sdk_date("20261322T013000Z"), None);
    }

    #[test]
    fn http_date_of_the_standard_is_read() {
        assert_eq!(
            parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(datetime!(1994-11-06 08:49:37 UTC))
        );
        assert_eq!(parse_http_date("yesterday"), None);
    }

    #[test]
    fn a_wrong_clock_is_corrected_and_a_small_difference_is_not() {
        let clock = Clock::new();
        let now = OffsetDateTime::now_utc();
        assert!(!clock.learn(&answered_at(now + Duration::seconds(20))));
        assert_eq!(clock.skew(), Duration::ZERO);

        assert!(clock.learn(&answered_at(now + Duration::hours(3))));
        let off = clock.now() - (OffsetDateTime::now_utc() + Duration::hours(3));
        assert!(off.abs() < Duration::seconds(5), "{off}");

        assert!(!clock.learn(&answered_at(now + Duration::hours(3))));
        assert!(
            clock.learn(&answered_at(now)),
            "a repaired clock is noticed"
        );
    }

    #[test]
    fn nonsense_dates_change_nothing() {
        let clock = Clock::new();
        let mut headers = HeaderMap::new();
        assert!(!clock.learn(&headers));
        headers.insert(DATE, "Sun, 99 Nov 99999 08:49:37 GMT".parse().unwrap());
        assert!(!clock.learn(&headers));
    }
}
