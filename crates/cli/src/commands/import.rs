//! `imgferry import`: a local disk to an active image, in one pass.
//!
//! ```text
//! open, plan ─▶ check everything ─▶ convert │ upload ─▶ complete, compare ─▶ register ─▶ follow the job
//!               nothing is sent before       both at once
//! ```

mod adopt;
mod attach;
mod call;
mod checks;
mod common;
mod examine;
pub(crate) mod file;
mod method;
mod prepare;
mod proof;
mod raw;
mod register;
mod report;
mod request;
pub(crate) mod resuming;
mod reuse;
pub(crate) mod route;
mod settle;
pub(crate) mod shared;
mod upload;

use std::sync::Arc;
use std::time::{Duration, Instant};

use self::adopt::{Adopted, Early};
use self::attach::Attach;
use self::call::Call;
use self::checks::Checked;
pub(crate) use self::examine::{Action, Examined, examine};
use self::method::{Chosen, Method};
use self::prepare::{Job, blocking, prepare};
use self::proof::Proving;
use self::register::Asking;
use self::report::{DryRun, Facts, Imported, Stages, Told};
pub(crate) use self::report::{Ended, peak_memory};
use self::resuming::{Input, Ours};
use self::reuse::Reuse;
use self::route::Route;
use self::shared::{Alone, Before, Shared, Step};
pub(crate) use self::upload::plan as plan_upload;
use self::upload::{Transfer, Transferred};
use super::bitmap::warn_of;
use super::convert::options as plan_options;
use super::session::{Session, SessionOptions};
use crate::args::{ImportArgs, RegisterBy, TargetFormat};
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use ::convert::{ContentDigest, Level, PlanOptions};
use cloud::{Cloud, ProcessEnvironment};
pub(crate) use cloud::{from_ims, from_journal, from_obs, rejected as refused};
use diskimg::text::shown;
use serde::Serialize;

pub(crate) async fn run(args: &ImportArgs, console: Console, interrupt: &Interrupt) -> Outcome {
    let started = Instant::now();
    let chosen = match method::choose(args)? {
        Method::AsItIs(way) => {
            raw::refuse_as_it_is(args)?;
            return common::run(args, way, console, interrupt).await;
        }
        Method::Converted(chosen) => chosen,
    };
    say_chosen(args, chosen, console);
    let needs = SessionOptions {
        buckets: vec![args.bucket.clone()],
        rate_limit: args.pace.limit_rate,
        ..SessionOptions::default()
    };
    let options = args.cloud.options();
    let Some(dir) = &options.sandbox else {
        let cloud = cloud::resolve(&options, &ProcessEnvironment);
        let missing = cloud.as_ref().err().map(|missing| missing.0.as_slice());
        let provider = cloud.as_ref().ok().and_then(|cloud| cloud.provider);
        let missing = missing.unwrap_or_default();
        let memory = plan_options(&args.work);
        let job = prepare(args, chosen, provider, missing, memory, console, interrupt)?;
        let session = Session::connect(cloud.map_err(refused)?, needs)?;
        return alone(args, job, session, started, console, interrupt).await;
    };
    if args.no_wait {
        return Err(Failure::new(
            Exit::Refused,
            "--no-wait needs a cloud that goes on when this program ends",
        )
        .hint("leave --no-wait out, or run 'imgferry sandbox' beside it"));
    }
    let memory = PlanOptions {
        reserved_memory: ::sandbox::memory_bound(),
        ..plan_options(&args.work)
    };
    let job = prepare(args, chosen, None, &[], memory, console, interrupt)?;
    let session = Session::local(dir.path(), needs).await?;
    alone(args, job, session, started, console, interrupt).await
}

