//! The calls that register uploaded files, and the images that come of them.

use std::time::Instant;

use ims::create::{DataFile, DataFileImport, FileImport, OsFamily as Family, SystemKind};
use ims::metadata::ImageMetadata;
use ims::{Client, ImageDetail, ImageId, ImageKind, ImageStatus, QuickImport, Tags, WaitOptions};
use journal::registration::LOOKS;

use super::super::attach::{comes_from, is_older};
use super::super::call::Call;
use super::super::register::{DIGEST_FIELD, Registered};
use super::super::settle::settle;
use super::Way;
use super::files::{Content, Piece, Pieces};
use crate::args::ImportArgs;
use crate::commands::session::Session;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;
use cloud::from_ims;

/// The way of a data disk: clouds that have no call for files of any format take it by quick
/// import, if it is ZVHD2.
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
    let taken = session.images().takes_data_files().await;
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

/// What starts the job.
pub(super) fn call(args: &ImportArgs, pieces: &Pieces, way: Way) -> Call {
    let request = &pieces.system.request;
    if way.glance {
        return Call::TwoSteps(Box::new(metadata(args, request, way)));
    }
    let options = &args.registering;
    if request.kind == ImageKind::DataImage && way.quick {
        return Call::Quick;
    }
    if request.kind == ImageKind::DataImage {
        return Call::Data(Box::new(DataFileImport {
            name: request.name.clone(),
            image_url: request.image_url.clone(),
            min_disk: request.min_disk,
            os_type: request.os_type.map(family),
            description: request.description.clone(),
            cmk_id: options.cmk_id.clone(),
            enterprise_project_id: request.enterprise_project_id.clone(),
            tags: Tags::pairs(&request.tags),
        }));
    }
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
    Call::File(Box::new(import))
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

fn metadata(args: &ImportArgs, request: &QuickImport, way: Way) -> ImageMetadata {
    ImageMetadata {
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
    }
}

/// The image that an earlier run has registered from the object of `request`, once nothing works on
/// it any more.
pub(super) async fn made_before(
    session: &Session,
    storage: &obs::Client,
    args: &ImportArgs,
    piece: &Piece,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome<Option<ImageDetail>> {
    let request = &piece.request;
    let target = &request.image_url;
    let object = interrupt
        .unless_asked(storage.object(&target.bucket, &target.key))
        .await?;
    // Where it cannot be looked at, only its name tells of it.
    let object = object.ok().flatten();
    let other = object.as_ref().is_some_and(|object| {
        matches!(piece.content, Content::AsItIs) && object.size != piece.size
    });
    if other {
        return Ok(None);
    }
    let stored = object.and_then(|object| object.modified);
    let patience = session.patience(args.timeout);
    let until = Instant::now() + patience.timeout;
    loop {
        let found = interrupt
            .unless_asked(session.images().image_named(&request.name))
            .await?
            .map_err(|e| from_ims(&e))?;
        let found = found
            .filter(|image| comes_from(image, request) == Some(true) && !is_older(image, stored));
        let Some(image) = found else { return Ok(None) };
        match image.status {
            ImageStatus::Queued | ImageStatus::Saving if Instant::now() < until => {}
            ImageStatus::Active => {
                return settle(session.images(), image, request, console)
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

/// The data image that was made together with the system's, when it is active; one that is still
/// being made is waited for until `making`. The job names it in places that differ between
/// releases, its name is its own everywhere.
pub(super) async fn made_beside(
    session: &Session,
    request: &QuickImport,
    (making, waiting): (Option<Instant>, &WaitOptions),
    console: Console,
    interrupt: &Interrupt,
) -> Outcome<Registered> {
    let images = session.images();
    let missing = || {
        Failure::new(
            Exit::Cloud,
            format!(
                "the job succeeded, and the data image {:?} is not listed",
                request.name
            ),
        )
        .hint("imgferry image list shows the images")
    };
    let mut looks = 1;
    let found = loop {
        let listed = interrupt
            .unless_asked(images.image_named(&request.name))
            .await?
            .map_err(|e| from_ims(&e))?;
        match listed.filter(|image| comes_from(image, request) != Some(false)) {
            Some(found) => break found,
            None if looks >= LOOKS => return Err(missing()),
            None => looks += 1,
        }
        // Lists lag behind jobs.
        interrupt
            .unless_asked(tokio::time::sleep(waiting.first))
            .await?;
    };
    let image = detail_of(images, &found.id, making, waiting, interrupt)
        .await?
        .ok_or_else(missing)?;
    let image = settle(images, image, request, console).await?;
    Ok(Registered {
        job_id: None,
        image_id: Some(image.id.clone()),
        status: Some(image.status.as_str().to_owned()),
        content_digest: image.field(DIGEST_FIELD),
        firmware: image.firmware,
    })
}

/// The image, once it is listed as active, or as it is after some time; after `making`, while it is
/// being made.
async fn detail_of(
    client: &Client,
    image_id: &ImageId,
    making: Option<Instant>,
    waiting: &WaitOptions,
    interrupt: &Interrupt,
) -> Outcome<Option<ImageDetail>> {
    let mut detail: Option<ImageDetail>;
    let mut look = 0;
    loop {
        look += 1;
        detail = interrupt
            .unless_asked(client.image(image_id))
            .await?
            .map_err(|e| from_ims(&e))?;
        let status = detail.as_ref().map(|detail| &detail.status);
        let patient = making.is_some_and(|until| Instant::now() < until)
            && matches!(status, Some(ImageStatus::Queued | ImageStatus::Saving));
        if status == Some(&ImageStatus::Active) || (look >= LOOKS && !patient) {
            break;
        }
        interrupt
            .unless_asked(tokio::time::sleep(waiting.first))
            .await?;
    }
    Ok(detail)
}
