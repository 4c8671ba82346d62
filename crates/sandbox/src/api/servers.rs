//! The calls that make images of servers, volumes and backups.
//!
//! Source: IMS API reference, "Creating an Image" (2023 and 2024), "Creating a Full-ECS Image",
//! "Error Codes".

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use super::asked::InProject;
use super::error::ApiError;
use super::new_image::{blank, flow_control, object, start};
use super::rules::{self, Fields};
use super::state::Api;
use crate::images::{ImageRecord, ImageStatus, ImageType, Work};
use crate::inventory::{self, Server, Volume};

/// What a server's or backup's system is.
const SYSTEM: &str = "Debian GNU/Linux 12.0.0 64bit";

/// GiB of the disks of servers.
const DISK: u64 = 40;

/// A system image of a server, with images of its data disks if wanted.
pub(super) fn of_server(api: &Arc<Api>, fields: &Fields) -> Result<Json<Value>, ApiError> {
    let mut image = of_disk(fields, ImageType::Ecs)?;
    let server = server(fields)?;
    refuse(server.refuses_system)?;
    image.os_version = Some(SYSTEM.to_owned());
    image.more.origin = Some(format!("instance,{}", server.id));
    image.more.charged = server.charged;
    let mut parts = Vec::new();
    for entry in fields.list("data_images")?.unwrap_or_default() {
        let (part, volume) = data(entry)?;
        if volume.server != server.id {
            return Err(scattered());
        }
        parts.push((part, disk_of(volume.id)));
    }
    start(api, image, disk_of(server.id), parts)
}

/// A system image of a data disk that holds a system.
pub(super) fn of_volume(api: &Arc<Api>, fields: &Fields) -> Result<Json<Value>, ApiError> {
    let kind = match fields.text("type")? {
        None | Some("ECS") => ImageType::Ecs,
        Some("BMS") => ImageType::Bms,
        Some(_) => {
            return Err(ApiError::ims(
                "IMG.0117",
                "The image source can only be BMS or ECS.",
            ));
        }
    };
    let mut image = of_disk(fields, kind)?;
    let os_version = fields.text("os_version")?.unwrap_or_default();
    if os_version.is_empty() {
        return Err(ApiError::ims("IMG.0056", "Invalid OS version."));
    }
    let volume = volume(fields)?;
    image.os_type = rules::os_type(None, Some(os_version))?;
    image.os_version = Some(os_version.to_owned());
    image.more.origin = Some(format!("volume,{}", volume.id));
    start(api, image, disk_of(volume.id), Vec::new())
}

/// Data images of data disks of one server.
pub(super) fn of_volumes(api: &Arc<Api>, entries: &[Value]) -> Result<Json<Value>, ApiError> {
    let mut server = None;
    let mut made = Vec::new();
    for entry in entries {
        let (image, volume) = data(entry)?;
        if *server.get_or_insert(volume.server) != volume.server {
            return Err(scattered());
        }
        made.push((image, disk_of(volume.id)));
    }
    let mut made = made.into_iter();
    let (image, work) = made.next().ok_or_else(no_volume)?;
    start(api, image, work, made.collect())
}

/// POST /v1/cloudimages/wholeimages/action: all disks of a server, or a backup of it.
pub(super) async fn whole(
    State(api): State<Arc<Api>>,
    _: InProject,
    fields: Fields,
) -> Result<Json<Value>, ApiError> {
    if api.is_busy() {
        return Err(flow_control());
    }
    let mut image = of_disk(&fields, ImageType::Ecs)?;
    image.os_version = Some(SYSTEM.to_owned());
    image.more.whole = true;
    let id = match fields.text("backup_id")? {
        Some("") => return Err(ApiError::ims("IMG.0019", "The backup ID is not specified.")),
        Some(id) => {
            let backup = inventory::find_backup(id)
                .ok_or_else(|| ApiError::ims("IMG.0127", "The CSBS backup does not exist."))?;
            refuse(backup.refuses)?;
            let named = fields.text("os_version")?.filter(|text| !text.is_empty());
            if backup.needs_os && named.is_none() {
                return Err(ApiError::ims(
                    "IMG.0195",
                    "Full-ECS images created from CBR backups must contain an OS.",
                ));
            }
            let used = |other: &ImageRecord| {
                other.status != ImageStatus::Killed && other.more.backup_id.as_deref() == Some(id)
            };
            if api.images.all().iter().any(used) {
                return Err(ApiError::ims(
                    "IMG.0134",
                    "The CSBS backup has been registered as an image.",
                ));
            }
            image.more.backup_id = Some(id.to_owned());
            backup.id
        }
        None => {
            let server = server(&fields)?;
            refuse(server.refuses_whole)?;
            server.id
        }
    };
    image.more.origin = Some(format!("server_backup,{id}"));
    start(&api, image, disk_of(id), Vec::new())
}

/// What all of these have.
fn of_disk(fields: &Fields, kind: ImageType) -> Result<ImageRecord, ApiError> {
    let mut image = blank(rules::name(fields.text("name")?)?, kind, DISK);
    image.description = rules::description(fields.text("description")?)?;
    image.tags = rules::tags(fields)?;
    image.more.min_ram = fields.0.get("min_ram").and_then(Value::as_u64).unwrap_or(0);
    rules::belongs(fields, &mut image.more)?;
    Ok(image)
}

/// A data image, and the volume that it is of.
fn data(entry: &Value) -> Result<(ImageRecord, &'static Volume), ApiError> {
    let fields = object(entry)?;
    let mut image = of_disk(&fields, ImageType::DataImage)?;
    let volume = volume(&fields)?;
    image.more.origin = Some(format!("volume,{}", volume.id));
    Ok((image, volume))
}

fn server(fields: &Fields) -> Result<&'static Server, ApiError> {
    match fields.text("instance_id")? {
        None | Some("") => Err(ApiError::ims("IMG.0012", "The ECS ID is not specified.")),
        Some(id) => inventory::find_server(id)
            .ok_or_else(|| ApiError::ims("IMG.0005", "The ECS does not exist.")),
    }
}

fn volume(fields: &Fields) -> Result<&'static Volume, ApiError> {
    let id = fields.text("volume_id")?.unwrap_or_default();
    let volume = inventory::find_volume(id).ok_or_else(no_volume)?;
    refuse(volume.refuses)?;
    Ok(volume)
}

fn refuse(why: Option<inventory::Refusal>) -> Result<(), ApiError> {
    why.map_or(Ok(()), |refusal| Err(ApiError::of(refusal)))
}

fn disk_of(id: &str) -> Work {
    Work::OfDisk { id: id.to_owned() }
}

fn no_volume() -> ApiError {
    ApiError::ims("IMG.0120", "The specified data disk ID is unavailable.")
}

fn scattered() -> ApiError {
    ApiError::ims(
        "IMG.0140",
        "The disks in the request come from different ECSs.",
    )
}
