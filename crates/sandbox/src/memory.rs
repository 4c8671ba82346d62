//! What a sandbox takes of the machine.

/// Most threads of a job. Ours: with four an image is read faster than an import sends it, and what
/// a sandbox holds does not grow with the machine.
const MOST_JOB_THREADS: usize = 4;

/// Threads that read the image of a job.
pub(crate) fn job_threads() -> usize {
    convert::default_threads().min(MOST_JOB_THREADS)
}

/// Bytes that a sandbox holds at most beside its caller, while it takes one upload and then runs
/// its import job: the buffers of its connections, and for each thread of the job a block and what
/// the reader keeps for it.
#[must_use]
pub fn memory_bound() -> u64 {
    bound(job_threads())
}

/// [`memory_bound`] on the largest machines.
#[must_use]
pub fn most_memory() -> u64 {
    bound(MOST_JOB_THREADS)
}

fn bound(threads: usize) -> u64 {
    const SERVERS: u64 = 40 << 20;
    const JOB_THREAD: u64 = 8 << 20;
    SERVERS.saturating_add(JOB_THREAD.saturating_mul(threads as u64))
}
