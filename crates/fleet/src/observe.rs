//! What a batch works with but does not own, and what it reports while it runs.

use std::sync::Arc;

use batch::{ItemOutcome, Stage};
use cloud::{Failure, Hint, Result, Session, StopToken};

/// The cloud, the observer and the stop token of a batch.
#[derive(Clone)]
pub struct Context {
    /// The cloud, opened with [`crate::FleetSpec::session_options`].
    pub session: Arc<Session>,
    /// Receives what happens.
    pub observer: Arc<dyn Observer>,
    /// Asks the batch to stop.
    pub stop: StopToken,
}

impl Context {
    /// A batch in the cloud of `session`.
    #[must_use]
    pub fn new(session: Session, observer: Arc<dyn Observer>, stop: &StopToken) -> Self {
        Self {
            session: Arc::new(session),
            observer,
            stop: stop.clone(),
        }
    }

    /// Closes the session. `ended` is how the batch itself ended; its failure comes first.
    ///
    /// # Errors
    /// That of `ended`, or else that of closing the session.
    pub async fn close<T>(self, ended: Result<T>) -> Result<T> {
        match Arc::try_unwrap(self.session) {
            Ok(session) => session.close(ended).await,
            // A clone of the context still uses it.
            Err(_) => ended,
        }
    }
}

/// Receives what happens while a batch is checked and run. It is called from many threads.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn event(&self, event: Event<'_>);

    /// `hint` in the words of the program that shows it: outcomes and plans hold these.
    fn hint(&self, hint: &Hint) -> String {
        hint.to_string()
    }
}

/// Observes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _: Event<'_>) {}
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// So many disks are checked, before anything is changed.
    Checking(usize),
    /// This worker shares the batch with others.
    Sharing {
        /// Its id.
        worker: &'a str,
        /// Whether the storage stores a claim only if there is none. Otherwise workers list the
        /// claims, and the lowest wins.
        conditional: bool,
    },
    /// The run starts.
    Started(&'a Overview),
    /// A second has passed.
    Tick(Tally),
    /// Something about one disk.
    Disk(Disk<'a>, DiskEvent<'a>),
}

/// A disk of the batch.
#[derive(Clone, Copy, Debug)]
pub struct Disk<'a> {
    /// Its place among the disks of this run, from 0.
    pub number: usize,
    /// Its id in the manifest.
    pub id: &'a str,
}

/// What happened to a disk.
#[derive(Clone, Copy, Debug)]
pub enum DiskEvent<'a> {
    /// Its import began.
    Began,
    /// It is at another stage.
    Stage(Stage),
    /// Something worth seeing.
    Notice(&'a str),
    /// Something that must be seen; once for each disk.
    Warning(&'a str),
    /// How far its stage is.
    Progress(Progress),
    /// Its claim is lost; it is tried again later.
    Lost(&'a Failure),
    /// It ended.
    Ended {
        /// How.
        outcome: &'a ItemOutcome,
        /// How long it was worked on, in seconds.
        seconds: f64,
    },
}

/// How far the stage of a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// A word for the stage, such as `converting`; `job` for the job of the service.
    pub what: &'static str,
    /// Bytes, or percent of a job.
    pub done: u64,
    /// The most that `done` can be; 0 when that is not known.
    pub total: u64,
    /// Bytes that the storage has confirmed.
    pub uploaded: u64,
}

/// How far a batch is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Disks of this run.
    pub disks: usize,
    /// Those that ended.
    pub ended: usize,
    /// Those of them that failed or were refused.
    pub failed: usize,
    /// Those that are imported now.
    pub active: usize,
    /// Bytes that were read and converted.
    pub converted_bytes: u64,
    /// Bytes that the storage has confirmed.
    pub sent_bytes: u64,
}

/// What a run starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overview {
    /// Disks of this run.
    pub disks: usize,
    /// Those that are imported.
    pub to_do: usize,
    /// Those that earlier runs have done, or that are skipped because of what exists.
    pub done: usize,
    /// Those that were refused.
    pub refused: usize,
    /// Bytes to read.
    pub data_bytes: u64,
    /// Most memory of everything, in bytes.
    pub memory: u64,
    /// Of that the program and the batch's own tables.
    pub fixed_memory: u64,
    /// What a disk gets that could use more.
    pub share: u64,
    /// Disks converted at the same time.
    pub converts: usize,
    /// Disks uploaded at the same time.
    pub uploads: usize,
    /// Jobs at the same time.
    pub jobs: usize,
    /// Worker threads of each disk.
    pub threads: usize,
}
