//! What a run will do and what it will hold in memory, before it does anything.
//!
//! The memory bound is a sum of named parts ([`Memory`]); each is what the run really allocates at
//! most. When it does not fit the budget, first the sink gets no more than it needs to be busy,
//! then the window and the groups of blocks shrink, then threads go.

mod fit;
mod show;

use std::fmt;
use std::num::NonZero;
use std::str::FromStr;

use diskimg::units::{MIB, human};
use diskimg::{DiskImage, DiskImageExt as _, Format};
use serde::Serialize;

use self::fit::{Fitted, Needs, whole_mib};
use crate::blocks::BLOCK_BYTES;
use crate::error::{Error, Result};
use crate::level::Level;

/// A format that imgferry writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// What the cloud imports directly; compressed, written front to back.
    Zvhd2,
    /// The disk's bytes as they are, in a sparse file.
    Raw,
}

impl Target {
    /// Every target, in the order in which help texts list them.
    pub const ALL: [Self; 2] = [Self::Zvhd2, Self::Raw];

    /// The name used on the command line and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zvhd2 => "zvhd2",
            Self::Raw => "raw",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|target| target.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::name).join(", ");
                format!("{text:?} is no format imgferry writes; it writes {names}")
            })
    }
}

/// What the user may choose.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// Worker threads, 1 to [`MAX_THREADS`]; `None`: [`encoding_threads`] or, to raw,
    /// [`default_threads`].
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

/// Most worker threads. Ours: far beyond the cores of machines that images are moved on.
pub const MAX_THREADS: usize = 1024;

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
/// image's metadata deserves.
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
            "{threads} of {useful_threads} threads fit into {}; --memory {} fits all",
            human(needs.budget),
            whole_mib(needs.least(useful_threads, enough).total())
        ));
    } else if window < full_window {
        notes.push(format!(
            "the window is {window} blocks instead of {full_window} to fit into {}; --memory {} fits all of it",
            human(needs.budget),
            whole_mib(needs.memory(threads, full_group, full_window, enough).total())
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
            "{threads} threads were asked for, expected 1 to {MAX_THREADS}"
        ))),
        Some(threads) => Ok(threads),
        None if target == Target::Zvhd2 => Ok(encoding_threads()),
        None => Ok(default_threads()),
    }
}

/// Worker threads unless told, where nothing is compressed: one more than the cores that this
/// process may use. Now and then they wait for the disk, and the one more works meanwhile.
#[must_use]
pub fn default_threads() -> usize {
    cores().saturating_add(1).min(MAX_THREADS)
}

/// Worker threads unless told, where blocks are compressed: as many as the cores that this process
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

/// The program's own memory: its code and libraries, stacks, and what the allocator keeps back. A
/// conversion alone has 3 MiB of it; the cloud clients, their runtime and TLS need the larger part:
/// 17 MiB of code are in memory during an import. Of a build without optimisation they are 33 MiB.
pub const PROGRAM_MEMORY: u64 = match cfg!(debug_assertions) {
    true => 48 * MIB,
    false => 32 * MIB,
};
