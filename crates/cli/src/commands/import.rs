//! `imgferry import`: a local disk to an active image, in one pass.
//!
//! ```text
//! open, plan ─▶ check everything ─▶ convert │ upload ─▶ complete, compare ─▶ register ─▶ follow the job
//!               nothing is sent before       both at once
//! ```

mod attach;
mod checks;
mod common;
mod errors;
mod method;
mod raw;
mod register;
mod report;
mod request;
pub(crate) mod resuming;
mod reuse;
mod settle;
mod upload;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::convert::holes::Misreported;
use ::convert::{ContentDigest, Plan};
use diskimg::DiskImage;
use diskimg::partitions::{boot_mode, boot_mode_by_front};
use ims::QuickImport;

use self::attach::Attach;
use self::checks::Checked;
pub(crate) use self::checks::refused;
pub(crate) use self::errors::{from_ims, from_journal, from_obs};
use self::method::{Chosen, Method};
use self::raw::RawJob;
use self::register::Registered;
pub(crate) use self::register::patience;
use self::report::{DryRun, Imported, Stages};
use self::resuming::{Ours, Session};
use self::reuse::Reuse;
use self::upload::{Transfer, Transferred};
use super::bitmap::{warn_of, with_holes};
use super::convert::options;
use super::input::{self, Reading};
use super::sandbox::InProcess;
use crate::args::{ImportArgs, RegisterBy};
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::settings::{self, Cloud, ProcessEnvironment};

pub(crate) async fn run(args: &ImportArgs, console: Console, interrupt: &Interrupt) -> Outcome {
    let started = Instant::now();
    let chosen = match method::choose(args)? {
        Method::AsItIs(way) => {
            raw::refuse_as_it_is(args)?;
            return common::run(args, way, console, interrupt).await;
        }
        Method::Converted(chosen) => chosen,
    };
    let then = match args.registering.register {
        RegisterBy::None => "not registered, --register none",
        _ => "registered by --register quick",
    };
    console.notice(format_args!(
        "{} is converted and {then}: {}",
        args.disk.display(),
        chosen.why
    ));
    let Some(dir) = &args.cloud.sandbox else {
        let cloud = settings::resolve(&args.cloud, &ProcessEnvironment);
        let missing = cloud.as_ref().err().map(|missing| missing.0.as_slice());
        let provider = cloud.as_ref().ok().and_then(|cloud| cloud.provider);
        let missing = missing.unwrap_or_default();
        let job = prepare(args, chosen, provider, missing, console, interrupt)?;
        let cloud = cloud.map_err(|missing| checks::refused(missing.0))?;
        return import(args, job, &cloud, started, console, interrupt).await;
    };
    if args.no_wait {
        return Err(Failure::new(
            Exit::Refused,
            "--no-wait needs a cloud that goes on when this program ends",
        )
        .hint("leave --no-wait out, or run 'imgferry sandbox' beside it"));
    }
    let job = prepare(args, chosen, None, &[], console, interrupt)?;
    let sandbox = InProcess::start(dir.as_deref(), None, vec![args.bucket.clone()]).await?;
    let ended = import(args, job, &sandbox.cloud(), started, console, interrupt).await;
    // The first error is the one to see.
    match (ended, sandbox.stop().await) {
        (Ok(()), stopped) => stopped,
        (Err(failure), Ok(())) => Err(failure),
        (Err(failure), Err(later)) => Err(failure.note(later.to_string())),
    }
}

/// What is imported, decided and checked.
struct Job {
    chosen: Chosen,
    image: Arc<dyn DiskImage>,
    plan: Plan,
    request: QuickImport,
    warnings: Vec<String>,
    /// What only a raw object needs.
    raw: Option<RawJob>,
    misreported: Option<Misreported>,
}

