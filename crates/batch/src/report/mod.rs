//! The report of a batch: text for terminals, JSON for programs, one HTML page for people.
//!
//! Names, paths and messages come from files and servers: they are shown so that they can harm
//! neither a terminal nor a browser.

mod chart;
mod gantt;
mod page;
mod systems;
mod text;
mod write;

use crate::outcome::{BatchReport, ItemOutcome, UnixMillis};

pub use self::page::html;
pub use self::text::text;

/// The report as JSON.
///
/// # Errors
/// None that a report can cause: it is made of texts and numbers.
pub fn json(report: &BatchReport) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(report)
}

/// The items, those that need a person first, each kind in the manifest's order.
fn by_need(report: &BatchReport) -> Vec<&ItemOutcome> {
    let mut items: Vec<_> = report.items.iter().collect();
    items.sort_by_key(|item| item.state);
    items
}

/// The last moment that the report knows of.
fn end(report: &BatchReport) -> UnixMillis {
    let spans = report.items.iter().flat_map(|item| &item.timeline);
    let known = spans
        .map(|span| span.end.unwrap_or(span.start))
        .chain(report.samples.iter().map(|sample| sample.at))
        .max();
    report
        .ended
        .or(known)
        .unwrap_or(report.started)
        .max(report.started)
}

/// How long an item was worked on: from the first moment that was no waiting.
fn worked(item: &ItemOutcome) -> Option<UnixMillis> {
    let spans = || {
        item.timeline
            .iter()
            .filter(|span| span.stage != crate::outcome::Stage::Queue)
    };
    let first = spans().map(|span| span.start).min()?;
    let last = spans().map(|span| span.end.unwrap_or(span.start)).max()?;
    Some(last.saturating_sub(first))
}

/// Whether the system on the disk is ready; empty when nobody looked.
fn system(item: &ItemOutcome) -> String {
    let guest = item.guest.as_ref();
    guest.map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests;
