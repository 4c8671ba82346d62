//! `imgferry import`: from arguments to what is imported, and from what came of it to text.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use ::convert::{Level, PlanOptions};
use diskimg::OpenOptions;
use diskimg::text::escaped;
use diskimg::units::human;
use freespace::FreeSpace;
use ims::{Architecture, Firmware, ImageKind, OsType};
use obs::Uploaded;

use ::import::{
    Action, BitmapSpec, Completion, Context, Generation, IfExists, ImportSpec, JournalSpec,
    Outcome, Planned, Prepared, RawTransferred, Register, SourceDisk, prepare, public_name,
};
use cloud::{Class, Failure, Session, SessionOptions, StopToken, rejected};

use super::convert::options;
use crate::args::{
    self, Arch, Boot, CloudArgs, HolesMode, ImageType, ImportArgs, OsFamily, RegisterBy, StateArgs,
};
use crate::console::Console;

pub(crate) async fn run(args: &ImportArgs, console: Console, stop: &StopToken) -> cloud::Result {
    let spec = spec(args);
    let needs = SessionOptions {
        buckets: vec![args.bucket.clone()],
        rate_limit: args.pace.limit_rate,
        ..SessionOptions::default()
    };
    let options = args.cloud.options();
    let Some(dir) = &options.sandbox else {
        let cloud = cloud::resolve(&options, &cloud::ProcessEnvironment);
        let missing = cloud.as_ref().err().map(|missing| missing.0.as_slice());
        let provider = cloud.as_ref().ok().and_then(|cloud| cloud.provider);
        let missing = missing.unwrap_or_default();
        let prepared = prepare(&spec, provider, missing, (&console, stop))?;
        let session = Session::connect(cloud.map_err(rejected)?, needs)?;
        return alone(args, prepared, session, console, stop).await;
    };
    if args.no_wait {
        return Err(Failure::new(
            Class::Refused,
            "--no-wait needs a cloud that keeps running after this program ends",
        )
        .hint(cloud::Hint::KeepSandboxRunning));
    }
    let prepared = prepare(&spec, None, &[], (&console, stop))?;
    let session = Session::local(dir.path(), needs).await?;
    alone(args, prepared, session, console, stop).await
}

/// The only import of this process.
async fn alone(
    args: &ImportArgs,
    prepared: Prepared,
    session: Session,
    console: Console,
    stop: &StopToken,
) -> cloud::Result {
    let cx = Context::new(&session, &console, stop);
    let ended = match args.dry_run {
        true => {
            // Only where somebody decides what to do.
            let free_space = tokio::task::block_in_place(|| prepared.free_space(stop));
            prepared.plan(cx).await.and_then(|planned| {
                let planned = Planned {
                    free_space,
                    ..planned
                };
                for warning in planned.warnings.iter().skip(planned.told) {
                    console.warn(warning);
                }
                console.result(dry_run(&planned), &planned)
            })
        }
        false => prepared
            .run(cx)
            .await
            .and_then(|outcome| console.result(text(&outcome), &outcome)),
    };
    session.close(ended).await
}

/// What the arguments ask for.
fn spec(args: &ImportArgs) -> ImportSpec {
    let mut work = options(&args.work);
    if args.cloud.sandbox.is_some() {
        work = PlanOptions {
            reserved_memory: ::sandbox::memory_bound(),
            ..work
        };
    }
    ImportSpec {
        open: OpenOptions {
            bitmap: args.changed_by.clone(),
            ..args.source.options()
        },
        force_share: args.source.share.force_share,
        ignore_manifest: args.package.ignore_manifest,
        pipe_size: args.pipe.size,
        verify_holes: args.raw.holes.holes == HolesMode::Verify,
        discard_free: args.raw.free.options(),
        key: args.key.clone(),
        if_exists: match args.if_exists {
            _ if args.force => IfExists::Replace,
            args::IfExists::Adopt => IfExists::Adopt,
            args::IfExists::Fail => IfExists::Fail,
            args::IfExists::Skip => IfExists::Skip,
            args::IfExists::Replace => IfExists::Replace,
        },
        target: args.raw.to.target(),
        bitmap: match (&args.raw.bitmap, &args.raw.bitmap_command) {
            (Some(file), _) => BitmapSpec::File(file.clone()),
            (None, Some(command)) => BitmapSpec::Command(command.clone()),
            (None, None) => BitmapSpec::Own,
        },
        kind: match args.kind {
            ImageType::Ecs => ImageKind::Ecs,
            ImageType::Bms => ImageKind::Bms,
            ImageType::DataImage => ImageKind::DataImage,
        },
        os_version: args.os_version.clone(),
        os_type: args.os_type.map(|family| match family {
            OsFamily::Linux => OsType::Linux,
            OsFamily::Windows => OsType::Windows,
        }),
        min_disk: args.min_disk,
        architecture: args.architecture.map(|architecture| match architecture {
            Arch::X86 => Architecture::X86,
            Arch::Arm => Architecture::Arm,
        }),
        firmware: args.firmware.map(|firmware| match firmware {
            Boot::Bios => Firmware::Bios,
            Boot::Uefi => Firmware::Uefi,
        }),
        tags: args.tags.clone(),
        description: args.description.clone(),
        enterprise_project_id: args.enterprise_project_id.clone(),
        register: match args.registering.register {
            RegisterBy::Auto => Register::Auto,
            RegisterBy::Quick => Register::Quick,
            RegisterBy::Common => Register::Common,
            RegisterBy::Glance => Register::Glance,
            RegisterBy::None => Register::None,
        },
        base: args.base.clone(),
        min_part: args.min_part,
        warm: args.running.run(),
        prepare: args.registering.prepare,
        cmk_id: args.registering.cmk_id.clone(),
        data_disks: args
            .registering
            .data_disks
            .iter()
            .map(SourceDisk::from)
            .collect(),
        skip_checks: args.skip_check.clone(),
        guest_check: args.guest.check(),
        allowed_rules: args.guest.allowed_rules.clone(),
        wait: !args.no_wait,
        timeout: Duration::from_secs(args.timeout),
        journal: journal(&args.cloud, &args.state),
        restart: args.restart,
        work,
        concurrency: args.pace.concurrency,
        ..ImportSpec::new(
            args.package.disk(&args.disk),
            args.name.as_deref().unwrap_or_default(),
            &args.bucket,
        )
    }
}

