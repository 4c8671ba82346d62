//! Converting into the upload: threads encode while tasks send.

use cloud::{Class, Failure, ImportHint, Result, from_journal, from_obs};
use std::sync::Arc;
use std::time::Instant;

use ::convert::delta::TableEntries;
use ::convert::{
    BlockRecord, Checkpoint, Level, Levels, Monitor, Plan, Recorder, Report, VoidRecorder,
};
use diskimg::DiskImage;
use journal::Block;
use obs::{MultipartSink, Upload, UploadOptions, Uploaded};

use super::base::Base;
use super::route::{self, Left, Route, suspend};
use super::sent::{Content, Sent};
use crate::ledger::Entry;
use crate::observe::Step;
use crate::spec::Concurrency;

/// Takes the disk into the bucket.
pub(crate) struct Transfer<'a> {
    pub(crate) route: Route<'a>,
    pub(crate) image: Arc<dyn DiskImage>,
    pub(crate) plan: &'a Plan,
    pub(crate) concurrency: Concurrency,
    pub(crate) monitor: Arc<dyn Monitor>,
    /// The earlier object from which unchanged blocks are copied.
    pub(crate) base: Option<Arc<Base>>,
}

/// An upload, and where its stream begins.
struct Started {
    sink: MultipartSink,
    upload: Upload,
    from: Checkpoint,
}

impl Transfer<'_> {
    /// Streams the image into the object, from where an earlier run was interrupted. When this one
    /// is interrupted or fails, the upload is kept and the failure says how to resume it. Without a
    /// journal, and where resuming cannot help, the upload is aborted, so that nothing is charged.
    pub(crate) async fn run(self, entry: &mut Entry) -> Result<Sent> {
        if let Some(done) = self.done_before(entry).await? {
            return Ok(done);
        }
        if let Some(base) = &self.base
            && let Some(sent) = self.delta(base, entry).await?
        {
            return Ok(sent);
        }
        let options = UploadOptions {
            memory: self.plan.memory.sink,
            expected_max: self.plan.worst_case_bytes,
            ..self.options(entry)
        };
        let Started {
            sink,
            mut upload,
            from,
        } = match self.route.go_on(entry, &options).await? {
            Some(Left::Something(resumed)) => {
                let complete = entry.state().is_some_and(|state| state.sent.is_some());
                let from = checkpoint(entry, self.plan, resumed.missing, complete)?;
                Started {
                    sink: resumed.sink,
                    upload: resumed.upload,
                    from,
                }
            }
            Some(Left::Nothing(uploaded)) => {
                entry.completed(&uploaded)?;
                return as_noted(entry, self.plan, uploaded);
            }
            None => {
                let (sink, upload) = self.route.begin(entry, &options).await?;
                let from = Checkpoint::start(self.plan.virtual_size, entry.identity())?;
                Started { sink, upload, from }
            }
        };
        let started = Instant::now();
        let encoded = self.encode(entry, sink, from).await;
        let converting = started.elapsed();
        self.route.observer.at(Step::Complete);
        let report = match encoded {
            Ok(report) => report,
            Err(failure) => return Err(suspend(&mut upload, entry, failure).await),
        };
        let completing = Instant::now();
        let digest = report.digest.to_string();
        let completed = self.route.complete(entry, &mut upload, digest).await;
        match completed.and_then(|uploaded| entry.completed(&uploaded).map(|()| uploaded)) {
            Ok(uploaded) => Ok(Sent {
                content: Some(Content::from(&report)),
                table: noted_blocks(entry, self.plan)?.1,
                converting,
                completing: completing.elapsed(),
                ..Sent::new(uploaded)
            }),
            Err(failure) => Err(suspend(&mut upload, entry, failure).await),
        }
    }

    /// What is the same for every kind of object.
    pub(crate) fn options(&self, entry: &Entry) -> UploadOptions {
        UploadOptions {
            max_in_flight: self.concurrency.most(),
            adaptive: self.concurrency == Concurrency::Auto,
            monitor: Arc::clone(&self.monitor),
            log: route::log(entry),
            ..UploadOptions::default()
        }
    }

    /// The object of an earlier run, if that has completed it and it is still there.
    pub(crate) async fn done_before(&self, entry: &mut Entry) -> Result<Option<Sent>> {
        let Some(uploaded) = self.route.done_before(entry).await? else {
            return Ok(None);
        };
        self.route.observer.notice(format_args!(
            "{}/{} is already uploaded",
            self.route.bucket, self.route.key
        ));
        as_noted(entry, self.plan, uploaded).map(Some)
    }

    /// Reads and encodes what is missing, into the sink.
    async fn encode(
        &self,
        entry: &Entry,
        mut sink: MultipartSink,
        from: Checkpoint,
    ) -> Result<Report> {
        let mut recorder = recorder(entry);
        let encoding = tokio::task::spawn_blocking({
            let (plan, cancel) = (self.plan.clone(), self.route.stop.token().clone());
            let (image, monitor) = (Arc::clone(&self.image), Arc::clone(&self.monitor));
            let watch = entry.watch().clone();
            move || {
                let report = ::convert::resume_zvhd2(
                    image.as_ref(),
                    &plan,
                    from,
                    &mut sink,
                    recorder.as_mut(),
                    monitor.as_ref(),
                    &cancel,
                );
                let report = report.map_err(|error| watch.cause(error))?;
                sink.close().map_err(|error| from_obs(&error))?;
                Ok::<_, Failure>(report)
            }
        });
        self.route.running(encoding).await
    }
}

