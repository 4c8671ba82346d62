//! `imgferry batch status`: how far a batch has come, by the journals on this machine.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use ::batch::{Item, ItemState};
use diskimg::units::human;
use journal::{Found, RunLock};
use serde::Serialize;

use super::setup::read_manifest;
use super::state::{self, LastRun, Place, State, now};
use crate::args::BatchStatusArgs;
use crate::commands::session::table;
use crate::console::Console;
use crate::exit::Outcome;
use crate::interrupt::Interrupt;
use ::import::command_line;
use cloud::from_journal;

/// How often it is said again.
const EVERY: Duration = Duration::from_secs(2);

/// What is known of a batch here.
#[derive(Debug, Serialize)]
struct Status {
    manifest: String,
    /// The batch's journal; `None` when there was no run.
    journal: Option<String>,
    /// Whether a process on this machine is at work on it.
    running: bool,
    /// When the last run began, in milliseconds since 1970.
    started: Option<u64>,
    /// Its exit code, if it has ended by itself.
    exit: Option<u8>,
    /// What goes on with it.
    command: Option<String>,
    directory: Option<String>,
    done: usize,
    failed: usize,
    left: usize,
    /// Whether the end of the journal could not be read.
    damaged: bool,
    items: Vec<Line>,
}

/// One disk.
#[derive(Debug, Serialize)]
struct Line {
    id: String,
    group: Option<String>,
    /// As in reports; `running` where its import's journal is in use.
    state: ItemState,
    /// How far its import has come, by its own journal.
    stage: Option<&'static str>,
    /// Bytes that the storage has confirmed.
    stored_bytes: u64,
    /// Bytes of the object, or the most that it can have.
    size: u64,
    image_id: Option<String>,
    job_id: Option<String>,
    cause: Option<String>,
}

/// What the journal of an import says.
struct Import {
    stage: &'static str,
    stored: u64,
    size: u64,
    job: Option<String>,
    in_use: bool,
}

