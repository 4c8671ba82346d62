//! How far a batch has come, by the journals on this machine.

use std::collections::HashMap;

use batch::{Item, ItemState};
use cloud::{Result, from_journal};
use import::command_line;
use journal::{Found, RunLock};
use serde::Serialize;

use crate::spec::FleetSpec;
use crate::state::{self, LastRun, Place, State};

/// What is known of a batch here.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The manifest's path.
    pub manifest: String,
    /// The batch's journal; `None` when there was no run.
    pub journal: Option<String>,
    /// Whether a process on this machine is at work on it.
    pub running: bool,
    /// When the last run began, in milliseconds since 1970.
    pub started: Option<u64>,
    /// Its exit code, if it has ended by itself.
    pub exit: Option<u8>,
    /// The command that resumes it.
    pub command: Option<String>,
    /// Where that command was run.
    pub directory: Option<String>,
    /// Disks that are done.
    pub done: usize,
    /// Disks that failed or were refused.
    pub failed: usize,
    /// The others.
    pub left: usize,
    /// Whether the end of the journal could not be read.
    pub damaged: bool,
    /// The disks, in the manifest's order.
    pub items: Vec<DiskStatus>,
}

/// One disk.
#[derive(Clone, Debug, Serialize)]
pub struct DiskStatus {
    /// Its id in the manifest.
    pub id: String,
    /// Its group.
    pub group: Option<String>,
    /// As in reports; `running` where its import's journal is in use.
    pub state: ItemState,
    /// How far its import has come, by its own journal.
    pub stage: Option<&'static str>,
    /// Bytes that the storage has confirmed.
    pub stored_bytes: u64,
    /// Bytes of the object, or the most that it can have.
    pub size: u64,
    /// Its image.
    pub image_id: Option<String>,
    /// The job that registers it.
    pub job_id: Option<String>,
    /// Why it failed, was refused or skipped.
    pub cause: Option<String>,
}

/// What the journal of an import says.
struct Import {
    stage: &'static str,
    stored: u64,
    size: u64,
    job: Option<String>,
    in_use: bool,
}

/// What the journals of `spec` say. The batch may run meanwhile.
///
/// # Errors
/// When they cannot be read.
pub fn status(spec: &FleetSpec) -> Result<Status> {
    let place = Place::of(spec)?;
    let path = place
        .as_ref()
        .and_then(|place| place.paths().into_iter().next());
    let state = match &path {
        Some(path) => state::read(path)?,
        None => State::default(),
    };
    let running = path
        .as_ref()
        .is_some_and(|path| RunLock::is_taken(&state::lock_path(path)));
    let imports = place.as_ref().map(imports).transpose()?.unwrap_or_default();
    let items = spec.manifest.items.iter();
    let lines: Vec<DiskStatus> = items
        .map(|item| {
            let key = (item.bucket.clone(), item.object_key());
            line(item, &state, imports.get(&key), running)
        })
        .collect();
    let count = |of: fn(&ItemState) -> bool| lines.iter().filter(|line| of(&line.state)).count();
    let (done, failed) = (count(|s| s.is_done()), count(|s| s.is_failure()));
    let last: Option<&LastRun> = state.last.as_ref();
    Ok(Status {
        manifest: spec.manifest.path.display().to_string(),
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

fn line(item: &Item, state: &State, import: Option<&Import>, running: bool) -> DiskStatus {
    let known = state.of_item(&item.id);
    let done = known.settled(item).is_some();
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
    DiskStatus {
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
fn imports(place: &Place) -> Result<HashMap<(String, String), Import>> {
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
