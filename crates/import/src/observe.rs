//! What an import works with but does not own, and what it reports while it runs.

use cloud::{Result, Session, StopToken};
use std::fmt;
use std::sync::Arc;

use ::convert::{Counter, Monitor};
use futures::future::BoxFuture;

/// The cloud, its clients, the observer and the stop token of an import.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The cloud.
    pub session: &'a Session,
    /// A client that is connected already. `None`: the session's, connected when the checks that
    /// need none have passed.
    pub storage: Option<&'a obs::Client>,
    /// Receives messages, counters and steps.
    pub observer: &'a dyn Observer,
    /// Asks the import to stop.
    pub stop: &'a StopToken,
    /// What earlier runs may have done that no journal on this machine records.
    pub before: Before,
}

impl<'a> Context<'a> {
    /// An import that is alone in its process.
    #[must_use]
    pub fn new(session: &'a Session, observer: &'a dyn Observer, stop: &'a StopToken) -> Self {
        Self {
            session,
            storage: None,
            observer,
            stop,
            before: Before::default(),
        }
    }
}

/// The step an import is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Opens and plans the disk, asks the cloud.
    Check,
    /// Reads the disk to compare it with an object that exists.
    Compare,
    /// Reads and encodes; parts are sent meanwhile.
    Convert,
    /// Everything is encoded: the last parts are sent and joined.
    Complete,
    /// The object is complete and verified; no part of the disk is in memory any more.
    Register,
}

/// What counters count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Reading a file that is uploaded as it is.
    Reading,
    /// Converting a disk and uploading the result.
    Converting,
    /// Reading a disk to compare it with an object.
    Comparing,
}

impl Activity {
    /// A word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Converting => "converting",
            Self::Comparing => "comparing",
        }
    }

    /// Whether bytes are uploaded meanwhile.
    pub const fn uploads(self) -> bool {
        !matches!(self, Self::Comparing)
    }
}

/// Receives the messages, counters and steps of an import, and may delay the steps that cannot be
/// undone.
pub trait Observer: Send + Sync {
    /// Something worth seeing while the import runs.
    fn notice(&self, text: fmt::Arguments<'_>);

    /// Something that must be seen.
    fn warn(&self, text: fmt::Arguments<'_>);

    /// Begins to count through `total` bytes.
    fn count(&self, activity: Activity, total: u64) -> Arc<dyn Counting>;

    /// Begins to follow the job of the image service.
    fn follow(&self) -> Box<dyn JobWatch>;

    /// The import is at `step` now.
    fn at(&self, _step: Step) {}

    /// Resolves when the import may join the parts of its object.
    fn may_complete(&self) -> BoxFuture<'_, Result> {
        Box::pin(async { Ok(()) })
    }

    /// Resolves when the import may register its image.
    fn may_register(&self) -> BoxFuture<'_, Result> {
        Box::pin(async { Ok(()) })
    }
}

/// Observes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn notice(&self, _: fmt::Arguments<'_>) {}

    fn warn(&self, _: fmt::Arguments<'_>) {}

    fn count(&self, _: Activity, _: u64) -> Arc<dyn Counting> {
        Arc::new(Self)
    }

    fn follow(&self) -> Box<dyn JobWatch> {
        Box::new(Self)
    }
}

impl Monitor for Silent {
    fn count(&self, _: Counter, _: u64) {}
}

impl Counting for Silent {
    fn end(&self) {}
}

impl JobWatch for Silent {
    fn update(&mut self, _: &str, _: Option<f64>) {}
}

/// Counts bytes until it ends.
pub trait Counting: Monitor {
    /// Nothing more is counted.
    fn end(&self);
}

/// Receives the progress of a job; dropped when the job has ended.
pub trait JobWatch: Send {
    /// The job's status, and how much of it is done, between 0 and 1.
    fn update(&mut self, status: &str, done: Option<f64>);
}

/// What earlier runs may have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// The key was free when one of them began, so an object that has it now is theirs.
    pub uploaded: bool,
    /// The name was free then, so an image that has it now and comes from the object is theirs.
    pub registered: bool,
}
