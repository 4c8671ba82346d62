//! Jobs other than quick imports: common imports, copies, exports.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use convert::{CancelToken, PlanOptions, Sink, SinkError, Target, VoidMonitor};
use diskimg::{DiskImage, Format};
use tempfile::NamedTempFile;

use super::state::Api;
use super::versions;
use crate::images::{Examined, FoundSystem, ImageRecord, ImageType, JobFailure, JobRecord, Work};
use crate::inventory;

/// Does the job if it is one of these; whether it is.
pub(super) fn run(api: &Arc<Api>, job_id: &str) -> bool {
    let Some(job) = api.images.job(job_id) else {
        return true;
    };
    match &job.work {
        Work::QuickImport => return false,
        Work::Members { .. } => api.images.finish_job(job_id, Ok(())),
        Work::CommonImport => make(api, job_id, |image| {
            let gone = || failure("IMG.0057", format!("the bucket {} is gone", image.bucket));
            let path = api
                .objects
                .path_of(&image.bucket, &image.key)
                .ok_or_else(gone)?;
            let examined = examine(&path, image, None, &api.jobs.cancel)?;
            api.images.keep_content(&image.id, &path);
            Ok(examined)
        }),
        Work::OfDisk { id } => make(api, job_id, |image| {
            let path = api.images.content_path(&image.id);
            write_disk(&path, id).map_err(|e| failure("IMG.0014", e.to_string()))?;
            examine(&path, image, Some(Format::Raw), &api.jobs.cancel)
        }),
        Work::Uploaded => make(api, job_id, |image| {
            examine(
                &api.images.content_path(&image.id),
                image,
                None,
                &api.jobs.cancel,
            )
        }),
        Work::Copy { from } => make(api, job_id, |image| {
            let original = api
                .images
                .image(from)
                .ok_or_else(|| failure("IMG.0027", "the image was deleted in the meantime"))?;
            let path = api.images.content_path(from);
            api.images.keep_content(&image.id, &path);
            Ok(Examined {
                virtual_size: original.virtual_size.unwrap_or_default(),
                content_digest: original.content_digest.unwrap_or_default(),
                system: None,
            })
        }),
        Work::Export {
            bucket,
            key,
            format,
        } => {
            let Some(job) = api.images.begin_job(job_id) else {
                return true;
            };
            let ended = match api.faults.failing_job() {
                Some(reason) => Err(failure("IMG.0071", reason)),
                None => export(api, &job, bucket, key, format.as_deref()),
            };
            // A job that was stopped is done again at the next start.
            if ended.is_ok() || !api.jobs.cancel.is_cancelled() {
                api.images.finish_job(job_id, ended);
            }
        }
    }
    true
}

/// Writes the disk of the server or volume `id`.
fn write_disk(path: &Path, id: &str) -> std::io::Result<()> {
    let (bytes, size) = inventory::disk(id);
    let file = fs::File::create(path)?;
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0)?;
    file.set_len(size)
}

/// A job that makes an image by `work`.
fn make(api: &Api, job_id: &str, work: impl FnOnce(&ImageRecord) -> Result<Examined, JobFailure>) {
    let Some(image) = api.images.begin(job_id) else {
        return;
    };
    let ended = match api.faults.failing_job() {
        Some(reason) => Err(failure("IMG.1075", reason)),
        None => work(&image),
    };
    if ended.is_ok() || !api.jobs.cancel.is_cancelled() {
        api.images.finish(job_id, ended);
    }
}

/// Where a CD's volume descriptor stands, and what it begins with (ECMA-119, 8.1).
const ISO_MAGIC: (u64, &[u8]) = (0x8001, b"CD001");

