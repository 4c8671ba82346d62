//! What `imgferry status` says of migrations of running servers.

use std::fmt;

use diskimg::text::escaped;
use diskimg::units::human;
use journal::{Generation, History};
use serde::Serialize;

use super::ago::ago;
use ::import::command_line;

/// A migration.
#[derive(Debug, Serialize)]
pub(super) struct Migration {
    /// The file that says this.
    history: String,
    source: String,
    bucket: String,
    key: String,
    name: String,
    generations: Vec<Shown>,
    /// How long the cutover may take, without its registration; nothing once it is over.
    cutover_seconds: Option<f64>,
    directory: String,
    /// The last run.
    command: String,
}

/// A generation of one.
#[derive(Debug, Serialize)]
struct Shown {
    /// Nothing for the object that the image is made of.
    number: Option<u32>,
    /// The generation that it was made of.
    base: Option<u32>,
    /// Seconds since 1970.
    started: u64,
    seconds: f64,
    changed_bytes: u64,
    sent_bytes: u64,
    copied_bytes: u64,
    size: u64,
}

impl Migration {
    pub(super) fn of(path: &std::path::Path, history: History) -> Self {
        Self {
            history: path.display().to_string(),
            cutover_seconds: history.cutover().map(seconds),
            source: history.source,
            bucket: history.bucket,
            key: history.key,
            name: history.name,
            generations: history.generations.iter().map(Shown::of).collect(),
            directory: history.directory,
            command: command_line(&history.command),
        }
    }
}

impl Shown {
    fn of(generation: &Generation) -> Self {
        Self {
            number: generation.number,
            base: generation.base,
            started: generation.started,
            seconds: seconds(generation.milliseconds),
            changed_bytes: generation.changed_bytes,
            sent_bytes: generation.sent_bytes,
            copied_bytes: generation.copied_bytes,
            size: generation.size,
        }
    }
}

fn seconds(milliseconds: u64) -> f64 {
    std::time::Duration::from_millis(milliseconds).as_secs_f64()
}

impl fmt::Display for Migration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "migration of {} to {}/{}, from {}",
            escaped(&self.name, |_| false),
            self.bucket,
            escaped(&self.key, |_| false),
            escaped(&self.source, |_| false)
        )?;
        for generation in &self.generations {
            write!(f, "\n  {generation}")?;
        }
        let is_over = self
            .generations
            .last()
            .is_some_and(|last| last.number.is_none());
        if is_over {
            return Ok(());
        }
        if let Some(seconds) = self.cutover_seconds {
            write!(
                f,
                "\n  a cutover takes ≈ {seconds:.1} s, and the registration"
            )?;
        }
        let directory = escaped(&self.directory, |_| false);
        write!(f, "\n  in {directory}: {}", self.command)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            Some(number) => write!(f, "generation {number}")?,
            None => write!(f, "cutover")?,
        }
        write!(f, ", {} ago: ", ago(self.started))?;
        match self.base {
            Some(base) => write!(
                f,
                "{} changed since generation {base}",
                human(self.changed_bytes)
            )?,
            None => write!(f, "the whole disk, {}", human(self.changed_bytes))?,
        }
        write!(
            f,
            "; {} sent in {:.1} s",
            human(self.sent_bytes),
            self.seconds
        )
    }
}
