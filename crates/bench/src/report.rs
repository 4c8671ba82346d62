//! The result of a bench.

use serde::Serialize;

use crate::advice::Advice;
use crate::figures::{Figure, Stage};
use crate::machine::Machine;
use crate::peer::Against;
use crate::source::Source;

/// The settings of the run.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// Rounds.
    pub repeat: u32,
    /// Levels that were measured.
    pub levels: Vec<i32>,
    /// Numbers of threads that were measured.
    pub threads: Vec<usize>,
    /// The one of the levels that threads, uploads and imports are measured at.
    pub measured_level: i32,
    /// Size of the generated disk, and most bytes of an image to measure with.
    pub size_bytes: u64,
    /// Where the upload stage uploaded to; `None`: the sandbox on this machine.
    pub upload: Option<String>,
    /// The level that is used unless one is given.
    pub default_level: i32,
    /// The number of threads that is used unless one is given.
    pub default_threads: usize,
}

/// The whole result. `docs/benchmarking.md` documents its JSON form; fields are added, not changed.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Raised when a field changes its meaning.
    pub version: u32,
    /// The machine.
    pub machine: Machine,
    /// The disk that was measured with.
    pub source: Source,
    /// The settings.
    pub settings: Settings,
    /// The measurements.
    pub figures: Vec<Figure>,
    /// Share of the bytes that are read which are not zero, in blocks of 2 MiB.
    pub data_share: f64,
    /// What follows from them; `None` for a disk of zeros.
    pub advice: Option<Advice>,
    /// The comparison with another program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<Against>,
    /// What makes the figures doubtful.
    pub warnings: Vec<String>,
    /// Most bytes that the process held at any time, where the system reports it.
    pub peak_memory_bytes: Option<u64>,
    /// Duration of the whole run.
    pub elapsed_seconds: f64,
}

impl Report {
    /// The figures of one stage.
    pub fn of(&self, stage: Stage) -> impl Iterator<Item = &Figure> {
        self.figures.iter().filter(move |f| f.stage == stage)
    }
}
