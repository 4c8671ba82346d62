//! From an image to ZVHD2 through a sink.
//!
//! Workers read some blocks, look whether they are zero, hash them, and compress them; the calling
//! thread takes the results in order, adds up the digest, and feeds the sink. A sink that blocks
//! stops the calling thread, and through the window everybody.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use diskimg::DiskImage;
use serde::{Serialize, Serializer};

use crate::adapt::Adapting;
use crate::blocks::{DataBlocks, Group, GroupBuffer, Hashed, range_of};
use crate::cancel::CancelToken;
use crate::digest::ContentDigest;
use crate::encoded::{Encoded, Pool};
use crate::error::{Error, Result};
use crate::level::{Level, Levels};
use crate::monitor::{Counter, Monitor};
use crate::ordered::{self, Width};
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
    /// CRC, if somebody wants it, and length of the encoded form, unless the block is all zero.
    made: Option<(u32, usize)>,
}

/// What a worker has made.
struct Made {
    job: Job,
    /// The level that it was made at.
    level: i32,
    /// How long that took.
    took: Duration,
    blocks: Vec<Done>,
    encoded: Encoded,
}

/// Writes `image` as ZVHD2 into `sink`, front to back. The sink's own completion (commit, complete
/// the upload) is left to the caller.
///
/// The same content, level and identity give the same bytes, whatever the number of threads, unless
/// the level is [`Level::Auto`].
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

/// Goes on with the stream that `from` stands in, as [`to_zvhd2`] does with a new one: the bytes
/// are the same. What the sink has already is passed over by [`Sink::skip`]; blocks that lie in it
/// are neither read nor encoded. `recorder` is told of every block that is new.
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
    let pool = Pool::new(plan.group);
    let wants_crc = recorder.wants_crc();

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
            let mut blocks = Vec::with_capacity(plan.group);
            let mut encoded = pool.take();
            for (block, content) in buffer.read(image, group)? {
                let made = match block.hash {
                    None => None,
                    Some(_) => {
                        let number = wire_number(block.number)?;
                        let len = encoder.append(number, content, encoded.end())?;
                        let crc = match job {
                            Job::New(_) if !wants_crc => 0,
                            _ => crc32fast::hash(encoded.last(len)),
                        };
                        Some((crc, len))
                    }
                };
                blocks.push(Done { block, made });
            }
            let took = began.elapsed();
            Ok(Made {
                job,
                level,
                took,
                blocks,
                encoded,
            })
        },
        |group| {
            let Made {
                job,
                level,
                took,
                blocks,
                encoded,
            } = group;
            let (count, before) = (blocks.len() as u64, out.written);
            // Where the encoded blocks belong, which follow one another.
            let mut place = None;
            for Done { block, made } in blocks {
                let range = range_of(block.number, virtual_size);
                if let Job::Again(again) = job {
                    tally.again(range, block.read);
                    again.check(made)?;
                    place = Some(again.offset);
                    continue;
                }
                tally.block(range, block.read);
                let (Some(hash), Some((crc, len))) = (block.hash, made) else {
                    tally.zero(block.read);
                    continue;
                };
                sum.block(block.number, &hash);
                let number = wire_number(block.number)?;
                let offset = encoder.push(number, len)?;
                place = place.or(Some(offset));
                monitor.count(Counter::DataBlocks, 1);
                let record = BlockRecord {
                    number,
                    offset,
                    // The encoder has refused what is longer.
                    len: u32::try_from(len).unwrap_or(u32::MAX),
                    crc,
                    hash,
                    level: adapting.as_ref().map(|_| level),
                };
                levels.add(level, 1);
                recorder
                    .block(&record)
                    .map_err(|error| Error::from_sink(error, cancel))?;
            }
            if let Some(offset) = place {
                out.advance(offset)?;
                out.write(encoded.bytes())?;
            }
            pool.give(encoded);
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
