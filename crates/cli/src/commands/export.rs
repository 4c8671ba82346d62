//! `imgferry export`: an image of the cloud to a file here.
//!
//! ```text
//! export into the bucket ─▶ download in ranges ─▶ size compared ─▶ every block decoded, converted ─▶ rename
//!                                               └ MD5 too, where the ETag is one
//! ```

use std::path::Path;

use ::convert::{OutputFile, Overwrite, Target};
use diskimg::text::shown;
use diskimg::units::human;
use diskimg::{Format, OpenOptions};
use ims::{ExportFormat, ImageId, ImageUrl};
use serde_json::json;

use super::convert::{options, summary};
use super::image::{image_id, no_image};
use super::job;
use crate::args::ExportArgs;
use crate::commands::{target_by_name, typed};
use crate::console::Console;
use crate::progress::Progress;
use ::import::open_named;
use cloud::{Class, Failure, Result, Session, SessionOptions, StopToken, from_ims, from_obs};

/// The sandbox's own field of an image.
const DIGEST_FIELD: &str = "__imgferry_content_digest";

pub(crate) async fn run(args: &ExportArgs, console: Console, stop: &StopToken) -> Result {
    let needs = SessionOptions {
        buckets: vec![args.bucket.clone()],
        ..SessionOptions::default()
    };
    let session = Session::open(&args.cloud.options(), needs).await?;
    let ended = export(&session, args, console, stop).await;
    session.close(ended).await
}

async fn export(
    session: &Session,
    args: &ExportArgs,
    console: Console,
    stop: &StopToken,
) -> Result {
    let id = image_id(&args.id)?;
    // Refused before anything is exported, too.
    target_by_name(&args.file, "")?;
    let overwrite = if args.force {
        Overwrite::Replace
    } else {
        Overwrite::Refuse
    };
    // Refused before anything is exported, if it must not be written.
    let file = OutputFile::create(&args.file, overwrite)?;
    let object = ImageUrl {
        bucket: args.bucket.clone(),
        key: args.key.clone().unwrap_or_else(|| format!("{id}.zvhd2")),
    };
    let image = stop
        .unless_asked(session.images().image(&id))
        .await?
        .map_err(|e| from_ims(&e))?
        .ok_or_else(|| no_image(&id))?;
    let exporting = Exporting {
        session,
        args,
        id,
        object,
        digest: image.field(DIGEST_FIELD),
        storage: session.storage().await?,
        console,
        stop,
    };
    if !args.reuse_object {
        exporting.to_bucket().await?;
    }
    let (fetched, written) = exporting.to_file(file).await.map_err(|failure| {
        failure
            .note(format!(
                "the object {} stays in the bucket",
                exporting.object
            ))
            .hint(exporting.again())
    })?;
    let deleted = !args.keep_object && exporting.delete_object().await;
    exporting.show(&fetched, &written, deleted)
}

/// An image on its way from the cloud to a file.
struct Exporting<'a> {
    session: &'a Session,
    args: &'a ExportArgs,
    id: ImageId,
    object: ImageUrl,
    /// What the sandbox tells of its image; other clouds do not.
    digest: Option<String>,
    storage: obs::Client,
    console: Console,
    stop: &'a StopToken,
}

