//! The file as it is into the bucket, and the service converts it: the common import, and the two-step form.

mod files;
mod starting;

use std::io::Read as _;
use std::sync::Arc;

use ::convert::{Monitor, Sink as _};
use diskimg::units::human;
use ims::{ImageStatus, ImageUrl};
use obs::{Client as Storage, UploadOptions, Uploaded};
use serde_json::json;

use self::files::{Piece, Pieces};
use super::checks;
use super::errors::from_obs;
use super::examine::{Action, Examined};
use super::report::{Ended, Told};
use super::resuming::Ours;
use super::shared::{Alone, Before, Shared, Step};
use crate::args::{Concurrency, ImportArgs};
use crate::commands::session::Session;
use crate::commands::storage::start_upload;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::{Interrupt, interrupted};
use crate::progress::Progress;

/// How it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) iso: bool,
    pub(super) glance: bool,
    /// A format that only the service reads.
    pub(super) foreign: bool,
    pub(super) why: &'static str,
}

impl Way {
    fn name(self) -> &'static str {
        if self.glance { "glance" } else { "common" }
    }
}

pub(super) async fn run(
    args: &ImportArgs,
    way: Way,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome {
    let session = Session::open(&args.cloud, vec![args.bucket.clone()]).await?;
    let (cloud, images) = (session.cloud.clone(), session.images.clone());
    let shared = Shared {
        cloud: &cloud,
        images: &images,
        storage: None,
        steps: &Alone,
        before: Before::default(),
    };
    let ended = match import(&session, args, way, shared, console, interrupt).await {
        Ok(told) => Ended::Told(Box::new(told)).tell(console),
        Err(failure) => Err(failure),
    };
    session.close(ended).await
}

/// What an import of many would do.
pub(super) async fn examine(
    args: &ImportArgs,
    way: Way,
    shared: Shared<'_>,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome<Examined> {
    let pieces = super::blocking(|| files::prepare(args, way, shared.cloud, console))?;
    let mut warnings = pieces.warnings.clone();
    let ours = Ours {
        before: shared.before,
        ..Ours::default()
    };
    interrupt
        .unless_asked(checks::remote(
            args,
            shared,
            (&pieces.system.request, &[]),
            &ours,
            &mut warnings,
        ))
        .await??;
    let size = pieces.system.size;
    Ok(Examined {
        action: Action::UploadAsIs,
        format: None,
        virtual_size: None,
        data_bytes: size,
        worst_case_bytes: size,
        stored_bytes: 0,
        memory: 0,
        tail_memory: 0,
        min_disk: pieces.system.request.min_disk,
        plan: None,
        warnings,
    })
}

/// One import of many.
pub(super) async fn one(
    args: &ImportArgs,
    way: Way,
    shared: Shared<'_>,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome<Ended> {
    let session = Session::of(shared.cloud.clone(), shared.images.clone());
    let told = import(&session, args, way, shared, console, interrupt).await?;
    Ok(Ended::Told(Box::new(told)))
}

async fn import(
    session: &Session,
    args: &ImportArgs,
    way: Way,
    shared: Shared<'_>,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome<Told> {
    session.refuse_no_wait(args.no_wait)?;
    let name = way.name();
    console.notice(format_args!(
        "{} is uploaded as it is and registered by --register {name}: {}",
        args.disk.display(),
        way.why
    ));
    let pieces = files::prepare(args, way, &session.cloud, console)?;
    let mut warnings = pieces.warnings.clone();
    let beside: Vec<_> = pieces.data.iter().map(|piece| &piece.request).collect();
    let checks::Checked { storage, .. } = interrupt
        .unless_asked(checks::remote(
            args,
            shared,
            (&pieces.system.request, &beside),
            // This way keeps no journal.
            &Ours {
                before: shared.before,
                ..Ours::default()
            },
            &mut warnings,
        ))
        .await??;
    for warning in &warnings {
        console.warn(warning);
    }
    let system = &pieces.system;
    let target = &system.request.image_url;
    let mut told = json!({
        "source": args.disk.display().to_string(),
        "name": args.name,
        "bucket": target.bucket,
        "key": target.key,
        "register": name,
        "register_reason": way.why,
        "min_disk": system.request.min_disk,
        "size": system.size,
        "warnings": warnings,
    });
    if !pieces.data.is_empty() {
        let data = pieces.data.iter().map(Piece::json).collect();
        set(&mut told, "data_images", data);
    }
    if args.dry_run {
        let would: Vec<String> = pieces.all().map(Piece::would).collect();
        let text = format!(
            "{}\nand register by --register {name}: {}\nnothing speaks against it; nothing was changed",
            would.join("\n"),
            way.why
        );
        return Ok(Told { text, told });
    }
    shared.steps.at(Step::Convert);
    let (uploaded, complete) = upload_all(&storage, args, &pieces, console, interrupt).await?;
    let stays = |failure| complete.iter().fold(failure, stays);
    shared.steps.at(Step::Register);
    shared.steps.may_register().await.map_err(stays)?;
    let job = starting::start(session, args, &pieces, way)
        .await
        .map_err(stays)?;
    console.notice(format_args!("job {job} has started"));
    set(&mut told, "job_id", job.as_str().into());
    set(
        &mut told,
        "uploaded",
        serde_json::to_value(&uploaded).unwrap_or_default(),
    );
    if args.no_wait {
        let text = format!(
            "job {job} of {} has started; imgferry job wait {job} follows it",
            args.name
        );
        return Ok(Told { text, told });
    }
    let ended = session
        .follow(&job, args.timeout, console, interrupt)
        .await
        .map_err(stays)?;
    let id = ended.image_id().ok_or_else(|| {
        Failure::new(
            Exit::Cloud,
            format!("job {job} succeeded and names no image"),
        )
        .hint("imgferry image list shows the images")
    })?;
    set(&mut told, "image_id", id.as_str().into());
    let image = starting::settled(session, &id, &system.request, console, interrupt)
        .await
        .map_err(|failure| failure.data("import", &told))?;
    let status = image.status.as_str().to_owned();
    set(&mut told, "status", status.as_str().into());
    set(
        &mut told,
        "image_digest",
        image.field("__imgferry_content_digest").into(),
    );
    set(&mut told, "firmware", image.firmware.clone().into());
    if image.status != ImageStatus::Active {
        return Err(Failure::new(
            Exit::Cloud,
            format!("the job succeeded, but image {id} is {status}, expected active"),
        )
        .data("import", &told));
    }
    let mut text = format!(
        "image {id} ({}) is {status}\nobject   {target}, {}",
        args.name,
        human(system.size)
    );
    let mut data = Vec::new();
    for piece in &pieces.data {
        let image = starting::made_beside(session, &piece.request, console, interrupt)
            .await
            .map_err(|failure| failure.data("import", &told))?;
        text.push_str(&format!(
            "\nimage {} ({}) is {}\nobject   {}, {}",
            image.id,
            piece.request.name,
            image.status.as_str(),
            piece.request.image_url,
            human(piece.size)
        ));
        let mut json = piece.json();
        set(&mut json, "image_id", image.id.as_str().into());
        set(&mut json, "status", image.status.as_str().into());
        data.push(json);
    }
    if !data.is_empty() {
        set(&mut told, "data_images", data.into());
    }
    Ok(Told { text, told })
}

fn set(told: &mut serde_json::Value, name: &str, value: serde_json::Value) {
    if let Some(fields) = told.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}

/// Adds that `object` is not taken away again.
fn stays(failure: Failure, object: &&ImageUrl) -> Failure {
    failure.note(format!(
        "the object {object} is complete and stays in the bucket; another run needs --force to replace it"
    ))
}

/// Uploads one file after the other; what the system's came to, and the objects.
async fn upload_all<'a>(
    storage: &Storage,
    args: &ImportArgs,
    pieces: &'a Pieces,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome<(Option<Uploaded>, Vec<&'a ImageUrl>)> {
    let mut complete = Vec::new();
    let mut last = None;
    for piece in pieces.all() {
        let uploaded = upload(storage, args, piece, console, interrupt)
            .await
            .map_err(|failure| complete.iter().fold(failure, stays))?;
        complete.push(&piece.request.image_url);
        last = Some(uploaded);
    }
    Ok((last, complete))
}

