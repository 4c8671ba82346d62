//! IMS: quick import, how images are shown, jobs, quota.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;
use uuid::Uuid;

use super::asked::InProject;
use super::error::ApiError;
use super::rules::{self, Fields, ImportRequest};
use super::state::Api;
use super::{jobs, versions};
use crate::images::{ImageRecord, ImageStatus, ImageType, JobRecord, More, Tag, Work};
use crate::s3::{Found, STANDARD};
use crate::{examine, inventory};

/// Most bytes of an object that a quick import takes: 1 TiB.
pub(super) const MAX_OBJECT: u64 = 1 << 40;

/// POST /v2/cloudimages/quickimport/action: checks what can be checked at once, and starts a job.
pub(super) async fn quick_import(
    State(api): State<Arc<Api>>,
    _: InProject,
    fields: Fields,
) -> Result<Json<Value>, ApiError> {
    let request = ImportRequest::read(&fields)?;
    if api.is_busy() {
        return Err(ApiError::ims(
            "IMG.0060",
            "The number of tasks exceeds the flow control limit.",
        ));
    }
    let object_size = check_object(&api, &request)?;
    check_bitmap(&api, &request)?;
    let mut more = More::default();
    rules::belongs(&fields, &mut more)?;
    let now = SystemTime::now();
    let image = ImageRecord {
        id: Uuid::new_v4().to_string(),
        name: request.name,
        status: ImageStatus::Queued,
        image_type: request.image_type,
        disk_format: match examine::bitmap_key(&request.key) {
            Some(_) => "raw".to_owned(),
            None => "zvhd2".to_owned(),
        },
        bucket: request.bucket,
        key: request.key,
        object_size,
        virtual_size: None,
        content_digest: None,
        min_disk: request.min_disk,
        os_version: request.os_version,
        os_type: request.os_type,
        architecture: request.architecture,
        hw_firmware_type: request.hw_firmware_type,
        description: request.description,
        tags: request.tags,
        created_at: now,
        updated_at: now,
        more,
    };
    let job = JobRecord::new(&image, Work::QuickImport);
    let job_id = job.id.clone();
    let name = image.name.clone();
    api.images
        .add(image, job, |images| check_name(&api, images, &name))?;
    jobs::start(&api, job_id.clone());
    Ok(Json(json!({"job_id": job_id})))
}

/// Whether another image may have the name `name`.
pub(super) fn check_name(
    api: &Api,
    images: &mut dyn Iterator<Item = &ImageRecord>,
    name: &str,
) -> Result<(), ApiError> {
    let mut count = 0_usize;
    let here = |image: &&ImageRecord| image.more.region.is_none();
    for image in images
        .filter(here)
        .filter(|image| image.status != ImageStatus::Killed)
    {
        if image.name == name {
            return Err(ApiError::ims("IMG.0009", "The image name already exists."));
        }
        count = count.saturating_add(1);
    }
    if count >= api.image_quota {
        return Err(ApiError::ims(
            "IMG.0015",
            "The number of private images has reached the maximum allowed.",
        ));
    }
    Ok(())
}

/// Bytes of the object, if it may be imported.
fn check_object(api: &Api, request: &ImportRequest) -> Result<u64, ApiError> {
    check_file(api, &request.bucket, &request.key, MAX_OBJECT)
}

/// Bytes of the object, if it has at most `max` and may be imported.
pub(super) fn check_file(api: &Api, bucket: &str, key: &str, max: u64) -> Result<u64, ApiError> {
    let unusable = |why: &str| {
        ApiError::ims(
            "IMG.0057",
            format!("The image file {bucket}:{key} cannot be used: {why}."),
        )
    };
    // Before the content is looked at, which takes its time with files that were put there by hand.
    if api
        .objects
        .size_of(bucket, key)
        .is_some_and(|size| size > max)
    {
        return Err(ApiError::ims(
            "IMG.0059",
            "The size of the image file exceeds the maximum allowed.",
        ));
    }
    let region = api.objects.bucket_region(bucket);
    if region.is_some_and(|region| region != api.region) {
        return Err(ApiError::ims(
            "IMG.0058",
            "The region of the bucket where the image file is stored is inconsistent with that of \
             the user.",
        ));
    }
    match api.objects.find(bucket, key) {
        Found::NoBucket => Err(ApiError::ims(
            "IMG.0069",
            "The specified bucket cannot be accessed.",
        )),
        Found::NoObject => Err(unusable("it is not found")),
        Found::Unreadable => Err(unusable("it cannot be read")),
        Found::Object { size: 0, .. } => Err(unusable("it is empty")),
        Found::Object { bucket_class, .. } if bucket_class != STANDARD => Err(unusable(&format!(
            "the storage class of the bucket is {bucket_class}, not {STANDARD}"
        ))),
        Found::Object { storage_class, .. } if storage_class != STANDARD => Err(unusable(
            &format!("its storage class is {storage_class}, not {STANDARD}"),
        )),
        Found::Object { size, .. } => Ok(size),
    }
}

