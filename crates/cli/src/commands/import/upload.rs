//! Converting into the upload: threads encode while tasks send.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::convert::{Monitor, Plan, PlanOptions, Report, Target};
use diskimg::DiskImage;
use obs::{Client, Upload, UploadOptions, Uploaded};

use super::errors::from_obs;
use crate::commands::identity;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::{Interrupt, interrupted};

/// Parts that are sent at the same time: enough to fill a fast line, few enough that a small budget
/// holds them.
const PARTS_IN_FLIGHT: usize = 4;

/// Plans the run so that the image, the workers and the parts fit the budget together.
///
/// Parts get what conversion leaves, up to what the parts in flight, one that is being filled and
/// one that waits can use.
pub(super) fn plan(image: &dyn DiskImage, mut options: PlanOptions) -> Outcome<Plan> {
    options.upload_memory = 0;
    let alone = ::convert::plan(image, Target::Zvhd2, &options)?;
    // Two of the largest parts that the stream can reach.
    let least = UploadOptions::least_memory(alone.worst_case_bytes);
    let useful = least / 2 * (PARTS_IN_FLIGHT as u64 + 2);
    let left = options.memory.saturating_sub(alone.memory.total());
    options.upload_memory = left.clamp(least, useful.max(least));
    Ok(::convert::plan(image, Target::Zvhd2, &options)?)
}

/// What converting and uploading came to.
#[derive(Debug)]
pub(super) struct Transferred {
    pub(super) report: Report,
    pub(super) uploaded: Uploaded,
    /// From the first byte read to the last part handed over.
    pub(super) converting: Duration,
    /// From there to the verified object.
    pub(super) completing: Duration,
}

/// Streams `image` into the object `key`. On any failure the upload is aborted, so that nothing is
/// left that costs money; what is left all the same is named.
pub(super) async fn transfer(
    client: &Client,
    (bucket, key): (&str, &str),
    image: Arc<dyn DiskImage>,
    plan: &Plan,
    monitor: Arc<dyn Monitor>,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome<Transferred> {
    let options = UploadOptions {
        memory: plan.memory.sink,
        expected_max: plan.worst_case_bytes,
        max_in_flight: PARTS_IN_FLIGHT,
        monitor: Arc::clone(&monitor),
        ..UploadOptions::default()
    };
    let (mut sink, mut upload) = interrupt
        .unless_asked(client.start_upload(bucket, key, &options))
        .await?
        .map_err(|error| from_obs(&error))?;

    console.notice(format_args!(
        "upload {} of {bucket}/{key} has begun",
        upload.upload_id()
    ));

    let started = Instant::now();
    let encoding = tokio::task::spawn_blocking({
        let (plan, cancel) = (plan.clone(), interrupt.token().clone());
        move || {
            let report = ::convert::to_zvhd2(
                image.as_ref(),
                &plan,
                identity(),
                &mut sink,
                monitor.as_ref(),
                &cancel,
            )?;
            sink.close().map_err(|error| from_obs(&error))?;
            Ok::<_, Failure>(report)
        }
    });
    tokio::pin!(encoding);
    let encoded = tokio::select! {
        biased;
        // The encoder may be waiting for a part to be sent: aborting the upload wakes it.
        () = interrupt.asked() => Err(interrupted()),
        encoded = &mut encoding => encoded.unwrap_or_else(|e| {
            Err(Failure::from_error(Exit::Io, &e).context("the conversion crashed"))
        }),
    };
    let converting = started.elapsed();
    let report = match encoded {
        Ok(report) => report,
        Err(failure) => return Err(abort(&mut upload, failure).await),
    };

    let completing = Instant::now();
    let completed = match interrupt.unless_asked(upload.complete()).await {
        Ok(completed) => completed.map_err(|error| from_obs(&error)),
        Err(interrupted) => Err(interrupted),
    };
    match completed {
        Ok(uploaded) => Ok(Transferred {
            report,
            uploaded,
            converting,
            completing: completing.elapsed(),
        }),
        Err(failure) => Err(abort(&mut upload, failure).await),
    }
}

/// Aborts `upload` because of `failure`, and says what became of it.
async fn abort(upload: &mut Upload, failure: Failure) -> Failure {
    // What stopped the upload is the cause; that the sink then took no more is its consequence.
    let failure = match (failure.exit(), upload.failure()) {
        (Exit::Interrupted, _) | (_, None) => failure,
        (_, Some(first)) => from_obs(first),
    };
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
