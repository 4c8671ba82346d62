//! Imports of whole files: as they are into the bucket, and the service converts them (the common
//! import, and the two-step form), or a system converted here together with its data disks. However
//! many there are, one call registers them.

mod files;
mod kept;
mod registering;
mod sending;
mod starting;

use diskimg::text::shown;
use obs::Client as Storage;
use serde_json::json;

pub(super) use self::files::key;
use self::files::{Content, Piece, Pieces};
use self::kept::Kept;
use self::registering::Registering;
use self::sending::{Sent, upload};
use super::checks;
use super::examine::{Action, Examined};
use super::register::DIGEST_FIELD;
use super::report::{Ended, Told};
use super::shared::{Alone, Before, Shared, Step, Steps};
use crate::args::ImportArgs;
use crate::commands::session::{Session, open_with};
use crate::console::Console;
use crate::exit::{Failure, Outcome};
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
    let session = open_with(&args.cloud, &args.bucket).await?;
    let shared = Shared {
        session: &session,
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
    let pieces = super::prepare::blocking(|| {
        files::prepare(
            args,
            way,
            shared.session.cloud(),
            console,
            interrupt.token(),
        )
    })?;
    let mut warnings = pieces.warnings.clone();
    let kept = Kept::open(args, shared.session.cloud(), &pieces, true, console)?;
    let ours = kept.ours(shared.before);
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
        _ if ours.registering() => (Action::Attach, size, 0),
        Content::AsItIs => (Action::UploadAsIs, size, 0),
        Content::Converted(converted) => {
            let plan = &converted.plan;
            (Action::Upload, plan.worst_case_bytes, plan.memory.total())
        }
    };
    let state = kept.system.state();
    Ok(Examined {
        action,
        format: None,
        virtual_size: None,
        data_bytes: size,
        worst_case_bytes: most,
        stored_bytes: state.map_or(0, journal::State::confirmed_bytes),
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
    let told = import(shared.session, args, way, shared, console, interrupt).await?;
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
        shown(&args.disk),
        match way.quick {
            true => "converted with its data disks",
            false => "uploaded as it is",
        },
        way.name(),
        way.why
    ));
    let mut pieces = files::prepare(args, way, session.cloud(), console, interrupt.token())?;
    let mut kept = Kept::open(args, session.cloud(), &pieces, args.dry_run, console)?;
    let mut warnings = pieces.warnings.clone();
    let ours = kept.ours(shared.before);
    let mut looked = false;
    if !args.dry_run
        && ours.known.may_have_an_image()
        && let Some(sent) = kept.noted(&pieces)
    {
        // What an earlier run has made of its objects needs neither these nor free names.
        let chosen = starting::way_of_data(session, args, &pieces, way);
        let way = interrupt.unless_asked(chosen).await??;
        let mut told = facts(args, way, &pieces, &warnings);
        let registering = Registering {
            session,
            storage: shared.storage,
            args,
            way,
            pieces: &pieces,
            sent: &sent,
            before: shared.before,
            looked,
            console,
            interrupt,
        };
        if let Some((image, text)) = registering.adopt(&kept, &mut told).await? {
            shared.steps.at(Step::Register);
            kept.finish(image.as_deref(), console);
            return Ok(Told { text, told });
        }
        kept.system.image_is_gone();
        looked = true;
    }
    let ours = kept.ours(shared.before);
    let requests = pieces.data.iter().map(|piece| &piece.request);
    let beside: Vec<_> = requests.zip(kept.ours_beside(shared.before)).collect();
    let checks::Checked { storage, .. } = interrupt
        .unless_asked(checks::remote(
            args,
            shared,
            (&pieces.system.request, &beside),
            &ours,
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
    let mut told = facts(args, way, &pieces, &warnings);
    if args.dry_run {
        let would: Vec<String> = pieces.all().map(Piece::would).collect();
        let text = format!(
            "{}\nand register by --register {name}: {}\nnothing speaks against it; nothing was changed",
            would.join("\n"),
            way.why
        );
        return Ok(Told { text, told });
    }
    // A journal that has come as far as the registration knows more.
    if shared.before.registered && !ours.registering() && pieces.data.is_empty() {
        let before = starting::made_before(session, &storage, args, system, console, interrupt);
        if let Some(image) = before.await? {
            kept.finish_unused(&storage, image.id.as_str(), console)
                .await?;
            let status = image.status.as_str().to_owned();
            set(&mut told, "image_id", image.id.as_str().into());
            set(&mut told, "status", status.as_str().into());
            let digest = image.field(DIGEST_FIELD);
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
    let sent = upload_all(
        &storage,
        args,
        (&mut pieces, &mut kept),
        shared.steps,
        (console, interrupt),
    )
    .await?;
    shared.steps.at(Step::Register);
    shared
        .steps
        .may_register()
        .await
        .map_err(|failure| kept.system.goes_on(sent.iter().fold(failure, stays)))?;
    let registering = Registering {
        session,
        storage: Some(&storage),
        args,
        way,
        pieces: &pieces,
        sent: &sent,
        before: shared.before,
        looked,
        console,
        interrupt,
    };
    let (image, text) = registering.register(&kept, &mut told).await?;
    kept.finish(image.as_deref(), console);
    Ok(Told { text, told })
}

/// What is known before anything is done.
fn facts(args: &ImportArgs, way: Way, pieces: &Pieces, warnings: &[String]) -> serde_json::Value {
    let system = &pieces.system;
    let target = &system.request.image_url;
    let mut told = json!({
        "source": args.disk.display().to_string(),
        "name": args.name,
        "bucket": target.bucket,
        "key": target.key,
        "register": way.name(),
        "register_reason": way.why,
        "min_disk": system.request.min_disk,
        "size": system.size,
        "warnings": warnings,
    });
    if !pieces.data.is_empty() {
        let data = pieces.data.iter().map(Piece::json).collect();
        set(&mut told, "data_images", data);
    }
    told
}

fn set(told: &mut serde_json::Value, name: &str, value: serde_json::Value) {
    if let Some(fields) = told.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}

/// Adds that the object is not taken away again.
fn stays(failure: Failure, sent: &Sent) -> Failure {
    failure.note(format!(
        "the object {} is complete and stays in the bucket",
        sent.object
    ))
}

/// Uploads one file after the other, the system's last.
async fn upload_all(
    storage: &Storage,
    args: &ImportArgs,
    (pieces, kept): (&mut Pieces, &mut Kept),
    steps: &dyn Steps,
    (console, interrupt): (Console, &Interrupt),
) -> Outcome<Vec<Sent>> {
    let mut complete = Vec::new();
    for (piece, session) in pieces.all_mut().zip(kept.all_mut()) {
        let sent = upload(storage, args, piece, session, steps, (console, interrupt))
            .await
            .map_err(|failure| complete.iter().fold(failure, stays))?;
        complete.push(sent);
        // The next disk has the memory that is planned for itself.
        piece.content = Content::AsItIs;
    }
    Ok(complete)
}
