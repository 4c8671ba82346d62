//! From an image to a sparse raw file. Workers read some blocks, look whether they are zero, hash
//! them, and write them at their places; the calling thread takes the hashes in order, and adds up
//! the digest.

use std::time::Instant;

use diskimg::DiskImage;
use diskimg::zero::is_zero;

use crate::bitmap::{Bitmap, Layout};
use crate::blocks::{DataBlocks, GroupBuffer, Hashed, range_of};
use crate::cancel::CancelToken;
use crate::digest::DigestBuilder;
use crate::error::Result;
use crate::level::Levels;
use crate::monitor::{Counter, Monitor};
use crate::ordered::{self, Width};
use crate::output::OutputFile;
use crate::pipeline::Report;
use crate::plan::Plan;
use crate::tally::Tally;
use crate::target::Target;

/// Unit in which a raw file is kept sparse, in bytes: the usual block of file systems.
const PAGE: usize = 4096;

/// Writes `image` into `out` as a sparse raw file of exactly the virtual size: holes, zero blocks
/// and zero pages of 4 KiB are not written. Workers write at their positions in parallel.
/// Committing `out` is left to the caller.
///
/// # Errors
/// `Source`, `Output`, `Cancelled`, `WorkerPanicked`; `Refused` when the plan is not for this.
pub fn to_raw(
    image: &dyn DiskImage,
    plan: &Plan,
    out: &OutputFile,
    monitor: &dyn Monitor,
    cancel: &CancelToken,
) -> Result<Report> {
    write_raw(image, plan, out, None, monitor, cancel)
}

/// [`to_raw`], and the bitmap of the disk in `layout` from the same pass.
///
/// # Errors
/// Those of [`to_raw`] and of [`Bitmap::new`].
pub fn to_raw_with_bitmap(
    image: &dyn DiskImage,
    plan: &Plan,
    out: &OutputFile,
    layout: Layout,
    monitor: &dyn Monitor,
    cancel: &CancelToken,
) -> Result<(Report, Bitmap)> {
    let mut bitmap = Bitmap::new(layout, image.virtual_size())?;
    let report = write_raw(image, plan, out, Some(&mut bitmap), monitor, cancel)?;
    Ok((report, bitmap))
}

/// A block that was written into a raw file.
struct Written {
    block: Hashed,
    /// Bytes that were written of it; 0 when it is all zero.
    bytes: u64,
    /// Granules of the bitmap that hold data.
    granules: Vec<u64>,
}

fn write_raw(
    image: &dyn DiskImage,
    plan: &Plan,
    out: &OutputFile,
    mut bitmap: Option<&mut Bitmap>,
    monitor: &dyn Monitor,
    cancel: &CancelToken,
) -> Result<Report> {
    plan.check(image, Target::Raw)?;
    let started = Instant::now();
    let virtual_size = image.virtual_size();
    let layout = bitmap.as_ref().map(|bitmap| bitmap.layout());
    let mut sum = DigestBuilder::new(virtual_size);
    let mut tally = Tally::new(virtual_size, monitor);
    let mut blocks = DataBlocks::new(image, cancel);
    let (mut stored_blocks, mut written_bytes) = (0, 0);

    out.set_len(virtual_size)?;
    ordered::run(
        Width {
            threads: plan.threads,
            window: plan.window,
        },
        cancel,
        || blocks.next_group(plan.group),
        || Ok(GroupBuffer::new(plan.group)),
        |buffer, group| {
            let mut done = Vec::with_capacity(2);
            for (block, content) in buffer.read(image, group)? {
                let mut written = Written {
                    block,
                    bytes: 0,
                    granules: Vec::new(),
                };
                if block.hash.is_some() {
                    let range = range_of(block.number, virtual_size);
                    if let Some(layout) = layout {
                        written.granules = layout.granules_with_data(range.start, content);
                    }
                    written.bytes = write_pages(out, range, content)?;
                }
                done.push(written);
            }
            Ok(done)
        },
        |group| {
            for written in group {
                let block = written.block;
                tally.block(range_of(block.number, virtual_size), block.read);
                let Some(hash) = block.hash else {
                    tally.zero(block.read);
                    continue;
                };
                sum.block(block.number, &hash);
                if let Some(bitmap) = bitmap.as_deref_mut() {
                    for granule in written.granules {
                        bitmap.mark(granule);
                    }
                }
                stored_blocks += 1;
                monitor.count(Counter::DataBlocks, 1);
                monitor.count(Counter::WrittenBytes, written.bytes);
                // A written page may lie partly in a hole, so it can be more than was read.
                tally.zero(block.read.saturating_sub(written.bytes));
                written_bytes += written.bytes;
            }
            Ok(())
        },
    )?;
    tally.finish();
    Ok(Report {
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
    })
}

/// Writes the pages of `block` that are not all zero at their place in `range`, neighbours
/// together. Returns the number of bytes written.
fn write_pages(out: &OutputFile, range: std::ops::Range<u64>, block: &[u8]) -> Result<u64> {
    let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    let on_disk = block.get(..len).unwrap_or(block);
    let mut written = 0;
    let mut write = |from: usize, to: usize| {
        let pages = on_disk.get(from..to).unwrap_or_default();
        written += pages.len() as u64;
        out.write_at(range.start + from as u64, pages)
    };
    // Where a run of pages with data began.
    let mut run = None;
    for (index, page) in on_disk.chunks(PAGE).enumerate() {
        let at = index * PAGE;
        match run {
            None if !is_zero(page) => run = Some(at),
            Some(from) if is_zero(page) => {
                write(from, at)?;
                run = None;
            }
            _ => {}
        }
    }
    if let Some(from) = run {
        write(from, on_disk.len())?;
    }
    Ok(written)
}
