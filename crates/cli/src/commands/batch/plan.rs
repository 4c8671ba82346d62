//! `imgferry batch plan`: what a run would do, how much it is, and how long it may take.

use std::fmt;

use diskimg::printable;
use diskimg::units::human;
use fleet::{Context, Estimate, FleetSpec, Plan};

use crate::commands::table::table;
use crate::console::Console;
use cloud::{Class, Failure, Result};

pub(super) async fn run(spec: &FleetSpec, cx: &Context, console: Console) -> Result {
    let plan = fleet::plan(spec, cx).await?;
    console.result(Text(&plan), &plan)?;
    match plan.totals.refused {
        0 => Ok(()),
        refused => Err(Failure::new(
            Class::Refused,
            format!(
                "{refused} of {} disks would be refused; batch run would import the others",
                plan.totals.items
            ),
        )
        .told()),
    }
}

/// A plan, for people.
struct Text<'a>(&'a Plan);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.0;
        let size = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), human);
        let mut rows = vec![
            ["DISK", "FORMAT", "SIZE", "DATA", "SYSTEM", "ACTION", ""]
                .map(str::to_owned)
                .to_vec(),
        ];
        rows.extend(plan.items.iter().map(|line| {
            vec![
                line.id.clone(),
                line.format.clone().unwrap_or_else(|| "-".to_owned()),
                size(line.virtual_size),
                size(line.data_bytes),
                line.guest
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), ToString::to_string),
                line.action.to_owned(),
                line.why.clone().unwrap_or_default(),
            ]
        }));
        writeln!(f, "{}", table(&rows))?;
        for line in &plan.items {
            for warning in &line.warnings {
                writeln!(f, "{}: {warning}", printable(&line.id))?;
            }
            if let Some(hint) = &line.hint {
                writeln!(f, "{}: hint: {hint}", printable(&line.id))?;
            }
        }
        let totals = &plan.totals;
        writeln!(
            f,
            "\ntotal   {} disks: {} to import, {} skipped, {} refused; {} of data on {}, at most {} to send",
            totals.items,
            totals.to_do,
            totals.skipped,
            totals.refused,
            human(totals.data_bytes),
            human(totals.virtual_bytes),
            human(totals.worst_case_bytes)
        )?;
        let s = |number: usize| if number == 1 { "" } else { "s" };
        writeln!(
            f,
            "work    {} disk{} converted at a time with {} thread{} each, {} uploaded, {} job{}",
            plan.converts,
            s(plan.converts),
            plan.threads,
            s(plan.threads),
            plan.uploads,
            plan.jobs,
            s(plan.jobs)
        )?;
        writeln!(
            f,
            "memory  at most {}: program {}, {} per disk, up to {} if a disk needs more",
            human(plan.memory.budget),
            human(plan.memory.fixed),
            human(plan.memory.share),
            human(plan.memory.budget.saturating_sub(plan.memory.fixed)),
        )?;
        match &plan.quota {
            Some(quota) => writeln!(
                f,
                "quota   {} of {} images used, {} more needed",
                quota.used, quota.quota, quota.wanted
            )?,
            None => writeln!(f, "quota   not reported by the cloud")?,
        }
        match &plan.estimate {
            Some(estimate) => write!(f, "time    {}", time(estimate)),
            None => write!(f, "time    nothing to convert"),
        }
    }
}

fn time(estimate: &Estimate) -> String {
    format!(
        "about {} if the network keeps up: {}/s, {:.0} % of it sent, measured on {} of {}",
        span(estimate.seconds),
        human(estimate.bytes_per_second),
        estimate.ratio * 100.0,
        human(estimate.measured_bytes),
        estimate.measured
    )
}

/// Seconds as people say them.
fn span(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => "a second".to_owned(),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}
