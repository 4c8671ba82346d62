//! The raw object and its bitmap on their way: parts are built by threads while tasks send them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ::convert::bitmap::ZVHD2_SECTION;
use ::convert::parts::{Fill, Parted, Shape};
use ::convert::{Bitmap, ContentDigest, PartSink, SinkError, to_parts};
use bytes::Bytes;
use cloud::{Class, Failure, ImportHint, Result, from_obs, stopped};
use journal::Sameness;
use obs::{Layout, MultipartSink, UnorderedSink, Upload, UploadOptions, Uploaded};

use super::base::Base;
use super::route::{Left, Route, give_up, suspend};
use super::sent::{Content, RawTransferred, Sent};
use super::stream::{Transfer, as_noted};
use crate::bitmap::{BitmapSource, RawJob, read_bitmap};
use crate::ledger::Entry;
use crate::observe::Step;

/// Takes the disk into the bucket, part by part, and then its bitmap. When this run is interrupted
/// or fails, the upload stays and the failure says how to resume it: every part is made again then,
/// and those that the server has are not sent again. Without a journal, and where resuming cannot
/// help, the upload is aborted and the helper object deleted, so that nothing is left that costs
/// money.
pub(crate) async fn transfer(this: Transfer<'_>, job: &RawJob, entry: &mut Entry) -> Result<Sent> {
    if let Some(done) = this.done_before(entry).await? {
        return Ok(done);
    }
    // Whatever is wrong with it shows before anything is uploaded.
    let made = match &job.bitmap {
        BitmapSource::Command(command) => {
            this.route
                .observer
                .notice(format_args!("running {command}"));
            Some(command.run(&job.source, this.route.stop).await?)
        }
        BitmapSource::Own | BitmapSource::Ready(_) => None,
    };
    let (mut sent, upload, bitmap) = object(&this, job, entry).await?;
    let (bytes, figures): (Bytes, _) = match (&job.bitmap, made, bitmap) {
        (BitmapSource::Ready(bytes), ..) => (bytes.clone(), None),
        (BitmapSource::Command(_), Some(made), _) => {
            let read = read_bitmap(&made.mf);
            let refused = |what| incomplete(Failure::new(Class::Refused, what), &this.route, entry);
            (read.map_err(refused)?, None)
        }
        (_, _, Some(bitmap)) => (bitmap.to_bytes().into(), Some(bitmap.figures())),
        (_, _, None) => {
            let none = Failure::new(Class::Io, "there is no bitmap of the disk");
            return Err(incomplete(none, &this.route, entry));
        }
    };
    let bitmap_bytes = bytes.len() as u64;
    let (client, bucket) = (this.route.client, this.route.bucket);
    // Last: where a bitmap exists, its disk is complete.
    this.route
        .stop
        .unless_asked(client.put_object(bucket, &job.bitmap_key, bytes, "application/octet-stream"))
        .await
        .and_then(|stored| stored.map_err(|error| from_obs(&error)))
        .map_err(|failure| incomplete(failure, &this.route, entry))?;
    // Both exist: another run continues with the registration.
    entry.completed(&sent.uploaded)?;
    sent.raw = upload.map(|upload| RawTransferred {
        upload,
        bitmap_key: job.bitmap_key.clone(),
        bitmap_bytes,
        bitmap: figures,
    });
    Ok(sent)
}

/// Makes the object, or takes that of an earlier run: what this run sent of it, and the bitmap,
/// where the disk was read.
async fn object(
    this: &Transfer<'_>,
    job: &RawJob,
    entry: &mut Entry,
) -> Result<(Sent, Option<Uploaded>, Option<Bitmap>)> {
    let started = Instant::now();
    let len = this.image.virtual_size();
    let options = UploadOptions {
        memory: this.plan.memory.sink,
        expected_max: len,
        layout: Layout::raw(len),
        ..this.options(entry)
    };
    let earlier = Route::left_behind(entry).map(|(id, _)| id);
    let (sink, upload) = match this.route.go_on(entry, &options).await? {
        Some(Left::Something(resumed)) => (resumed.sink, resumed.upload),
        Some(Left::Nothing(uploaded)) => {
            if let Some(id) = &earlier {
                delete_zeros(&this.route, id).await;
            }
            let noted = as_noted(entry, this.plan, uploaded)?;
            let proven = entry.sameness() == Some(Sameness::Same);
            if proven && !matches!(job.bitmap, BitmapSource::Own) {
                return Ok((noted, None, None));
            }
            let Parted {
                report,
                bitmap,
                table,
            } = build(this, None, CountingSink::default(), entry).await?;
            if let Some(noted) = &noted.content {
                check_same(&noted.digest, &report.digest, entry)?;
            }
            let sent = Sent {
                content: Some(Content::from(&report)),
                table: Some(table),
                converting: started.elapsed(),
                ..noted
            };
            return Ok((sent, None, Some(bitmap)));
        }
        None => {
            let stale = entry.stale().map(str::to_owned);
            let begun = this.route.begin(entry, &options).await?;
            if let Some(id) = stale {
                delete_zeros(&this.route, &id).await;
            }
            begun
        }
    };
    let base = this.base.as_ref();
    let sent = match send(this, base, (sink, upload), entry).await? {
        Some(sent) => Some(sent),
        None => {
            let begun = this.route.begin(entry, &options).await?;
            send(this, None, begun, entry).await?
        }
    };
    let (sent, uploaded, bitmap) =
        sent.ok_or_else(|| Failure::new(Class::Io, "the server refuses copies of nothing"))?;
    Ok((sent, Some(uploaded), Some(bitmap)))
}

