//! Converting into the upload: threads encode while tasks send.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::convert::{
    BlockRecord, Checkpoint, ContentDigest, Level, Levels, Monitor, Plan, PlanOptions, Recorder,
    Report, SinkMemory, Target, VoidRecorder,
};
use diskimg::DiskImage;
use diskimg::units::MIB;
use journal::Block;
use obs::{MultipartSink, Upload, UploadOptions, Uploaded};

use super::raw::RawTransferred;
use super::resuming::Session;
use super::route::{self, Left, Route, suspend};
use super::shared::Step;
use crate::args::Concurrency;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::interrupted;
use cloud::{from_journal, from_obs};

/// Bytes of parts that keep a line busy: eight of the smallest. They are worth more than threads
/// that have to wait for the line.
pub(super) const BUSY: u64 = 64 * MIB;

/// Plans the run so that the image, the workers and the parts fit the budget together.
///
/// Parts get what keeps the line busy, and what conversion leaves, up to what the most parts in
/// flight, one that is being filled and one that waits can use.
pub(crate) fn plan(
    image: &dyn DiskImage,
    concurrency: Concurrency,
    mut options: PlanOptions,
) -> Outcome<Plan> {
    options.upload_memory = SinkMemory::default();
    let alone = ::convert::plan(image, Target::Zvhd2, &options)?;
    // Two of the largest parts that the stream can reach.
    let least = UploadOptions::least_memory(alone.worst_case_bytes);
    let parts = u64::try_from(concurrency.most()).unwrap_or(u64::MAX);
    let useful = (least / 2).saturating_mul(parts.saturating_add(2));
    let most = useful.max(least);
    options.upload_memory = SinkMemory {
        least,
        enough: BUSY.clamp(least, most),
        most,
    };
    Ok(::convert::plan(image, Target::Zvhd2, &options)?)
}

/// What converting and uploading came to.
#[derive(Debug)]
pub(super) struct Transferred {
    pub(super) content: Content,
    pub(super) uploaded: Uploaded,
    /// From the first byte read to the last part handed over.
    pub(super) converting: Duration,
    /// From there to the verified object.
    pub(super) completing: Duration,
    /// Where a raw object was uploaded by this run.
    pub(super) raw: Option<RawTransferred>,
}

/// What became of the disk's bytes.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) digest: ContentDigest,
    pub(super) virtual_size: u64,
    pub(super) read_bytes: u64,
    pub(super) skipped_bytes: u64,
    /// Dealt with by an earlier run.
    pub(super) kept_bytes: u64,
    pub(super) zero_bytes: u64,
    /// Blocks by level, where something was compressed.
    pub(super) levels: Levels,
}

impl From<&Report> for Content {
    fn from(report: &Report) -> Self {
        Self {
            digest: report.digest,
            virtual_size: report.virtual_size,
            read_bytes: report.read_bytes,
            skipped_bytes: report.skipped_bytes,
            kept_bytes: report.kept_bytes,
            zero_bytes: report.zero_bytes,
            levels: report.levels.clone(),
        }
    }
}

/// Takes the disk into the bucket.
pub(super) struct Transfer<'a> {
    pub(super) route: Route<'a>,
    pub(super) image: Arc<dyn DiskImage>,
    pub(super) plan: &'a Plan,
    pub(super) concurrency: Concurrency,
    pub(super) monitor: Arc<dyn Monitor>,
}

/// An upload, and where its stream begins.
struct Started {
    sink: MultipartSink,
    upload: Upload,
    from: Checkpoint,
}

