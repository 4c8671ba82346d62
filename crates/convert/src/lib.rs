//! The conversion pipeline: plan, parallel encoding, sinks, content digest.
//!
//! ```text
//!  open() ──▶ image ──plan()──▶ Plan ──to_zvhd2()──▶ Sink: OutputFile, an upload, memory
//!                                  ├───to_raw()────▶ OutputFile, at its positions
//!                                  └───to_parts()──▶ PartSink, in any order
//!  Checkpoint ──resume_zvhd2()──▶ the same stream, from where it was interrupted
//!  delta: find() ─▶ DeltaPlan ─▶ delta_zvhd2() ──▶ the same stream, partly copied by the sink
//!  Rereading ──▶ whether the disk still holds what an earlier run read
//!  image ──scan()──▶ Bitmap, ContentDigest
//!  image ──digest()──▶ ContentDigest      two images ──compare()──▶ Comparison
//! ```
//!
//! All of these walk the extents lazily, give the blocks of 2 MiB that hold data to worker threads,
//! and take the results in order on the calling thread. Memory is bounded by the plan, a
//! [`CancelToken`] is checked once per group of up to four blocks, and progress goes to a
//! [`Monitor`]. The crate knows no network and no terminal.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use diskimg::{Format, OpenOptions, Opened, PipeImage, PipeOptions, ReadAt};

mod adapt;
mod append;
pub mod bitmap;
mod blocks;
pub mod cancel;
pub mod compare;
pub mod delta;
pub mod digest;
mod encoded;
pub mod error;
mod hashes;
mod hint;
pub mod holes;
pub mod level;
mod limits;
pub mod monitor;
mod ordered;
pub mod output;
pub mod parts;
pub mod pipeline;
pub mod plan;
pub mod proof;
pub mod raw;
pub mod resume;
pub mod sample;
pub mod scan;
pub mod sink;
mod tally;
mod target;

pub use bitmap::Bitmap;
pub use blocks::group_of;
pub use cancel::CancelToken;
pub use compare::{Comparison, Difference, compare};
pub use digest::{ContentDigest, digest};
pub use error::{Error, Result};
pub use hashes::{BlockHash, hash_all};
pub use hint::Hint;
pub use holes::{Holes, ReadHoles};
pub use level::{AUTO_LEVELS, Level, Levels};
pub use limits::{MAX_THREADS, default_threads, encoding_threads};
pub use monitor::{Counter, Monitor, VoidMonitor};
pub use output::{OutputFile, Overwrite};
pub use parts::{PartSink, count_parts, to_parts};
pub use pipeline::{Report, resume_zvhd2, to_zvhd2};
pub use plan::{
    DEFAULT_MEMORY, LARGE_MEMORY, Memory, PROGRAM_MEMORY, Plan, PlanOptions, SinkMemory, plan,
};
pub use proof::{Rereading, reread_sample};
pub use raw::{to_raw, to_raw_with_bitmap};
pub use resume::{BlockRecord, Checkpoint, Recorder, VoidRecorder};
pub use scan::{Scan, scan};
pub use sink::{Backlog, Sink, SinkError};
pub use target::Target;

/// Opens the image at `path`, of `format` or of what its content says, with every format that
/// imgferry reads.
///
/// # Errors
/// Those of [`diskimg::open()`].
pub fn open(path: &Path, format: Option<Format>) -> diskimg::Result<Opened> {
    open_with(path, &OpenOptions::of(format))
}

/// [`open`] with options.
///
/// # Errors
/// Those of [`diskimg::open()`].
pub fn open_with(path: &Path, options: &OpenOptions) -> diskimg::Result<Opened> {
    diskimg::open(path, options, &zvhd2::DRIVERS)
}

/// [`open()`] on any source of bytes.
///
/// # Errors
/// Those of [`diskimg::open_source`].
pub fn open_source(source: Arc<dyn ReadAt>, format: Option<Format>) -> diskimg::Result<Opened> {
    open_source_with(source, &OpenOptions::of(format))
}

/// [`open_source`] with options.
///
/// # Errors
/// Those of [`diskimg::open_source`].
pub fn open_source_with(source: Arc<dyn ReadAt>, options: &OpenOptions) -> diskimg::Result<Opened> {
    diskimg::open_source(source, options, &zvhd2::DRIVERS)
}

// Everything here reads a disk on a pipe in the blocks that it can be read in.
const _: () = assert!(blocks::BLOCK_BYTES == diskimg::pipe::BLOCK_BYTES);

/// Begins to read the raw disk that comes out of `pipe`. Everything in this crate can run on it,
/// once.
///
/// # Errors
/// Those of [`diskimg::open_pipe`].
pub fn open_pipe(pipe: File, options: PipeOptions) -> diskimg::Result<PipeImage> {
    diskimg::open_pipe(pipe, options, &zvhd2::DRIVERS)
}