/// Where unfinished imports are recorded. A sandbox in a temporary directory vanishes with this
/// process, and so do they.
pub(crate) fn journal(cloud: &CloudArgs, state: &StateArgs) -> Option<JournalSpec> {
    let vanishes = matches!(cloud.sandbox, Some(None));
    (!vanishes).then(|| JournalSpec {
        dir: state.state_dir.clone(),
        command: command(),
    })
}

/// The command line, on which secrets never are. `--restart` was for once.
pub(crate) fn command() -> Vec<String> {
    std::env::args_os()
        .map(|argument| {
            public_name(Path::new(&argument))
                .to_string_lossy()
                .into_owned()
        })
        .filter(|argument| argument != "--restart")
        .collect()
}

/// A plan, for people.
fn dry_run(planned: &Planned) -> String {
    let mut text = String::new();
    let object =
        |bucket: &str, key: &str, min_disk| format!("{bucket}:{key}, min_disk {min_disk} GiB");
    // A file that is uploaded as it is has no plan.
    let (does, to) = match planned.plan {
        Some(_) => ("convert", "to"),
        None => ("upload as it is", "as"),
    };
    if planned.action == Action::Skip {
        let exists = match &planned.image_id {
            Some(image) => format!("image {image} has the name {}", planned.name),
            None => format!("object {}:{} exists", planned.bucket, planned.key),
        };
        let source = escaped(&planned.source, |_| false);
        return format!("would skip {source}: {exists}, and would not be compared with it");
    }
    for data in &planned.data_images {
        let source = escaped(&data.source, |_| false);
        let object = object(&data.bucket, &data.key, data.min_disk);
        let _ = writeln!(text, "would {does} {source} {to} {object}");
    }
    let source = escaped(&planned.source, |_| false);
    let _ = match (&planned.plan, planned.data_images.is_empty()) {
        (Some(_), true) => write!(
            text,
            "would import {source} as {} in {}, through {}/{}, min_disk {} GiB",
            planned.name, planned.region, planned.bucket, planned.key, planned.min_disk
        ),
        _ => write!(
            text,
            "would {does} {source} ({}) {to} {}",
            human(planned.size),
            object(&planned.bucket, &planned.key, planned.min_disk)
        ),
    };
    let _ = write!(
        text,
        "\nand register by --register {}: {}",
        planned.register, planned.register_reason
    );
    if let Some(plan) = &planned.plan {
        let _ = write!(text, "\n{plan}");
    }
    if let Some(base) = &planned.base {
        let _ = write!(
            text,
            "\nbase    {}/{}: {} blocks in {}; ",
            base.bucket,
            escaped(&base.key, |_| false),
            base.blocks,
            human(base.size)
        );
        let _ = match &base.changed_by {
            Some(by) => write!(
                text,
                "at most {} of the disk are read to find those that have changed\ntrusted {}",
                human(by.read_bytes),
                by.trusted()
            ),
            None => write!(text, "the disk is read to find those that have changed"),
        };
    }
    if let Some(free) = &planned.discarded {
        let _ = write!(text, "\n{}", left_out(free));
    }
    if let Some(free) = planned
        .free_space
        .as_ref()
        .filter(|free| free.is_worth_it())
    {
        for volume in free.volumes.iter().filter(|volume| volume.stored > 0) {
            let _ = write!(text, "\n{volume}");
        }
        let _ = write!(text, "\n{}", free.advice());
    }
    text.push_str("\nall checks passed; no changes made");
    text
}

