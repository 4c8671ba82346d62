//! The stages that need no network, each run once at a time.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cloud::{Class, Failure, Result, stopped};
use convert::sample::{Content, fill_block};
use convert::{
    CancelToken, LARGE_MEMORY, Level, OutputFile, Overwrite, Plan, PlanOptions, Report, Sink as _,
    Target, VoidMonitor,
};
use diskimg::text::shown;
use diskimg::zero::is_zero;
use rustix::time::{ClockId, clock_gettime};

use import::identity;

use crate::figures::Run;
use crate::view::{BLOCK, View};

/// Most blocks of the image that are held in memory for compressing and hashing: 64 MiB.
const SAMPLE_BLOCKS: usize = 32;
/// Blocks of zeros to check: more than caches hold.
const ZERO_BLOCKS: usize = 16;
/// How often each of them is checked: one pass is too short to time.
const ZERO_PASSES: usize = 8;

/// Bytes that the blocks in memory take at most.
pub(crate) const SAMPLE_BYTES: u64 = (SAMPLE_BLOCKS + ZERO_BLOCKS) as u64 * BLOCK;

/// Blocks in memory.
pub(crate) struct Sample {
    /// From all over the image, none of them all zero.
    pub(crate) data: Vec<Vec<u8>>,
    zeros: Vec<Vec<u8>>,
}

impl Sample {
    pub(crate) fn take(view: &View, cancel: &CancelToken) -> Result<Self> {
        let blocks = view.blocks();
        let wanted = SAMPLE_BLOCKS.min(blocks.len());
        let mut data = Vec::with_capacity(wanted);
        for index in 0..wanted {
            stop(cancel)?;
            let Some(number) = blocks.get(index * blocks.len() / wanted) else {
                break;
            };
            let mut block = vec![0; zvhd2::BLOCK_SIZE];
            view.read_block(*number, &mut block)?;
            if !is_zero(&block) {
                data.push(block);
            }
        }
        // Memory that was never written is the same page everywhere.
        let zeros = (0..ZERO_BLOCKS).map(|_| {
            let mut block = vec![1; zvhd2::BLOCK_SIZE];
            block.fill(std::hint::black_box(0));
            block
        });
        Ok(Self {
            data,
            zeros: zeros.collect(),
        })
    }
}

/// Reads every block of the view with `threads` threads.
pub(crate) fn read(view: &View, threads: usize, cancel: &CancelToken) -> Result<Run> {
    let blocks = view.blocks();
    let block = || vec![0; zvhd2::BLOCK_SIZE];
    in_parallel(threads, blocks.len(), cancel, block, |block, index| {
        let Some(number) = blocks.get(index) else {
            return Ok(Done::default());
        };
        Ok(Done::of(view.read_block(*number, block)?))
    })
}

/// Checks blocks of zeros.
pub(crate) fn zero_detect(sample: &Sample, threads: usize, cancel: &CancelToken) -> Result<Run> {
    let zeros = &sample.zeros;
    let jobs = zeros.len() * ZERO_PASSES;
    in_parallel(
        threads,
        jobs,
        cancel,
        || (),
        |(), index| {
            let Some(block) = zeros.get(index % zeros.len()) else {
                return Ok(Done::default());
            };
            if !is_zero(std::hint::black_box(block)) {
                return Err(Failure::new(
                    Class::Io,
                    "a block of zeros was not recognised as zeros",
                ));
            }
            Ok(Done::of(block.len() as u64))
        },
    )
}

/// A hash, computed of as many blocks at the same time as conversions and uploads compute it.
pub(crate) struct Hash {
    /// Blocks at the same time, by number of threads.
    together: fn(usize) -> usize,
    hash: fn(&[&[u8]]),
}

/// The hash of the content digest.
pub(crate) const SHA256: Hash = Hash {
    together: convert::group_of,
    hash: |blocks| {
        std::hint::black_box(convert::hash_all(blocks.iter().copied().map(Some)));
    },
};

/// The hash of the parts of an upload.
pub(crate) const MD5: Hash = Hash {
    together: |_| obs::MD5_AT_ONCE,
    hash: |blocks| {
        std::hint::black_box(obs::md5_all(blocks));
    },
};

