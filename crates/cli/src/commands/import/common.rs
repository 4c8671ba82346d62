//! Imports that keep no journal: the file as it is into the bucket, and the service converts it (the common import, and the
//! two-step form), or the disk converted here together with its data disks, registered in one call.

mod files;
mod sending;
mod starting;

use diskimg::units::human;
use ims::{ImageDetail, ImageStatus};
use obs::Client as Storage;
use serde_json::json;

use self::files::{Content, Piece, Pieces};
use self::sending::{Sent, upload};
use super::checks;
use super::examine::{Action, Examined};
use super::report::{Ended, Told};
use super::resuming::Ours;
use super::shared::{Alone, Before, Shared, Step};
use crate::args::ImportArgs;
use crate::commands::session::Session;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;

/// How it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) iso: bool,
    pub(super) glance: bool,
    /// A format that only the service reads.
    pub(super) foreign: bool,
    /// Converted here, and registered with its data disks by quick import.
    pub(super) quick: bool,
    pub(super) why: &'static str,
}

impl Way {
    fn name(self) -> &'static str {
        match (self.glance, self.quick) {
            (true, _) => "glance",
            (_, true) => "quick",
            _ => "common",
        }
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
    let pieces = super::prepare::blocking(|| files::prepare(args, way, shared.cloud, console))?;
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
    let (action, most, memory) = match &pieces.system.content {
        Content::AsItIs => (Action::UploadAsIs, size, 0),
        Content::Converted(converted) => {
            let plan = &converted.plan;
            (Action::Upload, plan.worst_case_bytes, plan.memory.total())
        }
    };
    Ok(Examined {
        action,
        format: None,
        virtual_size: None,
        data_bytes: size,
        worst_case_bytes: most,
        stored_bytes: 0,
        memory,
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
    console.notice(format_args!(
        "{} is {} and registered by --register {}: {}",
        args.disk.display(),
        match way.quick {
            true => "converted with its data disks",
            false => "uploaded as it is",
        },
        way.name(),
        way.why
    ));
    let mut pieces = files::prepare(args, way, &session.cloud, console)?;
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
    let chosen = starting::way_of_data(session, args, &pieces, way);
    let way = interrupt.unless_asked(chosen).await??;
    let name = way.name();
    let system = &pieces.system;
    let target = system.request.image_url.clone();
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
    if shared.before.registered && pieces.data.is_empty() {
        let before = starting::made_before(session, args, &system.request, console, interrupt);
        if let Some(image) = before.await? {
            let status = image.status.as_str().to_owned();
            set(&mut told, "image_id", image.id.as_str().into());
            set(&mut told, "status", status.as_str().into());
            let digest = image.field("__imgferry_content_digest");
            set(&mut told, "image_digest", digest.into());
            set(&mut told, "reused", true.into());
            let text = format!(
                "image {} ({}) is {status}; an earlier run has registered it",
                image.id, args.name
            );
            return Ok(Told { text, told });
        }
    }
    shared.steps.at(Step::Convert);
    let sent = upload_all(&storage, args, &mut pieces, console, interrupt).await?;
    let stays = |failure| sent.iter().fold(failure, stays);
    let of_system = sent.last();
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
        serde_json::to_value(of_system.map(|sent| &sent.uploaded)).unwrap_or_default(),
    );
    if let Some(digest) = of_system.and_then(|sent| sent.digest) {
        set(&mut told, "digest", digest.to_string().into());
    }
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
    let image = starting::settled(session, &id, &pieces.system.request, console, interrupt)
        .await
        .map_err(|failure| failure.data("import", &told))?;
    let status = image.status.as_str().to_owned();
    set(&mut told, "status", status.as_str().into());
    set(&mut told, "image_digest", image.field(DIGEST_FIELD).into());
    set(&mut told, "firmware", image.firmware.clone().into());
    if image.status != ImageStatus::Active {
        return Err(Failure::new(
            Exit::Cloud,
            format!("the job succeeded, but image {id} is {status}, expected active"),
        )
        .data("import", &told));
    }
    check_digest(&image, of_system).map_err(|failure| failure.data("import", &told))?;
    let size_of = |sent: Option<&Sent>| human(sent.map_or(0, |sent| sent.uploaded.size));
    let mut text = format!(
        "image {id} ({}) is {status}\nobject   {target}, {}",
        args.name,
        size_of(of_system)
    );
    let mut data = Vec::new();
    for (piece, sent) in pieces.data.iter().zip(&sent) {
        let image = starting::made_beside(session, &piece.request, console, interrupt)
            .await
            .and_then(|image| check_digest(&image, Some(sent)).map(|()| image))
            .map_err(|failure| failure.data("import", &told))?;
        text.push_str(&format!(
            "\nimage {} ({}) is {}\nobject   {}, {}",
            image.id,
            piece.request.name,
            image.status.as_str(),
            piece.request.image_url,
            size_of(Some(sent))
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

/// The sandbox's own field of an image.
const DIGEST_FIELD: &str = "__imgferry_content_digest";

/// Holds the image against what was read, where both are known.
fn check_digest(image: &ImageDetail, sent: Option<&Sent>) -> Outcome {
    let read = sent.and_then(|sent| sent.digest);
    match (image.field(DIGEST_FIELD), read) {
        (Some(found), Some(read)) if found != read.to_string() => Err(Failure::new(
            Exit::Mismatch,
            format!(
                "the active image {} has content digest {found}, the source has {read}",
                image.id
            ),
        )),
        _ => Ok(()),
    }
}

/// Adds that the object is not taken away again.
fn stays(failure: Failure, sent: &Sent) -> Failure {
    failure.note(format!(
        "the object {} is complete and stays in the bucket; another run needs --force to replace it",
        sent.object
    ))
}

/// Uploads one file after the other, the system's last.
async fn upload_all(
    storage: &Storage,
    args: &ImportArgs,
    pieces: &mut Pieces,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome<Vec<Sent>> {
    let mut complete = Vec::new();
    for piece in pieces.all_mut() {
        let sent = upload(storage, args, piece, console, interrupt)
            .await
            .map_err(|failure| complete.iter().fold(failure, stays))?;
        complete.push(sent);
        // The next disk has the memory that is planned for itself.
        piece.content = Content::AsItIs;
    }
    Ok(complete)
}
