//! From an image to ZVHD2 through a sink.
//!
//! Workers read some blocks, check whether they are zero, hash them, and compress them; the calling
//! thread takes the results in order, adds up the digest, and feeds the sink. A sink that blocks
//! stops the calling thread, and through the window all others.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use diskimg::DiskImage;
use serde::{Serialize, Serializer};

use crate::adapt::Adapting;
use crate::blocks::{DataBlocks, Group, GroupBuffer, Hashed, range_of};
use crate::cancel::CancelToken;
use crate::digest::{ContentDigest, DigestBuilder};
use crate::encoded::{Encoded, Pool};
use crate::error::{Error, Result};
use crate::hashes::BlockHash;
use crate::level::{Level, Levels};
use crate::monitor::{Counter, Monitor};
use crate::ordered::{self, Width};
use crate::plan::Plan;
use crate::resume::{Again, BlockRecord, Checkpoint, Recorder, VoidRecorder};
use crate::sink::Sink;
use crate::tally::Tally;
use crate::target::Target;

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
    /// Bytes that the sink copied from an earlier object.
    #[serde(skip_serializing_if = "is_none")]
    pub copied_bytes: u64,
    /// Wall-clock time, in seconds when serialized.
    #[serde(rename = "elapsed_seconds", serialize_with = "as_seconds")]
    pub elapsed: Duration,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "what serde calls it with"
)]
const fn is_none(bytes: &u64) -> bool {
    *bytes == 0
}

fn as_seconds<S: Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(elapsed.as_secs_f64())
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

/// Resumes the stream at `from`, as [`to_zvhd2`] begins a new one: the bytes are the same. What the
/// sink has already is passed over by [`Sink::skip`]; blocks that lie in it are neither read nor
/// encoded. `recorder` notes every block that is new.
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
    if from.virtual_size != image.virtual_size() {
        return Err(Error::refused(format!(
            "the stream is of a disk of {} bytes, the disk has {}",
            from.virtual_size,
            image.virtual_size()
        )));
    }
    let workers = Workers::new(image, plan, recorder.wants_crc());
    let mut blocks = DataBlocks::new(image, cancel).behind(from.known);
    let stream = Stream::new(sink, monitor, cancel);
    let (mut run, again) = Run::begin(from, plan, stream, recorder)?;
    let mut again = again.into_iter();
    ordered::run(
        Width {
            threads: plan.threads,
            window: (plan.window / plan.group).max(1),
        },
        cancel,
        || match again.next() {
            Some(again) => Ok(Some(Job::Again(again))),
            None => Ok(blocks.next_group(plan.group)?.map(Job::New)),
        },
        || workers.start(),
        |worker, job| workers.make(worker, job),
        |made| run.take(made, &workers),
    )?;
    run.finish()
}

/// What a worker is to make.
#[derive(Clone, Copy)]
pub(crate) enum Job {
    /// A block that an earlier run has made, and of which bytes are missing.
    Again(Again),
    /// New blocks.
    New(Group),
    /// New blocks at this level.
    At(Group, i32),
}

/// A block that a worker has dealt with.
pub(crate) struct Done {
    block: Hashed,
    /// CRC, if somebody wants it, and length of the encoded form, unless the block is all zero.
    made: Option<(u32, usize)>,
}

impl Done {
    pub(crate) fn number(&self) -> u64 {
        self.block.number
    }

    pub(crate) fn hash(&self) -> Option<BlockHash> {
        self.block.hash
    }
}

/// What a worker has made.
pub(crate) struct Made {
    job: Job,
    /// The level that it was made at.
    level: i32,
    /// How long that took.
    took: Duration,
    blocks: Vec<Done>,
    encoded: Encoded,
}

impl Made {
    /// The blocks, ascending.
    pub(crate) fn blocks(&self) -> &[Done] {
        &self.blocks
    }
}

/// What the workers share.
pub(crate) struct Workers<'a> {
    image: &'a dyn DiskImage,
    /// Most blocks that one takes at a time.
    group: usize,
    first_level: i32,
    /// The level of blocks that are begun now.
    present: AtomicI32,
    pool: Pool,
    /// Whether somebody wants the CRC of new blocks.
    wants_crc: bool,
}

/// What a worker has to itself.
pub(crate) struct Worker {
    buffer: GroupBuffer,
    encoder: zvhd2::BlockEncoder,
}

