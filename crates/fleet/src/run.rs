//! A run of a batch, from the journal's lock to the outcome.

use std::path::Path;
use std::sync::Arc;

use batch::{BatchReport, Item, ItemOutcome, ItemState};
use cloud::{Class, Failure, Result, from_journal};
use journal::{Log, RunLock};
use serde::Serialize;

use crate::check::{Checked, Verdict};
use crate::claims::Claims;
use crate::driving::Runner;
use crate::observe::{Context, Event, Overview};
use crate::report;
use crate::setup::Setup;
use crate::spec::FleetSpec;
use crate::state::{self, Record, now};
use crate::track::Tracker;

/// What became of a batch.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// How each disk ended, and what the run did.
    #[serde(flatten)]
    pub report: BatchReport,
    /// Why the run as a whole could not continue, if it could not. Disks that fail are no reason.
    #[serde(skip)]
    pub broken: Option<Failure>,
}

impl Outcome {
    /// The disks that failed or were refused.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.count(|item| item.state.is_failure())
    }

    /// The disks that are neither done nor failed.
    #[must_use]
    pub fn left(&self) -> usize {
        self.count(|item| !item.state.is_done() && !item.state.is_failure())
    }

    fn count(&self, of: fn(&ItemOutcome) -> bool) -> usize {
        self.report.items.iter().filter(|item| of(item)).count()
    }
}

/// Imports the disks of a batch that are not done.
///
/// # Errors
/// When nothing could be started, or a stop was requested before anything was. What fails later is
/// part of the outcome.
pub async fn run(spec: &FleetSpec, cx: &Context) -> Result<Outcome> {
    let setup = Arc::new(Setup::open(spec, cx).await?);
    let journal = setup
        .place
        .as_ref()
        .map(|place| place.path(&setup.endpoint));
    let _locks = match &journal {
        Some(path) => locks(spec, path)?,
        None => Vec::new(),
    };
    let mut log = journal.as_deref().map(state::open).transpose()?;
    let claims = claims(&setup).await?;
    let worker = match (&claims, spec.shard) {
        (Some(claims), _) => Some(claims.worker().to_owned()),
        (None, Some(shard)) => Some(shard.to_string()),
        (None, None) => None,
    };
    let started = now();
    let checked = match claims.is_some() {
        // Whoever gets a disk looks at it: meanwhile others change what the cloud would answer.
        true => setup.all_known(),
        false => setup.check().await?,
    };
    if let Some(log) = &mut log {
        begin(log, &setup, worker.clone())?;
    }
    cx.observer
        .event(Event::Started(&overview(&setup, &checked)));

    let items: Vec<Item> = checked.iter().map(|checked| checked.item.clone()).collect();
    let ids = items.iter().map(|item| item.id.clone()).collect();
    let tracker = Tracker::new(Arc::clone(&cx.observer), ids);
    let runner = Runner::new(&setup, Arc::clone(&tracker), log, claims, worker.clone());
    runner.fill(checked).await;
    runner.run().await;
    let outcomes = runner.book.outcomes_of(&items);
    let broken = runner.book.broken();
    let is_worker = spec.lease.is_some() || spec.shard.is_some();
    let exit = exit_of(&outcomes, cx.stop.is_asked(), broken.as_ref(), is_worker);
    let report = report::build(&setup, started, exit, outcomes, tracker.samples(), worker);
    // What matters of each disk is written.
    let _ = runner.book.record(&Record::Stopped {
        at: now(),
        pid: std::process::id(),
        exit,
    });
    Ok(Outcome { report, broken })
}

async fn claims(setup: &Setup) -> Result<Option<Claims>> {
    let Some(lease) = setup.spec.lease else {
        return Ok(None);
    };
    let digest = &setup.spec.manifest.digest;
    let claims = Claims::new(&setup.storage, digest, lease, &setup.items).await?;
    setup.cx.observer.event(Event::Sharing {
        worker: claims.worker(),
        conditional: claims.are_conditional(),
    });
    Ok(Some(claims))
}

/// Writes down that this process works on the batch.
fn begin(log: &mut Log, setup: &Setup, worker: Option<String>) -> Result {
    let manifest = &setup.spec.manifest;
    let command = setup.spec.journal.as_ref();
    let record = Record::Run {
        at: now(),
        pid: std::process::id(),
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        manifest: manifest.path.display().to_string(),
        digest: manifest.digest.clone(),
        endpoint: setup.endpoint.clone(),
        worker,
        items: setup.items.len(),
        command: command.map_or_else(Vec::new, |journal| journal.command.clone()),
        directory: std::env::current_dir()
            .map_or_else(|_| ".".to_owned(), |dir| dir.display().to_string()),
    };
    log.append(&record).map_err(|error| from_journal(&error))
}

/// A worker that has done what it can exits with 0: whatever runs it would start it again, and a
/// refused disk would be refused again. The report has it.
fn exit_of(
    outcomes: &[ItemOutcome],
    stopped: bool,
    broken: Option<&Failure>,
    is_worker: bool,
) -> u8 {
    let is_left = |state: ItemState| !(state.is_done() || is_worker && state == ItemState::Refused);
    let left = outcomes.iter().any(|outcome| is_left(outcome.state));
    match broken {
        Some(failure) => failure.class().code(),
        None if stopped && left => Class::Interrupted.code(),
        None if left => Class::Cloud.code(),
        None => 0,
    }
}

/// Locks the batch on this machine, for as long as they are kept.
fn locks(spec: &FleetSpec, path: &Path) -> Result<Vec<RunLock>> {
    let shared = spec.lease.is_some() || spec.shard.is_some();
    let mut locks = vec![state::lock(path, shared)?];
    if let Some(shard) = spec.shard {
        let name = format!("shard-{}-{}.lock", shard.index, shard.count);
        locks.push(state::lock_at(&path.with_extension(name), false)?);
    }
    Ok(locks)
}

fn overview(setup: &Setup, checked: &[Checked]) -> Overview {
    let (budget, width) = (&setup.budget, &setup.width);
    let mut overview = Overview {
        disks: checked.len(),
        to_do: 0,
        done: 0,
        refused: 0,
        data_bytes: 0,
        memory: budget.total,
        fixed_memory: budget.fixed,
        share: budget.share,
        converts: width.converts,
        uploads: width.uploads,
        jobs: width.jobs,
        threads: width.threads,
    };
    for checked in checked {
        let count = match &checked.verdict {
            Verdict::Ready(ready) if ready.skips() => &mut overview.done,
            Verdict::Ready(ready) => {
                let bytes = ready.planned.as_ref().map(import::Planned::data_bytes);
                let sum = overview.data_bytes;
                overview.data_bytes = sum.saturating_add(bytes.unwrap_or_default());
                &mut overview.to_do
            }
            Verdict::Done(_) => &mut overview.done,
            Verdict::Refused(_) => &mut overview.refused,
        };
        *count = count.saturating_add(1);
    }
    overview
}
