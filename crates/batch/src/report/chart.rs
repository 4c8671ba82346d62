//! How fast it went: bytes per second over the time of the batch.

use std::fmt::Write as _;

use super::end;
use super::gantt::Scale;
use super::write::{duration, rate, short};
use crate::outcome::{BatchReport, ThroughputSample, UnixMillis};

/// Points of a curve; more samples are joined.
const POINTS: usize = 240;
const WIDTH: f64 = 1100.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 28.0;

/// Bytes in a time.
struct Point {
    from: UnixMillis,
    to: UnixMillis,
    converted: u64,
    sent: u64,
}

impl Point {
    fn rate(&self, bytes: u64) -> f64 {
        let millis = self.to.saturating_sub(self.from).max(1);
        bytes as f64 * 1000.0 / millis as f64
    }
}

/// The curves as SVG; empty when there is nothing to draw.
pub(super) fn draw(report: &BatchReport) -> String {
    let points = points(&report.samples);
    if points.is_empty() {
        return String::new();
    }
    let highest = points
        .iter()
        .flat_map(|point| [point.rate(point.converted), point.rate(point.sent)])
        .fold(1.0, f64::max);
    let (step, top) = nice(highest);
    let scale = Scale::new(report.started, end(report), LEFT, WIDTH - LEFT - RIGHT);
    let base = HEIGHT - BOTTOM;
    let y = |rate: f64| base - rate / top * (base - TOP);
    let mut svg = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Bytes per second\" xmlns=\"http://www.w3.org/2000/svg\">\n"
    );
    let mut level = 0.0;
    while level <= top * 1.001 {
        let at = y(level);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{}\" y2=\"{at:.1}\"/><text class=\"axis\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}/s</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0,
            short(whole(level))
        );
        level += step;
    }
    for (x, label) in scale.ticks() {
        let _ = writeln!(
            svg,
            "<text class=\"axis\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
            HEIGHT - 8.0
        );
    }
    for (class, pick) in [
        ("converted", (|point| point.converted) as fn(&Point) -> u64),
        ("sent", |point| point.sent),
    ] {
        let mut path = String::new();
        for point in &points {
            let at = y(point.rate(pick(point)));
            let (from, to) = (scale.x(point.from), scale.x(point.to));
            let command = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{command}{from:.1} {at:.1}L{to:.1} {at:.1}");
        }
        let (first, last) = (points.first(), points.last());
        let (first, last) = (
            first.map_or(LEFT, |point| scale.x(point.from)),
            last.map_or(LEFT, |point| scale.x(point.to)),
        );
        let _ = writeln!(
            svg,
            "<path class=\"area {class}\" d=\"{path}L{last:.1} {base:.1}L{first:.1} {base:.1}Z\"/><path class=\"line {class}\" d=\"{path}\"/>"
        );
    }
    for point in &points {
        let (from, to) = (scale.x(point.from), scale.x(point.to));
        let took = point.to.saturating_sub(point.from);
        let _ = writeln!(
            svg,
            "<rect class=\"hit\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"><title>after {}: {} converted, {} sent</title></rect>",
            (to - from).max(0.1),
            base - TOP,
            duration(point.from.saturating_sub(report.started)),
            rate(point.converted, took),
            rate(point.sent, took)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// The differences between samples, in at most [`POINTS`] pieces.
fn points(samples: &[ThroughputSample]) -> Vec<Point> {
    let every = samples.len().div_ceil(POINTS).max(1);
    let mut kept: Vec<&ThroughputSample> = samples.iter().step_by(every).collect();
    if let Some(last) = samples.last() {
        kept.push(last);
    }
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

/// A round step and the highest level, so that some four levels reach over `highest`. Steps are
/// round in binary units, as the labels are.
fn nice(highest: f64) -> (f64, f64) {
    let mut unit = 1.0;
    while highest / unit > 1000.0 {
        unit *= 1024.0;
    }
    let wanted = highest / unit / 4.0;
    let mut power = 0.001;
    while power * 10.0 <= wanted {
        power *= 10.0;
    }
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= wanted)
        .unwrap_or(wanted)
        .max(0.001)
        * unit;
    (step, (highest / step).ceil().max(1.0) * step)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a level of an axis: not negative, and a float's cast ends at the largest number"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}
