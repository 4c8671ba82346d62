//! What takes a job: copies, exports, sharing, images of servers and volumes.

use ims::create::{DataVolume, ServerImage, VolumeImage, WholeImage, WholeSource};
use ims::sharing::Reply;
use ims::{ExportFormat, ImageUrl, JobId, Tags};

use super::super::job::{follow, job_json};
use super::{image_id, image_ids};
use crate::args::{ExportTo, ImageCommand, ImageCreateArgs, WaitArgs};
use crate::console::Console;
use cloud::{Class, Failure, Result, Session, StopToken};

pub(super) async fn run(
    session: &Session,
    command: &ImageCommand,
    console: Console,
    stop: &StopToken,
) -> Result {
    let images = session.images();
    let (wait, done, started) = match command {
        ImageCommand::Copy(args) => {
            session.refuse_no_wait(args.wait.no_wait)?;
            let id = image_id(&args.id)?;
            let (description, key) = (args.description.as_deref(), args.cmk_id.as_deref());
            let job = images.copy_image(&id, &args.name, description, key).await;
            (&args.wait, "copied", job)
        }
        ImageCommand::Export(args) => {
            session.refuse_no_wait(args.wait.no_wait)?;
            let (id, to) = (image_id(&args.id)?, object(&args.to)?);
            let format = match args.file_format {
                ExportTo::Quick => ExportFormat::Quick,
                ExportTo::Qcow2 => ExportFormat::Qcow2,
                ExportTo::Vhd => ExportFormat::Vhd,
                ExportTo::Zvhd => ExportFormat::Zvhd,
                ExportTo::Vmdk => ExportFormat::Vmdk,
            };
            let job = images.export_image(&id, &to, format).await;
            (&args.wait, "exported", job)
        }
        ImageCommand::Share(args) => {
            session.refuse_no_wait(args.wait.no_wait)?;
            let ids = image_ids(&args.ids)?;
            let job = images.share_images(&ids, &args.projects).await;
            (&args.wait, "shared", job)
        }
        ImageCommand::Unshare(args) => {
            session.refuse_no_wait(args.wait.no_wait)?;
            let ids = image_ids(&args.ids)?;
            let job = images.unshare_images(&ids, &args.projects).await;
            (&args.wait, "no longer shared", job)
        }
        ImageCommand::Accept(args) => {
            session.refuse_no_wait(args.wait.no_wait)?;
            let ids = image_ids(&args.ids)?;
            let (reply, done) = match args.reject {
                true => (Reply::Rejected, "rejected"),
                false => (Reply::Accepted, "accepted"),
            };
            let job = images.reply_to_shared(&ids, reply).await;
            (&args.wait, done, job)
        }
        ImageCommand::Create(args) => {
            session.refuse_no_wait(args.wait.no_wait)?;
            (&args.wait, "created", create(session, args).await)
        }
        _ => return Ok(()),
    };
    let job = started?;
    end(session, &job, wait, done, console, stop).await
}

/// Follows the job, or names it.
async fn end(
    session: &Session,
    id: &JobId,
    wait: &WaitArgs,
    done: &str,
    console: Console,
    stop: &StopToken,
) -> Result {
    if wait.no_wait {
        return console.result(
            format_args!("job {id} has started; imgferry job wait {id} follows it"),
            &serde_json::json!({"job_id": id.as_str()}),
        );
    }
    console.notice(format_args!("job {id} has started"));
    let job = follow(session, id, wait.timeout, console, stop).await?;
    let image = job
        .image_id()
        .map(|image| format!(": image {image}"))
        .unwrap_or_default();
    console.result(format_args!("{done}{image}"), &job_json(&job))
}

async fn create(session: &Session, args: &ImageCreateArgs) -> ims::Result<JobId> {
    let images = session.images();
    let (name, description) = (args.name.clone(), args.description.clone());
    let tags = Tags::pairs(&args.tags);
    let (min_ram, max_ram) = (args.min_ram, args.max_ram);
    let enterprise_project_id = session.cloud().enterprise_project_id.clone();
    let whole = |source: WholeSource| WholeImage {
        name: args.name.clone(),
        description: args.description.clone(),
        source,
        min_ram,
        max_ram,
        enterprise_project_id: enterprise_project_id.clone(),
        tags: Tags::pairs(&args.tags),
    };
    if let Some(id) = &args.server {
        let image = ServerImage {
            name,
            description,
            instance_id: id.clone(),
            data_images: (1_u32..)
                .zip(&args.with_volume)
                .map(|(number, volume)| DataVolume {
                    name: format!("{}-data{number}", args.name),
                    volume_id: volume.clone(),
                    description: None,
                    tags: Tags::pairs(&args.tags),
                })
                .collect(),
            min_ram,
            max_ram,
            enterprise_project_id,
            tags,
        };
        images.image_server(&image).await
    } else if let Some(id) = &args.volume {
        let image = VolumeImage {
            name,
            description,
            volume_id: id.clone(),
            kind: None,
            os_version: args.os_version.clone().unwrap_or_default(),
            min_ram,
            max_ram,
            enterprise_project_id,
            tags,
        };
        images.image_volume(&image).await
    } else if let Some(id) = &args.data_volume {
        let image = DataVolume {
            name,
            volume_id: id.clone(),
            description,
            tags,
        };
        images.image_data_volumes(&[image]).await
    } else if let Some(id) = &args.whole_server {
        let whole = whole(WholeSource::Server(id.clone()));
        images.image_whole_server(&whole).await
    } else {
        let id = args.backup.clone().unwrap_or_default();
        images
            .image_whole_server(&whole(WholeSource::Backup(id)))
            .await
    }
}

/// `obs://BUCKET/KEY`.
fn object(text: &str) -> Result<ImageUrl> {
    text.strip_prefix("obs://")
        .and_then(|rest| rest.split_once('/'))
        .filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty())
        .map(|(bucket, key)| ImageUrl {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
        })
        .ok_or_else(|| {
            Failure::new(
                Class::Refused,
                format!("{text:?} names no object, expected obs://BUCKET/KEY"),
            )
        })
}
