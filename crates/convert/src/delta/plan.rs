//! Which bytes of a new object are copied from the earlier one, and which are made and sent.
//!
//! A server joins parts, and every part but the last has a least size. So what is sent between two
//! copies must fill a part, and is filled up with unchanged blocks; an unchanged stretch that is
//! shorter than a part is sent like one that changed.
//!
//! How long a changed block will be is not known before it is compressed. The plan takes the length
//! that it had; where that was too much, the run fills the part up.

use std::ops::Range;

use super::find::Blocks;
use super::table::BlockTable;
use crate::hashes::BlockHash;
use crate::resume::BlockRecord;

/// Bytes of the stream in front of the first block.
const HEAD: u64 = 4096;

/// What the server's parts may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartRules {
    /// Least bytes of every part but the last.
    pub least: u64,
    /// Most bytes of a part that is copied; at least twice `least`.
    pub largest_copy: u64,
    /// Bytes of parts that are sent; at least `least`.
    pub sent: u64,
    /// Most parts of an object.
    pub most: u64,
}

/// A stretch of the new stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Blocks of the earlier object, by index in its table.
    Copy(Range<usize>),
    /// Blocks of the disk, by index in [`Blocks`].
    Make(Range<usize>),
}

/// How a new object comes to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeltaPlan {
    pub(super) steps: Vec<Step>,
    /// Bytes that a part must have in front of a copy.
    pub(super) least: u64,
    /// Blocks that are not what the earlier object holds.
    pub changed_blocks: u64,
    /// Unchanged blocks that are sent, because parts have a least size.
    pub refilled_blocks: u64,
    /// Bytes that the server copies, at most.
    pub copied_bytes: u64,
    /// Stretches that the server copies, at most.
    pub copies: u64,
    /// Blocks that are made and sent, at least.
    pub made_blocks: u64,
}

/// Most bytes of memory that the table of an object of a disk of `virtual_size` bytes takes,
/// together with the hashes of `data_blocks` blocks and a plan for them. A list that grows has room
/// for twice what it holds.
#[must_use]
pub const fn memory_of(virtual_size: u64, data_blocks: u64) -> u64 {
    let table = size_of::<BlockRecord>() as u64;
    let block = 2 * (size_of::<(u32, BlockHash)>() + size_of::<Run>()) as u64;
    table
        .saturating_mul(virtual_size.div_ceil(zvhd2::BLOCK_SIZE as u64))
        .saturating_add(block.saturating_mul(data_blocks))
}

impl DeltaPlan {
    /// Plans `disk` out of `base`. `None` when nothing can be copied, or too many parts would be
    /// needed: then a full run is cheaper.
    #[must_use]
    pub fn new(disk: &Blocks, base: &BlockTable, rules: &PartRules) -> Option<Self> {
        if disk.virtual_size != base.virtual_size {
            return None;
        }
        let runs = runs(disk, base);
        let lengths = lengths(&runs, disk, base);
        let mut least_copy = rules.least;
        // Each round copies less, until nothing is.
        loop {
            let plan = Self::with(&runs, &lengths, base, (rules.least, least_copy))?;
            if plan.parts(disk, rules) <= rules.most {
                return Some(plan);
            }
            least_copy = least_copy.checked_mul(2)?;
        }
    }

    /// The plan where stretches of at least `least_copy` bytes are copied.
    fn with(
        runs: &[Run],
        lengths: &[u64],
        base: &BlockTable,
        (least, least_copy): (u64, u64),
    ) -> Option<Self> {
        let mut building = Building {
            steps: Vec::new(),
            pending: HEAD,
            refilled: 0,
        };
        let len = |indices: Range<usize>| bytes_of(base, &indices);
        let (mut changed, mut copied, mut copies) = (0, 0, 0_u64);
        for (run, expected) in runs.iter().zip(lengths) {
            let Some(first) = run.base else {
                changed += run.disk.len() as u64;
                building.make(run.disk.clone(), *expected);
                continue;
            };
            let whole = first..first + run.disk.len();
            let mut taken = 0;
            while building.pending > 0 && building.pending < least && taken < run.disk.len() {
                building.refill(
                    run.disk.start + taken,
                    len(first + taken..first + taken + 1),
                );
                taken += 1;
            }
            let rest = first + taken..whole.end;
            let bytes = len(rest.clone());
            if bytes >= least_copy {
                copied += bytes;
                copies += 1;
                building.copy(rest);
            } else {
                for (index, block) in (run.disk.start + taken..run.disk.end).zip(rest) {
                    building.refill(index, len(block..block + 1));
                }
            }
        }
        (copies > 0).then_some(Self {
            steps: building.steps,
            least,
            changed_blocks: changed,
            refilled_blocks: building.refilled,
            copied_bytes: copied,
            copies,
            made_blocks: changed + building.refilled,
        })
    }

