//! A raw disk in parts of one size, built in parallel: for uploads whose parts may come in any
//! order.
//!
//! Parts in which the metadata shows no data are never read nor built; those that turn out to be
//! all zero after reading are distinguished too, so that a sink needs memory and a line for data
//! only.

use std::time::Instant;

use diskimg::zero::is_zero;
use diskimg::{DiskImage, DiskImageExt, ExtentKind, GuestOffset};
use sha2::{Digest as _, Sha256};

use crate::bitmap::{Bitmap, Layout};
use crate::blocks::{BLOCK_BYTES, BLOCK_LEN};
use crate::cancel::CancelToken;
use crate::delta::{BlockTable, TableEntries};
use crate::digest::DigestBuilder;
use crate::error::{Error, Result};
use crate::hashes::{BlockHash, hash_all};
use crate::level::Levels;
use crate::monitor::{Counter, Monitor};
use crate::ordered::{self, Width};
use crate::pipeline::Report;
use crate::plan::Plan;
use crate::sink::SinkError;
use crate::tally::Tally;
use crate::target::Target;

/// Bytes of which parts are multiples: no block, and so no hash, lies in two parts.
pub const PART_UNIT: u64 = BLOCK_BYTES;

/// What a part turned out to be once it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// Zeros only.
    Zeros,
    /// What is at this place in the earlier object, and not only zeros.
    Unchanged,
    /// Something else.
    Data,
}

/// Fills the buffer of a part, which is all zeros before.
pub type Fill<'a> = dyn FnMut(&mut [u8]) -> Result<Filled> + 'a;

/// How a raw disk is handed over in parts.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    /// Bytes of each part but the last, which may be shorter: a multiple of [`PART_UNIT`].
    pub part_size: u64,
    /// How the bitmap of the disk is laid out.
    pub layout: Layout,
    /// The blocks of an earlier raw object of the disk: parts that are the same there need not be
    /// sent.
    pub base: Option<&'a BlockTable>,
}

/// What came of a disk that was handed over in parts.
#[derive(Debug)]
pub struct Parted {
    /// What was read and written.
    pub report: Report,
    /// Which of its granules hold data.
    pub bitmap: Bitmap,
    /// Its blocks, for a later run that is based on this one.
    pub table: TableEntries,
}

/// Takes the parts of a disk, numbered from 1, from many threads and in any order; each once.
pub trait PartSink: Sync {
    /// Part `number`, of `len` bytes, is all zero.
    ///
    /// # Errors
    /// When the part cannot be taken.
    fn zeros(&self, number: u32, len: u64) -> Result<(), SinkError>;

    /// Part `number` may hold data: waits until there is memory for its `len` bytes and has them
    /// filled.
    ///
    /// # Errors
    /// That of `fill`; `Sink` when the part cannot be taken.
    fn part(&self, number: u32, len: u64, fill: &mut Fill<'_>) -> Result<()>;
}

/// How a disk falls into parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartCount {
    /// Parts in all.
    pub parts: u64,
    /// Parts in which the metadata shows data.
    pub data_parts: u64,
}

/// Counts the parts of `part_size` bytes of `image`. Metadata only.
///
/// # Errors
/// Those of the metadata; `Refused` when the part size is 0.
pub fn count_parts(image: &dyn DiskImage, part_size: u64) -> Result<PartCount> {
    check_part_size(part_size)?;
    let virtual_size = image.virtual_size();
    let mut data_parts = 0;
    // First part that has not been counted.
    let mut next = 0;
    // A part is a whole number of units.
    for tally in image.tallies(PART_UNIT) {
        let tally = tally?;
        if tally.data > 0 {
            let first = next.max(tally.start.0 / part_size);
            next = tally.end().0.div_ceil(part_size);
            data_parts += next.saturating_sub(first);
        }
    }
    Ok(PartCount {
        parts: virtual_size.div_ceil(part_size),
        data_parts,
    })
}