/// Rejects a disk that is not the one in the object, whose bitmap would be of another disk.
fn check_same(then: &ContentDigest, now: &ContentDigest, entry: &Entry) -> Result {
    if then == now {
        return Ok(());
    }
    Err(Failure::new(
        Class::Refused,
        format!(
            "{} has changed since it was uploaded: its content digest was {then}, and is {now}",
            entry.source_path().unwrap_or_default()
        ),
    )
    .hint(ImportHint::RestartAndReplace))
}

/// Makes all parts, sends those that are missing or has the server copy them from `base`, and joins
/// them. `None` when it does not copy from there: the upload is gone then, and everything is to be
/// sent.
async fn send(
    this: &Transfer<'_>,
    base: Option<&Arc<Base>>,
    (sink, mut upload): (MultipartSink, Upload),
    entry: &mut Entry,
) -> Result<Option<(Sent, Uploaded, Bitmap)>> {
    let started = Instant::now();
    let built = match (sink.into_unordered(), base) {
        (Ok(sink), None) => build(this, None, sink, entry).await,
        (Ok(sink), Some(base)) => {
            let sink = sink.copying_from(base.source.clone());
            build(this, Some(Arc::clone(base)), sink, entry).await
        }
        (Err(error), _) => Err(from_obs(&error)),
    };
    this.route.observer.at(Step::Complete);
    let converting = started.elapsed();
    let completing = Instant::now();
    let completed = match built {
        Ok(parted) => {
            let digest = parted.report.digest.to_string();
            let completed = this.route.complete(entry, &mut upload, digest).await;
            completed.map(|uploaded| (parted, uploaded))
        }
        Err(failure) => Err(failure),
    };
    let (parted, uploaded) = match (completed, base) {
        (Ok(completed), _) => completed,
        (Err(failure), Some(base)) if Base::copies_are_refused(&upload) => {
            base.warn_of_refusal(&upload, this.route.observer);
            give_up(&mut upload, entry, failure).await;
            entry.forget();
            return Ok(None);
        }
        (Err(failure), _) => return Err(suspend(&mut upload, entry, failure).await),
    };
    let Parted {
        report,
        bitmap,
        table,
    } = parted;
    let sent = Sent {
        content: Some(Content::from(&report)),
        table: Some(table),
        converting,
        completing: completing.elapsed(),
        // What was copied is in the part of the report that is about raw objects.
        ..Sent::new(Uploaded {
            copies: None,
            ..uploaded.clone()
        })
    };
    Ok(Some((sent, uploaded, bitmap)))
}

/// Deletes the zeros of an upload that is over.
async fn delete_zeros(route: &Route<'_>, id: &str) {
    let deleted = route.client.delete_zeros(route.bucket, route.key, id).await;
    if let Err(error) = deleted {
        route.observer.warn(format_args!(
            "the zeros of the earlier upload {id} could not be deleted: {}",
            from_obs(&error)
        ));
    }
}

/// Takes parts and forgets them, where the object is there and only its bitmap is to be made.
#[derive(Default)]
struct CountingSink(Mutex<Vec<Vec<u8>>>);

impl Parts for CountingSink {
    fn end(self) -> Result {
        Ok(())
    }
}

impl PartSink for CountingSink {
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
    fn end(self) -> Result;
}

impl Parts for UnorderedSink {
    fn end(self) -> Result {
        self.close().map_err(|error| from_obs(&error))
    }
}

/// Builds all parts, on threads, and hands them to `sink`, which may copy those that are as in
/// `base`.
async fn build(
    this: &Transfer<'_>,
    base: Option<Arc<Base>>,
    sink: impl Parts,
    entry: &Entry,
) -> Result<Parted> {
    let building = tokio::task::spawn_blocking({
        let (plan, cancel) = (this.plan.clone(), this.route.stop.token().clone());
        let (image, monitor) = (Arc::clone(&this.image), Arc::clone(&this.monitor));
        let watch = entry.watch().clone();
        move || {
            let shape = Shape {
                part_size: obs::raw_part_size(image.virtual_size()),
                layout: ZVHD2_SECTION,
                base: base.as_ref().map(|base| &base.table),
            };
            let built = to_parts(
                image.as_ref(),
                &plan,
                &shape,
                &sink,
                monitor.as_ref(),
                &cancel,
            );
            let built = built.map_err(|error| watch.cause(error))?;
            sink.end()?;
            Ok::<_, Failure>(built)
        }
    });
    tokio::select! {
        biased;
        // Workers may be waiting for memory: aborting the upload wakes them.
        () = this.route.stop.asked() => Err(stopped()),
        built = building => built.unwrap_or_else(|e| {
            Err(Failure::from_error(Class::Io, &e).context("building the parts crashed"))
        }),
    }
}

/// The object is complete, and its bitmap is not there.
fn incomplete(failure: Failure, route: &Route<'_>, entry: &Entry) -> Failure {
    let object = format!("{}/{}", route.bucket, route.key);
    if entry.notes().is_none() {
        let note = format!(
            "the object {object} is complete and stays in the bucket without its bitmap; the next run has to replace it"
        );
        return failure.note(note).hint(ImportHint::ReplaceObject);
    }
    entry.goes_on(failure.note(format!(
        "the object {object} is complete and stays in the bucket, and its bitmap is missing"
    )))
}
