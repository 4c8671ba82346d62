//! The calls that register uploaded files, and the images that come of them.

use std::time::Instant;

use ims::create::{DataFile, DataFileImport, FileImport, OsFamily as Family, SystemKind};
use ims::metadata::ImageMetadata;
use ims::{Error, ImageDetail, ImageKind, ImageStatus, JobId, QuickImport, Tags};

use super::super::attach::comes_from;
use super::super::errors::from_ims;
use super::super::settle::settle;
use super::Way;
use super::files::Pieces;
use crate::args::ImportArgs;
use crate::commands::session::Session;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;

/// The way of a data disk: clouds that have no call for files of any format take it by quick import, if it is ZVHD2.
pub(super) async fn way_of_data(
    session: &Session,
    args: &ImportArgs,
    pieces: &Pieces,
    way: Way,
) -> Outcome<Way> {
    let request = &pieces.system.request;
    if request.kind != ImageKind::DataImage || way.glance || way.quick {
        return Ok(way);
    }
    let taken = session.images.takes_data_files().await;
    if taken.map_err(|e| from_ims(&e))? {
        return Ok(way);
    }
    if pieces.system.zvhd2 && args.registering.cmk_id.is_none() {
        return Ok(Way {
            quick: true,
            why: "this cloud takes data disks by quick import only, and the file is ZVHD2",
            ..way
        });
    }
    Err(Failure::new(
        Exit::Refused,
        "this cloud has no call that takes data disks in other formats than those of quick import, or encrypts them",
    )
    .hint("pass --register quick, which converts the disk, without --cmk-id"))
}

/// Starts the job.
pub(super) async fn start(
    session: &Session,
    args: &ImportArgs,
    pieces: &Pieces,
    way: Way,
) -> Outcome<JobId> {
    let request = &pieces.system.request;
    if way.glance {
        return two_steps(session, args, request, way).await;
    }
    let images = &session.images;
    let options = &args.registering;
    let started = if request.kind == ImageKind::DataImage && way.quick {
        images.quick_import(request).await
    } else if request.kind == ImageKind::DataImage {
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
        import.is_quick_import = way.quick.then_some(true);
        import.cmk_id.clone_from(&options.cmk_id);
        import.architecture = request.architecture;
        import.firmware = request.firmware;
        import
            .enterprise_project_id
            .clone_from(&request.enterprise_project_id);
        import.tags = Tags::pairs(&request.tags);
        import.data_images = pieces
            .data
            .iter()
            .map(|piece| data(&piece.request, way))
            .collect();
        images.import_file(&import).await
    };
    started.map_err(|error| from_ims(&error))
}

fn data(request: &QuickImport, way: Way) -> DataFile {
    DataFile {
        name: Some(request.name.clone()),
        description: None,
        image_url: request.image_url.clone(),
        min_disk: request.min_disk,
        is_quick_import: way.quick.then_some(true),
        tags: Tags::pairs(&request.tags),
    }
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

/// The image that an earlier run has registered from the object of `request`, once nothing works on it any more.
pub(super) async fn made_before(
    session: &Session,
    args: &ImportArgs,
    request: &QuickImport,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome<Option<ImageDetail>> {
    let patience = session.patience(args.timeout);
    let until = Instant::now() + patience.timeout;
    loop {
        let found = interrupt
            .unless_asked(session.images.image_named(&request.name))
            .await?
            .map_err(|e| from_ims(&e))?;
        let found = found.filter(|image| comes_from(image, request) == Some(true));
        let Some(image) = found else { return Ok(None) };
        match image.status {
            ImageStatus::Queued | ImageStatus::Saving if Instant::now() < until => {}
            ImageStatus::Active => {
                return settle(&session.images, image, request, console)
                    .await
                    .map(Some);
            }
            _ => return Ok(None),
        }
        interrupt
            .unless_asked(tokio::time::sleep(patience.first))
            .await?;
    }
}

/// How often an image that is not active yet is asked for again: lists lag behind jobs.
const LOOKS: u32 = 10;

/// The image as the service lists it when it is active, with the firmware that was asked for.
pub(super) async fn settled(
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

/// The data image that was made together with the system's, when it is active. The job names it in places that
/// differ between releases, its name is its own everywhere.
pub(super) async fn made_beside(
    session: &Session,
    request: &QuickImport,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome<ImageDetail> {
    let found = interrupt
        .unless_asked(session.images.image_named(&request.name))
        .await?
        .map_err(|e| from_ims(&e))?;
    let found = found.ok_or_else(|| {
        Failure::new(
            Exit::Cloud,
            format!(
                "the job succeeded, and the data image {:?} is not listed",
                request.name
            ),
        )
        .hint("imgferry image list shows the images")
    })?;
    let image = settled(session, &found.id, request, console, interrupt).await?;
    match image.status {
        ImageStatus::Active => Ok(image),
        _ => Err(Failure::new(
            Exit::Cloud,
            format!(
                "the job succeeded, but the data image {} is {}, expected active",
                image.id,
                image.status.as_str()
            ),
        )),
    }
}
