//! One file into the bucket, as it is or converted.

use std::sync::Arc;

use ::convert::ContentDigest;
use diskimg::units::human;
use ims::ImageUrl;
use obs::{Client as Storage, UploadOptions, Uploaded};

use super::super::file::FileUpload;
use super::super::proof::Proving;
use super::super::resuming::Session;
use super::super::route::Route;
use super::super::shared::Steps;
use super::super::upload::Transfer;
use super::files::{Content, Converted, Piece};
use crate::args::ImportArgs;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::progress::Progress;

/// A file that is in the bucket.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) object: ImageUrl,
    pub(super) uploaded: Uploaded,
    /// Of the disk, where it was read as one.
    pub(super) digest: Option<ContentDigest>,
}

/// Uploads of `piece` what an earlier run has not.
pub(super) async fn upload(
    storage: &Storage,
    args: &ImportArgs,
    piece: &Piece,
    session: &mut Session,
    steps: &dyn Steps,
    (console, interrupt): (Console, &Interrupt),
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
    let proving = Proving { console, interrupt };
    if let Content::Converted(Converted { image, plan }) = &piece.content {
        proving.disk(image, plan, session).await?;
    }
    let progress = Progress::new(console, doing, guest, true);
    let target = &piece.request.image_url;
    let route = Route {
        client: storage,
        bucket: &target.bucket,
        key: &target.key,
        console,
        interrupt,
        steps,
    };
    let done = match &piece.content {
        Content::AsItIs => {
            let upload = FileUpload {
                route,
                path: &piece.path,
                len: piece.size,
                memory,
                concurrency: args.pace.concurrency,
                monitor: progress.clone(),
            };
            upload.run(session).await.map(|uploaded| (uploaded, None))
        }
        Content::Converted(converted) => {
            let transfer = Transfer {
                route,
                image: Arc::clone(&converted.image),
                plan: &converted.plan,
                concurrency: args.pace.concurrency,
                monitor: progress.clone(),
            };
            transfer
                .run(session)
                .await
                .map(|done| (done.uploaded, Some(done.content.digest)))
        }
    };
    progress.finish();
    done.map(|(uploaded, digest)| Sent {
        object: target.clone(),
        uploaded,
        digest,
    })
}
