//! The raw object and its bitmap on their way: parts are built by threads while tasks send them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ::convert::bitmap::{Figures, ZVHD2_SECTION};
use ::convert::parts::Fill;
use ::convert::{Bitmap, ContentDigest, PartSink, Report, SinkError, to_parts};
use bytes::Bytes;
use diskimg::units::human;
use journal::{Record, Sameness};
use obs::{EarlierUpload, Layout, Resumption, UnorderedSink, Upload, UploadOptions, Uploaded};
use serde::Serialize;

use super::super::resuming::Session;
use super::super::route::{self, Route};
use super::super::shared::Step;
use super::super::upload::{Content, Transfer, Transferred, as_noted};
use super::{BitmapSource, RawJob, read_bitmap};
use crate::commands::storage::GRACE;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::interrupted;
use cloud::from_obs;

/// What a raw transfer came to beyond the object itself.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RawTransferred {
    /// Parts that were sent, and those that the server made.
    pub(crate) upload: Uploaded,
    /// Key of the bitmap object.
    pub(crate) bitmap_key: String,
    /// Its length in bytes.
    pub(crate) bitmap_bytes: u64,
    /// What it says, when it is ours.
    pub(crate) bitmap: Option<Figures>,
}

impl fmt::Display for RawTransferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let copies = self.upload.copies.clone().unwrap_or_default();
        writeln!(
            f,
            "raw      {} effective bytes sent of {}; {} copied by the server in {} parts of zeros",
            human(self.upload.sent_bytes),
            human(self.upload.size),
            human(copies.copied_bytes),
            copies.copied_parts
        )?;
        if let Some(refused) = &copies.copies_refused {
            writeln!(
                f,
                "         {} parts of zeros were sent, because the server does not copy: {refused}",
                copies.zero_parts_sent
            )?;
        }
        if let Some(left) = &copies.left_behind {
            writeln!(f, "         the object of zeros is still there: {left}")?;
        }
        write!(
            f,
            "bitmap   {}, {} bytes",
            self.bitmap_key, self.bitmap_bytes
        )?;
        match &self.bitmap {
            Some(figures) => writeln!(
                f,
                ", layout {}, {} blocks marked; acceptance by the service is not confirmed",
                figures.layout.name, figures.marked
            ),
            None => writeln!(f, ", as it was given"),
        }
    }
}

/// Takes the disk into the bucket, part by part, and then its bitmap beside it. When this run is
/// interrupted or fails, the upload stays and the failure says how to go on: every part is made
/// again then, and those that the server has are not sent again. Without a journal, and where going
/// on cannot help, the upload is aborted and the helper object deleted, so that nothing is left
/// that costs money.
pub(crate) async fn transfer(
    this: Transfer<'_>,
    job: &RawJob,
    session: &mut Session,
) -> Outcome<Transferred> {
    if let Some(done) = this.done_before(session).await? {
        return Ok(done);
    }
    // Whatever is wrong with it shows before anything is uploaded.
    let made = match &job.bitmap {
        BitmapSource::Command(command) => {
            this.route.console.notice(format_args!("running {command}"));
            Some(command.run(&job.source, this.route.interrupt).await?)
        }
        BitmapSource::Own | BitmapSource::Ready(_) => None,
    };
    let started = Instant::now();
    let (mut transferred, upload, bitmap) = match go_on(&this, session).await? {
        Left::Something(ends) => {
            let sent = send(&this, *ends, session).await?;
            (sent.0, Some(sent.1), Some(sent.2))
        }
        Left::Nothing(uploaded) => {
            let noted = as_noted(session, this.plan, uploaded)?;
            let proven = session.sameness() == Some(Sameness::Same);
            if proven && !matches!(job.bitmap, BitmapSource::Own) {
                (noted, None, None)
            } else {
                let (report, bitmap) = build(&this, Nowhere::default()).await?;
                check_same(&noted.content.digest, &report.digest, session)?;
                let transferred = Transferred {
                    content: Content::from(&report),
                    converting: started.elapsed(),
                    ..noted
                };
                (transferred, None, Some(bitmap))
            }
        }
    };
    let (bytes, figures): (Bytes, _) = match (&job.bitmap, made, bitmap) {
        (BitmapSource::Ready(bytes), ..) => (bytes.clone(), None),
        (BitmapSource::Command(_), Some(made), _) => {
            let read = read_bitmap(&made.mf);
            let refused =
                |what| incomplete(Failure::new(Exit::Refused, what), &this.route, session);
            (read.map_err(refused)?, None)
        }
        (_, _, Some(bitmap)) => (bitmap.to_bytes().into(), Some(bitmap.figures())),
        (_, _, None) => {
            let none = Failure::new(Exit::Io, "there is no bitmap of the disk");
            return Err(incomplete(none, &this.route, session));
        }
    };
    let bitmap_bytes = bytes.len() as u64;
    let (client, bucket) = (this.route.client, this.route.bucket);
    // Last: where a bitmap is, its disk is complete.
    this.route
        .interrupt
        .unless_asked(client.put_object(bucket, &job.bitmap_key, bytes, "application/octet-stream"))
        .await
        .and_then(|stored| stored.map_err(|error| from_obs(&error)))
        .map_err(|failure| incomplete(failure, &this.route, session))?;
    // Both are there: another run goes on with the registration.
    session.completed(&transferred.uploaded)?;
    transferred.raw = upload.map(|upload| RawTransferred {
        upload,
        bitmap_key: job.bitmap_key.clone(),
        bitmap_bytes,
        bitmap: figures,
    });
    Ok(transferred)
}