impl Transfer<'_> {
    /// Streams the image into the object, from where an earlier run was interrupted. When this one
    /// is, or fails, the upload stays and the failure says how to go on; without a journal, and
    /// where going on cannot help, it is aborted, so that nothing is left that costs money.
    pub(super) async fn run(self, session: &mut Session) -> Outcome<Transferred> {
        if let Some(done) = self.done_before(session).await? {
            return Ok(done);
        }
        let options = UploadOptions {
            memory: self.plan.memory.sink,
            expected_max: self.plan.worst_case_bytes,
            ..self.options(session)
        };
        let Started {
            sink,
            mut upload,
            from,
        } = match self.route.go_on(session, &options).await? {
            Some(Left::Something(resumed)) => {
                let complete = session.state().is_some_and(|state| state.sent.is_some());
                let from = checkpoint(session, self.plan, resumed.missing, complete)?;
                Started {
                    sink: resumed.sink,
                    upload: resumed.upload,
                    from,
                }
            }
            Some(Left::Nothing(uploaded)) => {
                session.completed(&uploaded)?;
                return as_noted(session, self.plan, uploaded);
            }
            None => {
                let (sink, upload) = self.route.begin(session, &options).await?;
                let from = Checkpoint::start(self.plan.virtual_size, session.identity())?;
                Started { sink, upload, from }
            }
        };
        let started = Instant::now();
        let encoded = self.encode(session, sink, from).await;
        let converting = started.elapsed();
        self.route.steps.at(Step::Complete);
        let report = match encoded {
            Ok(report) => report,
            Err(failure) => return Err(suspend(&mut upload, session, failure).await),
        };
        let completing = Instant::now();
        let digest = report.digest.to_string();
        let completed = self.route.complete(session, &mut upload, digest).await;
        match completed.and_then(|uploaded| session.completed(&uploaded).map(|()| uploaded)) {
            Ok(uploaded) => Ok(Transferred {
                content: Content::from(&report),
                uploaded,
                converting,
                completing: completing.elapsed(),
                raw: None,
            }),
            Err(failure) => Err(suspend(&mut upload, session, failure).await),
        }
    }

    /// What is the same for every kind of object.
    pub(super) fn options(&self, session: &Session) -> UploadOptions {
        UploadOptions {
            max_in_flight: self.concurrency.most(),
            adaptive: self.concurrency == Concurrency::Auto,
            monitor: Arc::clone(&self.monitor),
            log: route::log(session),
            ..UploadOptions::default()
        }
    }

    /// The object of an earlier run, if that has completed it and it is still there.
    pub(super) async fn done_before(&self, session: &mut Session) -> Outcome<Option<Transferred>> {
        let Some(uploaded) = self.route.done_before(session).await? else {
            return Ok(None);
        };
        self.route.console.notice(format_args!(
            "{}/{} was uploaded before",
            self.route.bucket, self.route.key
        ));
        as_noted(session, self.plan, uploaded).map(Some)
    }

    /// Reads and encodes what is missing, into the sink.
    async fn encode(
        &self,
        session: &Session,
        mut sink: MultipartSink,
        from: Checkpoint,
    ) -> Outcome<Report> {
        let mut recorder: Box<dyn Recorder> = match session.notes() {
            Some(notes) => Box::new(notes.clone()),
            None => Box::new(VoidRecorder),
        };
        let encoding = tokio::task::spawn_blocking({
            let (plan, cancel) = (self.plan.clone(), self.route.interrupt.token().clone());
            let (image, monitor) = (Arc::clone(&self.image), Arc::clone(&self.monitor));
            move || {
                let report = ::convert::resume_zvhd2(
                    image.as_ref(),
                    &plan,
                    from,
                    &mut sink,
                    recorder.as_mut(),
                    monitor.as_ref(),
                    &cancel,
                )?;
                sink.close().map_err(|error| from_obs(&error))?;
                Ok::<_, Failure>(report)
            }
        });
        tokio::select! {
            biased;
            // The encoder may be waiting for a part to be sent: stopping the upload wakes it.
            () = self.route.interrupt.asked() => Err(interrupted()),
            encoded = encoding => encoded.unwrap_or_else(|e| {
                Err(Failure::from_error(Exit::Io, &e).context("the conversion crashed"))
            }),
        }
    }
}

/// Nothing was left to do: what the journal says of the content.
pub(super) fn as_noted(session: &Session, plan: &Plan, uploaded: Uploaded) -> Outcome<Transferred> {
    let Some(digest) = session.noted_digest() else {
        return Err(Failure::new(
            Exit::Io,
            "the journal has no content digest of what was uploaded",
        )
        .hint("begin anew with --restart"));
    };
    let virtual_size = plan.virtual_size;
    Ok(Transferred {
        content: Content {
            digest,
            virtual_size,
            read_bytes: 0,
            skipped_bytes: 0,
            kept_bytes: virtual_size,
            zero_bytes: 0,
            levels: levels_noted(session, plan)?,
        },
        uploaded,
        converting: Duration::ZERO,
        completing: Duration::ZERO,
        raw: None,
    })
}

/// The levels of a stream of which nothing was left to do.
fn levels_noted(session: &Session, plan: &Plan) -> Outcome<Levels> {
    let mut levels = Levels::default();
    let fixed = plan.level.and_then(Level::fixed);
    if let Some(notes) = session.notes() {
        let count = |block: &Block| {
            if let Some(level) = block.level.map(i32::from).or(fixed) {
                levels.add(level, 1);
            }
            true
        };
        let read = notes.lock().blocks(count);
        read.map_err(|error| from_journal(&error))?;
    }
    Ok(levels)
}

/// The stream of an earlier run, of which `missing` is missing.
fn checkpoint(
    session: &Session,
    plan: &Plan,
    missing: Vec<std::ops::Range<u64>>,
    complete: bool,
) -> Outcome<Checkpoint> {
    let mut from = Checkpoint::new(plan.virtual_size, session.identity(), missing)?;
    let Some(notes) = session.notes() else {
        return Ok(from);
    };
    let mut refused = None;
    notes
        .lock()
        .blocks(|block| {
            let record = BlockRecord {
                number: block.number,
                offset: block.offset,
                len: block.len,
                crc: block.crc,
                hash: block.hash,
                level: block.level.map(i32::from),
            };
            match from.block(&record) {
                Ok(useful) => useful,
                Err(error) => {
                    refused = Some(error);
                    false
                }
            }
        })
        .map_err(|error| from_journal(&error))?;
    if let Some(error) = refused {
        return Err(Failure::from(error)
            .context("the journal does not fit the disk")
            .hint("begin anew with --restart"));
    }
    if complete {
        from.complete();
    }
    Ok(from)
}

#[cfg(test)]
mod tests;
