//! `imgferry status`: what the journals on this machine say.

mod ago;
mod migration;

use std::fmt;
use std::time::UNIX_EPOCH;

use ::convert::Level;
use diskimg::text::escaped;
use diskimg::units::human;
use journal::{Ending, Found, Listed, StateDir};
use serde::Serialize;

use self::ago::ago;
use self::migration::Migration;
use crate::args::StatusArgs;
use crate::console::Console;
use ::import::{command_line, level_of};
use cloud::{Result, from_journal};

/// All imports that are known here.
#[derive(Debug, Serialize)]
struct Status {
    state_dir: String,
    imports: Vec<Import>,
    /// Migrations of running servers.
    migrations: Vec<Migration>,
}

/// One import.
#[derive(Debug, Serialize)]
struct Import {
    /// The journal.
    journal: String,
    /// How far it has come; `unreadable` when the journal does not say.
    stage: &'static str,
    /// Whether a process is at work on it now.
    running: bool,
    /// Seconds since 1970 of the last change.
    changed: u64,
    #[serde(flatten)]
    what: Option<What>,
}

#[derive(Debug, Serialize)]
struct What {
    source: String,
    bucket: String,
    key: String,
    name: String,
    upload_id: Option<String>,
    /// The zstd level that was planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<Level>,
    /// Bytes of parts that the storage has confirmed.
    confirmed_bytes: u64,
    /// Upper bound of the object's size; its size once that is known.
    size: u64,
    job_id: Option<String>,
    image_id: Option<String>,
    digest: Option<String>,
    /// Whether all parts are stored.
    #[serde(skip)]
    sent: bool,
    /// Whether the end of the journal was lost.
    damaged: bool,
    directory: String,
    /// What goes on with it.
    command: String,
}

pub(crate) fn run(args: &StatusArgs, console: Console) -> Result {
    let dir = StateDir::resolve(args.state.state_dir.as_deref(), |name| {
        std::env::var_os(name)
    })
    .map_err(|error| from_journal(&error))?;
    let listed = dir.list().map_err(|error| from_journal(&error))?;
    let histories = dir.histories().map_err(|error| from_journal(&error))?;
    let status = Status {
        state_dir: dir.path().display().to_string(),
        imports: listed.into_iter().map(Import::of).collect(),
        migrations: histories
            .into_iter()
            .map(|(path, history)| Migration::of(&path, history))
            .collect(),
    };
    console.result(&status, &status)
}

impl Import {
    fn of(listed: Listed) -> Self {
        let changed = listed
            .modified
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let (stage, what) = match listed.found {
            Found::Import(state, ending) => {
                let stage = state.stage().name();
                let sent = state.sent.as_ref();
                // A file that is uploaded as it is has none.
                let digest = sent.map(|(_, digest)| digest.clone());
                let what = What {
                    confirmed_bytes: match &state.completed {
                        Some(completed) => completed.size,
                        None => state.confirmed_bytes(),
                    },
                    size: sent.map_or(state.begun.plan.worst_case_bytes, |(size, _)| *size),
                    digest: digest.filter(|digest| !digest.is_empty()),
                    sent: sent.is_some(),
                    source: state.begun.source.path,
                    bucket: state.begun.bucket,
                    key: state.begun.key,
                    name: state.begun.name,
                    upload_id: state.upload,
                    level: level_of(&state.begun.plan),
                    job_id: state.job,
                    image_id: state.active.flatten(),
                    damaged: ending != Ending::Clean,
                    directory: state.begun.directory,
                    command: command_line(&state.begun.command),
                };
                (stage, Some(what))
            }
            Found::Nothing => ("begun", None),
            Found::Unreadable { .. } => ("unreadable", None),
        };
        Self {
            journal: listed.path.display().to_string(),
            stage,
            running: listed.in_use,
            changed,
            what,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.imports.is_empty() && self.migrations.is_empty() {
            let state_dir = escaped(&self.state_dir, |_| false);
            return write!(f, "no imports are known in {state_dir}");
        }
        for (index, import) in self.imports.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{import}")?;
        }
        for (index, migration) in self.migrations.iter().enumerate() {
            if index > 0 || !self.imports.is_empty() {
                writeln!(f)?;
            }
            write!(f, "{migration}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(what) = &self.what else {
            let journal = escaped(&self.journal, |_| false);
            return write!(f, "{}: {journal}", self.stage);
        };
        let running = if self.running { ", running" } else { "" };
        write!(
            f,
            "{}{running}: {} to {}/{}, {} ago\n  {} stored of {}{}",
            self.stage,
            escaped(&what.source, |_| false),
            what.bucket,
            escaped(&what.key, |_| false),
            ago(self.changed),
            human(what.confirmed_bytes),
            if what.sent { "" } else { "at most " },
            human(what.size),
        )?;
        if let Some(id) = &what.upload_id
            && !what.sent
        {
            write!(f, ", upload {id}")?;
        }
        if what.level == Some(Level::Auto) {
            write!(f, ", level auto")?;
        }
        if let Some(job) = &what.job_id {
            write!(f, ", job {job}")?;
        }
        if let Some(image) = &what.image_id {
            write!(f, ", image {image}")?;
        }
        if self.stage != "done" && !self.running {
            let directory = escaped(&what.directory, |_| false);
            write!(f, "\n  in {directory}: {}", what.command)?;
        }
        Ok(())
    }
}