/// A raw object needs its bitmap beside it.
fn check_bitmap(api: &Api, request: &ImportRequest) -> Result<(), ApiError> {
    let Some(key) = examine::bitmap_key(&request.key) else {
        return Ok(());
    };
    match api.objects.find(&request.bucket, &key) {
        Found::Object { size: 1.., .. } => Ok(()),
        _ => Err(ApiError::ims(
            "IMG.0158",
            format!(
                "A raw image file is imported quickly only with its bitmap file: {}:{key} is not \
                 found or is empty.",
                request.bucket
            ),
        )),
    }
}

/// An image as the API shows it. `__imgferry_content_digest` is the sandbox's own field: the
/// content digest of the disk that its job read.
pub(super) fn describe(api: &Api, image: &ImageRecord) -> Value {
    let tags: Vec<_> = image.tags.iter().map(tag_text).collect();
    let active = image.status == ImageStatus::Active;
    let iso = image.image_type == ImageType::IsoImage;
    let owner = image.more.owner.as_deref();
    let shared = !image.more.members.is_empty() || owner == Some(inventory::OTHERS);
    let (visibility, kind) = match owner {
        Some(inventory::CLOUD) => ("public", "gold"),
        _ if shared => ("shared", "shared"),
        _ => ("private", "private"),
    };
    let mut value = json!({
        "schema": "/v2/schemas/image",
        "id": image.id,
        "name": image.name,
        "status": image.status.as_str(),
        "self": format!("/v2/images/{}", image.id),
        "file": format!("/v2/images/{}/file", image.id),
        "owner": owner.unwrap_or(&api.credentials.keys.project_id),
        "visibility": visibility,
        "protected": image.more.protected,
        "container_format": "bare",
        "disk_format": if iso { "iso" } else { image.disk_format.as_str() },
        "min_disk": api.faults.other_min_disk().unwrap_or(image.min_disk),
        "min_ram": image.more.min_ram,
        "size": 0,
        "virtual_size": null,
        "checksum": "d41d8cd98f00b204e9800998ecf8427e",
        "tags": tags,
        "created_at": seconds(image.created_at),
        "updated_at": seconds(image.updated_at),
        "virtual_env_type": match image.image_type {
            ImageType::Ecs => "FusionCompute",
            ImageType::Bms => "Ironic",
            ImageType::DataImage => "DataImage",
            ImageType::IsoImage => "IsoImage",
        },
        "hw_firmware_type": image.hw_firmware_type,
        "__imagetype": kind,
        "__system__cmkid": image.more.cmk_id,
        "__isregistered": "true",
        "__lazyloading": "true",
        "__image_source_type": "uds",
        "__data_origin": match &image.more.origin {
            Some(origin) => origin.clone(),
            None => format!("file,{}:{}", image.bucket, image.key),
        },
        "__whole_image": image.more.whole,
        "__backup_id": image.more.backup_id,
        "__image_size": image.object_size.to_string(),
        "__os_bit": versions::bits(image.os_version.as_deref()),
        "__platform": versions::platform(image.os_version.as_deref()),
        "__os_type": image.os_type,
        "__os_version": image.os_version,
        "__description": image.description,
        "__support_arm": if image.architecture == "arm" { "true" } else { "false" },
    });
    if let Some(fields) = value.as_object_mut() {
        for (name, value) in &image.more.properties {
            fields.insert(name.clone(), value.clone().into());
        }
    }
    if let (true, Some(fields)) = (active, value.as_object_mut()) {
        fields.insert("active_at".to_owned(), seconds(image.updated_at).into());
        fields.insert(
            "__imgferry_content_digest".to_owned(),
            image.content_digest.clone().into(),
        );
    }
    value
}

/// GET /v1/cloudimages/job/{job_id}.
pub(super) async fn job(
    State(api): State<Arc<Api>>,
    _: InProject,
    Path(job_id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let job = api.images.job(&job_id).ok_or_else(|| ApiError::Ims {
        status: StatusCode::NOT_FOUND,
        code: "IMG.0023",
        message: format!("The job {job_id:?} does not exist."),
    })?;
    Ok(Json(jobs::describe(&api, &job)))
}

/// GET /v1/{project_id}/jobs/{job_id}.
pub(super) async fn project_job(
    State(api): State<Arc<Api>>,
    caller: InProject,
    Path((_, job_id)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    job(State(api), caller, Path(job_id)).await
}

/// GET /v1/cloudimages/quota.
pub(super) async fn quota(
    State(api): State<Arc<Api>>,
    _: InProject,
) -> Result<Json<Value>, ApiError> {
    let images = api.images.all();
    let used = images
        .iter()
        .filter(|image| image.status != ImageStatus::Killed)
        .count();
    Ok(Json(json!({"quotas": {"resources": [{
        "type": "image",
        "used": used,
        "quota": api.image_quota,
        "min": 1,
        "max": 1000,
    }]}})))
}

/// A tag as lists show it.
pub(super) fn tag_text(tag: &Tag) -> String {
    match tag.value.as_str() {
        "" => tag.key.clone(),
        value => format!("{}.{value}", tag.key),
    }
}

/// UTC, as in `2018-09-06T15:17:33Z`.
pub(super) fn seconds(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second]Z"
        ))
        .unwrap_or_default()
}
