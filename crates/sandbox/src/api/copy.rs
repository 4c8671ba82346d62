//! Copies of images, in the region and to another.
//!
//! Source: IMS API reference, "Replicating an Image Within a Region", "Error Codes"; for other
//! regions the SDK for Python, huaweicloudsdkims 3.1, CopyImageCrossRegion.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::asked::InProject;
use super::error::ApiError;
use super::ims::check_name;
use super::jobs;
use super::manage::{active, refuse_iso};
use super::new_image::{blank, encryption, flow_control};
use super::rules::{self, Fields, bad_format};
use super::state::Api;
use crate::images::{ImageRecord, JobRecord, Work};
use crate::inventory;

/// POST /v1/cloudimages/{image_id}/copy.
pub(super) async fn within(
    State(api): State<Arc<Api>>,
    _: InProject,
    Path(id): Path<String>,
    fields: Fields,
) -> Result<Json<Value>, ApiError> {
    if api.is_busy() {
        return Err(flow_control());
    }
    let original = active(&api, &id)?;
    refuse_iso(&original)?;
    check_copied(&api, &original)?;
    let cmk_id = encryption(fields.text("cmk_id")?, original.image_type)?;
    if cmk_id.is_some() && cmk_id == original.more.cmk_id {
        return Err(ApiError::ims(
            "IMG.0096",
            "The specified KMS key ID must be different from the image key ID.",
        ));
    }
    let name = rules::name(fields.text("name")?)?;
    let foreign = original.more.owner.is_some();
    let fresh = blank(name.clone(), original.image_type, original.min_disk);
    let mut more = original.more.clone();
    more.cmk_id = cmk_id;
    more.owner = None;
    more.members.clear();
    more.protected = false;
    let image = ImageRecord {
        id: fresh.id,
        name: fresh.name,
        status: fresh.status,
        virtual_size: None,
        content_digest: None,
        description: rules::description(fields.text("description")?)?,
        tags: Vec::new(),
        created_at: fresh.created_at,
        updated_at: fresh.updated_at,
        more,
        ..original
    };
    let work = match foreign {
        // Nobody has put its content there.
        true => Work::OfDisk { id },
        false => Work::Copy { from: id },
    };
    let job = JobRecord::new(&image, work);
    let job_id = job.id.clone();
    api.images
        .add(image, job, |images| check_name(&api, images, &name))?;
    jobs::start(&api, job_id.clone());
    Ok(Json(json!({"job_id": job_id})))
}

/// POST /v1/cloudimages/{image_id}/cross_region_copy. The copy is made and kept; that region is not
/// here, so no call shows it.
pub(super) async fn elsewhere(
    State(api): State<Arc<Api>>,
    _: InProject,
    Path(id): Path<String>,
    fields: Fields,
) -> Result<Json<Value>, ApiError> {
    if api.is_busy() {
        return Err(flow_control());
    }
    let original = active(&api, &id)?;
    refuse_iso(&original)?;
    check_copied(&api, &original)?;
    let given = |name: &str| -> Result<&str, ApiError> {
        let text = fields.text(name)?.filter(|text| !text.is_empty());
        text.ok_or_else(|| bad_format(format_args!("{name} is missing")))
    };
    let region = given("region")?;
    given("agency_name")?;
    if fields.text("project_name")?.is_none_or(str::is_empty) {
        return Err(ApiError::ims(
            "IMG.0104",
            "Enter the project name if there are multiple projects in the same region.",
        ));
    }
    if region == api.region || original.more.cmk_id.is_some() || original.more.owner.is_some() {
        return Err(ApiError::ims("IMG.0105", "The operation is not supported."));
    }
    let mut image = blank(
        rules::name(fields.text("name")?)?,
        original.image_type,
        original.min_disk,
    );
    image.description = rules::description(fields.text("description")?)?;
    image.more.region = Some(region.to_owned());
    image.os_version = original.os_version;
    image.os_type = original.os_type;
    image.disk_format = original.disk_format;
    image.architecture = original.architecture;
    image.hw_firmware_type = original.hw_firmware_type;
    image.object_size = original.object_size;
    let job = JobRecord::new(&image, Work::Copy { from: id });
    let job_id = job.id.clone();
    // Names and quota are those of the other region.
    api.images.add(image, job, |_| Ok::<(), ApiError>(()))?;
    jobs::start(&api, job_id.clone());
    Ok(Json(json!({"job_id": job_id})))
}

/// Whether the project may copy the image.
fn check_copied(api: &Api, image: &ImageRecord) -> Result<(), ApiError> {
    let refusal = match image.more.owner.as_deref() {
        _ if image.more.whole => (
            "IMG.0130",
            "The full-ECS image cannot be exported or replicated.",
        ),
        Some(inventory::CLOUD) => ("IMG.0105", "The operation is not supported."),
        Some(_) if image.more.cmk_id.is_some() => (
            "IMG.0197",
            "Failed to replicate the shared image because it is encrypted using KMS.",
        ),
        Some(_) if api.reply_to(&image.id) != "accepted" => (
            "IMG.0196",
            "The image cannot be replicated because it is not accepted by the recipient.",
        ),
        _ => return Ok(()),
    };
    Err(ApiError::of(refusal))
}
