//! Converting into the upload: threads encode while tasks send.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::convert::{
    BlockRecord, Checkpoint, ContentDigest, Monitor, Plan, PlanOptions, Recorder, Report, Target,
    VoidRecorder,
};
use diskimg::DiskImage;
use diskimg::units::human;
use journal::Record;
use obs::{Client, MultipartSink, Resumption, Upload, UploadOptions, Uploaded, VoidPartLog};

use super::errors::{from_journal, from_obs};
use super::raw::RawTransferred;
use super::resuming::Session;
use super::shared::{Step, Steps};
use crate::args::Concurrency;
use crate::commands::storage::{self, GRACE};
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::{Interrupt, interrupted};

/// Plans the run so that the image, the workers and the parts fit the budget together.
///
/// Parts get what conversion leaves, up to what the most parts in flight, one that is being filled and
/// one that waits can use.
pub(super) fn plan(
    image: &dyn DiskImage,
    concurrency: Concurrency,
    mut options: PlanOptions,
) -> Outcome<Plan> {
    options.upload_memory = 0;
    let alone = ::convert::plan(image, Target::Zvhd2, &options)?;
    // Two of the largest parts that the stream can reach.
    let least = UploadOptions::least_memory(alone.worst_case_bytes);
    let parts = u64::try_from(concurrency.most()).unwrap_or(u64::MAX);
    let useful = (least / 2).saturating_mul(parts.saturating_add(2));
    let left = options.memory.saturating_sub(alone.memory.total());
    options.upload_memory = left.clamp(least, useful.max(least));
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
#[derive(Clone, Copy, Debug)]
pub(super) struct Content {
    pub(super) digest: ContentDigest,
    pub(super) virtual_size: u64,
    pub(super) read_bytes: u64,
    pub(super) skipped_bytes: u64,
    /// Dealt with by an earlier run.
    pub(super) kept_bytes: u64,
    pub(super) zero_bytes: u64,
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
        }
    }
}

/// Takes the disk into the bucket.
pub(super) struct Transfer<'a> {
    pub(super) client: &'a Client,
    pub(super) bucket: &'a str,
    pub(super) key: &'a str,
    pub(super) image: Arc<dyn DiskImage>,
    pub(super) plan: &'a Plan,
    pub(super) concurrency: Concurrency,
    pub(super) monitor: Arc<dyn Monitor>,
    pub(super) steps: &'a dyn Steps,
    pub(super) console: Console,
    pub(super) interrupt: &'a Interrupt,
}

/// An upload, and where its stream begins.
struct Started {
    sink: MultipartSink,
    upload: Upload,
    from: Checkpoint,
}

/// What an earlier run has left to do.
enum Left {
    Everything(Box<Started>),
    Nothing(Uploaded),
}

