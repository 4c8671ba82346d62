//! The timeline: a row per item, a bar per stage.

use std::fmt::Write as _;

use super::write::{duration, escaped, short};
use super::{by_need, end};
use crate::outcome::{BatchReport, ItemOutcome, Stage, UnixMillis};

/// Most rows that are drawn: a page of more is of no use, and the table has all of them.
const MAX_ROWS: usize = 500;
/// Most spans of one item.
const MAX_SPANS: usize = 64;
const ROW: usize = 22;
const LEFT: f64 = 190.0;
const WIDTH: f64 = 1100.0;
const RIGHT: f64 = 16.0;
const TOP: usize = 26;
/// Characters of a name beside its row.
const LABEL: usize = 26;

/// A scale from moments to pixels.
pub(super) struct Scale {
    start: UnixMillis,
    length: f64,
    left: f64,
    width: f64,
}

impl Scale {
    pub(super) fn new(start: UnixMillis, end: UnixMillis, left: f64, width: f64) -> Self {
        Self {
            start,
            length: (end.saturating_sub(start) as f64).max(1.0),
            left,
            width,
        }
    }

    pub(super) fn x(&self, at: UnixMillis) -> f64 {
        let share = at.saturating_sub(self.start) as f64 / self.length;
        self.left + share.clamp(0.0, 1.0) * self.width
    }

    /// Round distances from the start, some six of them.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        const STEPS: [u64; 19] = [
            100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000,
            600_000, 1_800_000, 3_600_000, 7_200_000, 14_400_000, 28_800_000, 86_400_000,
        ];
        let wanted = self.length / 7.0;
        let step = STEPS
            .into_iter()
            .find(|step| *step as f64 >= wanted)
            .unwrap_or(86_400_000);
        (0_u64..40)
            .map(|number| number.saturating_mul(step))
            .take_while(|at| *at as f64 <= self.length)
            .map(|at| (self.x(self.start.saturating_add(at)), label(at)))
            .collect()
    }
}

fn label(millis: u64) -> String {
    match millis {
        0 => "0".to_owned(),
        1..1000 => format!("0.{} s", millis / 100),
        1000..60_000 => format!("{} s", millis / 1000),
        60_000..3_600_000 if millis.is_multiple_of(60_000) => format!("{} min", millis / 60_000),
        3_600_000.. if millis.is_multiple_of(3_600_000) => format!("{} h", millis / 3_600_000),
        _ => duration(millis),
    }
}

/// The timeline as SVG; empty when there is nothing to draw.
pub(super) fn draw(report: &BatchReport) -> String {
    let mut items: Vec<&ItemOutcome> = by_need(report)
        .into_iter()
        .filter(|item| !item.timeline.is_empty())
        .collect();
    if items.is_empty() {
        return String::new();
    }
    let all = items.len();
    items.truncate(MAX_ROWS);
    // As it happened.
    items.sort_by_key(|item| {
        let begun = item.timeline.iter().find(|span| span.stage != Stage::Queue);
        begun.or(item.timeline.first()).map(|span| span.start)
    });
    let end = end(report);
    let scale = Scale::new(report.started, end, LEFT, WIDTH - LEFT - RIGHT);
    let height = items.len().saturating_mul(ROW).saturating_add(TOP + 8);
    let mut svg = format!(
        "<svg class=\"gantt\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Timeline of the items by stage\" xmlns=\"http://www.w3.org/2000/svg\">\n"
    );
    for (x, label) in scale.ticks() {
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{height}\"/><text class=\"axis\" x=\"{x:.1}\" y=\"16\" text-anchor=\"middle\">{label}</text>"
        );
    }
    for (row, item) in items.iter().enumerate() {
        let y = row.saturating_mul(ROW).saturating_add(TOP + 4);
        bars(&mut svg, item, y, &scale, end);
    }
    svg.push_str("</svg>\n");
    if all > items.len() {
        let _ = writeln!(
            svg,
            "<p class=\"note\">{} of {all} items are drawn, those that failed among them; the table has all.</p>",
            items.len()
        );
    }
    svg
}

fn bars(svg: &mut String, item: &ItemOutcome, y: usize, scale: &Scale, end: UnixMillis) {
    let name: String = match item.name.chars().count() > LABEL {
        true => item.name.chars().take(LABEL - 1).chain(['…']).collect(),
        false => item.name.clone(),
    };
    let base = y.saturating_add(11);
    let _ = writeln!(
        svg,
        "<g class=\"row {}\"><text class=\"label\" x=\"{}\" y=\"{base}\" text-anchor=\"end\">{}</text>",
        item.state,
        LEFT - 10.0,
        escaped(&name)
    );
    for span in item.timeline.iter().take(MAX_SPANS) {
        let until = span.end.unwrap_or(end);
        let (from, to) = (scale.x(span.start), scale.x(until));
        let width = (to - from).max(1.0);
        let sent = match span.stage {
            Stage::Transfer => format!(", {} sent", short(item.sent_bytes)),
            _ => String::new(),
        };
        let open = if span.end.is_none() {
            " (not ended)"
        } else {
            ""
        };
        let _ = writeln!(
            svg,
            "<rect class=\"stage {}\" x=\"{from:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"14\" rx=\"2\"><title>{}: {} {}{open}{sent}</title></rect>",
            span.stage,
            escaped(&item.name),
            span.stage,
            duration(until.saturating_sub(span.start)),
        );
    }
    svg.push_str("</g>\n");
}
