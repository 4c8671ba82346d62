//! Numbers and texts as people read them.

use time::OffsetDateTime;
use time::macros::format_description;

use crate::outcome::UnixMillis;

/// `4 min 12 s`.
pub(super) fn duration(millis: u64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0..10 => format!("{}.{} s", seconds, millis % 1000 / 100),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// `2026-11-24 15:04:05 UTC`.
pub(super) fn moment(at: UnixMillis) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    i64::try_from(at / 1000)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.format(format).ok())
        .unwrap_or_else(|| format!("{at} ms"))
}

/// Units of bytes, each 1024 of the one before.
pub(super) const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Bytes in at most three digits and a unit: for columns of figures.
pub(super) fn short(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while value >= 999.5 {
        let Some(next) = units.next() else { break };
        value /= 1024.0;
        unit = Some(next);
    }
    let unit = unit.unwrap_or(&"B");
    match value {
        _ if *unit == "B" => format!("{bytes} B"),
        value if value < 9.95 => format!("{value:.1} {unit}"),
        value => format!("{value:.0} {unit}"),
    }
}

/// Bytes per second over a time.
pub(super) fn rate(bytes: u64, millis: u64) -> String {
    let per_second = u128::from(bytes)
        .saturating_mul(1000)
        .checked_div(u128::from(millis))
        .unwrap_or_default();
    format!("{}/s", short(u64::try_from(per_second).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!(short(0), "0 B");
        assert_eq!(short(1023), "1.0 KiB");
        assert_eq!(short(5 << 30), "5.0 GiB");
        assert_eq!(short(123 << 20), "123 MiB");
        assert_eq!(short(u64::MAX), "16 EiB");
        assert_eq!(duration(1234), "1.2 s");
        assert_eq!(duration(252_000), "4 min 12 s");
        assert_eq!(duration(7_260_000), "2 h 1 min");
        assert_eq!(rate(1 << 20, 0), "0 B/s");
        assert_eq!(rate(10 << 20, 2000), "5.0 MiB/s");
        assert_eq!(moment(1_795_532_645_000), "2026-11-24 15:04:05 UTC");
        assert_eq!(moment(u64::MAX), format!("{} ms", u64::MAX));
    }
}