impl<'a> Workers<'a> {
    pub(crate) fn new(image: &'a dyn DiskImage, plan: &Plan, wants_crc: bool) -> Self {
        let first_level = plan.level.unwrap_or_default().first();
        Self {
            image,
            group: plan.group,
            first_level,
            present: AtomicI32::new(first_level),
            pool: Pool::new(plan.group),
            wants_crc,
        }
    }

    pub(crate) fn start(&self) -> Result<Worker> {
        Ok(Worker {
            buffer: GroupBuffer::new(self.group),
            encoder: zvhd2::BlockEncoder::new(self.first_level)?,
        })
    }

    /// Reads, hashes and encodes the blocks of `job`.
    pub(crate) fn make(&self, worker: &mut Worker, job: Job) -> Result<Made> {
        let began = Instant::now();
        let Worker { buffer, encoder } = worker;
        let present = self.present.load(Ordering::Relaxed);
        let (group, level) = match job {
            Job::Again(again) => (
                Group::of(u64::from(again.number)),
                again.level.unwrap_or(present),
            ),
            Job::New(group) => (group, present),
            Job::At(group, level) => (group, level),
        };
        encoder.set_level(level)?;
        let mut blocks = Vec::with_capacity(self.group);
        let mut encoded = self.pool.take();
        for (block, content) in buffer.read(self.image, group)? {
            let made = match block.hash {
                None => None,
                Some(_) => {
                    let number = wire_number(block.number)?;
                    let len = encoder.append(number, content, encoded.end())?;
                    let crc = match job {
                        Job::New(_) | Job::At(..) if !self.wants_crc => 0,
                        _ => crc32fast::hash(encoded.last(len)),
                    };
                    Some((crc, len))
                }
            };
            blocks.push(Done { block, made });
        }
        Ok(Made {
            job,
            level,
            took: began.elapsed(),
            blocks,
            encoded,
        })
    }
}

/// A run, as the calling thread sees it: what it adds up from the blocks, in their order.
pub(crate) struct Run<'a> {
    started: Instant,
    virtual_size: u64,
    out: Stream<'a>,
    recorder: &'a mut dyn Recorder,
    tally: Tally<'a>,
    encoder: zvhd2::Encoder,
    sum: DigestBuilder,
    levels: Levels,
    /// Chooses the level of blocks that are begun, where the plan leaves that open.
    adapting: Option<Adapting>,
}

impl<'a> Run<'a> {
    /// A run that resumes `from`, and the blocks that are to be made again.
    pub(crate) fn begin(
        from: Checkpoint,
        plan: &Plan,
        out: Stream<'a>,
        recorder: &'a mut dyn Recorder,
    ) -> Result<(Self, Vec<Again>)> {
        let level = plan.level.unwrap_or_default();
        let mut tally = Tally::new(from.virtual_size, out.monitor);
        tally.keep(from.known);
        let mut run = Self {
            started: Instant::now(),
            virtual_size: from.virtual_size,
            out,
            recorder,
            tally,
            levels: from.levels(level)?,
            adapting: (level == Level::Auto).then(|| Adapting::new(plan.threads, plan.window)),
            encoder: from.encoder,
            sum: from.sum,
        };
        if !from.has_head {
            run.out.write(&run.encoder.head())?;
        }
        Ok((run, from.again))
    }

