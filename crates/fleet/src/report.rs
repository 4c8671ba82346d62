//! The report of a run, put together.

use batch::{BatchReport, ItemOutcome, Machine, ThroughputSample, Totals, UnixMillis};
use import::peak_memory;

use crate::setup::Setup;
use crate::state::now;

pub(crate) fn build(
    setup: &Setup,
    started: UnixMillis,
    exit: u8,
    items: Vec<ItemOutcome>,
    samples: Vec<ThroughputSample>,
    worker: Option<String>,
) -> BatchReport {
    BatchReport {
        manifest: setup.spec.manifest.path.display().to_string(),
        manifest_digest: setup.spec.manifest.digest.clone(),
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
            region: Some(setup.cx.session.cloud().region.clone()),
        },
    }
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
