//! Sharing images. Whoever asks may answer for all projects: the sandbox has only one that can sign in.
//!
//! Source: IMS API reference, "Image Sharing", "Error Codes".

use std::sync::{Arc, PoisonError};

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::Api;
use super::asked::InProject;
use super::error::ApiError;
use super::manage::{active, no_image};
use super::native;
use super::rules::{Fields, bad_format};
use crate::images::{ImageRecord, ImageType, JobRecord, Work};
use crate::inventory;

/// Most projects that an image is shared with.
const MAX_MEMBERS: usize = 256;

/// POST /v1/cloudimages/members.
pub(super) async fn share(
    State(api): State<Arc<Api>>,
    _: InProject,
    fields: Fields,
) -> Result<Json<Value>, ApiError> {
    let images = texts(&fields, "images")?;
    if fields.list("projects")?.is_some_and(<[Value]>::is_empty) {
        return Err(ApiError::ims(
            "IMG.0041",
            "The authorized account is empty.",
        ));
    }
    let projects = texts(&fields, "projects")?;
    for id in &images {
        check_shareable(&api, id, &projects)?;
    }
    change(&api, images, |members| {
        for project in &projects {
            members
                .entry(project.clone())
                .or_insert_with(|| "pending".to_owned());
        }
        Ok(())
    })
}

/// Whether the image may be shared with `projects`.
pub(super) fn check_shareable(api: &Api, id: &str, projects: &[String]) -> Result<(), ApiError> {
    let image = active(api, id)?;
    match image.more.owner.as_deref() {
        Some(inventory::CLOUD) => {
            return Err(ApiError::ims(
                "IMG.0089",
                "The public image or Marketplace image cannot be shared.",
            ));
        }
        Some(_) => {
            return Err(ApiError::ims(
                "IMG.0106",
                "The image owner is another tenant.",
            ));
        }
        None => {}
    }
    if image.more.whole {
        return Err(ApiError::ims(
            "IMG.0135",
            "The full-ECS image cannot be shared.",
        ));
    }
    if image.more.cmk_id.is_some() {
        return Err(ApiError::ims(
            "IMG.0098",
            "The encrypted image cannot be shared or published in Marketplace.",
        ));
    }
    if image.image_type == ImageType::IsoImage {
        return Err(ApiError::ims(
            "IMG.0167",
            "This operation cannot be performed for ISO images.",
        ));
    }
    let more = projects
        .iter()
        .filter(|project| !image.more.members.contains_key(*project));
    if image.more.members.len().saturating_add(more.count()) > MAX_MEMBERS {
        return Err(ApiError::ims(
            "IMG.0088",
            "The number of shared images has reached the maximum allowed.",
        ));
    }
    for project in projects {
        if *project == api.credentials.keys.project_id {
            return Err(ApiError::ims(
                "IMG.0076",
                "You cannot share an image with yourself.",
            ));
        }
        if let Some(refusal) = inventory::project_refusal(project) {
            return Err(ApiError::of(refusal));
        }
    }
    Ok(())
}

/// DELETE /v1/cloudimages/members.
pub(super) async fn unshare(
    State(api): State<Arc<Api>>,
    _: InProject,
    fields: Fields,
) -> Result<Json<Value>, ApiError> {
    let (images, projects) = (texts(&fields, "images")?, texts(&fields, "projects")?);
    change(&api, images, |members| {
        members.retain(|project, _| !projects.contains(project));
        Ok(())
    })
}

/// PUT /v1/cloudimages/members.
pub(super) async fn reply(
    State(api): State<Arc<Api>>,
    _: InProject,
    fields: Fields,
) -> Result<Json<Value>, ApiError> {
    let images = texts(&fields, "images")?;
    let project = fields
        .text("project_id")?
        .ok_or_else(|| ApiError::ims("IMG.0067", "The project ID is incorrect."))?;
    let status = match fields.text("status")? {
        Some(status @ ("accepted" | "rejected")) => status,
        _ => return Err(bad_format("status is not accepted or rejected")),
    };
    let first = set_status(&api, &images, project, status)?;
    job(&api, &first, images)
}

/// Notes what `project` says to all `images`, or to none; the first of them.
pub(super) fn set_status(
    api: &Api,
    images: &[String],
    project: &str,
    status: &str,
) -> Result<ImageRecord, ApiError> {
    let mut found = Vec::new();
    for id in images {
        let image = api.look_up(id).ok_or_else(no_image)?;
        if !api.members_of(&image).contains_key(project) {
            return Err(ApiError::ims(
                "IMG.0086",
                "No image was found that is shared with the project.",
            ));
        }
        found.push(image);
    }
    for image in &found {
        if image.more.owner.is_some() {
            let mut replies = api.replies.lock().unwrap_or_else(PoisonError::into_inner);
            replies.insert(image.id.clone(), status.to_owned());
            continue;
        }
        api.images.edit(&image.id, no_image(), |image, _| {
            let members = &mut image.more.members;
            members.insert(project.to_owned(), status.to_owned());
            Ok(())
        })?;
    }
    found
        .into_iter()
        .next()
        .ok_or_else(|| bad_format("images is empty"))
}

/// GET /v2/images/{image_id}/members.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    _: InProject,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let image = api.look_up(&id).ok_or_else(no_image)?;
    let members: Vec<Value> = api
        .members_of(&image)
        .iter()
        .map(|(project, status)| native::describe(&image, project, status))
        .collect();
    Ok(Json(
        json!({"members": members, "schema": "/v2/schemas/members"}),
    ))
}

/// Changes the members of all `images`, or of none; the answer names a job.
fn change(
    api: &Arc<Api>,
    images: Vec<String>,
    change: impl Fn(&mut std::collections::BTreeMap<String, String>) -> Result<(), ApiError>,
) -> Result<Json<Value>, ApiError> {
    let mut first = None;
    for id in &images {
        let image = api.images.image(id).ok_or_else(no_image)?;
        change(&mut image.more.members.clone())?;
        first = first.or(Some(image));
    }
    let Some(first) = first else {
        return Err(bad_format("images is empty"));
    };
    for id in &images {
        api.images
            .edit(id, no_image(), |image, _| change(&mut image.more.members))?;
    }
    job(api, &first, images)
}

/// The job that the answer names.
fn job(api: &Arc<Api>, first: &ImageRecord, images: Vec<String>) -> Result<Json<Value>, ApiError> {
    let job = JobRecord::new(first, Work::Members { images });
    let job_id = job.id.clone();
    api.images.add_job(job);
    api.jobs.start(api, job_id.clone());
    Ok(Json(json!({"job_id": job_id})))
}

fn texts(fields: &Fields, name: &str) -> Result<Vec<String>, ApiError> {
    let items = fields
        .list(name)?
        .filter(|items| !items.is_empty())
        .ok_or_else(|| bad_format(format_args!("{name} is empty")))?;
    let texts: Option<Vec<String>> = items
        .iter()
        .map(|item| item.as_str().map(str::to_owned))
        .collect();
    texts.ok_or_else(|| bad_format(format_args!("{name} holds no strings")))
}
