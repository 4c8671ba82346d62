//! The report of a run: put together, and written where it was asked for.

use std::path::Path;

use ::batch::{BatchReport, ItemOutcome, Machine, ThroughputSample, Totals, UnixMillis};
use ::convert::{OutputFile, Overwrite};
use diskimg::text::shown;

use super::setup::Setup;
use super::state::now;
use crate::args::BatchRunArgs;
use crate::exit::{Exit, Failure, Outcome};
use ::import::peak_memory;

pub(super) fn build(
    setup: &Setup,
    started: UnixMillis,
    exit: u8,
    items: Vec<ItemOutcome>,
    samples: Vec<ThroughputSample>,
    worker: Option<String>,
) -> BatchReport {
    BatchReport {
        manifest: setup.manifest.path.display().to_string(),
        manifest_digest: setup.manifest.digest.clone(),
        started,
        ended: Some(now()),
        exit,
        totals: Totals::of(&items),
        items,
        samples,
        machine: Machine {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: host(),
            worker,
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_bound: setup.budget.total,
            peak_memory: peak_memory(),
            cpu_seconds: cpu_seconds(),
            region: Some(setup.session.cloud().region.clone()),
        },
    }
}

/// Refuses reports that could not be written, before the run that they are about.
pub(super) fn check(args: &BatchRunArgs) -> Outcome {
    for path in [&args.report, &args.report_json].into_iter().flatten() {
        begin(path)?;
    }
    Ok(())
}

/// The file of a report, which nobody sees before it is complete.
fn begin(path: &Path) -> Outcome<OutputFile> {
    OutputFile::create(path, Overwrite::Replace).map_err(|error| {
        Failure::from(error).context(format!("the report {} cannot be written", shown(path)))
    })
}

/// Writes the files that were asked for; each appears complete or not at all.
pub(super) fn write(args: &BatchRunArgs, report: &BatchReport) -> Outcome {
    let mut first = Ok(());
    let mut keep = |written: Outcome| {
        if let (Ok(()), Err(failure)) = (&first, written) {
            first = Err(failure);
        }
    };
    if let Some(path) = &args.report {
        keep(write_file(path, ::batch::report::html(report).as_bytes()));
    }
    if let Some(path) = &args.report_json {
        let text = ::batch::report::json(report).map_err(|error| {
            Failure::from_error(Exit::Io, &error).context("the report has no JSON form")
        });
        keep(text.and_then(|text| write_file(path, text.as_bytes())));
    }
    first
}

fn write_file(path: &Path, bytes: &[u8]) -> Outcome {
    let write = || -> Outcome {
        let file = OutputFile::create(path, Overwrite::Replace)?;
        file.write_at(0, bytes)?;
        Ok(file.commit()?)
    };
    write()
        .map_err(|failure| failure.context(format!("the report {} cannot be written", shown(path))))
}

/// Name of the machine, where the system tells it.
fn host() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// Processor time of this process in seconds, where the system tells it.
fn cpu_seconds() -> Option<f64> {
    /// Ticks per second in `/proc`: the same on every Linux that this runs on.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name before may have spaces and parentheses.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user.saturating_add(system) as f64 / TICKS)
}
