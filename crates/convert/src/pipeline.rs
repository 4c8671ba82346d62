//! From an image to ZVHD2 through a sink, or to a raw file.
//!
//! Workers read two blocks, look whether they are zero, hash them, and compress or write them; the calling
//! thread takes the results in order, adds up the digest, and feeds the sink. A sink that blocks
//! stops the calling thread, and through the window everybody.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use diskimg::DiskImage;
use diskimg::zero::is_zero;
use serde::{Serialize, Serializer};

use crate::adapt::Adapting;
use crate::bitmap::{Bitmap, Layout};
use crate::blocks::{DataBlocks, Group, GroupBuffer, Hashed, range_of};
use crate::cancel::CancelToken;
use crate::digest::{ContentDigest, DigestBuilder};
use crate::error::{Error, Result};
use crate::level::{Level, Levels};
use crate::monitor::{Counter, Monitor};
use crate::ordered::{self, Width};
use crate::output::OutputFile;
use crate::plan::{Plan, Target};
use crate::resume::{Again, BlockRecord, Checkpoint, Recorder, VoidRecorder};
use crate::sink::Sink;
use crate::tally::Tally;

/// What a run did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Digest of the disk's content, as it was read.
    pub digest: ContentDigest,
    /// Size the guest sees, in bytes.
    pub virtual_size: u64,
    /// Bytes read as guest data.
    pub read_bytes: u64,
    /// Bytes never read, because the metadata says that they are zero.
    pub skipped_bytes: u64,
    /// Bytes of the disk that an earlier run had dealt with, and that were not read again.
    pub kept_bytes: u64,
    /// Bytes read that turned out to be zero: in whole blocks for ZVHD2, in pages of 4 KiB for raw.
    pub zero_bytes: u64,
    /// Blocks of 2 MiB that are not all zero.
    pub stored_blocks: u64,
    /// How many of them are compressed at which level, those of an earlier run too.
    #[serde(skip_serializing_if = "Levels::is_empty")]
    pub levels: Levels,
    /// Bytes handed to the sink, or written into the raw file.
    pub written_bytes: u64,
    /// Wall-clock time, in seconds when serialized.
    #[serde(rename = "elapsed_seconds", serialize_with = "as_seconds")]
    pub elapsed: Duration,
}

fn as_seconds<S: Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(elapsed.as_secs_f64())
}

/// A block that a worker has dealt with.
struct Done {
    block: Hashed,
    /// CRC and bytes of the encoded form, unless the block is all zero.
    encoded: Option<(u32, Vec<u8>)>,
}

/// What a worker has made.
struct Made {
    job: Job,
    /// The level that it was made at.
    level: i32,
    /// How long that took.
    took: Duration,
    blocks: Vec<Done>,
}

/// Writes `image` as ZVHD2 into `sink`, front to back. The sink's own completion (commit, complete
/// the upload) is left to the caller.
///
/// The same content, level and identity give the same bytes, whatever the number of threads, unless the level is
/// [`Level::Auto`].
///
/// # Errors
/// `Source`, `Sink` (or the sink's own, when it is one of this crate), `Cancelled`,
/// `WorkerPanicked`; `Refused` when the plan is not for this.
pub fn to_zvhd2(
    image: &dyn DiskImage,
    plan: &Plan,
    identity: zvhd2::Identity,
    sink: &mut dyn Sink,
    monitor: &dyn Monitor,
    cancel: &CancelToken,
) -> Result<Report> {
    let start = Checkpoint::start(image.virtual_size(), identity)?;
    resume_zvhd2(image, plan, start, sink, &mut VoidRecorder, monitor, cancel)
}

/// What a worker is to make.
#[derive(Clone, Copy)]
enum Job {
    /// A block that an earlier run has made, and of which bytes are missing.
    Again(Again),
    /// Blocks that nobody has made.
    New(Group),
}