fn check_part_size(part_size: u64) -> Result<()> {
    if part_size > 0 && part_size.is_multiple_of(PART_UNIT) {
        return Ok(());
    }
    Err(Error::refused(format!(
        "a part of {part_size} bytes was asked for, expected a multiple of {PART_UNIT}"
    )))
}

/// A part that a worker has dealt with.
struct Done {
    range: std::ops::Range<u64>,
    read: u64,
    /// Bytes handed over as data.
    written: u64,
    blocks: Vec<Block>,
}

/// A block of a part that is not all zero.
struct Block {
    number: u64,
    hash: BlockHash,
    /// Granules of the bitmap that hold data.
    granules: Vec<u64>,
}

/// Hands `image` to `sink` as raw, in parts of this `shape`. Completing the sink is left to the
/// caller.
///
/// # Errors
/// `Source`; `Sink`; `Cancelled`; `WorkerPanicked`; `Refused` when the plan is not for this.
pub fn to_parts(
    image: &dyn DiskImage,
    plan: &Plan,
    shape: &Shape<'_>,
    sink: &dyn PartSink,
    monitor: &dyn Monitor,
    cancel: &CancelToken,
) -> Result<Parted> {
    let Shape {
        part_size, layout, ..
    } = *shape;
    plan.check(image, Target::Raw)?;
    check_part_size(part_size)?;
    let started = Instant::now();
    let virtual_size = image.virtual_size();
    let mut bitmap = Bitmap::new(layout, virtual_size)?;
    let mut sum = DigestBuilder::new(virtual_size);
    let mut table = TableEntries::default();
    let mut tally = Tally::new(virtual_size, monitor);
    let (mut stored_blocks, mut written_bytes) = (0, 0);
    let mut next = 0_u64;
    ordered::run(
        Width {
            threads: plan.threads,
            window: plan.window,
        },
        cancel,
        || {
            let start = next;
            next = start.saturating_add(part_size).min(virtual_size);
            Ok((start < next).then_some(start..next))
        },
        || Ok(()),
        |(), range| build(image, range, shape, sink, cancel),
        |done| {
            let len = done.range.end.saturating_sub(done.range.start);
            tally.block(done.range, done.read);
            let mut data = 0_u64;
            for block in done.blocks {
                sum.block(block.number, &block.hash);
                table.push_raw(block.number, virtual_size, &block.hash);
                for granule in block.granules {
                    bitmap.mark(granule);
                }
                monitor.count(Counter::DataBlocks, 1);
                stored_blocks += 1;
                data = data.saturating_add(BLOCK_BYTES).min(len);
            }
            tally.zero(done.read.saturating_sub(data));
            monitor.count(Counter::WrittenBytes, done.written);
            written_bytes += done.written;
            Ok(())
        },
    )?;
    tally.finish();
    let report = Report {
        digest: sum.finish(),
        virtual_size,
        read_bytes: tally.read_bytes(),
        skipped_bytes: tally.skipped_bytes(),
        kept_bytes: tally.kept_bytes(),
        zero_bytes: tally.zero_bytes(),
        stored_blocks,
        levels: Levels::default(),
        written_bytes,
        copied_bytes: 0,
        elapsed: started.elapsed(),
    };
    Ok(Parted {
        report,
        bitmap,
        table,
    })
}

