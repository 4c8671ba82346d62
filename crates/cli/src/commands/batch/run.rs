//! `imgferry batch run`: from the arguments to the report.

use std::path::Path;
use std::sync::Arc;

use ::batch::{BatchReport, Item, ItemOutcome};
use diskimg::text::shown;
use journal::RunLock;
use serde_json::json;

use super::board::Board;
use super::check::{Checked, Verdict};
use super::claims::Claims;
use super::driving::Runner;
use super::plan;
use super::report;
use super::setup::Setup;
use super::state::{self, Record, now};
use crate::args::BatchRunArgs;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome, code};
use crate::interrupt::Interrupt;
use ::import::command_line;
use cloud::from_journal;

pub(super) async fn run(args: &BatchRunArgs, console: Console, interrupt: &Interrupt) -> Outcome {
    report::check(args)?;
    let setup = Setup::open(&args.manifest, &args.common).await?;
    if args.dry_run {
        let ended = plan::run(&setup, &args.common, console, interrupt).await;
        return setup.session.close(ended).await;
    }
    let setup = Arc::new(setup);
    let ended = with(&setup, args, console, interrupt).await;
    // Every task that shared it has ended.
    match Arc::try_unwrap(setup) {
        Ok(setup) => setup.session.close(ended).await,
        Err(_) => ended,
    }
}

