//! How many threads, and how large groups of blocks, window and sink, fit a budget of memory.

use diskimg::DiskImage;
use diskimg::units::{KIB, MIB, human, round_up};

use super::memory::{Memory, PlanOptions, SinkMemory};
use crate::blocks::{BLOCK_BYTES, MOST_GROUPED};
use crate::encoded::MEMORY_PER_BLOCK;
use crate::error::{Error, Result};
use crate::hint::Hint;
use crate::level::Level;
use crate::limits::HASHES_AHEAD;
use crate::resume::AGAIN_BYTES;
use crate::target::Target;

/// The encoder keeps 16 bytes for each stored block, in a vector that doubles: for a moment the old
/// and the new one exist, three times the entries at most.
const INDEX_BYTES_PER_BLOCK: u64 = 3 * 16;
/// Pieces of the index and the bitmap on their way into the sink.
const INDEX_CHUNK: u64 = MIB;

/// A worker's stack in use and its odds and ends, besides block buffer and compression context.
const WORKER_BYTES: u64 = 256 * KIB;

/// Blocks that a worker may take at a time, the most first.
const GROUPS: [usize; 3] = [MOST_GROUPED, 2, 1];

/// What decides how much memory a run needs.
pub(super) struct Needs<'a> {
    pub(super) image: &'a dyn DiskImage,
    pub(super) target: Target,
    pub(super) data_blocks: u64,
    pub(super) budget: u64,
    pub(super) options: &'a PlanOptions,
}

/// What fits the budget.
pub(super) struct Fitted {
    pub(super) threads: usize,
    pub(super) group: usize,
    pub(super) window: usize,
    pub(super) memory: Memory,
}

impl Needs<'_> {
    /// What `threads` workers that take `group` blocks at a time, a window of `window` blocks and a
    /// sink of `sink` bytes hold.
    pub(super) fn memory(&self, threads: usize, group: usize, window: usize, sink: u64) -> Memory {
        let of_zvhd2 = |bytes: u64| match self.target {
            Target::Zvhd2 => bytes,
            Target::Raw => 0,
        };
        let worker = (group as u64)
            .saturating_mul(BLOCK_BYTES)
            .saturating_add(WORKER_BYTES)
            .saturating_add(of_zvhd2(self.context_bytes()));
        Memory {
            budget: self.budget,
            image: self.image.memory_bound(threads),
            workers: worker.saturating_mul(threads as u64),
            window: of_zvhd2(MEMORY_PER_BLOCK).saturating_mul(window as u64),
            index: of_zvhd2(
                self.data_blocks
                    .saturating_mul(self.index_bytes_per_block())
                    .saturating_add(INDEX_CHUNK),
            ),
            sink,
            reserved: self.options.reserved_memory,
            program: self.options.program_memory,
        }
    }

    /// A compression context holds the most that any level needs that it may be set to.
    fn context_bytes(&self) -> u64 {
        let levels = self.options.level.choices().iter();
        let bytes = levels.map(|level| zvhd2::encoder_memory(*level));
        bytes.max().unwrap_or_default()
    }

    fn index_bytes_per_block(&self) -> u64 {
        match self.options.level {
            Level::Fixed(_) => INDEX_BYTES_PER_BLOCK,
            // Of a stream of many levels every block that is made again has to be known, however
            // many there are.
            Level::Auto => INDEX_BYTES_PER_BLOCK + 3 * AGAIN_BYTES,
        }
    }

    /// What `threads` workers need at least. One block more than workers: while it is written, all
    /// of them can work.
    pub(super) fn least(&self, threads: usize, sink: u64) -> Memory {
        self.memory(threads, 1, threads + 1, sink)
    }

    /// The group that is worth having: the largest of which every worker gets some.
    pub(super) fn full_group(&self, threads: usize) -> usize {
        let groups_each = 4;
        let fills = |group: &usize| {
            let blocks = group.saturating_mul(threads).saturating_mul(groups_each);
            blocks as u64 <= self.data_blocks
        };
        GROUPS.into_iter().find(fills).unwrap_or(1)
    }

    /// The window that is worth having with groups of `group` blocks: enough for blocks that
    /// compress at different speeds.
    pub(super) fn full_window(&self, threads: usize, group: usize) -> usize {
        match self.target {
            Target::Zvhd2 => (threads * 4).max((threads + 2) * group),
            // The results are hashes only.
            Target::Raw => threads * HASHES_AHEAD,
        }
    }

    /// The most threads up to `wanted`, then the largest groups, then the largest window, that fit
    /// the budget beside a busy sink; what is left then goes to the sink.
    pub(super) fn fit(&self, wanted: usize) -> Result<Fitted> {
        let fits = |memory: &Memory| memory.total() <= self.budget;
        let SinkMemory {
            least,
            enough,
            most,
        } = self.options.upload_memory;
        let sink = match fits(&self.least(1, enough)) {
            true => enough,
            false => least,
        };
        for threads in (1..=wanted).rev() {
            if !fits(&self.least(threads, sink)) {
                continue;
            }
            // A group more than workers: while one is written, all of them can work.
            let least_window = |group| (threads + 1) * group;
            let full_group = self.full_group(threads);
            let group = GROUPS
                .into_iter()
                .filter(|group| *group <= full_group)
                .find(|group| fits(&self.memory(threads, *group, least_window(*group), sink)))
                .unwrap_or(1);
            let window = (least_window(group)..=self.full_window(threads, group))
                .rev()
                .find(|window| fits(&self.memory(threads, group, *window, sink)))
                .unwrap_or(least_window(group));
            let mut memory = self.memory(threads, group, window, sink);
            let left = self.budget.saturating_sub(memory.total());
            memory.sink = sink.saturating_add(left).min(most.max(sink));
            return Ok(Fitted {
                threads,
                group,
                window,
                memory,
            });
        }
        let least = self.least(1, least);
        Err(Error::refused(format!(
            "one thread needs {}, the memory budget is {}",
            human(least.total()),
            human(least.budget)
        ))
        .with_hint(Hint::GiveMemory(least.total())))
    }
}

/// `bytes` rounded up to MiB, for messages.
pub(super) fn whole_mib(bytes: u64) -> String {
    format!("{} MiB", round_up(bytes, MIB).unwrap_or(u64::MAX) / MIB)
}