    /// Takes in what a worker has made: adds it up, and writes it.
    pub(crate) fn take(&mut self, group: Made, workers: &Workers<'_>) -> Result<()> {
        let Made {
            job,
            level,
            took,
            blocks,
            encoded,
        } = group;
        let (count, before) = (blocks.len() as u64, self.out.written);
        // Where the encoded blocks belong, which follow one another.
        let mut place = None;
        for done in blocks {
            let offset = match job {
                Job::Again(again) => Some(self.made_again(again, &done)?),
                Job::New(_) => self.add(&done, level, self.adapting.is_some())?,
                Job::At(..) => self.add(&done, level, true)?,
            };
            place = place.or(offset);
        }
        if let Some(offset) = place {
            self.out.advance(offset)?;
            self.out.write(encoded.bytes())?;
        }
        workers.pool.give(encoded);
        if let Some(adapting) = &mut self.adapting
            && let Some(backlog) = self.out.sink.backlog()
        {
            let bytes = self.out.written.saturating_sub(before);
            let next = adapting.look(backlog, (count, bytes), took);
            workers.present.store(next, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Checks a block that was made again; where it belongs.
    fn made_again(&mut self, again: Again, done: &Done) -> Result<u64> {
        let range = range_of(done.block.number, self.virtual_size);
        self.tally.again(range, done.block.read);
        again.check(done.made)?;
        Ok(again.offset)
    }

    /// Adds a new block, made at `level`, which is noted if it is not the one of all; where it
    /// belongs, unless it is all zero.
    fn add(
        &mut self,
        Done { block, made }: &Done,
        level: i32,
        notes_level: bool,
    ) -> Result<Option<u64>> {
        let range = range_of(block.number, self.virtual_size);
        self.tally.block(range, block.read);
        let (Some(hash), Some((crc, len))) = (block.hash, *made) else {
            self.tally.zero(block.read);
            return Ok(None);
        };
        self.sum.block(block.number, &hash);
        let number = wire_number(block.number)?;
        let offset = self.encoder.push(number, len)?;
        self.out.monitor.count(Counter::DataBlocks, 1);
        let record = BlockRecord {
            number,
            offset,
            // The encoder has refused what is longer.
            len: u32::try_from(len).unwrap_or(u32::MAX),
            crc,
            hash,
            level: notes_level.then_some(level),
        };
        self.levels.add(level, 1);
        self.recorder
            .block(&record)
            .map_err(|error| Error::from_sink(error, self.out.cancel))?;
        Ok(Some(offset))
    }

    /// Has the sink copy `blocks`, `len` bytes of an earlier object, which are on the disk too.
    pub(crate) fn copy(&mut self, blocks: &[BlockRecord], len: u64) -> Result<()> {
        let Some(first) = blocks.first() else {
            return Ok(());
        };
        for block in blocks {
            let range = range_of(u64::from(block.number), self.virtual_size);
            self.tally.copied(range);
            self.sum.block(u64::from(block.number), &block.hash);
            let len = usize::try_from(block.len).unwrap_or(usize::MAX);
            let offset = self.encoder.push(block.number, len)?;
            self.out.monitor.count(Counter::DataBlocks, 1);
            self.levels.add(block.level.unwrap_or_default(), 1);
            self.recorder
                .block(&BlockRecord { offset, ..*block })
                .map_err(|error| Error::from_sink(error, self.out.cancel))?;
        }
        self.out.copy(first.offset, len)
    }

    /// Bytes written so far.
    pub(crate) const fn written(&self) -> u64 {
        self.out.written
    }

    /// Writes what follows the last block.
    pub(crate) fn finish(mut self) -> Result<Report> {
        self.out.advance(self.encoder.position())?;
        for part in self.encoder.tail() {
            self.out.write(&part)?;
        }
        self.tally.finish();
        let Self { tally, out, .. } = &self;
        Ok(Report {
            virtual_size: self.virtual_size,
            read_bytes: tally.read_bytes(),
            skipped_bytes: tally.skipped_bytes(),
            kept_bytes: tally.kept_bytes(),
            zero_bytes: tally.zero_bytes(),
            stored_blocks: self.encoder.stored_blocks(),
            written_bytes: out.written,
            copied_bytes: out.copied,
            elapsed: self.started.elapsed(),
            levels: self.levels,
            digest: self.sum.finish(),
        })
    }
}

/// A block number as ZVHD2 writes it.
fn wire_number(number: u64) -> Result<u32> {
    u32::try_from(number)
        .map_err(|_| Error::refused(format!("block {number} is beyond what ZVHD2 can number")))
}

/// The sink, counted and stoppable.
pub(crate) struct Stream<'a> {
    sink: &'a mut dyn Sink,
    monitor: &'a dyn Monitor,
    cancel: &'a CancelToken,
    /// Where in the stream the next byte stands.
    position: u64,
    written: u64,
    copied: u64,
}

impl<'a> Stream<'a> {
    pub(crate) fn new(
        sink: &'a mut dyn Sink,
        monitor: &'a dyn Monitor,
        cancel: &'a CancelToken,
    ) -> Self {
        Self {
            sink,
            monitor,
            cancel,
            position: 0,
            written: 0,
            copied: 0,
        }
    }

    /// Has the sink copy `len` bytes of an earlier object, from `offset` of it on.
    fn copy(&mut self, offset: u64, len: u64) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        self.sink
            .copy(offset, len)
            .map_err(|e| Error::from_sink(e, self.cancel))?;
        self.position += len;
        self.copied += len;
        Ok(())
    }

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