async fn upload(
    storage: &Storage,
    args: &ImportArgs,
    piece: &Piece,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome<Uploaded> {
    let Piece {
        path,
        size,
        request,
    } = piece;
    let size = *size;
    let least = UploadOptions::least_memory(size);
    if args.work.memory < least {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "--memory is {}, and parts of a file of {} need {}",
                human(args.work.memory),
                human(size),
                human(least)
            ),
        ));
    }
    let progress = Progress::new(console, "reading", size, true);
    let monitor: Arc<dyn Monitor> = progress.clone();
    let options = UploadOptions {
        memory: args.work.memory,
        expected_max: size,
        max_in_flight: args.pace.concurrency.most(),
        adaptive: args.pace.concurrency == Concurrency::Auto,
        monitor: Arc::clone(&monitor),
        ..UploadOptions::default()
    };
    let target = &request.image_url;
    let place = (target.bucket.as_str(), target.key.as_str());
    let (mut sink, mut upload) = start_upload(storage, place, &options, interrupt).await?;
    let path = path.clone();
    let cancel = interrupt.token().clone();
    let reading = tokio::task::spawn_blocking(move || {
        let mut file = std::fs::File::open(&path).map_err(|e| Failure::from_error(Exit::Io, &e))?;
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
                Failure::from_error(Exit::Io, &e)
                    .context(format!("{} became shorter", path.display()))
            })?;
            sink.write(piece)
                .map_err(|e| Failure::from_error(Exit::Io, e.as_ref()))?;
            let read = u64::try_from(most).unwrap_or_default();
            monitor.count(::convert::Counter::GuestBytes, read);
            left = left.saturating_sub(read);
        }
        sink.close().map_err(|e| from_obs(&e))
    });
    tokio::pin!(reading);
    let read = tokio::select! {
        biased;
        () = interrupt.asked() => Err(interrupted()),
        read = &mut reading => read.unwrap_or_else(|e| Err(Failure::from_error(Exit::Io, &e))),
    };
    let done = match read {
        Ok(()) => match interrupt.unless_asked(upload.complete()).await {
            Ok(completed) => completed.map_err(|e| from_obs(&e)),
            Err(asked) => Err(asked),
        },
        Err(failure) => Err(match upload.failure() {
            Some(first) if failure.exit() != Exit::Interrupted => from_obs(first),
            _ => failure,
        }),
    };
    progress.finish();
    match done {
        Ok(uploaded) => Ok(uploaded),
        Err(failure) => Err(match upload.abort().await {
            Ok(()) => failure.note(format!("the upload of {target} was aborted")),
            Err(error) => failure.note(format!(
                "the upload of {target} could not be aborted: {error}; its parts may still be stored, and cost money"
            )),
        }),
    }
}