impl Exporting<'_> {
    /// The command that begins with the object.
    fn again(&self) -> String {
        format!(
            "imgferry export {} {} --bucket {} --key {} --reuse-object",
            self.id,
            typed(&self.args.file, "FILE"),
            self.object.bucket,
            self.object.key
        )
    }

    /// Lets the service write the object.
    async fn to_bucket(&self) -> Result {
        let (id, object) = (&self.id, &self.object);
        let images = self.session.images();
        let job = images
            .export_image(id, object, ExportFormat::Quick)
            .await
            .map_err(|e| from_ims(&e))?;
        self.console
            .notice(format_args!("job {job} exports image {id} to {object}"));
        let timeout = self.args.timeout;
        job::follow(self.session, &job, timeout, self.console, self.stop)
            .await
            .map_err(|failure| failure.hint(format!("and when it has ended: {}", self.again())))?;
        Ok(())
    }

    /// Downloads and converts the object.
    async fn to_file(&self, file: OutputFile) -> Result<(Fetched, Written)> {
        let (args, console) = (self.args, self.console);
        // Beside the target: there must be room, and nothing else may read it.
        let download = tempfile::Builder::new()
            .prefix(".imgferry-export-")
            .suffix(".part")
            .tempfile_in(directory(&args.file))
            .map_err(|e| {
                Failure::from_error(Class::Io, &e).context("there is no room to download to")
            })?;
        let fetching = fetch(&self.storage, &self.object, (&download, &file), console);
        let fetched = self.stop.unless_asked(fetching).await??;
        let written = write(args, file, download.path(), console, self.stop).await?;
        match &self.digest {
            Some(expected) if *expected != written.digest => Err(Failure::new(
                Class::Mismatch,
                format!(
                    "the image has content digest {expected}, the exported file has {}",
                    written.digest
                ),
            )),
            _ => Ok((fetched, written)),
        }
    }

    /// Whether the object could be deleted.
    async fn delete_object(&self) -> bool {
        let object = &self.object;
        let deleted = self.storage.delete_object(&object.bucket, &object.key);
        match deleted.await {
            Ok(()) => true,
            Err(error) => {
                self.console.warn(format_args!(
                    "the object {object} stays in the bucket: {error}"
                ));
                false
            }
        }
    }

    fn show(&self, fetched: &Fetched, written: &Written, deleted: bool) -> Result {
        self.console.result(
            format_args!(
                "{}\n{}\ndownloaded {}{}",
                shown(&self.args.file),
                written.text,
                human(fetched.size),
                if fetched.md5_compared {
                    ", its MD5 is the object's ETag"
                } else {
                    ""
                }
            ),
            &json!({
                "path": self.args.file.display().to_string(),
                "image_id": self.id.as_str(),
                "bucket": self.object.bucket,
                "key": self.object.key,
                "object_deleted": deleted,
                "downloaded_bytes": fetched.size,
                "md5_compared": fetched.md5_compared,
                "digest": written.digest,
            }),
        )
    }
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// What was downloaded.
struct Fetched {
    /// Bytes.
    size: u64,
    /// Whether the MD5 was compared with the ETag.
    md5_compared: bool,
}

/// Downloads the object, and compares it with what the storage tells of it.
async fn fetch(
    storage: &obs::Client,
    object: &ImageUrl,
    (file, output): (&tempfile::NamedTempFile, &OutputFile),
    console: Console,
) -> Result<Fetched> {
    let info = storage
        .object(&object.bucket, &object.key)
        .await
        .map_err(|e| from_obs(&e))?
        .ok_or_else(|| {
            Failure::new(Class::Cloud, format!("there is no object {object}"))
                .hint("leave --reuse-object out to export the image first")
        })?;
    // The download lies beside the output, which needs room of its own later.
    output.require_space(info.size)?;
    let progress = Progress::new(console, "fetching", info.size, false);
    let place = (object.bucket.as_str(), object.key.as_str());
    let downloading = storage.download(place, &info, file.as_file(), progress.as_ref());
    let md5_compared = downloading.await.map_err(|e| from_obs(&e))?;
    progress.finish();
    Ok(Fetched {
        size: info.size,
        md5_compared,
    })
}

/// What was written.
struct Written {
    digest: String,
    text: String,
}

/// The downloaded ZVHD2, checked, as the file that the user wants.
async fn write(
    args: &ExportArgs,
    mut file: OutputFile,
    download: &Path,
    console: Console,
    stop: &StopToken,
) -> Result<Written> {
    let as_it_is = target_by_name(&args.file, "")? == Some(Target::Zvhd2);
    let options = options(&args.work);
    let download = download.to_owned();
    let cancel = stop.token().clone();
    let work = move || {
        let opened = open_named(
            &download,
            &OpenOptions::of(Some(Format::Zvhd2)),
            &console,
            &cancel,
        )?;
        let image = opened.image.as_ref();
        let progress = Progress::new(console, "converting", image.virtual_size(), false);
        let monitor: &dyn ::convert::Monitor = progress.as_ref();
        let written = if as_it_is {
            let threads = options.threads.unwrap_or_else(::convert::default_threads);
            let digest = ::convert::digest(image, threads, monitor, &cancel)?;
            let mut from = diskimg::source::open_regular(&download)
                .map_err(|e| Failure::from_error(Class::Io, &e))?;
            copy(&mut from, &mut file)?;
            Written {
                digest: digest.to_string(),
                text: format!("digest {digest}"),
            }
        } else {
            let plan = ::convert::plan(image, Target::Raw, &options)?;
            file.require_space(plan.least_output_bytes())?;
            let report = ::convert::to_raw(image, &plan, &file, monitor, &cancel)?;
            Written {
                digest: report.digest.to_string(),
                text: summary(&report),
            }
        };
        file.commit()?;
        progress.finish();
        Ok(written)
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Failure::from_error(Class::Io, &e).context("the conversion crashed"))?
}

fn copy(from: &mut std::fs::File, to: &mut OutputFile) -> Result {
    use ::convert::Sink as _;
    use std::io::Read as _;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = from
            .read(&mut buffer)
            .map_err(|e| Failure::from_error(Class::Io, &e))?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        to.write(bytes)
            .map_err(|e| Failure::from_error(Class::Io, e.as_ref()))?;
    }
}
