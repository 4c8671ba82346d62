//! The calls that make images of files, otherwise than by quick import.
//!
//! Source: IMS API reference, "Creating an Image" (2023 and 2024), "Creating Image Metadata",
//! "Registering an Image", "Creating a Data Disk Image Using an External Image File", "Error
//! Codes".

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use serde_json::{Value, json};

use super::asked::InProject;
use super::error::ApiError;
use super::ims::{MAX_OBJECT, check_file, check_name, describe};
use super::jobs;
use super::new_image::{blank, encryption, flow_control, object, start};
use super::rules::{self, Fields};
use super::servers;
use super::state::Api;
use crate::images::{ImageRecord, ImageStatus, ImageType, JobRecord, Work};

/// Most bytes of an object that a common import takes: 128 GiB.
const MAX_COMMON: u64 = 128 << 30;

/// Most data images beside a system image.
const MAX_DATA_IMAGES: usize = 3;

/// Longest name of a file in a bucket, in characters.
const MAX_FILE_NAME: usize = 128;

/// POST /v2/cloudimages/action: of a file, a server, a volume.
pub(super) async fn action(
    State(api): State<Arc<Api>>,
    _: InProject,
    fields: Fields,
) -> Result<Json<Value>, ApiError> {
    if api.is_busy() {
        return Err(flow_control());
    }
    let has = |name: &str| fields.0.contains_key(name);
    if has("image_url") {
        return file(&api, &fields);
    }
    if has("instance_id") {
        return servers::of_server(&api, &fields);
    }
    if has("volume_id") {
        return servers::of_volume(&api, &fields);
    }
    if let Some(images) = fields.list("data_images")? {
        return servers::of_volumes(&api, images);
    }
    rules::location(None)?;
    Err(flow_control())
}

/// POST /v1/cloudimages/dataimages/action: a data disk of a file.
pub(super) async fn data(
    State(api): State<Arc<Api>>,
    _: InProject,
    fields: Fields,
) -> Result<Json<Value>, ApiError> {
    if api.is_busy() {
        return Err(flow_control());
    }
    let image = of_file(&api, &fields, ImageType::DataImage)?;
    start(&api, image, Work::CommonImport, Vec::new())
}

/// POST /v2/images: an image without a file.
pub(super) async fn metadata(
    State(api): State<Arc<Api>>,
    _: InProject,
    fields: Fields,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    if fields.text("visibility")?.is_some_and(|v| v != "private") {
        return Err(ApiError::ims("IMG.0024", "visibility must be private."));
    }
    let disk_format = fields.text("disk_format")?.unwrap_or("zvhd2");
    if !["zvhd2", "vhd", "raw", "iso", "qcow2"].contains(&disk_format) {
        return Err(ApiError::ims(
            "IMG.0072",
            "The specified image format is not supported.",
        ));
    }
    let iso = disk_format == "iso";
    let kind = if iso {
        ImageType::IsoImage
    } else {
        ImageType::Ecs
    };
    let min_disk = match fields.0.get("min_disk") {
        None => 1,
        given => rules::min_disk(given, kind)?,
    };
    let os_version = fields
        .text("__os_version")?
        .unwrap_or("Other Linux(64 bit)");
    let mut image = blank(rules::name(fields.text("name")?)?, kind, min_disk);
    image.os_type = rules::os_type(None, Some(os_version))?;
    image.os_version = Some(os_version.to_owned());
    image.more.protected = fields.0.get("protected").and_then(Value::as_bool) == Some(true);
    image.more.min_ram = fields.0.get("min_ram").and_then(Value::as_u64).unwrap_or(0);
    let name = image.name.clone();
    api.images
        .add_queued(image.clone(), |images| check_name(&api, images, &name))?;
    Ok((StatusCode::CREATED, Json(describe(&api, &image))))
}

/// PUT /v1/cloudimages/{image_id}/upload: the file of an image that has none.
pub(super) async fn register(
    State(api): State<Arc<Api>>,
    _: InProject,
    Path(id): Path<String>,
    fields: Fields,
) -> Result<Json<Value>, ApiError> {
    let (bucket, key) = file_location(fields.text("image_url")?)?;
    let size = check_file(&api, &bucket, &key, MAX_COMMON)?;
    let missing = ApiError::ims("IMG.0027", "The image ID in the request does not exist.");
    let image = api.images.edit(&id, missing, |image, _| {
        if image.status != ImageStatus::Queued || !image.bucket.is_empty() {
            return Err(ApiError::ims(
                "IMG.0046",
                "The image is unavailable: it has a file already.",
            ));
        }
        image.bucket = bucket;
        image.key = key;
        image.object_size = size;
        Ok(())
    })?;
    let job = JobRecord::new(&image, Work::CommonImport);
    let id = job.id.clone();
    api.images.add_job(job);
    jobs::start(&api, id.clone());
    Ok(Json(json!({"job_id": id})))
}

