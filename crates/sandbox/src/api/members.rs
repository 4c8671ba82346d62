//! Sharing images. The sandbox has one project, which may answer for the others too.
//!
//! Source: IMS API reference, "Image Sharing", "Error Codes".

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::Api;
use super::error::ApiError;
use super::gateway::Caller;
use super::ims::check_project;
use super::manage::{active, no_image};
use super::rules::{Fields, bad_format};
use crate::images::{ImageType, JobRecord, Work};

/// Most projects that an image is shared with.
const MAX_MEMBERS: usize = 256;

/// POST /v1/cloudimages/members.
pub(super) async fn share(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    check_project(&caller)?;
    let fields = Fields::parse(&body)?;
    let (images, projects) = (texts(&fields, "images")?, texts(&fields, "projects")?);
    for id in &images {
        let image = active(&api, id)?;
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
    }
    if projects.contains(&api.credentials.keys.project_id) {
        return Err(ApiError::ims(
            "IMG.0076",
            "You cannot share an image with yourself.",
        ));
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

/// DELETE /v1/cloudimages/members.
pub(super) async fn unshare(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    check_project(&caller)?;
    let fields = Fields::parse(&body)?;
    let (images, projects) = (texts(&fields, "images")?, texts(&fields, "projects")?);
    change(&api, images, |members| {
        members.retain(|project, _| !projects.contains(project));
        Ok(())
    })
}

/// PUT /v1/cloudimages/members.
pub(super) async fn reply(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    check_project(&caller)?;
    let fields = Fields::parse(&body)?;
    let images = texts(&fields, "images")?;
    let project = fields
        .text("project_id")?
        .ok_or_else(|| ApiError::ims("IMG.0067", "The project ID is incorrect."))?;
    let status = match fields.text("status")? {
        Some(status @ ("accepted" | "rejected")) => status,
        _ => return Err(bad_format("status is not accepted or rejected")),
    };
    change(&api, images, |members| {
        let known = members.get_mut(project).ok_or_else(|| {
            ApiError::ims(
                "IMG.0086",
                "No image was found that is shared with the project.",
            )
        })?;
        status.clone_into(known);
        Ok(())
    })
}

/// GET /v2/images/{image_id}/members.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    check_project(&caller)?;
    let image = api.images.image(&id).ok_or_else(no_image)?;
    let members: Vec<Value> = image
        .more
        .members
        .iter()
        .map(|(project, status)| {
            json!({"member_id": project, "image_id": id, "status": status, "schema": "/v2/schemas/member"})
        })
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
    let job = JobRecord::new(&first, Work::Members { images });
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
