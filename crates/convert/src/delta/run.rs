//! The stream of a new object, some of which the sink copies.

use std::ops::Range;

use diskimg::DiskImage;

use super::find::Blocks;
use super::plan::{DeltaPlan, Step, bytes_of};
use super::table::BlockTable;
use crate::blocks::Group;
use crate::cancel::CancelToken;
use crate::error::{Error, Result};
use crate::hint::Hint;
use crate::monitor::Monitor;
use crate::ordered::{self, Width};
use crate::pipeline::{Job, Made, Report, Run, Stream, Workers};
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
}

/// Writes `image` as ZVHD2 into `sink`, as [`to_zvhd2`](crate::to_zvhd2) does, but lets it copy
/// what the earlier object holds. Blocks that are made again from unchanged content get the level
/// that they had. `recorder` notes every block of the stream, with its level.
///
/// # Errors
/// Those of [`to_zvhd2`](crate::to_zvhd2). `Refused` also when a block is not what it was when
/// [`find`](super::find) read it.
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
        |made| joining.take(made, &workers),
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
}

impl Joining<'_> {
    fn take(&mut self, made: Made, workers: &Workers<'_>) -> Result<()> {
        for done in made.blocks() {
            if self.rest.is_empty() {
                self.copy()?;
            }
            let expected = self.delta.disk.list.get(self.rest.start);
            self.rest.start += 1;
            let found = (done.number(), done.hash());
            if expected.map(|(number, hash)| (u64::from(*number), Some(*hash))) != Some(found) {
                return Err(Error::refused(format!(
                    "block {} is not what it was when the disk was read the first time",
                    done.number()
                ))
                .with_hint(Hint::StartOver));
            }
        }
        self.run.take(made, workers)
    }

    /// Copies up to the next blocks that are made.
    fn copy(&mut self) -> Result<()> {
        for step in self.steps.by_ref() {
            match step {
                Step::Make(range) => {
                    self.rest = range.clone();
                    break;
                }
                Step::Copy(range) => {
                    let blocks = self.delta.base.blocks.get(range.clone());
                    let blocks = blocks.unwrap_or_default();
                    self.run.copy(blocks, bytes_of(self.delta.base, range))?;
                }
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Report> {
        self.copy()?;
        self.run.finish()
    }
}
