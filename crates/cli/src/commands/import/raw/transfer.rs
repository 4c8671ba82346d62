//! The raw object and its bitmap on their way: parts are built by threads while tasks send them.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use ::convert::bitmap::{Figures, ZVHD2_SECTION};
use ::convert::{Bitmap, Report, to_parts};
use bytes::Bytes;
use diskimg::units::human;
use journal::Record;
use obs::{RawSink, RawUpload, RawUploaded, UploadOptions};
use serde::Serialize;

use super::super::errors::from_obs;
use super::super::resuming::Session;
use super::super::shared::Step;
use super::super::upload::{Content, Transfer, Transferred};
use super::{BitmapSource, RawJob, read_bitmap};
use crate::args::Concurrency;
use crate::commands::storage::GRACE;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::interrupted;

/// What a raw transfer came to beyond the object itself.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RawTransferred {
    /// Parts that were sent, and those that the server made.
    pub(crate) upload: RawUploaded,
    /// Key of the bitmap object.
    pub(crate) bitmap_key: String,
    /// Its length in bytes.
    pub(crate) bitmap_bytes: u64,
    /// What it says, when it is ours.
    pub(crate) bitmap: Option<Figures>,
}

impl fmt::Display for RawTransferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let upload = &self.upload;
        writeln!(
            f,
            "raw      {} effective bytes sent of {}; {} copied by the server in {} parts of zeros",
            human(upload.object.sent_bytes),
            human(upload.object.size),
            human(upload.copied_bytes),
            upload.copied_parts
        )?;
        if let Some(refused) = &upload.copies_refused {
            writeln!(
                f,
                "         {} parts of zeros were sent, because the server does not copy: {refused}",
                upload.zero_parts_sent
            )?;
        }
        if let Some(left) = &upload.left_behind {
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

/// Takes the disk into the bucket, part by part, and then its bitmap beside it. On any failure the
/// upload is aborted and the helper object deleted, so that nothing is left that costs money; what is
/// left all the same is named. Parts of an earlier run are not used; an object that it completed is.
pub(crate) async fn transfer(
    this: Transfer<'_>,
    job: &RawJob,
    session: &mut Session,
) -> Outcome<Transferred> {
    if let Some(done) = this.done_before(session).await? {
        return Ok(done);
    }
    let (client, bucket, key) = (this.client, this.bucket, this.key);
    // Whatever is wrong with it shows before anything is uploaded.
    let made = match &job.bitmap {
        BitmapSource::Command(command) => {
            this.console.notice(format_args!("running {command}"));
            Some(command.run(&job.source, this.interrupt).await?)
        }
        BitmapSource::Own | BitmapSource::Ready(_) => None,
    };
    let mut upload = Started::new(&this, session).await?;
    let started = Instant::now();
    let built = build(&this, upload.sink).await;
    let converting = started.elapsed();
    this.steps.at(Step::Complete);
    let (report, bitmap) = match built.and_then(|built| session.check_source().map(|()| built)) {
        Ok(built) => built,
        Err(failure) => return Err(abort(&mut upload.upload, failure).await),
    };

    let completing = Instant::now();
    let completed = match this.interrupt.unless_asked(upload.upload.complete()).await {
        Ok(completed) => completed.map_err(|error| from_obs(&error)),
        Err(interrupted) => Err(interrupted),
    };
    let uploaded = match completed {
        Ok(uploaded) => uploaded,
        Err(failure) => return Err(abort(&mut upload.upload, failure).await),
    };
    let (bytes, figures): (Bytes, _) = match (&job.bitmap, made) {
        (BitmapSource::Ready(bytes), _) => (bytes.clone(), None),
        (BitmapSource::Command(_), Some(made)) => {
            let read = read_bitmap(&made.mf);
            let refused = |what| incomplete(Failure::new(Exit::Refused, what), bucket, key);
            (read.map_err(refused)?, None)
        }
        _ => (bitmap.to_bytes().into(), Some(bitmap.figures())),
    };
    let bitmap_bytes = bytes.len() as u64;
    // Last: where a bitmap is, its disk is complete.
    this.interrupt
        .unless_asked(client.put_object(bucket, &job.bitmap_key, bytes, "application/octet-stream"))
        .await
        .and_then(|stored| stored.map_err(|error| from_obs(&error)))
        .map_err(|failure| incomplete(failure, bucket, key))?;
    // Both are there: another run goes on with the registration.
    session.record(&Record::Sent {
        size: report.virtual_size,
        digest: report.digest.to_string(),
    })?;
    session.completed(&uploaded.object)?;
    Ok(Transferred {
        content: Content::from(&report),
        uploaded: uploaded.object.clone(),
        converting,
        completing: completing.elapsed(),
        raw: Some(RawTransferred {
            upload: uploaded,
            bitmap_key: job.bitmap_key.clone(),
            bitmap_bytes,
            bitmap: figures,
        }),
    })
}

/// An upload that has begun.
struct Started {
    sink: RawSink,
    upload: RawUpload,
}

impl Started {
    async fn new(this: &Transfer<'_>, session: &mut Session) -> Outcome<Self> {
        let (client, bucket, key) = (this.client, this.bucket, this.key);
        let earlier = session.state().and_then(|state| state.upload.clone());
        session.forget();
        session.begin(client, this.console).await?;
        if let Some(id) = earlier
            && let Err(error) = client.delete_zeros(bucket, key, &id).await
        {
            this.console.warn(format_args!(
                "the zeros of the earlier upload {id} could not be deleted: {}",
                from_obs(&error)
            ));
        }
        let options = UploadOptions {
            memory: this.plan.memory.sink,
            max_in_flight: this.concurrency.most(),
            adaptive: this.concurrency == Concurrency::Auto,
            monitor: Arc::clone(&this.monitor),
            ..UploadOptions::default()
        };
        let len = this.image.virtual_size();
        let mut starting = std::pin::pin!(client.start_raw_upload(bucket, key, len, &options));
        // An answer that is dropped leaves an upload behind whose id nobody knows.
        let begun = tokio::select! {
            begun = &mut starting => begun,
            () = this.interrupt.asked() => match tokio::time::timeout(GRACE, starting).await {
                Ok(begun) => begun,
                Err(_) => return Err(interrupted()),
            },
        };
        let (sink, mut upload) = begun.map_err(|error| from_obs(&error))?;
        let id = upload.upload().upload_id().to_owned();
        this.console
            .notice(format_args!("upload {id} of {bucket}/{key} has begun"));
        // An id that nobody remembers would never be aborted.
        if let Err(failure) = session.record(&Record::Upload { id }) {
            return Err(abort(&mut upload, failure).await);
        }
        Ok(Self { sink, upload })
    }
}

/// Builds all parts, on threads, and hands them to `sink`.
async fn build(this: &Transfer<'_>, sink: RawSink) -> Outcome<(Report, Bitmap)> {
    let building = tokio::task::spawn_blocking({
        let (plan, cancel) = (this.plan.clone(), this.interrupt.token().clone());
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
            sink.close().map_err(|error| from_obs(&error))?;
            Ok::<_, Failure>(built)
        }
    });
    tokio::select! {
        biased;
        // Workers may be waiting for memory: aborting the upload wakes them.
        () = this.interrupt.asked() => Err(interrupted()),
        built = building => built.unwrap_or_else(|e| {
            Err(Failure::from_error(Exit::Io, &e).context("building the parts crashed"))
        }),
    }
}

fn incomplete(failure: Failure, bucket: &str, key: &str) -> Failure {
    failure.note(format!(
        "the object {bucket}/{key} is complete and stays in the bucket without its bitmap; another run needs --force to replace it"
    ))
}

/// Aborts `upload` because of `failure`, and says what became of it.
async fn abort(upload: &mut RawUpload, failure: Failure) -> Failure {
    // What stopped the upload is the cause; that the sink then took no more is its consequence.
    let failure = match (failure.exit(), upload.upload().failure()) {
        (Exit::Interrupted, _) | (_, None) => failure,
        (_, Some(first)) => from_obs(first),
    };
    let (id, bucket, key) = {
        let upload = upload.upload();
        (
            upload.upload_id().to_owned(),
            upload.bucket().to_owned(),
            upload.key().to_owned(),
        )
    };
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