/// Refuses a disk that is not the one in the object, whose bitmap would be of another disk.
fn check_same(then: &ContentDigest, now: &ContentDigest, session: &Session) -> Outcome {
    if then == now {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Refused,
        format!(
            "{} has changed since it was uploaded: its content digest was {then}, and is {now}",
            session.source_path().unwrap_or_default()
        ),
    )
    .hint("upload it anew with --restart --force"))
}

/// Makes all parts, sends those that are missing, and joins them.
async fn send(
    this: &Transfer<'_>,
    Ends { sink, mut upload }: Ends,
    session: &Session,
) -> Outcome<(Transferred, Uploaded, Bitmap)> {
    let started = Instant::now();
    let built = build(this, sink).await;
    this.route.steps.at(Step::Complete);
    let (report, bitmap) = match built {
        Ok(built) => built,
        Err(failure) => return Err(suspend(&mut upload, session, failure).await),
    };
    let converting = started.elapsed();
    let completing = Instant::now();
    let uploaded = match complete(this, &mut upload, session, &report).await {
        Ok(uploaded) => uploaded,
        Err(failure) => return Err(suspend(&mut upload, session, failure).await),
    };
    let transferred = Transferred {
        content: Content::from(&report),
        // What was copied stands in the part of the report that is about raw objects.
        uploaded: Uploaded {
            copies: None,
            ..uploaded.clone()
        },
        converting,
        completing: completing.elapsed(),
        raw: None,
    };
    Ok((transferred, uploaded, bitmap))
}

async fn complete(
    this: &Transfer<'_>,
    upload: &mut Upload,
    session: &Session,
    report: &Report,
) -> Outcome<Uploaded> {
    let interrupt = this.route.interrupt;
    let size = interrupt
        .unless_asked(upload.sent())
        .await?
        .map_err(|error| from_obs(&error))?;
    session.check_source()?;
    this.route.steps.may_complete().await?;
    // Before the parts are joined: only who knows all of them can tell afterwards whose object it
    // is.
    session.record(&Record::Sent {
        size,
        digest: report.digest.to_string(),
    })?;
    interrupt
        .unless_asked(upload.complete())
        .await?
        .map_err(|error| from_obs(&error))
}

/// Both ends of an upload.
struct Ends {
    sink: UnorderedSink,
    upload: Upload,
}

/// What an earlier run has left to do.
enum Left {
    Something(Box<Ends>),
    Nothing(Uploaded),
}

/// Goes on with the upload of an earlier run, or begins one.
async fn go_on(this: &Transfer<'_>, session: &mut Session) -> Outcome<Left> {
    let route = this.route;
    let (client, bucket, key) = (route.client, route.bucket, route.key);
    let len = this.image.virtual_size();
    let options = UploadOptions {
        memory: this.plan.memory.sink,
        expected_max: len,
        layout: Layout::raw(len),
        ..this.options(session)
    };
    if let Some((id, whole)) = Route::left_behind(session) {
        let parts = session.parts();
        let earlier = EarlierUpload {
            upload_id: &id,
            known: &parts,
            whole,
        };
        let resuming = client.resume_upload(bucket, key, &earlier, &options);
        let resumption = route
            .interrupt
            .unless_asked(resuming)
            .await?
            .map_err(|error| session.goes_on(from_obs(&error)))?;
        match resumption {
            Resumption::GoesOn(resumed) => {
                route.tell_kept(&id, resumed.kept_bytes, resumed.kept_parts);
                return Ok(Left::Something(Box::new(Ends {
                    sink: resumed.sink.into_unordered().map_err(|e| from_obs(&e))?,
                    upload: resumed.upload,
                })));
            }
            Resumption::Completed(uploaded) => {
                route.tell_completed(&id);
                delete_zeros(&route, &id).await;
                return Ok(Left::Nothing(uploaded));
            }
            Resumption::Gone => {
                route.tell_gone(&id);
                session.forget();
            }
        }
    }
    begin(this, session, &options)
        .await
        .map(|ends| Left::Something(Box::new(ends)))
}