fn file(api: &Arc<Api>, fields: &Fields) -> Result<Json<Value>, ApiError> {
    let kind = match fields.text("type")? {
        None | Some("ECS" | "FusionCompute") => ImageType::Ecs,
        Some("BMS" | "Ironic") => ImageType::Bms,
        Some("IsoImage") => ImageType::IsoImage,
        Some(other) => {
            return Err(ApiError::ims(
                "IMG.0024",
                format!("The image type {other:?} in the request is incorrect."),
            ));
        }
    };
    let system = of_file(api, fields, kind)?;
    let data = fields.list("data_images")?.unwrap_or_default();
    if data.len() > MAX_DATA_IMAGES {
        return Err(ApiError::ims(
            "IMG.0194",
            "The maximum number of images that can be imported at one time has been reached.",
        ));
    }
    let mut files = BTreeSet::from([(system.bucket.clone(), system.key.clone())]);
    let mut parts = Vec::new();
    for (number, entry) in (1_u32..).zip(data) {
        let mut entry = object(entry)?;
        let name = Value::String(format!("{}-data{number}", system.name));
        entry.0.entry("name").or_insert(name);
        let quick = is_true(&entry, "is_quick_import");
        let image = of_file(api, &entry, ImageType::DataImage)?;
        if !files.insert((image.bucket.clone(), image.key.clone())) {
            return Err(ApiError::ims(
                "IMG.0123",
                "The image file address in the request is duplicate.",
            ));
        }
        parts.push((image, work(quick)));
    }
    let quick = is_true(fields, "is_quick_import");
    start(api, system, work(quick), parts)
}

fn work(quick: bool) -> Work {
    if quick {
        Work::QuickImport
    } else {
        Work::CommonImport
    }
}

/// The image that a file import asks for.
fn of_file(api: &Api, fields: &Fields, kind: ImageType) -> Result<ImageRecord, ApiError> {
    let (bucket, key) = file_location(fields.text("image_url")?)?;
    let quick = is_true(fields, "is_quick_import");
    let data = kind == ImageType::DataImage;
    let os_version = fields.text("os_version")?.filter(|text| !text.is_empty());
    match os_version {
        None if kind == ImageType::IsoImage => {
            return Err(ApiError::ims(
                "IMG.0166",
                "OS information must be contained in the ISO files used to create images.",
            ));
        }
        None if quick && !data => {
            return Err(ApiError::ims(
                "IMG.0159",
                "os_version must be specified for a quick import.",
            ));
        }
        Some(text) if text.trim() != text => {
            return Err(ApiError::ims("IMG.0056", "Invalid OS version."));
        }
        _ => {}
    }
    let cmk_id = encryption(fields.text("cmk_id")?, kind)?;
    let architecture = rules::architecture(fields.text("architecture")?)?;
    let firmware = rules::firmware(fields.text("hw_firmware_type")?, &architecture)?;
    let os_type = match fields.text("os_type")? {
        Some("Other") => "Other".to_owned(),
        other => rules::os_type(other, os_version)?,
    };
    let mut image = blank(
        rules::name(fields.text("name")?)?,
        kind,
        rules::min_disk(fields.0.get("min_disk"), kind)?,
    );
    image.description = rules::description(fields.text("description")?)?;
    image.tags = rules::tags(fields)?;
    let max = if quick { MAX_OBJECT } else { MAX_COMMON };
    image.object_size = check_file(api, &bucket, &key, max)?;
    image.bucket = bucket;
    image.key = key;
    image.os_version = os_version.filter(|_| !data).map(str::to_owned);
    image.os_type = os_type;
    image.architecture = architecture;
    image.hw_firmware_type = firmware;
    image.more.cmk_id = cmk_id;
    rules::belongs(fields, &mut image.more)?;
    image.more.min_ram = fields.0.get("min_ram").and_then(Value::as_u64).unwrap_or(0);
    Ok(image)
}

/// Bucket and key, with the rules that file names have.
fn file_location(url: Option<&str>) -> Result<(String, String), ApiError> {
    let (bucket, key) = rules::location(url)?;
    check_file_name(&key)?;
    Ok((bucket, key))
}

pub(super) fn check_file_name(key: &str) -> Result<(), ApiError> {
    let name = key.rsplit('/').next().unwrap_or_default();
    if name.chars().count() > MAX_FILE_NAME {
        return Err(ApiError::ims(
            "IMG.0074",
            "The file name length exceeds the limit.",
        ));
    }
    let allowed = |c: char| c.is_alphanumeric() || "-._".contains(c);
    if name.is_empty() || !name.chars().all(allowed) {
        return Err(ApiError::ims(
            "IMG.0075",
            "The file name contains invalid characters.",
        ));
    }
    Ok(())
}

fn is_true(fields: &Fields, name: &str) -> bool {
    fields.0.get(name).and_then(Value::as_bool) == Some(true)
}
