//! What to measure, and who hears how far it is.

use std::num::NonZeroU64;
use std::path::PathBuf;

use cloud::Result;
use diskimg::Opened;
use import::Concurrency;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// zstd levels.
    pub levels: Vec<i32>,
    /// Numbers of worker threads to convert with; empty for those that suit the machine.
    pub threads: Vec<usize>,
    /// How many rounds to run.
    pub repeat: u32,
    /// Size of the generated disk, and most bytes of an image to measure with.
    pub size: u64,
    /// Where output goes. Everything in it that this crate writes is in a directory that it removes.
    pub dir: PathBuf,
    /// Directory of the sandbox, which stays; `None` for one that is removed.
    pub sandbox: Option<PathBuf>,
    /// How many parts an upload sends at the same time.
    pub concurrency: Concurrency,
    /// Bytes per second that uploads may take.
    pub rate_limit: Option<NonZeroU64>,
}

/// The image to measure with.
pub struct Image {
    /// Its path.
    pub path: PathBuf,
    /// The image itself.
    pub opened: Opened,
    /// Called after the last measurement: fails if one of the image's files has changed since it
    /// was opened.
    pub unchanged: Box<dyn Fn() -> Result + Send + Sync>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Writing the generated disk.
    Generating,
    /// The first round begins.
    Measuring {
        /// Bytes of the disk to measure with.
        bytes: u64,
        /// Rounds.
        rounds: u32,
        /// Most memory that is held at any time.
        memory: u64,
        /// How many [`Event::Step`] there will be.
        steps: u64,
    },
    /// A round begins.
    Round(u32),
    /// A measurement begins.
    Step(&'a str),
    /// The comparison with another program begins.
    Comparing,
}

/// Hears how far a run is.
pub type Observer<'a> = &'a (dyn Fn(Event<'_>) + Send + Sync);
