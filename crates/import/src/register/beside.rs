//! The calls that register uploaded files, and the images that come of them.

use cloud::{Class, Failure, ImportHint, Result, from_ims};
use std::time::Instant;

use ims::create::{DataFile, DataFileImport, FileImport, OsFamily as Family, SystemKind};
use ims::metadata::ImageMetadata;
use ims::{ImageDetail, ImageId, ImageKind, ImageStatus, QuickImport, Tags, WaitOptions};
use journal::registration::LOOKS;

use super::Registered;
use super::attach::{comes_from, follows};
use super::call::Call;
use super::settle::settle;
use crate::method::{By, Found, Method};
use crate::observe::Context;
use crate::piece::{Form, Piece, Pieces};
use crate::spec::ImportSpec;

/// What registers the pieces. Clouds that have no call for data disks of any format take those by
/// quick import, if the file is ZVHD2.
pub(crate) async fn choose_call(
    spec: &ImportSpec,
    cx: Context<'_>,
    pieces: &Pieces,
) -> Result<(Method, Call)> {
    let method = method_of_data(spec, cx, pieces).await?;
    let call = call(spec, pieces, method);
    Ok((method, call))
}

async fn method_of_data(spec: &ImportSpec, cx: Context<'_>, pieces: &Pieces) -> Result<Method> {
    let method = pieces.method;
    if pieces.system.request.kind != ImageKind::DataImage || method.by != By::Common {
        return Ok(method);
    }
    let taken = cx
        .stop
        .unless_asked(cx.session.images().takes_data_files())
        .await?;
    if taken.map_err(|e| from_ims(&e))? {
        return Ok(method);
    }
    if pieces.system.is_zvhd2 && spec.cmk_id.is_none() {
        return Ok(Method {
            by: By::Quick,
            why: "this cloud takes data disks by quick import only, and the file is ZVHD2",
            ..method
        });
    }
    Err(Failure::new(
        Class::Refused,
        "this cloud does not support data disks in other formats than those of quick import, nor \
         encrypted ones",
    )
    .hint(ImportHint::UseQuickImportUnencrypted))
}

/// What starts the job.
fn call(spec: &ImportSpec, pieces: &Pieces, method: Method) -> Call {
    let request = &pieces.system.request;
    let is_data = request.kind == ImageKind::DataImage;
    let iso = method.found == Found::Iso;
    match method.by {
        By::Glance => return Call::TwoSteps(Box::new(metadata(spec, request, iso))),
        By::Nothing => return Call::Quick,
        By::Quick if is_data || pieces.data.is_empty() => return Call::Quick,
        By::Quick | By::Common => {}
    }
    if is_data {
        return Call::Data(Box::new(DataFileImport {
            name: request.name.clone(),
            image_url: request.image_url.clone(),
            min_disk: request.min_disk,
            os_type: request.os_type.map(family),
            description: request.description.clone(),
            cmk_id: spec.cmk_id.clone(),
            enterprise_project_id: request.enterprise_project_id.clone(),
            tags: Tags::pairs(&request.tags),
        }));
    }
    let quick = (method.by == By::Quick).then_some(true);
    let mut import = FileImport::new(
        request.name.clone(),
        request.image_url.clone(),
        request.min_disk,
    );
    import.os_version.clone_from(&request.os_version);
    import.os_type = request.os_type.map(family);
    import.kind = match request.kind {
        _ if iso => Some(SystemKind::IsoImage),
        ImageKind::Bms => Some(SystemKind::Bms),
        _ => None,
    };
    import.description.clone_from(&request.description);
    import.is_config = spec.prepare.then_some(true);
    import.is_quick_import = quick;
    import.cmk_id.clone_from(&spec.cmk_id);
    import.architecture = request.architecture;
    import.firmware = request.firmware;
    import
        .enterprise_project_id
        .clone_from(&request.enterprise_project_id);
    import.tags = Tags::pairs(&request.tags);
    let data = pieces.data.iter().map(|piece| data(&piece.request, quick));
    import.data_images = data.collect();
    Call::File(Box::new(import))
}

fn data(request: &QuickImport, is_quick_import: Option<bool>) -> DataFile {
    DataFile {
        name: Some(request.name.clone()),
        description: None,
        image_url: request.image_url.clone(),
        min_disk: request.min_disk,
        is_quick_import,
        tags: Tags::pairs(&request.tags),
    }
}

fn family(family: ims::OsType) -> Family {
    match family {
        ims::OsType::Linux => Family::Linux,
        ims::OsType::Windows => Family::Windows,
    }
}

