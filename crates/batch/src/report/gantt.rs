//! The timeline: a row per item, a bar per stage.

use maud::{Markup, html};

use super::write::{duration, short};
use super::{by_need, end};
use crate::outcome::{BatchReport, ItemOutcome, Stage, StageSpan, UnixMillis};

/// Most rows that are drawn: nobody reads more, and the table has all of them.
const MAX_ROWS: usize = 500;
/// Most spans of one item.
const MAX_SPANS: usize = 64;
const ROW: usize = 22;
const LEFT: f64 = 190.0;
const WIDTH: u64 = 1100;
const RIGHT: f64 = 16.0;
const TOP: usize = 26;
/// Characters of a name beside its row.
const LABEL: usize = 25;

/// The time of a batch, and where it is drawn.
struct Scale {
    start: UnixMillis,
    length: f64,
}

impl Scale {
    fn new(start: UnixMillis, end: UnixMillis) -> Self {
        Self {
            start,
            length: (end.saturating_sub(start) as f64).max(1.0),
        }
    }

    /// Where a moment is drawn.
    fn x(&self, at: UnixMillis) -> f64 {
        let share = at.saturating_sub(self.start) as f64 / self.length;
        LEFT + share.clamp(0.0, 1.0) * (WIDTH as f64 - LEFT - RIGHT)
    }

    /// Round distances from the start, some six of them.
    fn marks(&self) -> Vec<(UnixMillis, String)> {
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
            .map(|at| (at, label(at)))
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

/// The timeline with its legend; `None` when there is nothing to draw.
pub(super) fn draw(report: &BatchReport) -> Option<Markup> {
    let mut items = by_need(report);
    items.retain(|item| !item.timeline.is_empty());
    let all = items.len();
    items.truncate(MAX_ROWS);
    // As it happened.
    items.sort_by_key(|item| {
        let begun = item.timeline.iter().find(|span| span.stage != Stage::Queue);
        begun.or(item.timeline.first()).map(|span| span.start)
    });
    items.first()?;
    let end = end(report);
    let scale = Scale::new(report.started, end);
    let height = items.len().saturating_mul(ROW).saturating_add(TOP + 8);
    let moved = |at: u64| report.started.saturating_add(at);
    let rows = html! {
        @for (at, name) in scale.marks() {
            @let x = format!("{:.1}", scale.x(moved(at)));
            line class="grid" x1=(x) y1=(TOP) x2=(x) y2=(height) {}
            text class="axis" x=(x) y="16" text-anchor="middle" { (name) }
        }
        @for (item, y) in items.iter().zip((TOP + 4..).step_by(ROW)) {
            g class={ "row " (item.state.word()) } {
                text class="label" x=(LEFT - 10.0) y=(y + 11) text-anchor="end" {
                    (page::shortened(&item.name, LABEL))
                }
                @for span in item.timeline.iter().take(MAX_SPANS) { (bar(item, span, y, &scale, end)) }
            }
            "\n"
        }
    };
    let used = |stage: &Stage| {
        let mut spans = report.items.iter().flat_map(|item| &item.timeline);
        spans.any(|span| span.stage == *stage)
    };
    Some(html! {
        p class="legend" {
            @for stage in Stage::ALL.into_iter().filter(used) {
                span class={ "key " (stage.word()) } {} (stage.word()) " "
            }
        }
        div class="wide" {
            (page::picture("gantt", (WIDTH, height as u64), "Timeline of the items by stage", &rows))
            @if all > items.len() {
                p class="note" {
                    (items.len()) " of " (all)
                    " items are drawn, those that failed among them; the table has all."
                }
            }
        }
    })
}

fn bar(item: &ItemOutcome, span: &StageSpan, y: usize, scale: &Scale, end: UnixMillis) -> Markup {
    let until = span.end.unwrap_or(end);
    let (from, to) = (scale.x(span.start), scale.x(until));
    let (stage, took) = (
        span.stage.word(),
        duration(until.saturating_sub(span.start)),
    );
    html! {
        rect class={ "stage " (stage) } y=(y) height="14" rx="2"
            x=(format_args!("{from:.1}")) width=(format_args!("{:.1}", (to - from).max(1.0))) {
            title {
                (item.name) ": " (stage) " " (took)
                @if span.end.is_none() { " (not ended)" }
                @if span.stage == Stage::Transfer { ", " (short(item.sent_bytes)) " sent" }
            }
        }
    }
}
