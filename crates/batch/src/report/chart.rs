//! How fast it went: bytes per second over the time of the batch.

use maud::Markup;
use page::{Ink, Plot, Series, Style};

use super::end;
use super::write::{UNITS, duration, rate};
use crate::outcome::{BatchReport, ThroughputSample, UnixMillis};

/// Points of a curve; more samples are joined.
const POINTS: usize = 240;

/// Bytes in a time.
struct Point {
    from: UnixMillis,
    to: UnixMillis,
    converted: u64,
    sent: u64,
}

impl Point {
    fn rate(&self, bytes: u64) -> f64 {
        bytes as f64 * 1000.0 / self.to.saturating_sub(self.from).max(1) as f64
    }
}

/// The curves; `None` when there is nothing to draw.
pub(super) fn draw(report: &BatchReport) -> Option<Markup> {
    let points = points(&report.samples);
    let highest = points
        .iter()
        .flat_map(|point| [point.rate(point.converted), point.rate(point.sent)])
        .reduce(f64::max)?;
    // The unit in which the highest rate has at most four digits.
    let (mut divisor, mut units) = (1.0, UNITS.iter());
    let mut unit = units.next()?;
    while highest / divisor > 1000.0 {
        divisor *= 1024.0;
        unit = units.next()?;
    }
    let (end, took) = (end(report), end(report).saturating_sub(report.started));
    // The unit in which the time has two or three digits.
    let (millis, time) = match took {
        0..600_000 => (1000.0, "seconds"),
        600_000..36_000_000 => (60_000.0, "minutes"),
        _ => (3_600_000.0, "hours"),
    };
    let since = |at: UnixMillis| at.min(end).saturating_sub(report.started) as f64 / millis;
    let curve = |name, ink, bytes: fn(&Point) -> u64| {
        let steps = points.iter().flat_map(|point| {
            let rate = point.rate(bytes(point)) / divisor;
            [point.from, point.to].map(|at| page::Point {
                x: since(at),
                spread: [rate; 3],
                name: String::new(),
            })
        });
        Series {
            name,
            ink,
            style: Style::Area,
            points: steps.collect(),
        }
    };
    let notes = points.iter().map(|point| {
        let took = point.to.saturating_sub(point.from);
        let note = format!(
            "after {}: {} converted, {} sent",
            duration(point.from.saturating_sub(report.started)),
            rate(point.converted, took),
            rate(point.sent, took)
        );
        (since(point.from)..since(point.to), note)
    });
    Some(page::lines(&Plot {
        title: "Bytes per second",
        wide: true,
        x: (0.0..since(end), time),
        unit: &format!("{unit}/s"),
        series: &[
            curve("converted (bytes of disks)", Ink::Second, |point| {
                point.converted
            }),
            curve("sent to the bucket", Ink::First, |point| point.sent),
        ],
        notes: &notes.collect::<Vec<_>>(),
    }))
}

/// The differences between samples, in at most [`POINTS`] pieces.
fn points(samples: &[ThroughputSample]) -> Vec<Point> {
    let every = samples.len().div_ceil(POINTS).max(1);
    let mut kept: Vec<&ThroughputSample> = samples.iter().step_by(every).collect();
    kept.extend(samples.last());
    kept.sort_by_key(|sample| sample.at);
    kept.windows(2)
        .filter_map(|pair| {
            let [a, b] = pair else { return None };
            (b.at > a.at).then(|| Point {
                from: a.at,
                to: b.at,
                converted: b.converted_bytes.saturating_sub(a.converted_bytes),
                sent: b.sent_bytes.saturating_sub(a.sent_bytes),
            })
        })
        .collect()
}
