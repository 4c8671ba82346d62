//! Images that exist: shown, changed, deleted, exported.
//!
//! Source: IMS API reference, "Updating Image Information", "Deleting an Image", "Exporting an
//! Image", "Error Codes".

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use http::StatusCode;
use serde_json::{Value, json};

use super::asked::InProject;
use super::create::check_file_name;
use super::error::ApiError;
use super::ims::describe;
use super::jobs;
use super::rules::{self, Fields, bad_format};
use super::state::Api;
use crate::images::{ImageRecord, ImageStatus, ImageType, JobRecord, Work};
use crate::inventory;
use crate::s3::{Found, STANDARD};

/// Largest image that is exported with a conversion: 128 GiB.
const MAX_CONVERTED: u64 = 128 << 30;

pub(super) fn no_image() -> ApiError {
    ApiError::Ims {
        status: StatusCode::NOT_FOUND,
        code: "IMG.0144",
        message: "The image does not exist.".to_owned(),
    }
}

/// The active image `id`.
pub(super) fn active(api: &Api, id: &str) -> Result<ImageRecord, ApiError> {
    let image = api.look_up(id).ok_or_else(no_image)?;
    check_active(&image)?;
    Ok(image)
}

fn check_active(image: &ImageRecord) -> Result<(), ApiError> {
    if image.status == ImageStatus::Active {
        return Ok(());
    }
    Err(ApiError::ims(
        "IMG.0046",
        format!("The image is unavailable: it is {}.", image.status.as_str()),
    ))
}

/// GET /v2/images/{image_id}.
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    _: InProject,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let image = api.look_up(&id).ok_or_else(no_image)?;
    Ok(Json(describe(&api, &image)))
}

/// PATCH /v2/cloudimages/{image_id} and PATCH /v2/images/{image_id}.
pub(super) async fn update(
    State(api): State<Arc<Api>>,
    _: InProject,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    if body.trim_ascii().is_empty() {
        return Err(ApiError::ims("IMG.0007", "The request body is empty."));
    }
    let changes: Vec<Value> =
        serde_json::from_slice(&body).map_err(|_| bad_format("the body is not an array"))?;
    if api
        .look_up(&id)
        .is_some_and(|image| image.more.owner.is_some())
    {
        return Err(ApiError::ims(
            "IMG.0047",
            "This operation can be performed only by the image owner.",
        ));
    }
    let image = api.images.edit(&id, no_image(), |image, others| {
        check_active(image)?;
        changes
            .iter()
            .try_for_each(|change| apply(image, others, change))
    })?;
    Ok(Json(describe(&api, &image)))
}

fn apply(image: &mut ImageRecord, others: &[ImageRecord], change: &Value) -> Result<(), ApiError> {
    let text = |name: &str| change.get(name).and_then(Value::as_str);
    let name = text("path")
        .and_then(|path| path.strip_prefix('/'))
        .filter(|name| !name.is_empty())
        .ok_or_else(|| bad_format("path is not /ATTRIBUTE"))?;
    let value = match text("op") {
        Some("remove") => None,
        Some("add" | "replace") => Some(
            change
                .get("value")
                .ok_or_else(|| bad_format("value is missing"))?,
        ),
        _ => return Err(bad_format("op is not add, replace or remove")),
    };
    let given = value.and_then(Value::as_str);
    let number = || {
        value.and_then(|value| match value {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        })
    };
    match name {
        "name" => {
            let wanted = rules::name(given)?;
            let taken = others
                .iter()
                .any(|other| other.name == wanted && other.status != ImageStatus::Killed);
            if taken {
                return Err(ApiError::ims("IMG.0009", "The image name already exists."));
            }
            image.name = wanted;
        }
        "__description" => image.description = rules::description(given)?,
        "min_disk" => {
            let size = number().map(Value::from);
            image.min_disk = rules::min_disk(size.as_ref(), image.image_type)?;
        }
        "min_ram" => {
            image.more.min_ram = number()
                .ok_or_else(|| ApiError::ims("IMG.0055", "The memory or disk size is invalid."))?;
        }
        "hw_firmware_type" => {
            image.hw_firmware_type = rules::firmware(given, &image.architecture)?;
        }
        "__os_version" => {
            let version = given
                .filter(|version| !version.is_empty())
                .ok_or_else(|| ApiError::ims("IMG.0056", "Invalid OS version."))?;
            image.os_version = Some(version.to_owned());
        }
        "protected" => {
            image.more.protected = match value {
                Some(Value::Bool(protected)) => *protected,
                _ => given == Some("true"),
            };
        }
        "id" | "status" | "owner" | "created_at" | "updated_at" => {
            return Err(ApiError::ims(
                "IMG.0035",
                format!("An attribute conflict occurred during the modification: {name}."),
            ));
        }
        _ => match value {
            Some(value) => {
                let value = given.map_or_else(|| value.to_string(), str::to_owned);
                image.more.properties.insert(name.to_owned(), value);
            }
            None => drop(image.more.properties.remove(name)),
        },
    }
    Ok(())
}