    /// Most parts that the object can have: of each stretch one more than whole ones.
    fn parts(&self, disk: &Blocks, rules: &PartRules) -> u64 {
        let longest = zvhd2::MAX_ENCODED_BLOCK as u64;
        let of = |step: &Step| match step {
            Step::Copy(_) => 1,
            Step::Make(range) => (range.len() as u64 * longest + HEAD) / rules.sent + 1,
        };
        let stored = disk.list.len() as u64;
        // What follows the blocks: all of a stream but those.
        let tail = zvhd2::worst_case_len(disk.virtual_size, stored) - stored * longest;
        let whole = self.copied_bytes / rules.largest_copy + tail / rules.sent;
        self.steps.iter().map(of).sum::<u64>() + whole + 1
    }
}

/// Neighbours in the new stream that are in the earlier object one behind the other, or changed.
struct Run {
    disk: Range<usize>,
    /// Index of the first in the earlier object's table.
    base: Option<usize>,
}

fn runs(disk: &Blocks, base: &BlockTable) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (index, (number, hash)) in disk.list.iter().enumerate() {
        let same = base.find(*number).filter(|found| {
            let found = base.blocks.get(*found);
            found.is_some_and(|block| block.hash == *hash)
        });
        match runs.last_mut() {
            Some(last) if same == last.base.map(|first| first + last.disk.len()) => {
                last.disk.end = index + 1;
            }
            _ => runs.push(Run {
                disk: index..index + 1,
                base: same,
            }),
        }
    }
    runs
}

/// Bytes that each run is expected to take in the stream: a changed block as many as before, a new
/// one as many as the others do.
fn lengths(runs: &[Run], disk: &Blocks, base: &BlockTable) -> Vec<u64> {
    let all = bytes_of(base, &(0..base.blocks.len()));
    let mean = all / (base.blocks.len() as u64).max(1);
    let of = |(number, _): &(u32, BlockHash)| {
        let before = base.find(*number).and_then(|index| base.blocks.get(index));
        before.map_or(mean, |block| u64::from(block.len))
    };
    let of_run = |run: &Run| {
        let blocks = disk.list.get(run.disk.clone()).unwrap_or_default();
        blocks.iter().map(of).sum()
    };
    runs.iter().map(of_run).collect()
}

/// Bytes that the blocks `indices` take in the earlier object.
pub(super) fn bytes_of(base: &BlockTable, indices: &Range<usize>) -> u64 {
    let blocks = base.blocks.get(indices.clone()).unwrap_or_default();
    match (blocks.first(), blocks.last()) {
        (Some(first), Some(last)) => last.offset + u64::from(last.len) - first.offset,
        _ => 0,
    }
}

struct Building {
    steps: Vec<Step>,
    /// Bytes that are expected to be sent since the last copy.
    pending: u64,
    refilled: u64,
}

impl Building {
    fn make(&mut self, disk: Range<usize>, bytes: u64) {
        self.pending += bytes;
        match self.steps.last_mut() {
            Some(Step::Make(range)) if range.end == disk.start => range.end = disk.end,
            _ => self.steps.push(Step::Make(disk)),
        }
    }

    fn refill(&mut self, index: usize, bytes: u64) {
        self.refilled += 1;
        self.make(index..index + 1, bytes);
    }

    fn copy(&mut self, base: Range<usize>) {
        self.pending = 0;
        self.steps.push(Step::Copy(base));
    }
}
