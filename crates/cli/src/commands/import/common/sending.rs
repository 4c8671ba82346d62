//! One file into the bucket, as it is or converted.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use ::convert::{CancelToken, ContentDigest, Counter, Monitor, Sink as _};
use diskimg::units::human;
use ims::ImageUrl;
use obs::{Client as Storage, MultipartSink, UploadOptions, Uploaded};

use super::super::errors::from_obs;
use super::files::{Content, Converted, Piece};
use crate::args::{Concurrency, ImportArgs};
use crate::commands::identity;
use crate::commands::storage::start_upload;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::{Interrupt, interrupted};
use crate::progress::Progress;

/// A file that is in the bucket.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) object: ImageUrl,
    pub(super) uploaded: Uploaded,
    /// Of the disk, where it was read as one.
    pub(super) digest: Option<ContentDigest>,
}

/// Uploads `piece`; what was sent of it is aborted when that fails.
pub(super) async fn upload(
    storage: &Storage,
    args: &ImportArgs,
    piece: &Piece,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome<Sent> {
    let (doing, guest, most, memory) = match &piece.content {
        Content::AsItIs => (
            "reading",
            piece.size,
            piece.size,
            args.work.memory_of_parts(piece.size),
        ),
        Content::Converted(converted) => (
            "converting",
            converted.image.virtual_size(),
            converted.plan.worst_case_bytes,
            converted.plan.memory.sink,
        ),
    };
    let least = UploadOptions::least_memory(most);
    if memory < least {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "--memory is {}, and parts of a file of {} need {}",
                human(memory),
                human(most),
                human(least)
            ),
        ));
    }
    let progress = Progress::new(console, doing, guest, true);
    let monitor: Arc<dyn Monitor> = progress.clone();
    let options = UploadOptions {
        memory,
        expected_max: most,
        max_in_flight: args.pace.concurrency.most(),
        adaptive: args.pace.concurrency == Concurrency::Auto,
        monitor: Arc::clone(&monitor),
        ..UploadOptions::default()
    };
    let target = &piece.request.image_url;
    let place = (target.bucket.as_str(), target.key.as_str());
    let (sink, mut upload) = start_upload(storage, place, &options, interrupt).await?;
    let cancel = interrupt.token().clone();
    let reading = tokio::task::spawn_blocking({
        let (path, size) = (piece.path.clone(), piece.size);
        let content = piece.content.clone();
        move || match content {
            Content::AsItIs => read(&path, size, sink, monitor.as_ref(), &cancel).map(|()| None),
            Content::Converted(converted) => {
                convert(&converted, sink, monitor.as_ref(), &cancel).map(Some)
            }
        }
    });
    tokio::pin!(reading);
    let read = tokio::select! {
        biased;
        () = interrupt.asked() => Err(interrupted()),
        read = &mut reading => read.unwrap_or_else(|e| Err(Failure::from_error(Exit::Io, &e))),
    };
    let done = match read {
        Ok(digest) => match interrupt.unless_asked(upload.complete()).await {
            Ok(completed) => completed
                .map_err(|e| from_obs(&e))
                .map(|uploaded| (uploaded, digest)),
            Err(asked) => Err(asked),
        },
        Err(failure) => Err(match upload.failure() {
            Some(first) if failure.exit() != Exit::Interrupted => from_obs(first),
            _ => failure,
        }),
    };
    progress.finish();
    match done {
        Ok((uploaded, digest)) => Ok(Sent {
            object: target.clone(),
            uploaded,
            digest,
        }),
        Err(failure) => Err(match upload.abort().await {
            Ok(()) => failure.note(format!("the upload of {target} was aborted")),
            Err(error) => failure.note(format!(
                "the upload of {target} could not be aborted: {error}; its parts may still be stored, and cost money"
            )),
        }),
    }
}

/// The bytes of the file.
fn read(
    path: &Path,
    size: u64,
    mut sink: MultipartSink,
    monitor: &dyn Monitor,
    cancel: &CancelToken,
) -> Outcome {
    let mut file = std::fs::File::open(path).map_err(|e| Failure::from_error(Exit::Io, &e))?;
    let mut buffer = vec![0; 1 << 20];
    let mut left = size;
    while left > 0 {
        if cancel.is_cancelled() {
            return Err(interrupted());
        }
        let most = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let piece = buffer.get_mut(..most).unwrap_or_default();
        file.read_exact(piece).map_err(|e| {
            Failure::from_error(Exit::Io, &e).context(format!("{} became shorter", path.display()))
        })?;
        sink.write(piece)
            .map_err(|e| Failure::from_error(Exit::Io, e.as_ref()))?;
        let read = u64::try_from(most).unwrap_or_default();
        monitor.count(Counter::GuestBytes, read);
        left = left.saturating_sub(read);
    }
    sink.close().map_err(|e| from_obs(&e))
}

/// The disk as ZVHD2.
fn convert(
    converted: &Converted,
    mut sink: MultipartSink,
    monitor: &dyn Monitor,
    cancel: &CancelToken,
) -> Outcome<ContentDigest> {
    let (image, plan) = (converted.image.as_ref(), &converted.plan);
    let report = ::convert::to_zvhd2(image, plan, identity(), &mut sink, monitor, cancel)?;
    sink.close().map_err(|e| from_obs(&e))?;
    Ok(report.digest)
}