/// Goes on with the stream that `from` stands in, as [`to_zvhd2`] does with a new one: the bytes are
/// the same. What the sink has already is passed over by [`Sink::skip`]; blocks that lie in it are
/// neither read nor encoded. `recorder` is told of every block that is new.
///
/// # Errors
/// As for [`to_zvhd2`]. `Refused` also when a block that is made again is not what it was, so that
/// its halves would not fit: the source has changed, or what was noted is of another stream.
pub fn resume_zvhd2(
    image: &dyn DiskImage,
    plan: &Plan,
    from: Checkpoint,
    sink: &mut dyn Sink,
    recorder: &mut dyn Recorder,
    monitor: &dyn Monitor,
    cancel: &CancelToken,
) -> Result<Report> {
    plan.check(image, Target::Zvhd2)?;
    let started = Instant::now();
    let virtual_size = image.virtual_size();
    if from.virtual_size != virtual_size {
        return Err(Error::refused(format!(
            "the stream is of a disk of {} bytes, the disk has {virtual_size}",
            from.virtual_size
        )));
    }
    let level = plan.level.unwrap_or_default();
    let mut levels = from.levels(level)?;
    let mut adapting = (level == Level::Auto).then(|| Adapting::new(plan.threads, plan.window));
    // The level of blocks that are begun now.
    let present = AtomicI32::new(level.first());
    let mut out = Stream {
        sink,
        monitor,
        cancel,
        position: 0,
        written: 0,
    };
    let mut tally = Tally::new(virtual_size, monitor);
    tally.keep(from.known);
    let mut blocks = DataBlocks::new(image, cancel).behind(from.known);
    let Checkpoint {
        mut encoder,
        mut sum,
        again,
        has_head,
        ..
    } = from;
    let mut again = again.into_iter();
    let pool = Pool::default();

    if !has_head {
        out.write(&encoder.head())?;
    }
    ordered::run(
        Width {
            threads: plan.threads,
            window: (plan.window / plan.group).max(1),
        },
        cancel,
        || {
            if let Some(again) = again.next() {
                return Ok(Some(Job::Again(again)));
            }
            let group = blocks.next_group(plan.group)?;
            Ok(group.map(Job::New))
        },
        || {
            Ok((
                GroupBuffer::new(plan.group),
                zvhd2::BlockEncoder::new(level.first())?,
            ))
        },
        |(buffer, encoder), job| {
            let began = Instant::now();
            let present = present.load(Ordering::Relaxed);
            let (group, level) = match job {
                Job::Again(again) => (
                    Group::of(u64::from(again.number)),
                    again.level.unwrap_or(present),
                ),
                Job::New(group) => (group, present),
            };
            encoder.set_level(level)?;
            let mut blocks = Vec::with_capacity(2);
            for (block, content) in buffer.read(image, group)? {
                let encoded = match block.hash {
                    None => None,
                    Some(_) => {
                        let mut encoded = pool.take();
                        encoder.encode(wire_number(block.number)?, content, &mut encoded)?;
                        Some((crc32fast::hash(&encoded), encoded))
                    }
                };
                blocks.push(Done { block, encoded });
            }
            let took = began.elapsed();
            Ok(Made {
                job,
                level,
                took,
                blocks,
            })
        },
        |made| {
            let Made {
                job,
                level,
                took,
                blocks,
            } = made;
            let (count, before) = (blocks.len() as u64, out.written);
            for Done { block, encoded } in blocks {
                let range = range_of(block.number, virtual_size);
                if let Job::Again(again) = job {
                    tally.again(range, block.read);
                    let encoded = again.check(encoded)?;
                    out.advance(again.offset)?;
                    out.write(&encoded)?;
                    pool.give(encoded);
                    continue;
                }
                tally.block(range, block.read);
                let (Some(hash), Some((crc, encoded))) = (block.hash, encoded) else {
                    tally.zero(block.read);
                    continue;
                };
                sum.block(block.number, &hash);
                let number = wire_number(block.number)?;
                let offset = encoder.push(number, encoded.len())?;
                monitor.count(Counter::DataBlocks, 1);
                let record = BlockRecord {
                    number,
                    offset,
                    // The encoder has refused what is longer.
                    len: u32::try_from(encoded.len()).unwrap_or(u32::MAX),
                    crc,
                    hash,
                    level: adapting.as_ref().map(|_| level),
                };
                levels.add(level, 1);
                recorder
                    .block(&record)
                    .map_err(|error| Error::from_sink(error, cancel))?;
                out.advance(offset)?;
                out.write(&encoded)?;
                pool.give(encoded);
            }
            if let Some(adapting) = &mut adapting
                && let Some(backlog) = out.sink.backlog()
            {
                let bytes = out.written.saturating_sub(before);
                let next = adapting.look(backlog, (count, bytes), took);
                present.store(next, Ordering::Relaxed);
            }
            Ok(())
        },
    )?;
    out.advance(encoder.position())?;
    for part in encoder.tail() {
        out.write(&part)?;
    }
    tally.finish();
    Ok(Report {
        digest: sum.finish(),
        virtual_size,
        read_bytes: tally.read_bytes(),
        skipped_bytes: tally.skipped_bytes(),
        kept_bytes: tally.kept_bytes(),
        zero_bytes: tally.zero_bytes(),
        stored_blocks: encoder.stored_blocks(),
        levels,
        written_bytes: out.written,
        elapsed: started.elapsed(),
    })
}

/// A block number as ZVHD2 writes it.
fn wire_number(number: u64) -> Result<u32> {
    u32::try_from(number)
        .map_err(|_| Error::refused(format!("block {number} is beyond what ZVHD2 can number")))
}

/// The sink, counted and stoppable.
struct Stream<'a> {
    sink: &'a mut dyn Sink,
    monitor: &'a dyn Monitor,
    cancel: &'a CancelToken,
    /// Where in the stream the next byte stands.
    position: u64,
    written: u64,
}

impl Stream<'_> {
    /// Passes over what the sink has, up to `offset`.
    fn advance(&mut self, offset: u64) -> Result<()> {
        let len = offset.saturating_sub(self.position);
        if len > 0 {
            self.sink
                .skip(len)
                .map_err(|e| Error::from_sink(e, self.cancel))?;
            self.position = offset;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        self.sink
            .write(bytes)
            .map_err(|e| Error::from_sink(e, self.cancel))?;
        let len = bytes.len() as u64;
        self.position += len;
        self.written += len;
        self.monitor.count(Counter::WrittenBytes, len);
        Ok(())
    }
}

/// Buffers for encoded blocks. A worker takes one only when it is inside the window, so there are
/// never more of them than the window is wide.
#[derive(Default)]
struct Pool(Mutex<Vec<Vec<u8>>>);

impl Pool {
    fn take(&self) -> Vec<u8> {
        let pooled = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        pooled.unwrap_or_else(|| Vec::with_capacity(zvhd2::MAX_ENCODED_BLOCK))
    }

    fn give(&self, buffer: Vec<u8>) {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pool.push(buffer);
    }
}

/// Unit in which a raw file is kept sparse, in bytes: the usual block of file systems.
const PAGE: usize = 4096;

/// Writes `image` into `out` as a sparse raw file of exactly the virtual size: holes, zero blocks
/// and zero pages of 4 KiB are not written. Workers write at their positions in parallel. Committing
/// `out` is left to the caller.
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
        elapsed: started.elapsed(),
    })
}

/// Writes the pages of `block` that are not all zero at their place in `range`, neighbours together.
/// Returns the number of bytes written.
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