/// DELETE /v2/images/{image_id}.
pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    _: InProject,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let image = api.look_up(&id).ok_or_else(no_image)?;
    match image.more.owner.as_deref() {
        Some(inventory::CLOUD) => {
            return Err(ApiError::ims(
                "IMG.0094",
                "The public image cannot be deleted.",
            ));
        }
        Some(_) => {
            return Err(ApiError::ims(
                "IMG.0092",
                "The image can only be deleted by the owner.",
            ));
        }
        None => {}
    }
    if image.more.protected {
        return Err(ApiError::ims(
            "IMG.0028",
            "The image in the request is protected.",
        ));
    }
    let begun = !image.bucket.is_empty() || image.more.origin.is_some();
    if begun && matches!(image.status, ImageStatus::Queued | ImageStatus::Saving) {
        return Err(ApiError::ims(
            "IMG.0090",
            "The image being created cannot be deleted.",
        ));
    }
    match api.images.delete(&id) {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(no_image()),
    }
}

/// Whether the project may export the image.
fn check_exported(api: &Api, image: &ImageRecord) -> Result<(), ApiError> {
    let refusal = match image.more.owner.as_deref() {
        _ if image.more.backup_id.is_some() => (
            "IMG.0080",
            "The image created from a CSBS backup cannot be exported.",
        ),
        _ if image.more.whole => ("IMG.0128", "The full-ECS image cannot be exported."),
        _ if image.more.charged => (
            "IMG.0079",
            "The system disk image created from a charged image cannot be exported.",
        ),
        Some(inventory::CLOUD) => ("IMG.0077", "The public image cannot be exported."),
        Some(_) => ("IMG.0071", "The image cannot be exported."),
        None if api.images.is_exported_now(&image.id) => {
            ("IMG.0148", "The image is being exported.")
        }
        None => return Ok(()),
    };
    Err(ApiError::of(refusal))
}

pub(super) fn refuse_iso(image: &ImageRecord) -> Result<(), ApiError> {
    if image.image_type == ImageType::IsoImage {
        return Err(ApiError::ims(
            "IMG.0167",
            "This operation cannot be performed for ISO images.",
        ));
    }
    Ok(())
}

/// POST /v1/cloudimages/{image_id}/file.
pub(super) async fn export(
    State(api): State<Arc<Api>>,
    _: InProject,
    Path(id): Path<String>,
    fields: Fields,
) -> Result<Json<Value>, ApiError> {
    let image = active(&api, &id)?;
    refuse_iso(&image)?;
    check_exported(&api, &image)?;
    let url = fields.text("bucket_url")?;
    if url.is_some_and(|url| url.ends_with(':')) {
        return Err(ApiError::ims(
            "IMG.0073",
            "The name of the exported file is empty.",
        ));
    }
    let (bucket, key) = rules::location(url)?;
    check_file_name(&key)?;
    let quick = fields.0.get("is_quick_export").and_then(Value::as_bool) == Some(true);
    let format = match (fields.text("file_format")?, quick) {
        (None, true) => None,
        (Some(_), true) => {
            return Err(bad_format("a quick export must not name a file_format"));
        }
        (Some(format @ ("qcow2" | "vhd" | "zvhd" | "vmdk")), false) => Some(format.to_owned()),
        _ => {
            return Err(ApiError::ims(
                "IMG.0072",
                "The specified image format is not supported.",
            ));
        }
    };
    if format.is_some() && image.virtual_size.is_some_and(|size| size > MAX_CONVERTED) {
        return Err(ApiError::ims(
            "IMG.0160",
            "Only images less than 128 GB can be exported.",
        ));
    }
    match api.objects.find(&bucket, &key) {
        Found::NoObject => {}
        Found::Object { .. } => {
            return Err(ApiError::ims("IMG.0070", "The image file already exists."));
        }
        Found::NoBucket | Found::Unreadable => {
            return Err(ApiError::ims(
                "IMG.0069",
                "The specified bucket cannot be accessed.",
            ));
        }
    }
    let class = api.objects.bucket_class(&bucket);
    if class.as_deref().is_some_and(|class| class != STANDARD) {
        return Err(ApiError::ims(
            "IMG.0069",
            "The storage class of the bucket is not STANDARD.",
        ));
    }
    let work = Work::Export {
        bucket,
        key,
        format,
    };
    let job = JobRecord::new(&image, work);
    let job_id = job.id.clone();
    api.images.add_job(job);
    jobs::start(&api, job_id.clone());
    Ok(Json(json!({"job_id": job_id})))
}