impl Hash {
    /// Hashes the sample's blocks, often enough that every thread has several groups.
    pub(crate) fn measure(
        &self,
        sample: &Sample,
        threads: usize,
        cancel: &CancelToken,
    ) -> Result<Run> {
        /// Groups for each thread, at least.
        const GROUPS: usize = 4;
        let blocks: Vec<&[u8]> = sample.data.iter().map(Vec::as_slice).collect();
        let groups: Vec<&[&[u8]]> = blocks.chunks((self.together)(threads)).collect();
        let passes = (threads * GROUPS).div_ceil(groups.len().max(1));
        let jobs = groups.len() * passes;
        in_parallel(
            threads,
            jobs,
            cancel,
            || (),
            |(), index| {
                let Some(group) = groups.get(index % groups.len()) else {
                    return Ok(Done::default());
                };
                (self.hash)(group);
                Ok(Done::of(group.iter().map(|block| block.len() as u64).sum()))
            },
        )
    }
}

/// Compresses the sample's blocks as conversions do.
pub(crate) fn compress(
    sample: &Sample,
    level: i32,
    threads: usize,
    cancel: &CancelToken,
) -> Result<Run> {
    let encoder = || (zvhd2::BlockEncoder::new(level), Vec::new());
    in_parallel(
        threads,
        sample.data.len(),
        cancel,
        encoder,
        |(encoder, out), index| {
            let Some(block) = sample.data.get(index) else {
                return Ok(Done::default());
            };
            let Ok(encoder) = encoder else {
                return Err(Failure::new(
                    Class::Io,
                    "creating a compression context failed",
                ));
            };
            encoder.encode(0, block, out)?;
            Ok(Done {
                bytes: block.len() as u64,
                output: Some(out.len() as u64),
            })
        },
    )
}

/// Writes `len` bytes that do not compress into a new file in `dir`, until the disk has them.
pub(crate) fn write(dir: &Path, len: u64, cancel: &CancelToken) -> Result<Run> {
    let path = dir.join("write");
    let mut block = vec![0; zvhd2::BLOCK_SIZE];
    let ((), run) = timed(len, || {
        let mut file = OutputFile::create(&path, Overwrite::Replace)?;
        for_noise(len, &mut block, |part| {
            stop(cancel)?;
            file.write(part)
                .map_err(|error| convert::Error::Sink(error).into())
        })?;
        Ok(file.commit()?)
    })?;
    remove(&path)?;
    Ok(run)
}

/// Passes `len` bytes that do not compress to `to`, block by block. Blocks differ in every page, so
/// that a file system that stores equal ones once gains nothing.
pub(crate) fn for_noise(len: u64, block: &mut [u8], mut to: impl FnMut(&[u8]) -> Result) -> Result {
    fill_block(Content::Random, 1, 0, block);
    let mut left = len;
    let mut number = 0_u64;
    while left > 0 {
        for page in block.chunks_mut(4096) {
            for (byte, mark) in page.iter_mut().zip(number.to_le_bytes()) {
                *byte ^= mark;
            }
        }
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        to(block.get(..part).unwrap_or_default())?;
        left -= part as u64;
        number += 1;
    }
    Ok(())
}

/// How to convert.
pub(crate) fn plan_options(threads: usize, level: i32) -> PlanOptions {
    PlanOptions {
        threads: Some(threads),
        level: Level::Fixed(level),
        // The default would reduce large numbers of threads.
        memory: Some(LARGE_MEMORY),
        ..PlanOptions::default()
    }
}

/// Converts the view to a file in `dir`, until the disk has it.
pub(crate) fn convert(
    view: &View,
    dir: &Path,
    level: i32,
    threads: usize,
    cancel: &CancelToken,
) -> Result<(Run, Plan, Report)> {
    let path = dir.join("out.zvhd2");
    let ((plan, report), run) = timed(0, || {
        let plan = convert::plan(view, Target::Zvhd2, &plan_options(threads, level))?;
        let mut file = OutputFile::create(&path, Overwrite::Replace)?;
        let report = convert::to_zvhd2(view, &plan, identity(), &mut file, &VoidMonitor, cancel)?;
        file.commit()?;
        Ok((plan, report))
    })?;
    remove(&path)?;
    let run = Run {
        bytes: report.read_bytes,
        output: Some(report.written_bytes),
        ..run
    };
    Ok((run, plan, report))
}

/// Removes an output; the next run must find the same space.
pub(crate) fn remove(path: &Path) -> Result {
    std::fs::remove_file(path).map_err(|e| {
        Failure::from_error(Class::Io, &e).context(format!("removing {} failed", shown(&path)))
    })
}

pub(crate) fn stop(cancel: &CancelToken) -> Result {
    match cancel.is_cancelled() {
        true => Err(stopped()),
        false => Ok(()),
    }
}

/// Runs `work` and times it.
pub(crate) fn timed<T>(bytes: u64, work: impl FnOnce() -> Result<T>) -> Result<(T, Run)> {
    let (cpu, started) = (cpu_time(), Instant::now());
    let value = work()?;
    let run = Run {
        bytes,
        output: None,
        elapsed: started.elapsed(),
        cpu: cpu_time().saturating_sub(cpu),
    };
    Ok((value, run))
}