/// Who is told of blocks: the journal, if there is one.
pub(super) fn recorder(entry: &Entry) -> Box<dyn Recorder> {
    match entry.notes() {
        Some(notes) => Box::new(notes.clone()),
        None => Box::new(VoidRecorder),
    }
}

/// Nothing was left to do: what the journal says of the content.
pub(crate) fn as_noted(entry: &Entry, plan: &Plan, uploaded: Uploaded) -> Result<Sent> {
    let Some(digest) = entry.noted_digest() else {
        return Err(Failure::new(
            Class::Io,
            "the journal has no content digest of what was uploaded",
        )
        .hint(ImportHint::Restart));
    };
    let virtual_size = plan.virtual_size;
    let (levels, table) = noted_blocks(entry, plan)?;
    Ok(Sent {
        content: Some(Content {
            digest,
            virtual_size,
            read_bytes: 0,
            skipped_bytes: 0,
            kept_bytes: virtual_size,
            zero_bytes: 0,
            changed_by: None,
            levels,
        }),
        table,
        ..Sent::new(uploaded)
    })
}

/// The levels and the table of a stream that is complete, by the journal.
pub(super) fn noted_blocks(entry: &Entry, plan: &Plan) -> Result<(Levels, Option<TableEntries>)> {
    let Some(notes) = entry.notes() else {
        return Ok((Levels::default(), None));
    };
    let (mut levels, mut table) = (Levels::default(), TableEntries::default());
    let fixed = plan.level.and_then(Level::fixed);
    let mut blocks = 0_u64;
    let count = |block: &Block| {
        if let Some(level) = block.level.map(i32::from).or(fixed) {
            levels.add(level, 1);
        }
        table.push(&record(block), fixed);
        blocks += 1;
        true
    };
    let read = notes.lock().blocks(count);
    read.map_err(|error| from_journal(&error))?;
    // What is kept of an import that is done has no blocks.
    Ok((levels, (blocks > 0).then_some(table)))
}

fn record(block: &Block) -> BlockRecord {
    BlockRecord {
        number: block.number,
        offset: block.offset,
        len: block.len,
        crc: block.crc,
        hash: block.hash,
        level: block.level.map(i32::from),
    }
}

/// The stream of an earlier run, of which `missing` is missing.
fn checkpoint(
    entry: &Entry,
    plan: &Plan,
    missing: Vec<std::ops::Range<u64>>,
    complete: bool,
) -> Result<Checkpoint> {
    let mut from = Checkpoint::new(plan.virtual_size, entry.identity(), missing)?;
    let Some(notes) = entry.notes() else {
        return Ok(from);
    };
    let mut refused = None;
    notes
        .lock()
        .blocks(|block| {
            let record = record(block);
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
            .hint(ImportHint::Restart));
    }
    if complete {
        from.complete();
    }
    Ok(from)
}