/// The free space that is not sent.
fn left_out(free: &FreeSpace) -> String {
    format!(
        "free    {} left out, of which the image stores {}",
        human(free.free_bytes),
        human(free.stored_bytes)
    )
}

/// An outcome, for people.
fn text(outcome: &Outcome) -> String {
    let mut text = String::new();
    // Writing to a text does not fail.
    let _ = match (&outcome.content, &outcome.uploaded) {
        _ if outcome.nothing_done().is_some() => nothing_done(outcome, &mut text),
        (_, Some(uploaded)) if outcome.generation().is_some() => {
            generation(outcome, uploaded, &mut text)
        }
        _ if outcome.register == "none" => object_only(outcome, &mut text),
        (Some(_), _) if outcome.data_images.is_empty() => whole(outcome, &mut text),
        _ => images(outcome, &mut text),
    };
    text
}

/// An image or object that was there before.
fn nothing_done(outcome: &Outcome, f: &mut String) -> std::fmt::Result {
    if outcome.result == Completion::Skipped {
        f.push_str("skipped: ");
    }
    f.push_str(&outcome.nothing_done().unwrap_or_default());
    for data in &outcome.data_images {
        let status = data.status.as_deref().unwrap_or("registered");
        if let Some(id) = &data.image_id {
            write!(f, "\nimage {id} ({}) is {status}", data.name)?;
        }
    }
    if outcome.result == Completion::Skipped {
        return Ok(());
    }
    write!(f, "\nobject   {}/{}", outcome.bucket, outcome.key)?;
    match &outcome.content {
        Some(content) => write!(f, "\ndigest   {}", content.digest),
        None => Ok(()),
    }
}

/// A generation of a migration, which is not registered.
fn generation(outcome: &Outcome, uploaded: &Uploaded, f: &mut String) -> std::fmt::Result {
    let Some(made) = &outcome.warm else {
        return Ok(());
    };
    write!(
        f,
        "generation {} of {} is uploaded; not registered\nobject   {}/{}, {}",
        made.number.unwrap_or_default(),
        outcome.name,
        outcome.bucket,
        outcome.key,
        human(uploaded.size)
    )?;
    match made.base {
        Some(base) => write!(
            f,
            "\nchanged  {} since generation {base}; {} sent, {} copied by the server",
            human(made.changed_bytes),
            human(uploaded.sent_bytes),
            human(uploaded.copied_bytes)
        )?,
        None => write!(
            f,
            "\nbytes    {} read, {} sent",
            human(made.changed_bytes),
            human(uploaded.sent_bytes)
        )?,
    }
    for key in &made.removed {
        write!(f, "\nremoved  {}/{key}", outcome.bucket)?;
    }
    write!(f, "\ntime     {:.1} s", made.seconds)?;
    if let Some(seconds) = made.cutover_seconds {
        write!(
            f,
            "; a cutover takes ≈ {seconds:.1} s, and the registration"
        )?;
    }
    write!(
        f,
        "\nnext     repeat the command, or stop the server and pass --cutover instead of --warm"
    )
}

/// An object that is not registered.
fn object_only(outcome: &Outcome, f: &mut String) -> std::fmt::Result {
    let done = match outcome.reused {
        true => "not uploaded again",
        false => "uploaded",
    };
    let size = outcome
        .uploaded
        .as_ref()
        .map_or(0, |uploaded| uploaded.size);
    write!(
        f,
        "{done} {}:{}: {size} bytes; not registered",
        outcome.bucket, outcome.key
    )?;
    levels(outcome, "\nlevel auto: ", f)
}

fn levels(outcome: &Outcome, before: &str, f: &mut String) -> std::fmt::Result {
    match &outcome.content {
        Some(content) if outcome.level == Some(Level::Auto) && !content.levels.is_empty() => {
            write!(f, "{before}{}", content.levels)
        }
        _ => Ok(()),
    }
}

/// The images of a system and its data disks, or one that the service converts.
fn images(outcome: &Outcome, f: &mut String) -> std::fmt::Result {
    let Some(id) = &outcome.image_id else {
        let name = &outcome.name;
        return match &outcome.job_id {
            Some(job) => write!(
                f,
                "job {job} of {name} has started; imgferry job wait {job} follows it"
            ),
            None => write!(f, "an earlier run has registered {name}"),
        };
    };
    let mut line = |id: &str, name: &str, status: Option<&str>, object: String, size: u64| {
        if !f.is_empty() {
            f.push('\n');
        }
        write!(
            f,
            "image {id} ({name}) is {}\nobject   {object}, {}",
            status.unwrap_or("registered"),
            human(size)
        )
    };
    let size = outcome
        .uploaded
        .as_ref()
        .map_or(0, |uploaded| uploaded.size);
    let object = format!("{}:{}", outcome.bucket, outcome.key);
    line(id, &outcome.name, outcome.status.as_deref(), object, size)?;
    for data in &outcome.data_images {
        let object = format!("{}:{}", data.bucket, data.key);
        let id = data.image_id.as_deref().unwrap_or("-");
        let size = data.stored.unwrap_or_default();
        line(id, &data.name, data.status.as_deref(), object, size)?;
    }
    Ok(())
}

