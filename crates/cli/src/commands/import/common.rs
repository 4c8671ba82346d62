//! The file as it is into the bucket, and the service converts it: the common import, and the two-step form.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use ::convert::{Monitor, Sink as _};
use diskimg::units::human;
use ims::create::{DataFileImport, FileImport, OsFamily as Family, SystemKind};
use ims::metadata::ImageMetadata;
use ims::{Error, ErrorKind, ImageDetail, ImageKind, ImageStatus, JobId, QuickImport, Tags};
use obs::{Client as Storage, UploadOptions, Uploaded};
use serde_json::json;

use super::errors::{from_ims, from_obs};
use super::method::MAX_COMMON;
use super::resuming::Ours;
use super::settle::settle;
use super::{checks, request};
use crate::args::ImportArgs;
use crate::commands::session::Session;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::{Interrupt, interrupted};
use crate::progress::Progress;

/// How it goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) iso: bool,
    pub(super) glance: bool,
    pub(super) why: &'static str,
}

pub(super) async fn run(
    args: &ImportArgs,
    way: Way,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome {
    let session = Session::open(&args.cloud, vec![args.bucket.clone()]).await?;
    let ended = import(&session, args, way, console, interrupt).await;
    session.close(ended).await
}

async fn import(
    session: &Session,
    args: &ImportArgs,
    way: Way,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome {
    session.refuse_no_wait(args.no_wait)?;
    let (mut request, size, mut warnings) = prepare(args, way, session)?;
    let enterprise = &mut request.enterprise_project_id;
    *enterprise = enterprise
        .take()
        .or_else(|| session.cloud.enterprise_project_id.clone());
    let name = if way.glance { "glance" } else { "common" };
    console.notice(format_args!(
        "{} is uploaded as it is and registered by --register {name}: {}",
        args.disk.display(),
        way.why
    ));
    let storage = interrupt
        .unless_asked(checks::remote(
            args,
            &session.cloud,
            &session.images,
            &request,
            // This way keeps no journal.
            &Ours::default(),
            &mut warnings,
        ))
        .await??;
    for warning in &warnings {
        console.warn(warning);
    }
    let target = &request.image_url;
    let mut told = json!({
        "source": args.disk.display().to_string(),
        "name": args.name,
        "bucket": target.bucket,
        "key": target.key,
        "method": name,
        "reason": way.why,
        "min_disk": request.min_disk,
        "size": size,
        "warnings": warnings,
    });
    if args.dry_run {
        let text = format!(
            "would upload {} as {target} as it is ({}), min_disk {} GiB\nnothing speaks against it; nothing was changed",
            args.disk.display(),
            human(size),
            request.min_disk
        );
        return console.result(text, &told);
    }
    let uploaded = upload(&storage, args, &request, size, console, interrupt).await?;
    let stays = |failure: Failure| {
        failure.note(format!(
            "the object {target} is complete and stays in the bucket; another run needs --force to replace it"
        ))
    };
    let job = start(session, args, &request, way).await.map_err(stays)?;
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
        return console.result(text, &told);
    }
    let ended = session
        .follow(&job, 3600, console, interrupt)
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
    let image = settled(session, &id, &request, console, interrupt)
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
    console.result(
        format_args!(
            "image {id} ({}) is {status}\nobject   {target}, {}",
            args.name,
            human(size)
        ),
        &told,
    )
}

fn set(told: &mut serde_json::Value, name: &str, value: serde_json::Value) {
    if let Some(fields) = told.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}

/// The request, checked; the file's size; and warnings.
fn prepare(
    args: &ImportArgs,
    way: Way,
    session: &Session,
) -> Outcome<(QuickImport, u64, Vec<String>)> {
    let refused = |message: String| Failure::new(Exit::Refused, message);
    let metadata = std::fs::metadata(&args.disk).map_err(|e| {
        Failure::from_error(Exit::Refused, &e)
            .context(format!("{} cannot be read", args.disk.display()))
    })?;
    if !metadata.is_file() {
        return Err(refused(format!(
            "{} is no regular file, and only files are uploaded as they are",
            args.disk.display()
        ))
        .hint("--register quick converts devices too"));
    }
    let size = metadata.len();
    if size > MAX_COMMON {
        return Err(refused(format!(
            "{} has {}, and the common import takes at most 128 GiB (IMG.0059)",
            args.disk.display(),
            human(size)
        ))
        .hint("--register quick takes disks of up to 1 TiB"));
    }
    // Unknown for formats that only the service reads.
    let virtual_size = match way.iso {
        true => Some(size),
        false => ::convert::open(&args.disk, args.source.format)
            .ok()
            .map(|opened| opened.image.virtual_size()),
    };
    if virtual_size.is_none() && args.min_disk.is_none() {
        return Err(refused(
            "the size of the disk inside is not known, so --min-disk must be given".to_owned(),
        )
        .hint("name at least the size of the disk in GiB, such as --min-disk 40"));
    }
    let mut request = request::build(args, virtual_size.unwrap_or(size));
    if args.key.is_none() {
        request.image_url.key = key(&request.image_url.key, &args.disk);
    }
    // The service finds the operating system itself, except on installation media.
    let needs_os = way.iso;
    let mut checked = request.clone();
    if checked.os_version.is_none() && !needs_os && checked.kind != ImageKind::DataImage {
        checked.os_version = Some("Other Linux(64 bit)".to_owned());
    }
    let size_inside = virtual_size.unwrap_or_default();
    let findings = checks::local(&checked, size_inside, session.cloud.provider);
    if !findings.problems.is_empty() {
        return Err(checks::refused(findings.problems));
    }
    Ok((request, size, findings.warnings))
}

/// The key with the extension of the file that is uploaded.
fn key(converted: &str, file: &Path) -> String {
    let stem = converted.strip_suffix(".zvhd2").unwrap_or(converted);
    match file.extension().and_then(|extension| extension.to_str()) {
        Some(extension) if extension.chars().all(|c| c.is_ascii_alphanumeric()) => {
            format!("{stem}.{extension}")
        }
        _ => stem.to_owned(),
    }
}

async fn upload(
    storage: &Storage,
    args: &ImportArgs,
    request: &QuickImport,
    size: u64,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome<Uploaded> {
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
        monitor: Arc::clone(&monitor),
        ..UploadOptions::default()
    };
    let target = &request.image_url;
    let (mut sink, mut upload) = interrupt
        .unless_asked(storage.start_upload(&target.bucket, &target.key, &options))
        .await?
        .map_err(|e| from_obs(&e))?;
    let path = args.disk.clone();
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

/// Starts the job.
async fn start(
    session: &Session,
    args: &ImportArgs,
    request: &QuickImport,
    way: Way,
) -> Outcome<JobId> {
    if way.glance {
        return two_steps(session, args, request, way).await;
    }
    let images = &session.images;
    let options = &args.registering;
    let started = if request.kind == ImageKind::DataImage {
        let import = DataFileImport {
            name: request.name.clone(),
            image_url: request.image_url.clone(),
            min_disk: request.min_disk,
            os_type: request.os_type.map(family),
            description: request.description.clone(),
            cmk_id: options.cmk_id.clone(),
            enterprise_project_id: request.enterprise_project_id.clone(),
            tags: Tags::pairs(&request.tags),
        };
        images.import_data_file(&import).await
    } else {
        let mut import = FileImport::new(
            request.name.clone(),
            request.image_url.clone(),
            request.min_disk,
        );
        import.os_version.clone_from(&request.os_version);
        import.os_type = request.os_type.map(family);
        import.kind = match request.kind {
            _ if way.iso => Some(SystemKind::IsoImage),
            ImageKind::Bms => Some(SystemKind::Bms),
            _ => None,
        };
        import.description.clone_from(&request.description);
        import.is_config = options.prepare.then_some(true);
        import.cmk_id.clone_from(&options.cmk_id);
        import.architecture = request.architecture;
        import.firmware = request.firmware;
        import
            .enterprise_project_id
            .clone_from(&request.enterprise_project_id);
        import.tags = Tags::pairs(&request.tags);
        images.import_file(&import).await
    };
    started.map_err(|error| {
        let failure = from_ims(&error);
        match error.kind() {
            ErrorKind::NotFound if request.kind == ImageKind::DataImage => {
                failure.hint("clouds without this call take data disks by --register quick")
            }
            _ => failure,
        }
    })
}

fn family(family: ims::OsType) -> Family {
    match family {
        ims::OsType::Linux => Family::Linux,
        ims::OsType::Windows => Family::Windows,
    }
}

async fn two_steps(
    session: &Session,
    args: &ImportArgs,
    request: &QuickImport,
    way: Way,
) -> Outcome<JobId> {
    let metadata = ImageMetadata {
        name: request.name.clone(),
        os_version: request.os_version.clone(),
        disk_format: way.iso.then(|| "iso".to_owned()),
        min_disk: Some(request.min_disk),
        tags: args
            .tags
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect(),
        ..ImageMetadata::default()
    };
    let images = &session.images;
    let image = images
        .create_metadata(&metadata)
        .await
        .map_err(|e| from_ims(&e))?;
    images
        .register_file(&image.id, &request.image_url)
        .await
        .map_err(|error: Error| {
            from_ims(&error)
                .note(format!("image {} stays queued, without a file", image.id))
                .hint(format!("imgferry image delete {} --yes", image.id))
        })
}

/// How often an image that is not active yet is asked for again: lists lag behind jobs.
const LOOKS: u32 = 10;

/// The image as the service lists it when it is active, with the firmware that was asked for.
async fn settled(
    session: &Session,
    id: &ims::ImageId,
    request: &QuickImport,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome<ImageDetail> {
    let pause = session.patience(0).first;
    let mut found = None;
    for _ in 0..LOOKS {
        found = interrupt
            .unless_asked(session.images.image(id))
            .await?
            .map_err(|e| from_ims(&e))?;
        if found
            .as_ref()
            .is_some_and(|image| image.status == ImageStatus::Active)
        {
            break;
        }
        interrupt.unless_asked(tokio::time::sleep(pause)).await?;
    }
    let image = found.ok_or_else(|| {
        Failure::new(
            Exit::Cloud,
            format!("image {id} was made and is not listed"),
        )
    })?;
    settle(&session.images, image, request, console).await
}