async fn with(
    setup: &Arc<Setup>,
    args: &BatchRunArgs,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome {
    let path = setup.place.path(&setup.endpoint);
    let remembers = !matches!(args.common.cloud.sandbox, Some(None));
    let _locks = match remembers {
        true => locks(args, &path)?,
        false => Vec::new(),
    };
    let mut log = match remembers {
        true => Some(state::open(&path)?),
        false => None,
    };
    let claims = match args.claim {
        true => {
            let digest = &setup.manifest.digest;
            let claims = Claims::new(&setup.storage, digest, args.lease, &setup.items).await?;
            console.notice(format_args!(
                "worker {}; {}",
                claims.worker(),
                claims.ways()
            ));
            Some(claims)
        }
        false => None,
    };
    let worker = match (&claims, args.common.shard) {
        (Some(claims), _) => Some(claims.worker().to_owned()),
        (None, Some(shard)) => Some(shard.to_string()),
        (None, None) => None,
    };
    let command: Vec<String> = std::env::args_os()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let started = now();
    let checked = match claims.is_some() {
        // Whoever gets a disk looks at it: meanwhile others change what the cloud would answer.
        true => setup.known(&args.common),
        false => {
            console.notice(format_args!(
                "{} disks of {} are looked at",
                setup.items.len(),
                shown(&setup.manifest.path)
            ));
            setup
                .check(&args.common, plan::silent(console), interrupt)
                .await?
        }
    };
    if let Some(log) = &mut log {
        let record = Record::Run {
            at: now(),
            pid: std::process::id(),
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            manifest: setup.manifest.path.display().to_string(),
            digest: setup.manifest.digest.clone(),
            endpoint: setup.endpoint.clone(),
            worker: worker.clone(),
            items: setup.items.len(),
            command: command.clone(),
            directory: std::env::current_dir()
                .map_or_else(|_| ".".to_owned(), |dir| dir.display().to_string()),
        };
        log.append(&record).map_err(|error| from_journal(&error))?;
    }

    let ids = checked.iter().map(|checked| checked.item.id.clone());
    let board = Board::new(console, ids.collect(), 0);
    say_plan(setup, &checked, board);

    let runner = Runner::new(
        setup,
        board,
        log,
        claims,
        worker.clone(),
        args.fail_fast,
        interrupt,
    );
    let items: Vec<Item> = checked.iter().map(|checked| checked.item.clone()).collect();
    runner.fill(checked).await;
    runner.run().await;
    let samples = board.finish();
    let outcomes = runner.book.outcomes_of(&items);
    let broken = runner.book.broken();
    let exit = exit_of(&outcomes, interrupt.is_asked(), broken.as_ref());
    let report = report::build(setup, started, exit, outcomes, samples, worker);
    // What matters of each disk is written.
    let _ = runner.book.record(&Record::Stopped {
        at: now(),
        pid: std::process::id(),
        exit,
    });
    drop(runner);
    finish(args, &report, console, board, &command, broken)
}

/// Writes the report, and says how the run ended.
fn finish(
    args: &BatchRunArgs,
    report: &BatchReport,
    console: Console,
    board: &Board,
    command: &[String],
    broken: Option<Failure>,
) -> Outcome {
    let written = report::write(args, report);
    if console.json {
        board.event("report", None, json!({ "report": report }));
    } else {
        console.result(::batch::report::text(report), report)?;
    }
    if let Some(failure) = broken {
        return Err(failure.told());
    }
    let again = command_line(command);
    let failed = report
        .items
        .iter()
        .filter(|item| item.state.is_failure())
        .count();
    let left = report
        .items
        .iter()
        .filter(|item| !item.state.is_done() && !item.state.is_failure())
        .count();
    let ended = match report.exit {
        0 => Ok(()),
        130 => Err(Failure::new(
            Exit::Interrupted,
            format!("stopped on request; {left} disks are left"),
        )
        .hint(format!("the same command goes on from there: {again}"))
        .told()),
        _ => {
            let mut text = format!(
                "{failed} of {} disks failed or were refused",
                report.items.len()
            );
            if left > 0 {
                text.push_str(&format!(", {left} were not begun or not ended"));
            }
            Err(Failure::new(Exit::Cloud, text)
                .hint(format!(
                    "mend what the report names; the same command does only what is left: {again}"
                ))
                .told())
        }
    };
    match (ended, written) {
        (Ok(()), Err(failure)) => Err(failure.told()),
        (Err(failure), Err(later)) => Err(failure.note(later.line())),
        (ended, Ok(())) => ended,
    }
}

fn exit_of(outcomes: &[ItemOutcome], stopped: bool, broken: Option<&Failure>) -> u8 {
    let left = outcomes.iter().any(|outcome| !outcome.state.is_done());
    match broken {
        Some(failure) => code(failure.class()),
        None if stopped && left => code(Exit::Interrupted),
        None if left => code(Exit::Cloud),
        None => 0,
    }
}

/// Locks the batch on this machine, for as long as they are kept.
fn locks(args: &BatchRunArgs, path: &Path) -> Outcome<Vec<RunLock>> {
    let mut locks = vec![state::lock(
        path,
        args.claim || args.common.shard.is_some(),
    )?];
    if let Some(shard) = args.common.shard {
        let name = format!("shard-{}-{}.lock", shard.index, shard.count);
        locks.push(state::lock_at(&path.with_extension(name), false)?);
    }
    Ok(locks)
}

/// What is about to happen, in two lines; the table is for `batch plan`.
fn say_plan(setup: &Setup, checked: &[Checked], board: &Board) {
    let (mut to_do, mut done, mut refused, mut data) = (0_usize, 0_usize, 0_usize, 0_u64);
    for checked in checked {
        match &checked.verdict {
            Verdict::Ready(ready) => {
                to_do += 1;
                let bytes = ready.planned.as_ref().map(::import::Planned::data_bytes);
                data = data.saturating_add(bytes.unwrap_or_default());
            }
            Verdict::Done(_) => done += 1,
            Verdict::Refused(_) => refused += 1,
        }
    }
    let width = &setup.width;
    let budget = &setup.budget;
    board.say(format_args!(
        "{to_do} disks to import ({} of data), {done} done before, {refused} refused",
        diskimg::units::human(data)
    ));
    board.say(format_args!(
        "memory  at most {}: program {}, a disk {} or more where it needs more; {} converted at the same time, {} uploaded, {} jobs",
        diskimg::units::human(budget.total),
        diskimg::units::human(budget.fixed),
        diskimg::units::human(budget.share),
        width.converts,
        width.uploads,
        width.jobs
    ));
    board.event(
        "plan",
        None,
        json!({
            "manifest": setup.manifest.path.display().to_string(),
            "manifest_digest": setup.manifest.digest,
            "items": checked.len(), "to_do": to_do, "skipped": done, "refused": refused, "data_bytes": data,
            "memory_bound": budget.total,
            "converts": width.converts, "uploads": width.uploads, "jobs": width.jobs, "threads": width.threads,
        }),
    );
}