/// An image of a disk that was converted.
fn whole(outcome: &Outcome, f: &mut String) -> std::fmt::Result {
    match (&outcome.image_id, &outcome.status) {
        (Some(id), Some(status)) => writeln!(f, "image {id} ({}) is {status}", outcome.name)?,
        (Some(id), None) => writeln!(f, "image {id} ({}) is registered", outcome.name)?,
        _ => writeln!(
            f,
            "import job {} of {} has started",
            outcome.job_id.as_deref().unwrap_or("-"),
            outcome.name
        )?,
    }
    let (Some(content), Some(uploaded)) = (&outcome.content, &outcome.uploaded) else {
        return Ok(());
    };
    writeln!(
        f,
        "object   {}/{}, {}",
        outcome.bucket,
        outcome.key,
        human(uploaded.size)
    )?;
    writeln!(f, "digest   {}", content.digest)?;
    if outcome.image_digest.is_some() {
        writeln!(f, "         the active image has the same")?;
    }
    writeln!(
        f,
        "bytes    {} read, {} skipped, {} found zero, {} uploaded in {} parts{}",
        human(content.read_bytes),
        human(content.skipped_bytes),
        human(content.zero_bytes),
        human(uploaded.sent_bytes),
        uploaded.parts,
        match uploaded.retries {
            0 => String::new(),
            n => format!(", {n} sent again"),
        }
    )?;
    if let Some(free) = &outcome.discarded {
        writeln!(f, "{}", left_out(free))?;
    }
    if uploaded.kept_bytes > 0 {
        writeln!(
            f,
            "         {} were stored by an earlier run",
            human(uploaded.kept_bytes)
        )?;
    }
    levels(outcome, "level    auto: ", f)?;
    if outcome.level == Some(Level::Auto) && !content.levels.is_empty() {
        f.push('\n');
    }
    if let Some(raw) = &outcome.raw {
        raw_object(raw, f)?;
    }
    if let Some(made) = &outcome.warm {
        after_cutover(made, uploaded, f)?;
    }
    let stages = &outcome.stages;
    writeln!(
        f,
        "time     check {:.1} s, convert and upload {:.1} s, complete {:.1} s, register {:.1} s",
        stages.check_seconds,
        stages.transfer_seconds,
        stages.complete_seconds,
        stages.register_seconds
    )?;
    let bound = outcome.memory_bound.unwrap_or_default();
    write!(f, "memory   at most {} planned", human(bound))?;
    if let Some(peak) = outcome.peak_memory {
        write!(f, ", {} used", human(peak))?;
    }
    Ok(())
}

/// What the cutover of a migration came to.
fn after_cutover(made: &Generation, uploaded: &Uploaded, f: &mut String) -> std::fmt::Result {
    if let Some(base) = made.base {
        writeln!(
            f,
            "changed  {} since generation {base}; {} copied by the server",
            human(made.changed_bytes),
            human(uploaded.copied_bytes)
        )?;
    }
    made.removed
        .iter()
        .try_for_each(|key| writeln!(f, "removed  {key}"))
}

fn raw_object(raw: &RawTransferred, f: &mut String) -> std::fmt::Result {
    let upload = &raw.upload;
    let copies = upload.copies.clone().unwrap_or_default();
    writeln!(
        f,
        "raw      {} effective bytes sent of {}; {} copied by the server in {} parts of zeros",
        human(upload.sent_bytes),
        human(upload.size),
        human(copies.copied_bytes),
        copies.copied_parts
    )?;
    if let Some(refused) = &copies.copies_refused {
        writeln!(
            f,
            "         {} parts of zeros were sent, because the server does not copy: {refused}",
            copies.zero_parts_sent
        )?;
    }
    if let Some(left) = &copies.left_behind {
        writeln!(f, "         the object of zeros is still there: {left}")?;
    }
    write!(f, "bitmap   {}, {} bytes", raw.bitmap_key, raw.bitmap_bytes)?;
    match &raw.bitmap {
        Some(figures) => writeln!(
            f,
            ", layout {}, {} blocks marked; acceptance by the service is not confirmed",
            figures.layout.name, figures.marked
        ),
        None => writeln!(f, ", as it was given"),
    }
}
