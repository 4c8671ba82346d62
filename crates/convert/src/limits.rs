//! Bounds that plans and runs share.

use std::num::NonZero;

/// Most worker threads. Ours: far beyond the cores of machines that images are moved on.
pub const MAX_THREADS: usize = 1024;

/// Blocks that each thread may be ahead where results are a hash each. Memory does not limit this;
/// it keeps threads busy while one of them waits for a slow block.
pub(crate) const HASHES_AHEAD: usize = 16;

/// Worker threads by default, where nothing is compressed: one more than the cores that this
/// process may use. Now and then they wait for the disk, and the one more works meanwhile.
#[must_use]
pub fn default_threads() -> usize {
    cores().saturating_add(1).min(MAX_THREADS)
}

/// Worker threads by default, where blocks are compressed: as many as the cores that this process
/// may use. Reads mostly find what the kernel has read ahead and only the calling thread writes, so
/// that there was little to gain from one more (measured in `docs/performance.md`, for raw disks),
/// and workers that take turns on a core throw each other's tables out of its cache. A batch, whose
/// disks take turns, has one more for all of them.
#[must_use]
pub fn encoding_threads() -> usize {
    cores()
}

/// Cores that the program may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(MAX_THREADS)
}
