//! The stream of a new object, some of which the sink copies.

use std::ops::Range;

use diskimg::DiskImage;

use super::find::Blocks;
use super::plan::{DeltaPlan, Step, bytes_of};
use super::table::BlockTable;
use crate::blocks::Group;
use crate::cancel::CancelToken;
use crate::error::{Error, Result};
use crate::hashes::BlockHash;
use crate::hint::Hint;
use crate::monitor::Monitor;
use crate::ordered::{self, Width};
use crate::pipeline::{Done, Job, Made, Report, Run, Stream, Worker, Workers};
use crate::plan::Plan;
use crate::resume::{Checkpoint, Recorder};
use crate::sink::Sink;
use crate::target::Target;

/// Where the earlier object and the disk meet.
#[derive(Clone, Copy, Debug)]
pub struct Delta<'a> {
    /// The earlier object's blocks.
    pub base: &'a BlockTable,
    /// The disk's.
    pub disk: &'a Blocks,
    /// What becomes of them.
    pub plan: &'a DeltaPlan,
    /// Whether the disk may change between the two readings: what is read last counts.
    pub may_move: bool,
}

/// Writes `image` as ZVHD2 into `sink`, as [`to_zvhd2`](crate::to_zvhd2) does, but lets it copy
/// what the earlier object holds. Blocks that are made again from unchanged content get the level
/// that they had. `recorder` notes every block of the stream, with its level.
///
/// # Errors
/// Those of [`to_zvhd2`](crate::to_zvhd2). `Refused` also when a block is not what it was when
/// [`find`](super::find) read it, unless the disk may change.
#[expect(
    clippy::too_many_arguments,
    reason = "what a run of the pipeline takes"
)]
pub fn delta_zvhd2(
    image: &dyn DiskImage,
    plan: &Plan,
    delta: Delta<'_>,
    identity: zvhd2::Identity,
    sink: &mut dyn Sink,
    recorder: &mut dyn Recorder,
    monitor: &dyn Monitor,
    cancel: &CancelToken,
) -> Result<Report> {
    plan.check(image, Target::Zvhd2)?;
    let workers = Workers::new(image, plan, recorder.wants_crc());
    let start = Checkpoint::start(image.virtual_size(), identity)?;
    let stream = Stream::new(sink, monitor, cancel);
    let (run, _) = Run::begin(start, plan, stream, recorder)?;
    let level = plan.level.unwrap_or_default().first();
    let mut making = Making {
        delta,
        level,
        group: plan.group,
        steps: delta.plan.steps.iter(),
        rest: 0..0,
    };
    let mut joining = Joining {
        delta,
        run,
        steps: delta.plan.steps.iter(),
        rest: 0..0,
        workers: &workers,
        worker: None,
        copied_to: 0,
    };
    ordered::run(
        Width {
            threads: plan.threads,
            window: (plan.window / plan.group).max(1),
        },
        cancel,
        || making.next(),
        || workers.start(),
        |worker, job| workers.make(worker, job),
        |made| joining.take(made),
    )?;
    joining.finish()
}

/// The blocks that are made, in groups of one level.
struct Making<'a> {
    delta: Delta<'a>,
    /// The level of blocks that have changed.
    level: i32,
    group: usize,
    steps: std::slice::Iter<'a, Step>,
    /// What is left of a step.
    rest: Range<usize>,
}

impl Making<'_> {
    fn next(&mut self) -> Result<Option<Job>> {
        while self.rest.is_empty() {
            match self.steps.next() {
                Some(Step::Make(range)) => self.rest = range.clone(),
                Some(Step::Copy(_)) => {}
                None => return Ok(None),
            }
        }
        let level = self.level_of(self.rest.start);
        let group = Group::gather(self.group, || {
            if self.rest.is_empty() || self.level_of(self.rest.start) != level {
                return Ok(None);
            }
            let index = self.rest.start;
            self.rest.start += 1;
            let found = self.delta.disk.list.get(index);
            Ok(found.map(|(number, _)| u64::from(*number)))
        })?;
        Ok(group.map(|group| Job::At(group, level)))
    }

    /// What is unchanged keeps its level.
    fn level_of(&self, index: usize) -> i32 {
        let Delta { base, disk, .. } = self.delta;
        let same = disk.list.get(index).and_then(|(number, hash)| {
            let block = base.blocks.get(base.find(*number)?)?;
            block.level.filter(|_| block.hash == *hash)
        });
        same.unwrap_or(self.level)
    }
}

/// Puts what is copied between what is made.
struct Joining<'a> {
    delta: Delta<'a>,
    run: Run<'a>,
    steps: std::slice::Iter<'a, Step>,
    /// What is left of a step, whose blocks are being made.
    rest: Range<usize>,
    workers: &'a Workers<'a>,
    /// Makes what the plan has not foreseen.
    worker: Option<Worker>,
    /// What had been written at the last copy.
    copied_to: u64,
}

impl Joining<'_> {
    fn take(&mut self, made: Made) -> Result<()> {
        for done in made.blocks() {
            if self.rest.is_empty() {
                self.copy()?;
            }
            let expected = self.delta.disk.list.get(self.rest.start);
            self.rest.start += 1;
            self.check(done, expected.map(|(number, hash)| (*number, *hash)))?;
        }
        self.run.take(made, self.workers)
    }

    /// Copies up to the next blocks that are made.
    fn copy(&mut self) -> Result<()> {
        while let Some(step) = self.steps.next() {
            match step {
                Step::Make(range) => {
                    self.rest = range.clone();
                    break;
                }
                Step::Copy(range) => {
                    let range = self.fill(range.clone())?;
                    let blocks = self.delta.base.blocks.get(range.clone());
                    let blocks = blocks.unwrap_or_default();
                    if !blocks.is_empty() {
                        self.run.copy(blocks, bytes_of(self.delta.base, &range))?;
                        self.copied_to = self.run.written();
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes the first blocks of what was to be copied, until what stands in front of the copy is
    /// long enough for a part; what is left to copy. That is nothing where the rest is too short.
    fn fill(&mut self, mut range: Range<usize>) -> Result<Range<usize>> {
        let least = self.delta.plan.least;
        let is_short = |bytes: u64| bytes > 0 && bytes < least;
        while is_short(self.run.written() - self.copied_to)
            || is_short(bytes_of(self.delta.base, &range))
        {
            let next = range
                .next()
                .and_then(|index| self.delta.base.blocks.get(index));
            let Some(block) = next.copied() else {
                break;
            };
            let group = Group::of(u64::from(block.number));
            let level = block.level.unwrap_or_default();
            let mut worker = match self.worker.take() {
                Some(worker) => worker,
                None => self.workers.start()?,
            };
            let made = self.workers.make(&mut worker, Job::At(group, level))?;
            self.worker = Some(worker);
            for done in made.blocks() {
                self.check(done, Some((block.number, block.hash)))?;
            }
            self.run.take(made, self.workers)?;
        }
        Ok(range)
    }

    /// A block must be what it was when the disk was read the first time, unless the disk may
    /// change.
    fn check(&self, done: &Done, expected: Option<(u32, BlockHash)>) -> Result<()> {
        let same = expected.is_some_and(|(number, hash)| {
            let is_as_read = self.delta.may_move || done.hash() == Some(hash);
            u64::from(number) == done.number() && is_as_read
        });
        if same {
            return Ok(());
        }
        Err(Error::refused(format!(
            "block {} is not what it was when the disk was read the first time",
            done.number()
        ))
        .with_hint(Hint::StartOver))
    }

    fn finish(mut self) -> Result<Report> {
        self.copy()?;
        self.run.finish()
    }
}