async fn import(
    args: &ImportArgs,
    job: Job,
    cloud: &Cloud,
    started: Instant,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome {
    let images = crate::connect::images(cloud)?;
    let mut job = job;
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
        let layered = !job.image.details().refers_to.is_empty();
        Some(Session::open(
            args, cloud, object, &job.plan, layered, console,
        )?)
    };
    let ours = session.as_ref().map(Session::ours).unwrap_or_default();
    let ours = Ours {
        // A raw object is of no use without its bitmap, of which nothing is known.
        disk: job.raw.is_none().then_some(job.plan.virtual_size),
        ..ours
    };
    let mut warnings = job.warnings;
    let Checked { storage, existing } = interrupt
        .unless_asked(checks::remote(
            args,
            cloud,
            &images,
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
        return console.result(&dry_run, &dry_run);
    };
    console.notice(&job.plan);
    let mut stages = Stages {
        check_seconds: Stages::seconds(started.elapsed()),
        ..Stages::default()
    };

    let reused = existing.is_some();
    let transferred = match existing {
        Some(existing) => {
            let reuse = Reuse {
                storage: &storage,
                url: target,
                image: &job.image,
                plan: &job.plan,
                console,
                interrupt,
            };
            reuse.run(existing, session).await?
        }
        None => {
            let progress = Progress::new(console, "converting", job.image.virtual_size(), true);
            let transfer = Transfer {
                client: &storage,
                bucket: &target.bucket,
                key: &target.key,
                image: Arc::clone(&job.image),
                plan: &job.plan,
                concurrency: args.pace.concurrency,
                monitor: progress.clone(),
                console,
                interrupt,
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
    if args.registering.register == RegisterBy::None {
        session.finish(None)?;
        return console.result(
            format_args!(
                "{} {target}: {} bytes; not registered",
                if reused { "not uploaded again" } else { "uploaded" },
                uploaded.size
            ),
            &serde_json::json!({
                "bucket": target.bucket, "key": target.key, "uploaded": uploaded, "reused": reused, "raw": raw,
                "digest": content.digest,
                "register": job.chosen.register, "register_reason": job.chosen.why,
            }),
        );
    }
    console.notice(format_args!(
        "{target} is complete: {} bytes, ETag {}; registering",
        uploaded.size, uploaded.etag
    ));

    let registering = Instant::now();
    let patience = ims::WaitOptions {
        timeout: Duration::from_secs(args.timeout),
        ..register::patience(&cloud.ims)
    };
    let waiting = (!args.no_wait).then_some(&patience);
    let attach = Attach {
        session,
        service: cloud.ims.as_str(),
    };
    let registered =
        register::register(&images, &job.request, &attach, waiting, console, interrupt)
            .await
            .map_err(|failure| {
                session.goes_on(failure.note(format!(
                    "the object {target} is complete and stays in the bucket"
                )))
            })?;
    stages.register_seconds = Stages::seconds(registering.elapsed());

    let imported = Imported {
        source: args.disk.display().to_string(),
        name: args.name.clone(),
        register: job.chosen.register,
        register_reason: job.chosen.why,
        bucket: target.bucket.clone(),
        key: target.key.clone(),
        job_id: registered.job_id.as_ref().map(ToString::to_string),
        image_id: registered.image_id.as_ref().map(ToString::to_string),
        status: registered.status.clone(),
        min_disk: job.request.min_disk,
        virtual_size: content.virtual_size,
        digest: content.digest,
        image_digest: registered.content_digest.clone(),
        read_bytes: content.read_bytes,
        skipped_bytes: content.skipped_bytes,
        kept_bytes: content.kept_bytes,
        zero_bytes: content.zero_bytes,
        uploaded,
        raw,
        reused,
        stages,
        memory_bound: job.plan.memory.total(),
        peak_memory: report::peak_memory(),
        warnings,
    };
    check_image(&registered, &content.digest, &imported)?;
    session.finish(imported.image_id.as_deref())?;
    console.result(&imported, &imported)
}

/// Everything that can be decided and refused without the network.
fn prepare(
    args: &ImportArgs,
    chosen: Chosen,
    provider: Option<ims::Cloud>,
    missing: &[String],
    console: Console,
    interrupt: &Interrupt,
) -> Outcome<Job> {
    let reading = Reading {
        size: args.pipe.size,
        threads: args.work.threads.threads,
        console,
        cancel: interrupt.token(),
    };
    let input::Input { opened, is_pipe } =
        input::open(&args.disk, &args.source.options(), reading)?;
    let virtual_size = opened.image.virtual_size();
    let request = request::build(args, virtual_size);
    let mut findings = checks::local(&request, virtual_size, provider);
    let boot_mode = match is_pipe {
        true => boot_mode_by_front,
        false => boot_mode,
    };
    checks::boot(
        boot_mode(opened.image.as_ref()),
        &request,
        &args.skip_check,
        &mut findings,
    );
    let checks::Findings {
        mut problems,
        warnings,
    } = findings;
    let raw = raw::prepare(args, &request, opened.format, &mut problems);
    if is_pipe && raw.is_some() {
        problems.push(
            "--to raw sends parts in any order, and a pipe is read front to back; leave --to out, or save the disk to a file first"
                .to_owned(),
        );
    }
    problems.extend(missing.iter().cloned());
    if !problems.is_empty() {
        return Err(checks::refused(problems));
    }
    let mut options = options(&args.work);
    if args.cloud.sandbox.is_some() {
        options.reserved_memory = ::sandbox::memory_bound();
    }
    let (image, misreported) = with_holes(opened.image, args.raw.holes.holes);
    let plan = match &raw {
        None => upload::plan(image.as_ref(), args.pace.concurrency, options)?,
        Some(raw) => raw::plan(image.as_ref(), raw, args.pace.concurrency, options)?,
    };
    Ok(Job {
        chosen,
        plan,
        warnings,
        image: Arc::from(image),
        request,
        raw,
        misreported,
    })
}

/// Holds the image that became active against what was read, as far as the service tells it.
fn check_image(registered: &Registered, digest: &ContentDigest, imported: &Imported) -> Outcome {
    let failure = match (&registered.image_id, registered.status.as_deref()) {
        (Some(id), Some(status)) if status != "active" => Failure::new(
            Exit::Cloud,
            format!("the job succeeded, but image {id} is {status}, expected active"),
        ),
        _ => match &registered.content_digest {
            Some(found) if *found != digest.to_string() => Failure::new(
                Exit::Mismatch,
                format!("the active image has content digest {found}, the source has {digest}"),
            ),
            _ => return Ok(()),
        },
    };
    Err(failure.data("import", imported))
}
