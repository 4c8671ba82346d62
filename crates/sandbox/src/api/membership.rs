//! Members of images: the rules of sharing, and how a member is shown.

use http::StatusCode;
use serde_json::{Value, json};

use super::error::ApiError;
use super::ims::seconds;
use super::manage::{active, no_image};
use super::rules::bad_format;
use super::state::Api;
use crate::images::{ImageRecord, ImageType};
use crate::inventory;

/// Most projects that an image is shared with.
pub(super) const MAX_MEMBERS: usize = 256;

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
        let own = &api.credentials.keys;
        if *project == own.project_id || *project == own.domain_id {
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
            let mut replies = api.replies.lock();
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

/// A member as the API shows it.
pub(super) fn describe(image: &ImageRecord, project: &str, status: &str) -> Value {
    json!({
        "member_id": project,
        "image_id": image.id,
        "status": status,
        "created_at": seconds(image.created_at),
        "updated_at": seconds(image.updated_at),
        "schema": "/v2/schemas/member",
    })
}

pub(super) fn no_member() -> ApiError {
    ApiError::Ims {
        status: StatusCode::NOT_FOUND,
        code: "IMG.0121",
        message: "The object cannot be found: the image is not shared with the project.".to_owned(),
    }
}
