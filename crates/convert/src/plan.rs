//! What a run will do and what it will hold in memory, before it does anything.
//!
//! The memory bound is a sum of named parts ([`Memory`]); each is what the run really allocates at
//! most. When it does not fit the budget, first the sink gets no more than it needs to be busy,
//! then the window and the groups of blocks shrink, then threads go.

mod fit;
mod memory;
mod show;

use diskimg::units::human;
use diskimg::{DiskImage, DiskImageExt as _, Format};
use serde::Serialize;

use self::fit::{Fitted, Needs, whole_mib};
pub use self::memory::{
    DEFAULT_MEMORY, LARGE_MEMORY, Memory, PROGRAM_MEMORY, PlanOptions, SinkMemory,
};
use crate::blocks::BLOCK_BYTES;
use crate::error::{Error, Result};
use crate::level::Level;
pub use crate::limits::MAX_THREADS;
use crate::limits::{default_threads, encoding_threads};
use crate::target::Target;

/// A run, decided. Plain data: to print, to serialize, and to hand to
/// [`to_zvhd2`](crate::to_zvhd2) or [`to_raw`](crate::to_raw).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// Format of the source image.
    pub source_format: Format,
    /// Format that is written.
    pub target: Target,
    /// Size the guest sees, in bytes.
    pub virtual_size: u64,
    /// Bytes that the source stores, by its extents; everything else is zero and is not read.
    pub data_bytes: u64,
    /// Blocks of 2 MiB that hold such bytes and will be read.
    pub data_blocks: u64,
    /// Blocks of 2 MiB on the disk.
    pub total_blocks: u64,
    /// Worker threads.
    pub threads: usize,
    /// zstd level; `None` when nothing is compressed.
    pub level: Option<Level>,
    /// Most blocks that are begun and not written.
    pub window: usize,
    /// Blocks that a worker takes at a time, 1 to 4: their hashes cost less together.
    pub group: usize,
    /// Size of the output in bytes if nothing can be compressed and no stored byte is zero. Of a
    /// raw file these are the bytes on disk, its length is [`Plan::virtual_size`].
    pub worst_case_bytes: u64,
    /// What may be held in memory.
    pub memory: Memory,
    /// Where the plan differs from what was asked for, in sentences.
    pub notes: Vec<String>,
}

impl Plan {
    /// Bytes of disk space without which the output cannot be written, for
    /// [`OutputFile::require_space`](crate::OutputFile::require_space). Raw: the bytes that the
    /// source stores. ZVHD2: only its fixed parts, because how far data shrinks is not known.
    #[must_use]
    pub fn least_output_bytes(&self) -> u64 {
        match self.target {
            Target::Raw => self.data_bytes,
            Target::Zvhd2 => zvhd2::worst_case_len(self.virtual_size, 0),
        }
    }

    /// Refuses to run with another image or for another target than was planned.
    pub(crate) fn check(&self, image: &dyn DiskImage, target: Target) -> Result<()> {
        if self.virtual_size == image.virtual_size() && self.target == target {
            return Ok(());
        }
        Err(Error::refused(format!(
            "the plan is for {} bytes to {}, the run is of {} bytes to {target}",
            self.virtual_size,
            self.target,
            image.virtual_size(),
        )))
    }
}

/// Plans taking `image` to `target`. Walks the extents once: cost follows their number.
///
/// # Errors
/// `Refused` when an option is out of range or not even one thread fits the memory budget; what the
/// image's metadata causes.
pub fn plan(image: &dyn DiskImage, target: Target, options: &PlanOptions) -> Result<Plan> {
    let wanted = wanted_threads(target, options)?;
    if target == Target::Zvhd2
        && let Some(level) = options.level.fixed()
        && !(zvhd2::MIN_LEVEL..=zvhd2::MAX_LEVEL).contains(&level)
    {
        return Err(Error::refused(format!(
            "level is {level}, expected {} to {}",
            zvhd2::MIN_LEVEL,
            zvhd2::MAX_LEVEL
        )));
    }
    let virtual_size = image.virtual_size();
    let (data_bytes, data_blocks) = count_data(image)?;
    let useful = usize::try_from(data_blocks.max(1)).unwrap_or(usize::MAX);
    let useful_threads = wanted.min(useful);
    let mut notes = Vec::new();
    let mut needs = Needs {
        image,
        target,
        data_blocks,
        budget: options.memory.unwrap_or(DEFAULT_MEMORY),
        options,
    };
    let fitted = match needs.fit(useful_threads) {
        Err(_) if options.memory.is_none() => {
            needs.budget = LARGE_MEMORY;
            notes.push(format!(
                "the memory budget is {} instead of {}: a disk this large needs more than that",
                human(LARGE_MEMORY),
                human(DEFAULT_MEMORY)
            ));
            needs.fit(useful_threads)
        }
        fitted => fitted,
    };
    let Fitted {
        threads,
        group,
        window,
        memory,
    } = fitted?;

    let SinkMemory { enough, .. } = options.upload_memory;
    let full_group = needs.full_group(threads);
    let full_window = needs.full_window(threads, full_group);
    if threads < useful_threads {
        notes.push(format!(
            "{threads} of {useful_threads} threads fit into {}; all of them need {}",
            human(needs.budget),
            whole_mib(needs.least(useful_threads, enough).total())
        ));
    } else if window < full_window {
        notes.push(format!(
            "the window is {window} blocks instead of {full_window} to fit into {}; all of it \
             needs {}",
            human(needs.budget),
            whole_mib(
                needs
                    .memory(threads, full_group, full_window, enough)
                    .total()
            )
        ));
    }
    if useful_threads < wanted && options.threads.is_some() {
        notes.push(format!(
            "{useful_threads} threads suffice for {data_blocks} blocks"
        ));
    }
    Ok(Plan {
        source_format: image.details().format,
        target,
        virtual_size,
        data_bytes,
        data_blocks,
        total_blocks: virtual_size.div_ceil(BLOCK_BYTES),
        threads,
        level: (target == Target::Zvhd2).then_some(options.level),
        window,
        group,
        worst_case_bytes: match target {
            Target::Zvhd2 => zvhd2::worst_case_len(virtual_size, data_blocks),
            Target::Raw => data_bytes,
        },
        memory,
        notes,
    })
}

fn wanted_threads(target: Target, options: &PlanOptions) -> Result<usize> {
    match options.threads {
        Some(threads) if !(1..=MAX_THREADS).contains(&threads) => Err(Error::refused(format!(
            "{threads} threads were requested, expected 1 to {MAX_THREADS}"
        ))),
        Some(threads) => Ok(threads),
        None if target == Target::Zvhd2 => Ok(encoding_threads()),
        None => Ok(default_threads()),
    }
}

/// Bytes of `Data`, and blocks that hold at least one of them. In sums: a block has one state,
/// whatever it is made of.
fn count_data(image: &dyn DiskImage) -> Result<(u64, u64)> {
    let (mut bytes, mut blocks) = (0, 0_u64);
    // First block that has not been counted.
    let mut next_block = 0;
    for tally in image.tallies(BLOCK_BYTES) {
        let tally = tally?;
        let data = tally.data.saturating_add(tally.elsewhere);
        if data > 0 {
            bytes += data;
            let first = next_block.max(tally.start.0 / BLOCK_BYTES);
            next_block = tally.end().0.div_ceil(BLOCK_BYTES);
            blocks += next_block.saturating_sub(first);
        }
    }
    Ok((bytes, blocks))
}
