//! The native OpenStack calls for members, tags that are words, and the bytes of a file.
//!
//! Source: IMS API reference, chapter "Native OpenStack APIs".

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use http::StatusCode;
use serde_json::Value;

use super::asked::InProject;
use super::error::ApiError;
use super::jobs;
use super::manage::no_image;
use super::membership::{check_shareable, describe, no_member, set_status};
use super::rules::{Fields, MAX_TAGS, bad_format};
use super::state::Api;
use crate::images::{ImageStatus, JobRecord, Tag, Work};

/// Longest tag that is a word, in characters.
const MAX_WORD: usize = 255;

/// GET /v2/images/{image_id}/members/{member_id}.
pub(super) async fn member(
    State(api): State<Arc<Api>>,
    _: InProject,
    Path((id, project)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let image = api.look_up(&id).ok_or_else(no_image)?;
    let status = api
        .members_of(&image)
        .remove(&project)
        .ok_or_else(no_member)?;
    Ok(Json(describe(&image, &project, &status)))
}

/// POST /v2/images/{image_id}/members.
pub(super) async fn add_member(
    State(api): State<Arc<Api>>,
    _: InProject,
    Path(id): Path<String>,
    fields: Fields,
) -> Result<Json<Value>, ApiError> {
    let project = fields.text("member")?.unwrap_or_default().to_owned();
    check_shareable(&api, &id, std::slice::from_ref(&project))?;
    let image = api.images.edit(&id, no_image(), |image, _| {
        let members = &mut image.more.members;
        members
            .entry(project.clone())
            .or_insert_with(|| "pending".to_owned());
        Ok(())
    })?;
    let status = image.more.members.get(&project);
    Ok(Json(describe(
        &image,
        &project,
        status.map_or("pending", String::as_str),
    )))
}

/// PUT /v2/images/{image_id}/members/{member_id}.
pub(super) async fn reply(
    State(api): State<Arc<Api>>,
    _: InProject,
    Path((id, project)): Path<(String, String)>,
    fields: Fields,
) -> Result<Json<Value>, ApiError> {
    let status = match fields.text("status")? {
        Some(status @ ("accepted" | "rejected")) => status,
        _ => return Err(bad_format("status is not accepted or rejected")),
    };
    set_status(&api, std::slice::from_ref(&id), &project, status)?;
    let image = api.look_up(&id).ok_or_else(no_image)?;
    Ok(Json(describe(&image, &project, status)))
}

/// DELETE /v2/images/{image_id}/members/{member_id}.
pub(super) async fn remove_member(
    State(api): State<Arc<Api>>,
    _: InProject,
    Path((id, project)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    api.images.edit(&id, no_image(), |image, _| {
        let gone = image.more.members.remove(&project);
        image.more.domains.remove(&project);
        gone.map(drop).ok_or_else(no_member)
    })?;
    Ok(StatusCode::NO_CONTENT)
}

/// PUT /v2/images/{image_id}/tags/{tag}.
pub(super) async fn tag(
    State(api): State<Arc<Api>>,
    _: InProject,
    Path((id, word)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    if word.contains('=') || word.chars().count() > MAX_WORD {
        return Err(ApiError::ims("IMG.0115", "The image tag is invalid."));
    }
    api.images.edit(&id, no_image(), |image, _| {
        if image.tags.iter().all(|tag| tag.key != word) {
            image.tags.push(Tag {
                key: word,
                value: String::new(),
            });
        }
        if image.tags.len() > MAX_TAGS {
            return Err(ApiError::ims(
                "IMG.0116",
                "The number of image tags exceeds the quota.",
            ));
        }
        Ok(())
    })?;
    Ok(StatusCode::NO_CONTENT)
}

/// DELETE /v2/images/{image_id}/tags/{tag}.
pub(super) async fn untag(
    State(api): State<Arc<Api>>,
    _: InProject,
    Path((id, word)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    super::tags::take(&api, &id, &word)?;
    Ok(StatusCode::NO_CONTENT)
}

/// PUT /v2/images/{image_id}/file. The sandbox takes files as small as its requests.
pub(super) async fn upload(
    State(api): State<Arc<Api>>,
    _: InProject,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    if body.is_empty() {
        return Err(ApiError::ims("IMG.0057", "The image file is empty."));
    }
    let image = api.images.edit(&id, no_image(), |image, _| {
        if image.status != ImageStatus::Queued
            || !image.bucket.is_empty()
            || image.more.origin.is_some()
        {
            return Err(ApiError::ims(
                "IMG.0046",
                "The image is unavailable: it has a file already.",
            ));
        }
        image.object_size = body.len() as u64;
        image.more.origin = Some("file,upload".to_owned());
        Ok(())
    })?;
    std::fs::write(api.images.content_path(&id), &body)
        .map_err(|_| ApiError::ims("IMG.0061", "Unknown system error."))?;
    let job = JobRecord::new(&image, Work::Uploaded);
    let job_id = job.id.clone();
    api.images.add_job(job);
    jobs::start(&api, job_id);
    Ok(StatusCode::NO_CONTENT)
}