async fn begin(
    this: &Transfer<'_>,
    session: &mut Session,
    options: &UploadOptions,
) -> Outcome<Ends> {
    let route = this.route;
    let (client, bucket, key) = (route.client, route.bucket, route.key);
    let stale = session.stale().map(str::to_owned);
    session.begin(client, route.console).await?;
    if let Some(id) = stale {
        delete_zeros(&route, &id).await;
    }
    let mut starting = std::pin::pin!(client.start_upload(bucket, key, options));
    // An answer that is dropped leaves an upload behind whose id nobody knows.
    let begun = tokio::select! {
        begun = &mut starting => begun,
        () = route.interrupt.asked() => match tokio::time::timeout(GRACE, starting).await {
            Ok(begun) => begun,
            Err(_) => return Err(interrupted()),
        },
    };
    let (sink, mut upload) = begun
        .map_err(|error| from_obs(&error))
        .inspect_err(|failure| route::not_begun(session, failure))?;
    let id = upload.upload_id().to_owned();
    route
        .console
        .notice(format_args!("upload {id} of {bucket}/{key} has begun"));
    // An id that nobody remembers would never be aborted.
    match session.record(&Record::Upload { id }) {
        Ok(()) => Ok(Ends {
            sink: sink.into_unordered().map_err(|error| from_obs(&error))?,
            upload,
        }),
        Err(failure) => Err(abort(&mut upload, failure).await),
    }
}

/// Deletes the zeros of an upload that is over.
async fn delete_zeros(route: &Route<'_>, id: &str) {
    let deleted = route.client.delete_zeros(route.bucket, route.key, id).await;
    if let Err(error) = deleted {
        route.console.warn(format_args!(
            "the zeros of the earlier upload {id} could not be deleted: {}",
            from_obs(&error)
        ));
    }
}

/// Takes parts and forgets them, where the object is there and only its bitmap is to be made.
#[derive(Default)]
struct Nowhere(Mutex<Vec<Vec<u8>>>);

impl Parts for Nowhere {
    fn end(self) -> Outcome {
        Ok(())
    }
}

impl PartSink for Nowhere {
    fn zeros(&self, _: u32, _: u64) -> Result<(), SinkError> {
        Ok(())
    }

    fn part(&self, _: u32, len: u64, fill: &mut Fill<'_>) -> ::convert::Result<()> {
        let idle = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = idle().pop().unwrap_or_default();
        buffer.clear();
        buffer.resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
        fill(&mut buffer)?;
        idle().push(buffer);
        Ok(())
    }
}

/// Where parts go.
trait Parts: PartSink + Send + 'static {
    /// All were taken.
    fn end(self) -> Outcome;
}

impl Parts for UnorderedSink {
    fn end(self) -> Outcome {
        self.close().map_err(|error| from_obs(&error))
    }
}

/// Builds all parts, on threads, and hands them to `sink`.
async fn build(this: &Transfer<'_>, sink: impl Parts) -> Outcome<(Report, Bitmap)> {
    let building = tokio::task::spawn_blocking({
        let (plan, cancel) = (this.plan.clone(), this.route.interrupt.token().clone());
        let (image, monitor) = (Arc::clone(&this.image), Arc::clone(&this.monitor));
        move || {
            let built = to_parts(
                image.as_ref(),
                &plan,
                obs::raw_part_size(image.virtual_size()),
                ZVHD2_SECTION,
                &sink,
                monitor.as_ref(),
                &cancel,
            )?;
            sink.end()?;
            Ok::<_, Failure>(built)
        }
    });
    tokio::select! {
        biased;
        // Workers may be waiting for memory: aborting the upload wakes them.
        () = this.route.interrupt.asked() => Err(interrupted()),
        built = building => built.unwrap_or_else(|e| {
            Err(Failure::from_error(Exit::Io, &e).context("building the parts crashed"))
        }),
    }
}

/// The object is complete, and its bitmap is not there.
fn incomplete(failure: Failure, route: &Route<'_>, session: &Session) -> Failure {
    let object = format!("{}/{}", route.bucket, route.key);
    if session.notes().is_none() {
        return failure.note(format!(
            "the object {object} is complete and stays in the bucket without its bitmap; another run needs --force to replace it"
        ));
    }
    session.goes_on(failure.note(format!(
        "the object {object} is complete and stays in the bucket, and its bitmap is missing"
    )))
}

/// Ends the run because of `failure`. What is stored stays, if another run can use it.
async fn suspend(upload: &mut Upload, session: &Session, failure: Failure) -> Failure {
    if session.notes().is_none() || route::is_in_vain(&failure, upload, session) {
        return abort(upload, failure).await;
    }
    upload.pause(GRACE).await;
    let failure = route::first(upload, failure);
    let failure = route::kept(upload, session, failure);
    match upload.helper() {
        Some(key) => failure.note(format!("so is the object of zeros, {key}")),
        None => failure,
    }
}

/// Aborts `upload` because of `failure`, and says what became of it.
async fn abort(upload: &mut Upload, failure: Failure) -> Failure {
    let failure = route::first(upload, failure);
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
        Err(error) => {
            let mut failure = failure.note(format!(
                "cleaning up after upload {id} of {bucket}/{key} failed: {error}; what is left may cost money"
            ));
            for note in error.notes() {
                failure = failure.note(note);
            }
            failure
        }
    }
}