/// Takes the part at `range` from the image to the sink.
fn build(
    image: &dyn DiskImage,
    range: std::ops::Range<u64>,
    shape: &Shape<'_>,
    sink: &dyn PartSink,
    cancel: &CancelToken,
) -> Result<Done> {
    let Shape {
        part_size,
        layout,
        base,
    } = *shape;
    let number = u32::try_from(range.start / part_size + 1)
        .map_err(|_| Error::refused("the disk has more parts than can be numbered"))?;
    let len = range.end.saturating_sub(range.start);
    let guest = GuestOffset(range.start)..GuestOffset(range.end);
    let mut done = Done {
        range: range.clone(),
        read: 0,
        written: 0,
        blocks: Vec::new(),
    };
    let failed = |error| Error::from_sink(error, cancel);
    if !holds_data(image, guest.clone())? {
        sink.zeros(number, len).map_err(failed)?;
        return Ok(done);
    }
    let mut fill = |buffer: &mut [u8]| {
        // Asked once more instead of kept: a fragmented part has very many extents.
        for extent in image.extents(guest.clone()) {
            let extent = extent?;
            if extent.kind != ExtentKind::Data {
                continue;
            }
            if cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            read(image, extent.start.0, extent.len, range.start, buffer)?;
            done.read = done.read.saturating_add(extent.len);
        }
        let blocks = buffer.chunks(BLOCK_LEN);
        let is_whole = |block: &&[u8]| block.len() == BLOCK_LEN && !is_zero(block);
        let hashes = hash_all(blocks.clone().map(|block| Some(block).filter(is_whole)));
        for ((index, block), hash) in blocks.enumerate().zip(hashes) {
            let hash = match hash {
                Some(hash) => hash,
                None if is_zero(block) => continue,
                None => hash_filled_up(block),
            };
            let start = range.start.saturating_add(index as u64 * BLOCK_BYTES);
            done.blocks.push(Block {
                number: start / BLOCK_BYTES,
                hash,
                granules: layout.granules_with_data(start, block),
            });
        }
        if done.blocks.is_empty() {
            return Ok(Filled::Zeros);
        }
        if base.is_some_and(|base| is_same(base, &range, &done.blocks)) {
            return Ok(Filled::Unchanged);
        }
        done.written = len;
        Ok(Filled::Data)
    };
    sink.part(number, len, &mut fill)
        .map_err(|error| match error {
            Error::Sink(error) => failed(error),
            other => other,
        })?;
    Ok(done)
}

/// Whether `blocks` are all that the earlier object holds in `range`.
fn is_same(base: &BlockTable, range: &std::ops::Range<u64>, blocks: &[Block]) -> bool {
    let first = range.start / BLOCK_BYTES;
    let end = range.end.div_ceil(BLOCK_BYTES);
    let held = base.between(first..end);
    held.len() == blocks.len()
        && held
            .iter()
            .zip(blocks)
            .all(|(a, b)| u64::from(a.number) == b.number && a.hash == b.hash)
}

/// Whether the metadata shows data in `range`.
fn holds_data(image: &dyn DiskImage, range: std::ops::Range<GuestOffset>) -> Result<bool> {
    for extent in image.extents(range) {
        if extent?.kind == ExtentKind::Data {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Most bytes of one read: what is cached and decoded at once is bounded by what other runs read.
const READ_BYTES: u64 = BLOCK_BYTES;

/// Reads `len` bytes at guest offset `at` to their place in `buffer`, which begins at `start`.
fn read(image: &dyn DiskImage, at: u64, len: u64, start: u64, buffer: &mut [u8]) -> Result<()> {
    let offset = usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX);
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let place = buffer
        .get_mut(offset..)
        .and_then(|rest| rest.get_mut(..len))
        .ok_or_else(|| Error::refused("an extent reaches past the part it lies in"))?;
    let step = usize::try_from(READ_BYTES).unwrap_or(usize::MAX);
    let mut at = at;
    for piece in place.chunks_mut(step) {
        image.read_at(GuestOffset(at), piece)?;
        at = at.saturating_add(piece.len() as u64);
    }
    Ok(())
}

/// SHA-256 of a block, the disk's last one padded with zeros.
fn hash_filled_up(block: &[u8]) -> BlockHash {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut hash = Sha256::new();
    hash.update(block);
    let mut missing = BLOCK_LEN.saturating_sub(block.len());
    while missing > 0 {
        let now = missing.min(ZEROS.len());
        hash.update(ZEROS.get(..now).unwrap_or_default());
        missing -= now;
    }
    hash.finalize().into()
}