/// Opens the object in any format, and reads all of it.
fn examine(
    path: &Path,
    image: &ImageRecord,
    known: Option<Format>,
    cancel: &CancelToken,
) -> Result<Examined, JobFailure> {
    let name = format!("{}:{}", image.bucket, image.key);
    // Where the sandbox has the file means nothing to a client.
    let plain = |text: String| text.replace(&path.display().to_string(), &name);
    if image.image_type == ImageType::IsoImage && !is_iso(path) {
        return Err(failure(
            "IMG.0057",
            format!("{name} is not an ISO 9660 file"),
        ));
    }
    let iso = (image.image_type == ImageType::IsoImage).then_some(Format::Raw);
    let opened = convert::open(path, known.or(iso))
        .map_err(|e| failure("IMG.0057", plain(e.to_string())))?;
    if opened.image.details().streamed {
        let message = format!("{name} is compressed as a whole, and the service unpacks no files");
        return Err(failure("IMG.0057", message));
    }
    let virtual_size = opened.image.virtual_size();
    if virtual_size > image.min_disk.saturating_mul(1 << 30) {
        return Err(failure(
            "IMG.0055",
            format!(
                "the disk in the image file has {virtual_size} bytes, which is more than min_disk \
                 ({} GiB)",
                image.min_disk
            ),
        ));
    }
    let threads = crate::memory::job_threads();
    let digest = convert::digest(opened.image.as_ref(), threads, &VoidMonitor, cancel)
        .map_err(|e| failure("IMG.1075", plain(e.to_string())))?;
    Ok(Examined {
        virtual_size,
        content_digest: digest.to_string(),
        system: found_system(opened.image.as_ref(), image),
    })
}

/// The operating system on `disk`, if `image` is to boot and the region has a name for
/// it. What else is on the disk keeps no job from its end: no document says so.
///
/// Source: IMS API reference of 2024, "Creating an Image", os_version: what is detected counts.
fn found_system(disk: &dyn DiskImage, image: &ImageRecord) -> Option<FoundSystem> {
    if !matches!(image.image_type, ImageType::Ecs | ImageType::Bms) {
        return None;
    }
    let report = guest::inspect(disk, guest::Wanted::default(), &guest::Budget::default());
    let known: Vec<&str> = versions::names().collect();
    let os = report.os?;
    let choice = guest::choose(&os, &known, &[])?;
    (choice.how != guest::How::Other).then_some(FoundSystem {
        os_version: choice.value,
        os_type: os.kind,
    })
}

fn is_iso(path: &Path) -> bool {
    use std::os::unix::fs::FileExt as _;
    let (at, magic) = ISO_MAGIC;
    let mut found = [0; 5];
    fs::File::open(path)
        .and_then(|file| file.read_exact_at(&mut found, at))
        .is_ok_and(|()| found == *magic)
}

/// Writes the image into the bucket.
fn export(
    api: &Api,
    job: &JobRecord,
    bucket: &str,
    key: &str,
    format: Option<&str>,
) -> Result<(), JobFailure> {
    let own = |error: &dyn std::fmt::Display| failure("IMG.0061", error.to_string());
    let content = api.images.content_path(&job.image_id);
    let to = api
        .objects
        .path_of(bucket, key)
        .ok_or_else(|| failure("IMG.0069", format!("the bucket {bucket} is gone")))?;
    let opened = convert::open(&content, None).map_err(|e| own(&e))?;
    let stored = opened.format;
    let mut file = api.images.scratch().map_err(|e| own(&e))?;
    match format {
        None if stored != Format::Zvhd2 => {
            let options = PlanOptions::default();
            let image = opened.image.as_ref();
            let plan = convert::plan(image, Target::Zvhd2, &options).map_err(|e| own(&e))?;
            let identity = zvhd2::Identity {
                uuid: *uuid::Uuid::new_v4().as_bytes(),
                timestamp: 0,
            };
            let cancel = &api.jobs.cancel;
            convert::to_zvhd2(
                image,
                &plan,
                identity,
                &mut Scratch(&mut file),
                &VoidMonitor,
                cancel,
            )
            .map_err(|e| own(&e))?;
        }
        Some(wanted) if stored.to_string() != wanted => {
            return Err(failure(
                "IMG.0072",
                format!("the sandbox has this image as {stored} and writes no {wanted}"),
            ));
        }
        _ => {
            fs::copy(&content, file.path()).map_err(|e| own(&e))?;
        }
    }
    place(file, to).map_err(|e| own(&e))
}

fn place(file: NamedTempFile, to: PathBuf) -> std::io::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    file.persist(to)?;
    Ok(())
}

/// A file as the target of a conversion.
struct Scratch<'a>(&'a mut NamedTempFile);

impl Sink for Scratch<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        use std::io::Write as _;
        Ok(self.0.write_all(bytes)?)
    }
}

fn failure(code: &'static str, reason: impl Into<String>) -> JobFailure {
    JobFailure {
        code,
        reason: reason.into(),
    }
}