fn metadata(spec: &ImportSpec, request: &QuickImport, iso: bool) -> ImageMetadata {
    ImageMetadata {
        name: request.name.clone(),
        os_version: request.os_version.clone(),
        disk_format: iso.then(|| "iso".to_owned()),
        min_disk: Some(request.min_disk),
        tags: spec
            .tags
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect(),
        ..ImageMetadata::default()
    }
}

/// The image that an earlier run has registered from the object of `piece`, once nothing works on
/// it any more.
pub(crate) async fn made_before(
    spec: &ImportSpec,
    cx: Context<'_>,
    storage: &obs::Client,
    piece: &Piece,
) -> Result<Option<Registered>> {
    let request = &piece.request;
    let target = &request.image_url;
    let stop = cx.stop;
    let object = stop
        .unless_asked(storage.object(&target.bucket, &target.key))
        .await?;
    // Where it cannot be looked up, nothing proves that the image is of this object.
    let object = object.ok().flatten();
    let other = object
        .as_ref()
        .is_some_and(|object| matches!(piece.form, Form::Bytes(_)) && object.size != piece.size);
    if other {
        return Ok(None);
    }
    let stored = object.and_then(|object| object.modified);
    let patience = cx.session.cloud().patience();
    let until = Instant::now() + spec.timeout;
    loop {
        let found = stop
            .unless_asked(cx.session.images().image_named(&request.name))
            .await?
            .map_err(|e| from_ims(&e))?;
        let found = found
            .filter(|image| comes_from(image, request) == Some(true) && follows(image, stored));
        let Some(image) = found else { return Ok(None) };
        match image.status {
            ImageStatus::Queued | ImageStatus::Saving if Instant::now() < until => {}
            ImageStatus::Active => {
                let image = settle(cx.session.images(), image, request, cx.observer).await?;
                return Ok(Some(Registered {
                    already: true,
                    ..Registered::of(None, image)
                }));
            }
            _ => return Ok(None),
        }
        stop.unless_asked(tokio::time::sleep(patience.first))
            .await?;
    }
}

/// The data image that was made together with the system's, when it is active; one that is still
/// being made is waited for until `making`. The job names it in places that differ between
/// releases, its name is its own everywhere.
pub(crate) async fn made_beside(
    cx: Context<'_>,
    request: &QuickImport,
    making: Option<Instant>,
) -> Result<Registered> {
    let images = cx.session.images();
    let missing = || {
        Failure::new(
            Class::Cloud,
            format!(
                "the job succeeded, and the data image {:?} is not listed",
                request.name
            ),
        )
        .hint(ImportHint::ListImages)
    };
    let waiting = cx.session.cloud().patience();
    let mut looks = 1;
    let found = loop {
        let listed = cx
            .stop
            .unless_asked(images.image_named(&request.name))
            .await?
            .map_err(|e| from_ims(&e))?;
        match listed.filter(|image| comes_from(image, request) != Some(false)) {
            Some(found) => break found,
            None if looks >= LOOKS => return Err(missing()),
            None => looks += 1,
        }
        // Lists lag behind jobs.
        cx.stop
            .unless_asked(tokio::time::sleep(waiting.first))
            .await?;
    };
    let image = detail_of(cx, &found.id, making, &waiting)
        .await?
        .ok_or_else(missing)?;
    let image = settle(images, image, request, cx.observer).await?;
    Ok(Registered::of(None, image))
}

/// The image, once it is listed as active, or as it is after some time; after `making`, while it is
/// being made.
async fn detail_of(
    cx: Context<'_>,
    image_id: &ImageId,
    making: Option<Instant>,
    waiting: &WaitOptions,
) -> Result<Option<ImageDetail>> {
    let mut detail: Option<ImageDetail>;
    let mut look = 0;
    loop {
        look += 1;
        detail = cx
            .stop
            .unless_asked(cx.session.images().image(image_id))
            .await?
            .map_err(|e| from_ims(&e))?;
        let status = detail.as_ref().map(|detail| &detail.status);
        let patient = making.is_some_and(|until| Instant::now() < until)
            && matches!(status, Some(ImageStatus::Queued | ImageStatus::Saving));
        if status == Some(&ImageStatus::Active) || (look >= LOOKS && !patient) {
            break;
        }
        cx.stop
            .unless_asked(tokio::time::sleep(waiting.first))
            .await?;
    }
    Ok(detail)
}