pub(super) async fn run(
    args: &BatchStatusArgs,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome {
    let manifest = read_manifest(&args.manifest, false)?;
    let place = Place::of(&args.state, &args.manifest)?;
    loop {
        let status = look(
            &place,
            &args.manifest.display().to_string(),
            &manifest.items,
        )?;
        if args.watch && console.bars() && !console.json {
            // Clears a terminal, so that the table stays at its place.
            console.clear();
        }
        match args.watch && console.json {
            // One line each time.
            true => console.line(&status)?,
            false => console.result(&status, &status)?,
        }
        if !args.watch || !status.running {
            return Ok(());
        }
        let pause = tokio::time::sleep(EVERY);
        if interrupt.unless_asked(pause).await.is_err() {
            // Looking was all that was to be stopped.
            return Ok(());
        }
    }
}

fn look(place: &Place, manifest: &str, items: &[Item]) -> Outcome<Status> {
    let path = place.paths().into_iter().next();
    let state = match &path {
        Some(path) => state::read(path)?,
        None => State::default(),
    };
    let running = path
        .as_ref()
        .is_some_and(|path| RunLock::is_taken(&state::lock_path(path)));
    let imports = imports(place)?;
    let lines: Vec<Line> = items
        .iter()
        .map(|item| {
            let key = (item.bucket.clone(), item.object_key());
            line(item, &state, imports.get(&key), running)
        })
        .collect();
    let count = |of: fn(&ItemState) -> bool| lines.iter().filter(|line| of(&line.state)).count();
    let (done, failed) = (count(|s| s.is_done()), count(|s| s.is_failure()));
    let last: Option<&LastRun> = state.last.as_ref();
    Ok(Status {
        manifest: manifest.to_owned(),
        journal: path.map(|path| path.display().to_string()),
        running,
        started: last.map(|last| last.at),
        exit: last.and_then(|last| last.exit).filter(|_| !running),
        command: last.map(|last| command_line(&last.command)),
        directory: last.map(|last| last.directory.clone()),
        done,
        failed,
        left: lines.len().saturating_sub(done).saturating_sub(failed),
        damaged: state.damaged && !running,
        items: lines,
    })
}

fn line(item: &Item, state: &State, import: Option<&Import>, running: bool) -> Line {
    let known = state.of_item(&item.id);
    let done = known.done(item).is_some();
    let import = import.filter(|_| !done);
    let working = running && import.is_some_and(|import| import.in_use);
    let ended = known.ended.as_ref();
    let state = match ended {
        _ if working => ItemState::Running,
        Some(ended) if ended.state.is_done() && !done => ItemState::Waiting,
        Some(ended) => ended.state,
        None => ItemState::Waiting,
    };
    let told = ended.filter(|_| !working);
    Line {
        id: item.id.clone(),
        group: item.group.clone(),
        state,
        stage: import.map(|import| import.stage),
        stored_bytes: import.map_or(0, |import| import.stored),
        size: import.map_or(0, |import| import.size),
        image_id: told.and_then(|ended| ended.image_id.clone()),
        job_id: import
            .and_then(|import| import.job.clone())
            .or_else(|| told.and_then(|ended| ended.job_id.clone())),
        cause: told.and_then(|ended| ended.cause.clone()),
    }
}

/// The journals of imports here, by bucket and key.
fn imports(place: &Place) -> Outcome<HashMap<(String, String), Import>> {
    let listed = place.dir.list().map_err(|error| from_journal(&error))?;
    let mut imports = HashMap::new();
    for listed in listed {
        let Found::Import(state, _) = listed.found else {
            continue;
        };
        let import = Import {
            stage: state.stage().name(),
            stored: match &state.completed {
                Some(completed) => completed.size,
                None => state.confirmed_bytes(),
            },
            size: match &state.sent {
                Some((size, _)) => *size,
                None => state.begun.plan.worst_case_bytes,
            },
            job: state.job.clone(),
            in_use: listed.in_use,
        };
        // The latest comes first.
        imports
            .entry((state.begun.bucket, state.begun.key))
            .or_insert(import);
    }
    Ok(imports)
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![["DISK", "STATE", "STORED", ""].map(str::to_owned).to_vec()];
        rows.extend(self.items.iter().map(|line| {
            let stored = match (line.stage, line.size) {
                (Some(stage), size) if size > 0 => {
                    format!("{stage}, {} of {}", human(line.stored_bytes), human(size))
                }
                (Some(stage), _) => stage.to_owned(),
                (None, _) => "-".to_owned(),
            };
            let told = match (&line.cause, &line.image_id) {
                (Some(cause), _) => cause.clone(),
                (None, Some(image)) => format!("image {image}"),
                (None, None) => String::new(),
            };
            vec![line.id.clone(), line.state.word().to_owned(), stored, told]
        }));
        writeln!(f, "{}", table(&rows))?;
        write!(
            f,
            "\n{} of {} done, {} failed, {} left; ",
            self.done,
            self.items.len(),
            self.failed,
            self.left
        )?;
        let ago = |at: u64| now().saturating_sub(at) / 1000;
        match (self.running, self.started, self.exit) {
            (true, Some(at), _) => write!(f, "running for {} s", ago(at)),
            (false, Some(at), Some(exit)) => {
                write!(
                    f,
                    "the last run began {} s ago and ended with {exit}",
                    ago(at)
                )
            }
            (false, Some(at), None) => {
                write!(f, "the last run began {} s ago and was killed", ago(at))
            }
            (running, None, _) => write!(
                f,
                "{}",
                match running {
                    true => "a run begins",
                    false => "no run on this machine yet",
                }
            ),
        }?;
        if self.damaged {
            write!(
                f,
                "\nthe end of the journal cannot be read; what stands before it counts"
            )?;
        }
        match (&self.command, &self.directory) {
            (Some(command), Some(directory))
                if !self.running && (self.left > 0 || self.failed > 0) =>
            {
                write!(f, "\nin {directory}: {command}")
            }
            _ => Ok(()),
        }
    }
}
