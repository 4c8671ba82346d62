//! The memory of a run: what it may take, and what it takes by part.

use diskimg::units::MIB;
use serde::Serialize;

use crate::level::Level;

/// What the user may choose.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// Worker threads, 1 to [`crate::MAX_THREADS`]; `None`: [`crate::encoding_threads`] or, to raw,
    /// [`crate::default_threads`].
    pub threads: Option<usize>,
    /// zstd level. Ignored for raw.
    pub level: Level,
    /// Budget in bytes for everything that is held in memory. `None`: [`DEFAULT_MEMORY`], and
    /// [`LARGE_MEMORY`] for a run that does not fit into that.
    pub memory: Option<u64>,
    /// What of the budget the sink may hold; [`OutputFile::MEMORY`](crate::OutputFile::MEMORY) for
    /// a file that is appended to.
    pub upload_memory: SinkMemory,
    /// Bytes of the budget that the caller holds for something else in this process, such as an
    /// embedded server.
    pub reserved_memory: u64,
    /// Bytes of the budget for the program itself, [`PROGRAM_MEMORY`] unless the caller counts them
    /// once for several runs in this process.
    pub program_memory: u64,
}

/// The budget in bytes when [`PlanOptions::memory`] says nothing. Every disk of less than 64 GiB
/// fits into it, however many cores there are.
pub const DEFAULT_MEMORY: u64 = 256 * MIB;

/// The budget in bytes for what does not fit into [`DEFAULT_MEMORY`]: disks so large that two of
/// their parts do not.
pub const LARGE_MEMORY: u64 = 480 * MIB + PROGRAM_MEMORY;

/// Bytes that a sink may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkMemory {
    /// Without these it cannot work.
    pub least: u64,
    /// What keeps it busy: worth more than threads and window.
    pub enough: u64,
    /// More than this is of no use to it.
    pub most: u64,
}

impl SinkMemory {
    /// Exactly `bytes`.
    #[must_use]
    pub const fn fixed(bytes: u64) -> Self {
        Self {
            least: bytes,
            enough: bytes,
            most: bytes,
        }
    }
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            threads: None,
            level: Level::default(),
            memory: None,
            upload_memory: SinkMemory::default(),
            reserved_memory: 0,
            program_memory: PROGRAM_MEMORY,
        }
    }
}

/// What a run may hold in memory at most, by part, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// What the parts must fit into.
    pub budget: u64,
    /// Tables, caches and scratch buffers of the source image.
    pub image: u64,
    /// Block buffers and compression contexts of the workers.
    pub workers: u64,
    /// Encoded blocks that wait for their turn.
    pub window: u64,
    /// Index of the stored blocks, kept to the end.
    pub index: u64,
    /// What the sink was granted: parts of an upload.
    pub sink: u64,
    /// What the caller reserved for something else in this process.
    pub reserved: u64,
    /// The program itself: code, stacks, what the allocator keeps.
    pub program: u64,
}

impl Memory {
    /// The bound: all parts together.
    #[must_use]
    pub fn total(&self) -> u64 {
        [
            self.image,
            self.workers,
            self.window,
            self.index,
            self.sink,
            self.reserved,
            self.program,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }
}

/// The program's own memory: its code and libraries, stacks, and what the allocator keeps back. A
/// conversion alone has 3 MiB of it; the cloud clients, their runtime and TLS need the larger part:
/// 17 MiB of code are in memory during an import. Of a build without optimisation they are 33 MiB.
pub const PROGRAM_MEMORY: u64 = match cfg!(debug_assertions) {
    true => 48 * MIB,
    false => 32 * MIB,
};
