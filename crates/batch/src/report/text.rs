//! The report for terminals and logs.

use std::fmt::Write as _;

use diskimg::printable;
use diskimg::units::human;

use super::write::{duration, moment, rate, short};
use super::{by_need, end, system, worked};
use crate::outcome::{BatchReport, ItemOutcome, ItemState};

/// Widest column of names; longer ones push the rest of their line.
const MAX_COLUMN: usize = 40;

/// The report as text: summary, what needs a person, then every item.
#[must_use]
pub fn text(report: &BatchReport) -> String {
    let mut text = String::new();
    summary(&mut text, report);
    let needy: Vec<_> = report
        .items
        .iter()
        .filter(|item| item.state.is_failure() || item.state == ItemState::Cancelled)
        .collect();
    if !needy.is_empty() {
        text.push_str("\nWhat needs attention:\n");
        for item in needy {
            trouble(&mut text, item);
        }
    }
    let warned: Vec<_> = report
        .items
        .iter()
        .filter(|item| !item.warnings.is_empty())
        .collect();
    if !warned.is_empty() {
        text.push_str("\nWarnings:\n");
        for item in warned {
            for warning in &item.warnings {
                let _ = writeln!(text, "  {}: {}", printable(&item.name), printable(warning));
            }
        }
    }
    table(&mut text, report);
    text
}

fn summary(text: &mut String, report: &BatchReport) {
    let totals = &report.totals;
    let states = ItemState::ALL
        .into_iter()
        .rev()
        .filter(|state| totals.count(*state) > 0)
        .map(|state| format!("{} {state}", totals.count(state)));
    let states: Vec<_> = states.collect();
    let _ = writeln!(
        text,
        "{}: {} items: {}",
        printable(&report.manifest),
        totals.items,
        states.join(", ")
    );
    let took = end(report).saturating_sub(report.started);
    let _ = writeln!(
        text,
        "{}, {}, exit code {}",
        moment(report.started),
        duration(took),
        report.exit
    );
    let _ = write!(
        text,
        "{} of disks, {} read, {} sent ({})",
        human(totals.virtual_bytes),
        human(totals.read_bytes),
        human(totals.sent_bytes),
        rate(totals.sent_bytes, took)
    );
    if totals.kept_bytes > 0 {
        let _ = write!(text, ", {} not sent again", human(totals.kept_bytes));
    }
    if totals.retries > 0 {
        let _ = write!(text, ", {} requests retried", totals.retries);
    }
    text.push('\n');
    let machine = &report.machine;
    if let Some(peak) = machine.peak_memory {
        let _ = writeln!(
            text,
            "memory: {} at most, bound {}",
            human(peak),
            human(machine.memory_bound)
        );
    }
}

fn trouble(text: &mut String, item: &ItemOutcome) {
    let cause = item.cause.as_deref().unwrap_or("no cause was reported");
    let _ = writeln!(
        text,
        "  {} {} ({}): {}",
        item.state,
        printable(&item.name),
        printable(&item.source),
        printable(cause)
    );
    if let Some(hint) = &item.hint {
        let _ = writeln!(text, "    hint: {}", printable(hint));
    }
}

fn table(text: &mut String, report: &BatchReport) {
    let items = by_need(report);
    let names: Vec<_> = items.iter().map(|item| printable(&item.name)).collect();
    let widest = names.iter().map(|name| name.chars().count()).max();
    let width = widest.unwrap_or_default().clamp(4, MAX_COLUMN);
    let systems: Vec<_> = items.iter().map(|item| system(item)).collect();
    let widest = systems.iter().map(String::len).max();
    let wide = widest.unwrap_or_default().max("SYSTEM".len());
    let _ = writeln!(
        text,
        "\n{:<9}  {:<width$}  {:>8}  {:>8}  {:>12}  {:<wide$}  IMAGE",
        "STATE", "NAME", "DISK", "SENT", "TIME", "SYSTEM"
    );
    for ((item, name), system) in items.iter().zip(&names).zip(&systems) {
        let size = item.virtual_size.map(short).unwrap_or_default();
        let time = worked(item).map(duration).unwrap_or_default();
        let line = format!(
            "{:<9}  {name:<width$}  {size:>8}  {:>8}  {time:>12}  {system:<wide$}  {}",
            item.state,
            short(item.sent_bytes),
            printable(&item.image_ids())
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
}