impl Transfer<'_> {
    /// Streams the image into the object, from where an earlier run was interrupted. When this one
    /// is, or fails, the upload stays and the failure says how to go on; without a journal, and where
    /// going on cannot help, it is aborted, so that nothing is left that costs money.
    pub(super) async fn run(self, session: &mut Session) -> Outcome<Transferred> {
        if let Some(done) = self.done_before(session).await? {
            return Ok(done);
        }
        let options = UploadOptions {
            memory: self.plan.memory.sink,
            expected_max: self.plan.worst_case_bytes,
            max_in_flight: self.concurrency.most(),
            adaptive: self.concurrency == Concurrency::Auto,
            monitor: Arc::clone(&self.monitor),
            log: match session.notes() {
                Some(notes) => Arc::new(notes.clone()),
                None => Arc::new(VoidPartLog),
            },
            ..UploadOptions::default()
        };
        let Started {
            sink,
            mut upload,
            from,
        } = match self.go_on(session, &options).await? {
            Some(Left::Everything(started)) => *started,
            Some(Left::Nothing(uploaded)) => {
                session.completed(&uploaded)?;
                return self.as_noted(session, uploaded);
            }
            None => self.begin(session, &options).await?,
        };
        let started = Instant::now();
        let encoded = self.encode(session, sink, from).await;
        let converting = started.elapsed();
        self.steps.at(Step::Complete);
        let report = match encoded {
            Ok(report) => report,
            Err(failure) => return Err(suspend(&mut upload, session, failure).await),
        };
        let completing = Instant::now();
        match self.complete(session, &mut upload, &report).await {
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

    /// The object of an earlier run, if that has completed it and it is still there.
    pub(super) async fn done_before(&self, session: &mut Session) -> Outcome<Option<Transferred>> {
        let Some(completed) = session.state().and_then(|state| state.completed.clone()) else {
            return Ok(None);
        };
        let found = self
            .interrupt
            .unless_asked(self.client.object(self.bucket, self.key))
            .await?
            .map_err(|error| from_obs(&error))?;
        let same = found.is_some_and(|found| {
            found.size == completed.size && found.etag.as_deref() == Some(&completed.etag)
        });
        if !same {
            self.console.notice(format_args!(
                "the object {}/{} of the earlier run is gone or another one; it is uploaded anew",
                self.bucket, self.key
            ));
            session.forget();
            return Ok(None);
        }
        self.console.notice(format_args!(
            "{}/{} was uploaded before; going on with the registration",
            self.bucket, self.key
        ));
        let uploaded = Uploaded {
            size: completed.size,
            etag: completed.etag,
            etag_verified: completed.etag_verified,
            parts: completed.parts,
            upload_id: session
                .state()
                .and_then(|state| state.upload.clone())
                .unwrap_or_default(),
            sent_bytes: 0,
            kept_bytes: completed.size,
            retries: 0,
        };
        self.as_noted(session, uploaded).map(Some)
    }

    /// Nothing was left to do: what the journal says of the content.
    fn as_noted(&self, session: &Session, uploaded: Uploaded) -> Outcome<Transferred> {
        let sent = session.state().and_then(|state| state.sent.as_ref());
        let digest = sent.and_then(|(_, digest)| digest.parse().ok());
        let Some(digest) = digest else {
            return Err(Failure::new(
                Exit::Io,
                "the journal has no content digest of what was uploaded",
            )
            .hint("begin anew with --restart"));
        };
        let virtual_size = self.plan.virtual_size;
        Ok(Transferred {
            content: Content {
                digest,
                virtual_size,
                read_bytes: 0,
                skipped_bytes: 0,
                kept_bytes: virtual_size,
                zero_bytes: 0,
            },
            uploaded,
            converting: Duration::ZERO,
            completing: Duration::ZERO,
            raw: None,
        })
    }

    /// Goes on with the upload of an earlier run, if there is one that can.
    async fn go_on(&self, session: &mut Session, options: &UploadOptions) -> Outcome<Option<Left>> {
        let Some((id, whole)) = session.state().and_then(|state| {
            Some((
                state.upload.clone()?,
                state.sent.as_ref().map(|sent| sent.0),
            ))
        }) else {
            return Ok(None);
        };
        let parts = session.parts();
        let resuming =
            self.client
                .resume_upload(self.bucket, self.key, &id, &parts, whole, options);
        let resumption = self
            .interrupt
            .unless_asked(resuming)
            .await?
            .map_err(|error| session.goes_on(from_obs(&error)))?;
        let resumed = match resumption {
            Resumption::GoesOn(resumed) => *resumed,
            Resumption::Completed(uploaded) => {
                self.console.notice(format_args!(
                    "upload {id} was completed before, although nobody was told; the object {}/{} is right",
                    self.bucket, self.key
                ));
                return Ok(Some(Left::Nothing(uploaded)));
            }
            Resumption::Gone => {
                self.console.notice(format_args!(
                    "upload {id} of {}/{} is not known to the server any more; it begins anew",
                    self.bucket, self.key
                ));
                session.forget();
                return Ok(None);
            }
        };
        let from = checkpoint(session, self.plan, resumed.missing, whole.is_some())?;
        self.console.notice(format_args!(
            "going on with upload {id} of {}/{}: {} in {} parts are stored",
            self.bucket,
            self.key,
            human(resumed.kept_bytes),
            resumed.kept_parts
        ));
        Ok(Some(Left::Everything(Box::new(Started {
            sink: resumed.sink,
            upload: resumed.upload,
            from,
        }))))
    }

    /// Begins an upload.
    async fn begin(&self, session: &mut Session, options: &UploadOptions) -> Outcome<Started> {
        session.begin(self.client, self.console).await?;
        let place = (self.bucket, self.key);
        let (sink, mut upload) =
            storage::start_upload(self.client, place, options, self.interrupt).await?;
        let id = upload.upload_id().to_owned();
        self.console.notice(format_args!(
            "upload {id} of {}/{} has begun",
            self.bucket, self.key
        ));
        // An id that nobody remembers would never be aborted.
        if let Err(failure) = session.record(&Record::Upload { id }) {
            return Err(abort(&mut upload, failure).await);
        }
        let from = Checkpoint::start(self.plan.virtual_size, session.identity())?;
        Ok(Started { sink, upload, from })
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
            let (plan, cancel) = (self.plan.clone(), self.interrupt.token().clone());
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
            () = self.interrupt.asked() => Err(interrupted()),
            encoded = encoding => encoded.unwrap_or_else(|e| {
                Err(Failure::from_error(Exit::Io, &e).context("the conversion crashed"))
            }),
        }
    }

    /// Waits for the last parts, and joins them.
    async fn complete(
        &self,
        session: &Session,
        upload: &mut Upload,
        report: &Report,
    ) -> Outcome<Uploaded> {
        let size = self
            .interrupt
            .unless_asked(upload.sent())
            .await?
            .map_err(|error| from_obs(&error))?;
        session.check_source()?;
        // Before the parts are joined: only who knows all of them can tell afterwards whose object it is.
        session.record(&Record::Sent {
            size,
            digest: report.digest.to_string(),
        })?;
        let uploaded = self
            .interrupt
            .unless_asked(upload.complete())
            .await?
            .map_err(|error| from_obs(&error))?;
        session.completed(&uploaded)?;
        Ok(uploaded)
    }
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

/// Ends the run because of `failure`. What is stored stays, if another run can use it.
async fn suspend(upload: &mut Upload, session: &Session, failure: Failure) -> Failure {
    // Going on would end the same way: what is stored is wrong, or is of a source that has changed.
    let in_vain = failure.exit() == Exit::Mismatch
        || (failure.exit() == Exit::Refused && upload.failure().is_none());
    if in_vain || session.notes().is_none() {
        let failure = abort(upload, failure).await;
        return match session.why_not_again() {
            Some(why) => failure.note(why),
            None => failure,
        };
    }
    upload.pause(GRACE).await;
    let mut failure = first(upload, failure);
    if let Some(notes) = session.notes()
        && let Err(error) = notes.lock().sync()
    {
        failure = failure.note(format!("what was done last may be unknown later: {error}"));
    }
    let (id, bucket, key) = (upload.upload_id(), upload.bucket(), upload.key());
    let failure = failure
        .data("upload_id", &id)
        .data("key", &key)
        .note(format!(
            "upload {id} of {bucket}/{key} is kept; its parts cost money until it is completed or thrown away: \
             imgferry uploads abort {bucket} --id {id}"
        ));
    session.goes_on(failure)
}

/// What stopped the upload is the cause; that the sink then took no more is its consequence.
fn first(upload: &Upload, failure: Failure) -> Failure {
    match (failure.exit(), upload.failure()) {
        (Exit::Interrupted, _) | (_, None) => failure,
        (_, Some(first)) => from_obs(first),
    }
}

/// Aborts `upload` because of `failure`, and says what became of it.
async fn abort(upload: &mut Upload, failure: Failure) -> Failure {
    let failure = first(upload, failure);
    let (id, bucket, key) = (
        upload.upload_id().to_owned(),
        upload.bucket().to_owned(),
        upload.key().to_owned(),
    );
    let failure = failure.data("upload_id", &id).data("key", &key);
    match upload.abort().await {
        Ok(()) => failure.note(format!(
            "upload {id} of {bucket}/{key} was aborted; nothing is left in the bucket"
        )),
        Err(error) if error.kind() == obs::ErrorKind::Refused => failure.note(format!(
            "the parts of {bucket}/{key} were joined already: the object stays in the bucket"
        )),
        Err(error) => failure
            .note(format!(
                "upload {id} of {bucket}/{key} could not be aborted: {error}; its parts may still be stored, and cost money"
            )),
    }
}