/// The only import of this process.
async fn alone(
    args: &ImportArgs,
    job: Job,
    session: Session,
    started: Instant,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome {
    let shared = Shared {
        session: &session,
        storage: None,
        steps: &Alone,
        before: Before::default(),
    };
    let ended = import(args, job, shared, started, console, interrupt).await;
    let ended = ended.and_then(|ended| ended.tell(console));
    session.close(ended).await
}

/// One import of many: nothing is written to standard output, and everything that is the process's
/// own is `shared`'s. `memory` is what of the process's budget this import may take.
pub(crate) async fn one(
    args: &ImportArgs,
    shared: Shared<'_>,
    memory: PlanOptions,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome<Ended> {
    let started = Instant::now();
    shared.steps.at(Step::Check);
    let chosen = match method::choose(args)? {
        Method::AsItIs(way) => {
            raw::refuse_as_it_is(args)?;
            return Box::pin(common::one(args, way, shared, console, interrupt)).await;
        }
        Method::Converted(chosen) => chosen,
    };
    say_chosen(args, chosen, console);
    let provider = shared.session.cloud().provider;
    let job = blocking(|| prepare(args, chosen, provider, &[], memory, console, interrupt))?;
    // There are many of them: they live on the heap, and not each in a place for the largest.
    Box::pin(import(args, job, shared, started, console, interrupt)).await
}

/// Whether an import with these arguments finds its object again by the manifest beside it. A raw
/// object is of no use without its bitmap, of which no manifest tells.
pub(crate) fn finds_by_manifest(args: &ImportArgs) -> bool {
    matches!(method::choose(args), Ok(Method::Converted(_))) && args.raw.to == TargetFormat::Zvhd2
}

/// Key of the object that an import with these arguments makes.
pub(crate) fn object_key(args: &ImportArgs) -> String {
    let key = request::key_of(args);
    match method::choose(args) {
        Ok(Method::AsItIs(way)) if !way.quick && args.key.is_none() => {
            common::key(&key, "", &args.disk)
        }
        _ => key,
    }
}

fn say_chosen(args: &ImportArgs, chosen: Chosen, console: Console) {
    let then = match args.registering.register {
        RegisterBy::None => "not registered, --register none",
        _ => "registered by --register quick",
    };
    console.notice(format_args!(
        "{} is converted and {then}: {}",
        shown(&args.disk),
        chosen.why
    ));
}

async fn import(
    args: &ImportArgs,
    mut job: Job,
    shared: Shared<'_>,
    started: Instant,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome<Ended> {
    let (cloud, images) = (shared.session.cloud(), shared.session.images());
    let enterprise = &mut job.request.enterprise_project_id;
    *enterprise = enterprise
        .take()
        .or_else(|| cloud.enterprise_project_id.clone());
    let target = &job.request.image_url;
    // A dry run changes nothing, and a journal would be a change.
    let mut session = if args.dry_run {
        None
    } else {
        let object = (target.bucket.as_str(), target.key.as_str());
        let input = Input::disk(args, &job.plan, job.image.as_ref());
        let session = resuming::Session::open(args, cloud, object, input, console)?;
        Some(session.watching(std::mem::take(&mut job.watch)))
    };
    let mut warnings = std::mem::take(&mut job.warnings);
    let mut looked = false;
    let asked_to_register = args.registering.register != RegisterBy::None;
    if let Some(session) = session.as_mut().filter(|_| asked_to_register) {
        let early = Early {
            args,
            job: &job,
            shared,
            session,
            console,
            interrupt,
        };
        match early.adopt(&mut warnings).await? {
            Adopted::Done(imported) => return done(*imported, session, console),
            Adopted::Nothing => looked = true,
            Adopted::NotLooked => {}
        }
    }
    let ours = Ours {
        // A raw object is of no use without its bitmap, of which nothing is known.
        disk: job.raw.is_none().then_some(job.plan.virtual_size),
        before: shared.before,
        ..session
            .as_ref()
            .map(resuming::Session::ours)
            .unwrap_or_default()
    };
    let Checked { storage, existing } = interrupt
        .unless_asked(checks::remote(
            args,
            shared,
            (&job.request, &[]),
            &ours,
            &mut warnings,
        ))
        .await??;
    if let Some(raw) = &job.raw {
        let bucket = &target.bucket;
        interrupt
            .unless_asked(raw::check_bitmap_key(args, &storage, bucket, raw, &ours))
            .await??;
    }
    for warning in &warnings {
        console.warn(warning);
    }
    warnings.splice(0..0, job.told);
    let Some(session) = session.as_mut() else {
        if existing.is_some() {
            let warning = format!(
                "object {target} exists: it is used as it is if it holds the same disk, and refused otherwise"
            );
            console.warn(&warning);
            warnings.push(warning);
        }
        let dry_run = DryRun {
            source: args.disk.display().to_string(),
            name: args.name.clone(),
            register: job.chosen.register,
            register_reason: job.chosen.why,
            bucket: job.request.image_url.bucket.clone(),
            key: job.request.image_url.key.clone(),
            min_disk: job.request.min_disk,
            region: cloud.region.clone(),
            plan: job.plan,
            warnings,
        };
        return Ok(Ended::DryRun(Box::new(dry_run)));
    };
    console.notice(&job.plan);
    let mut stages = Stages {
        check_seconds: Stages::seconds(started.elapsed()),
        ..Stages::default()
    };

    shared.steps.at(match existing {
        Some(_) => Step::Compare,
        None => Step::Convert,
    });
    let compared = match existing {
        Some(existing) => {
            let reuse = Reuse {
                storage: &storage,
                url: target,
                image: &job.image,
                plan: &job.plan,
                console,
                interrupt,
            };
            let compared = reuse.run(existing, session, shared.before.uploaded).await;
            shared.steps.at(match &compared {
                Ok(None) => Step::Convert,
                _ => Step::Complete,
            });
            compared?
        }
        None => None,
    };
    let reused = compared.is_some();
    let earlier = session.state().and_then(|state| state.completed.clone());
    let transferred = match compared {
        Some(compared) => compared,
        None => {
            let proving = Proving { console, interrupt };
            proving.disk(&job.image, &job.plan, session).await?;
            let progress = Progress::new(console, "converting", job.image.virtual_size(), true);
            let transfer = Transfer {
                route: Route {
                    client: &storage,
                    bucket: &target.bucket,
                    key: &target.key,
                    console,
                    interrupt,
                    steps: shared.steps,
                },
                image: Arc::clone(&job.image),
                plan: &job.plan,
                concurrency: args.pace.concurrency,
                monitor: progress.clone(),
            };
            let transferred = match &job.raw {
                None => transfer.run(session).await,
                Some(raw) => raw::transfer(transfer, raw, session).await,
            };
            progress.finish();
            transferred?
        }
    };
    let Transferred {
        content,
        uploaded,
        converting,
        completing,
        raw,
    } = transferred;
    warn_of(job.misreported.as_ref(), console);
    if !reused {
        let describing = reuse::describe(&storage, target, &job.plan, &content, &uploaded);
        let described = interrupt.unless_asked(describing).await;
        if let Some(warning) = described.map_err(|failure| session.goes_on(failure))? {
            console.warn(&warning);
            warnings.push(warning);
        }
    }
    stages.transfer_seconds = Stages::seconds(converting);
    stages.complete_seconds = Stages::seconds(completing);
    // Tables and caches of the disk are of no use any more.
    drop(job.image);
    if args.registering.register == RegisterBy::None {
        session.finish(None, console);
        let mut text = format!(
            "{} {target}: {} bytes; not registered",
            if reused {
                "not uploaded again"
            } else {
                "uploaded"
            },
            uploaded.size
        );
        if job.plan.level == Some(Level::Auto) && !content.levels.is_empty() {
            text.push_str(&format!("\nlevel auto: {}", content.levels));
        }
        let told = serde_json::json!({
            "bucket": target.bucket, "key": target.key, "uploaded": uploaded, "reused": reused, "raw": raw,
            "digest": content.digest, "level": job.plan.level, "levels": content.levels,
            "register": job.chosen.register, "register_reason": job.chosen.why,
        });
        return Ok(Ended::Told(Box::new(Told { text, told })));
    }
    shared.steps.at(Step::Register);
    shared
        .steps
        .may_register()
        .await
        .map_err(|failure| session.goes_on(failure))?;
    console.notice(format_args!(
        "{target} is complete: {} bytes, ETag {}; registering",
        uploaded.size, uploaded.etag
    ));

    let registering = Instant::now();
    // Nobody can have registered an object that this run has stored.
    let is_new = !reused
        && earlier.is_none_or(|earlier| {
            (earlier.size, earlier.etag.as_str()) != (uploaded.size, uploaded.etag.as_str())
        });
    let attach = Attach {
        session,
        before: Before {
            registered: shared.before.registered && !is_new,
            ..shared.before
        },
    };
    let asking = Asking {
        client: images,
        storage: Some(&storage),
        request: &job.request,
        call: &Call::Quick,
        attach: &attach,
        patience: &patience_of(args, cloud),
        waits: !args.no_wait,
        looked,
        console,
        interrupt,
    };
    let registered = asking.register().await.map_err(|failure| {
        failure.note(format!(
            "the object {target} is complete and stays in the bucket"
        ))
    })?;
    stages.register_seconds = Stages::seconds(registering.elapsed());
    let facts = Facts {
        args,
        chosen: job.chosen,
        request: &job.request,
        plan: &job.plan,
    };
    let transferred = Transferred {
        content,
        uploaded,
        converting,
        completing,
        raw,
    };
    let imported = Imported {
        reused,
        stages,
        warnings,
        ..facts.imported(transferred, registered)
    };
    done(imported, session, console)
}

/// How long, and how often, the job of an import is asked for.
fn patience_of(args: &ImportArgs, cloud: &Cloud) -> ims::WaitOptions {
    ims::WaitOptions {
        timeout: Duration::from_secs(args.timeout),
        ..cloud.patience()
    }
}

/// Ends the journal of an import whose image is as it should be.
fn done(imported: Imported, session: &mut resuming::Session, console: Console) -> Outcome<Ended> {
    let image = imported.image_id.as_deref().zip(imported.status.as_deref());
    let digests = (imported.image_digest.as_deref(), Some(&imported.digest));
    check_image(image, digests, &imported)?;
    session.finish(imported.image_id.as_deref(), console);
    Ok(Ended::Imported(Box::new(imported)))
}

/// Holds the image that became active against what was read, as far as that and the service tell
/// it.
fn check_image(
    image: Option<(&str, &str)>,
    (found, digest): (Option<&str>, Option<&ContentDigest>),
    imported: &impl Serialize,
) -> Outcome {
    let failure = match image {
        Some((id, status)) if status != "active" => Failure::new(
            Exit::Cloud,
            format!("the job succeeded, but image {id} is {status}, expected active"),
        ),
        _ => match (found, digest) {
            (Some(found), Some(digest)) if found != digest.to_string() => Failure::new(
                Exit::Mismatch,
                format!("the active image has content digest {found}, the source has {digest}"),
            ),
            _ => return Ok(()),
        },
    };
    Err(failure.data("import", imported))
}
