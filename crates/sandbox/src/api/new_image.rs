//! What all calls that make images share.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::error::ApiError;
use super::ims::check_name;
use super::jobs;
use super::rules::{self, Fields};
use super::state::Api;
use crate::images::{ImageRecord, ImageStatus, ImageType, JobRecord, More, Work};
use crate::inventory;

/// Remembers the images and starts their jobs; the answer names the first.
pub(super) fn start(
    api: &Arc<Api>,
    image: ImageRecord,
    work: Work,
    parts: Vec<(ImageRecord, Work)>,
) -> Result<Json<Value>, ApiError> {
    let mut made: Vec<(ImageRecord, JobRecord)> = parts
        .into_iter()
        .map(|(part, work)| {
            let job = JobRecord::new(&part, work);
            (part, job)
        })
        .collect();
    let jobs: Vec<String> = made.iter().map(|(_, job)| job.id.clone()).collect();
    let mut job = JobRecord::new(&image, work);
    job.sub_jobs.clone_from(&jobs);
    let id = job.id.clone();
    made.push((image, job));
    api.images
        .add_all(made, |images, image| check_name(api, images, &image.name))?;
    for job in jobs.into_iter().chain([id.clone()]) {
        jobs::start(api, job);
    }
    Ok(Json(json!({"job_id": id})))
}

/// A queued image with nothing but what it must have.
pub(super) fn blank(name: String, image_type: ImageType, min_disk: u64) -> ImageRecord {
    let now = SystemTime::now();
    ImageRecord {
        id: Uuid::new_v4().to_string(),
        name,
        status: ImageStatus::Queued,
        image_type,
        bucket: String::new(),
        key: String::new(),
        object_size: 0,
        disk_format: "zvhd2".to_owned(),
        virtual_size: None,
        content_digest: None,
        min_disk,
        os_version: None,
        os_type: "Linux".to_owned(),
        architecture: "x86".to_owned(),
        hw_firmware_type: "bios".to_owned(),
        description: String::new(),
        tags: Vec::new(),
        created_at: now,
        updated_at: now,
        more: More::default(),
    }
}

/// The key that encrypts an image.
pub(super) fn encryption(
    cmk_id: Option<&str>,
    kind: ImageType,
) -> Result<Option<String>, ApiError> {
    match cmk_id {
        None | Some("") => Ok(None),
        Some(_) if kind == ImageType::Bms => Err(ApiError::ims(
            "IMG.0118",
            "The BMS image does not support KMS encryption.",
        )),
        Some(id) => match inventory::key_refusal(id) {
            Some(refusal) => Err(ApiError::of(refusal)),
            None => Ok(Some(id.to_owned())),
        },
    }
}

pub(super) fn object(value: &Value) -> Result<Fields, ApiError> {
    let object: Option<&Map<String, Value>> = value.as_object();
    let object = object.ok_or_else(|| rules::bad_format("data_images does not hold objects"))?;
    Ok(Fields(object.clone()))
}

pub(super) fn flow_control() -> ApiError {
    ApiError::ims(
        "IMG.0060",
        "The number of tasks exceeds the flow control limit.",
    )
}