/// Processor time that all threads of this process have used.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanoseconds)
}

/// What one job handled.
#[derive(Clone, Copy, Default)]
struct Done {
    bytes: u64,
    output: Option<u64>,
}

impl Done {
    fn of(bytes: u64) -> Self {
        Self {
            bytes,
            output: None,
        }
    }

    fn and(self, other: Self) -> Self {
        let output = match (self.output, other.output) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
        };
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            output,
        }
    }
}

/// Runs `work` on `0..jobs` with `threads` threads, each with a state of its own, and times it.
fn in_parallel<S>(
    threads: usize,
    jobs: usize,
    cancel: &CancelToken,
    new: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> Result<Done> + Sync,
) -> Result<Run> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut state = new();
        let mut total = Done::default();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= jobs {
                return Ok(total);
            }
            stop(cancel)?;
            total = total.and(work(&mut state, index)?);
        }
    };
    let (done, run) = timed(0, || {
        if threads <= 1 {
            return worker();
        }
        std::thread::scope(|scope| {
            let mut workers = Vec::new();
            for _ in 0..threads {
                let worker = std::thread::Builder::new()
                    .spawn_scoped(scope, worker)
                    .map_err(|e| {
                        Failure::from_error(Class::Refused, &e).context("starting a thread failed")
                    })?;
                workers.push(worker);
            }
            workers
                .into_iter()
                .try_fold(Done::default(), |total, worker| {
                    let done = worker.join().unwrap_or_else(|_| {
                        Err(Failure::new(Class::Io, "a worker thread crashed"))
                    })?;
                    Ok(total.and(done))
                })
        })
    })?;
    Ok(Run {
        bytes: done.bytes,
        output: done.output,
        ..run
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn work_in_parallel_is_all_done_once() {
        let sum = AtomicUsize::new(0);
        let run = in_parallel(
            4,
            100,
            &CancelToken::new(),
            || (),
            |(), index| {
                sum.fetch_add(index, Ordering::Relaxed);
                Ok(Done::of(2))
            },
        )
        .unwrap();
        assert_eq!((run.bytes, run.output), (200, None));
        assert_eq!(sum.into_inner(), 4950);
    }

    #[test]
    fn the_first_error_and_a_request_to_stop_end_the_work() {
        let fail = |_: &mut (), index| match index {
            7 => Err(Failure::new(Class::Io, "seven")),
            _ => Ok(Done::default()),
        };
        let failed = in_parallel(2, 1000, &CancelToken::new(), || (), fail);
        assert_eq!(failed.unwrap_err().message(), "seven");
        let cancel = CancelToken::new();
        cancel.cancel();
        let stopped = in_parallel(2, 1000, &cancel, || (), |(), _| Ok(Done::default()));
        assert_eq!(stopped.unwrap_err().class(), Class::Interrupted);
    }

    #[test]
    fn noise_is_as_long_as_asked_and_no_two_pages_are_the_same() {
        let mut block = vec![0; zvhd2::BLOCK_SIZE];
        let mut pages = std::collections::HashSet::new();
        let mut total = 0;
        for_noise(5 << 20, &mut block, |part| {
            total += part.len();
            for page in part.chunks(4096) {
                assert!(pages.insert(sum(page)));
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(total, 5 << 20);
    }

    fn sum(page: &[u8]) -> [u8; 16] {
        obs::md5_all(&[page])[0]
    }

    /// How many blocks a hash was given at a time.
    static GIVEN: Mutex<Vec<usize>> = Mutex::new(Vec::new());

    #[test]
    fn hashes_are_measured_of_as_many_blocks_at_a_time_as_the_program_hashes() {
        let sample = Sample {
            data: vec![vec![7; 4096]; 32],
            zeros: Vec::new(),
        };
        for (hash, threads, together) in [(SHA256, 1, 4), (SHA256, 32, 1), (MD5, 1, 8), (MD5, 2, 8)]
        {
            let recording = Hash {
                hash: |blocks| GIVEN.lock().unwrap().push(blocks.len()),
                ..hash
            };
            let run = recording
                .measure(&sample, threads, &CancelToken::new())
                .unwrap();
            let given = std::mem::take(&mut *GIVEN.lock().unwrap());
            assert!(given.iter().all(|blocks| *blocks == together), "{given:?}");
            assert!(given.len() >= 4 * threads, "{given:?}");
            assert_eq!(run.bytes, (given.len() * together * 4096) as u64);
        }
    }
}
