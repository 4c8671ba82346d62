//! Tags of images.
//!
//! Source: IMS API reference, "Image Tagging".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use http::StatusCode;
use serde_json::{Value, json};

use super::asked::InProject;
use super::error::ApiError;
use super::ims::tag_text;
use super::list;
use super::manage::no_image;
use super::rules::{Fields, MAX_TAGS, bad_format, object_tag, plain_tag};
use super::state::Api;
use crate::images::{ImageRecord, Tag};

fn invalid() -> ApiError {
    ApiError::ims("IMG.0115", "The image tag is invalid.")
}

/// Gives the image `tags`; one whose key is there replaces it.
fn give(api: &Api, id: &str, tags: Vec<Tag>) -> Result<(), ApiError> {
    api.images
        .edit(id, no_image(), |image, _| {
            for tag in tags {
                image.tags.retain(|known| known.key != tag.key);
                image.tags.push(tag);
            }
            if image.tags.len() > MAX_TAGS {
                return Err(ApiError::ims(
                    "IMG.0116",
                    "The number of image tags exceeds the quota.",
                ));
            }
            Ok(())
        })
        .map(drop)
}

/// PUT /v1/cloudimages/tags.
pub(super) async fn put(
    State(api): State<Arc<Api>>,
    _: InProject,
    fields: Fields,
) -> Result<StatusCode, ApiError> {
    let id = fields
        .text("image_id")?
        .ok_or_else(|| ApiError::ims("IMG.0066", "The image ID is incorrect."))?;
    let tag = match (fields.0.get("tag"), fields.0.get("image_tag")) {
        (Some(text), None) => plain_tag(text),
        (None, Some(object)) => object_tag(object),
        _ => None,
    };
    give(&api, id, vec![tag.ok_or_else(invalid)?])?;
    Ok(StatusCode::NO_CONTENT)
}

/// GET /v1/cloudimages/tags: the tags of the images that the query selects, as texts, page by page.
pub(super) async fn texts(
    State(api): State<Arc<Api>>,
    _: InProject,
    Query(query): Query<list::Pairs>,
) -> Result<Json<Value>, ApiError> {
    let limit = list::number(&query, "limit")?.unwrap_or(500);
    let page = list::number(&query, "page")?.unwrap_or(1);
    let images = list::selected(&api, &query)?.into_iter();
    let all: BTreeSet<String> = images
        .flat_map(|image| image.tags)
        .map(|tag| tag_text(&tag))
        .collect();
    let before = page.saturating_sub(1).saturating_mul(limit);
    let tags: Vec<String> = all.into_iter().skip(before).take(limit).collect();
    Ok(Json(json!({"tags": tags})))
}

/// POST /v2/{project_id}/images/{image_id}/tags.
pub(super) async fn set(
    State(api): State<Arc<Api>>,
    _: InProject,
    Path((_, id)): Path<(String, String)>,
    fields: Fields,
) -> Result<StatusCode, ApiError> {
    let tag = fields.0.get("tag").and_then(object_tag);
    give(&api, &id, vec![tag.ok_or_else(invalid)?])?;
    Ok(StatusCode::NO_CONTENT)
}

/// POST /v2/{project_id}/images/{image_id}/tags/action.
pub(super) async fn change(
    State(api): State<Arc<Api>>,
    _: InProject,
    Path((_, id)): Path<(String, String)>,
    fields: Fields,
) -> Result<StatusCode, ApiError> {
    let items = fields
        .list("tags")?
        .ok_or_else(|| bad_format("tags is missing"))?;
    match fields.text("action")? {
        Some("create") => {
            let tags: Option<Vec<Tag>> = items.iter().map(object_tag).collect();
            let tags = tags.ok_or_else(invalid)?;
            let keys: BTreeSet<_> = tags.iter().map(|tag| &tag.key).collect();
            if keys.len() != tags.len() {
                return Err(invalid());
            }
            give(&api, &id, tags)?;
        }
        Some("delete") => take_all(&api, &id, items)?,
        _ => return Err(bad_format("action is not create or delete")),
    }
    Ok(StatusCode::NO_CONTENT)
}

/// DELETE /v1/{project_id}/cloudimages/{image_id}/tags/delete.
pub(super) async fn remove_all(
    State(api): State<Arc<Api>>,
    _: InProject,
    Path((_, id)): Path<(String, String)>,
    fields: Fields,
) -> Result<StatusCode, ApiError> {
    let items = fields
        .list("tags")?
        .ok_or_else(|| bad_format("tags is missing"))?;
    take_all(&api, &id, items)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes the tags with the keys of `items` off an image, as far as it has them.
fn take_all(api: &Api, id: &str, items: &[Value]) -> Result<(), ApiError> {
    let keys: Vec<&str> = items
        .iter()
        .filter_map(|tag| tag.get("key")?.as_str())
        .collect();
    api.images.edit(id, no_image(), |image, _| {
        image.tags.retain(|tag| !keys.contains(&tag.key.as_str()));
        Ok(())
    })?;
    Ok(())
}

/// DELETE /v2/{project_id}/images/{image_id}/tags/{key}.
pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    _: InProject,
    Path((_, id, key)): Path<(String, String, String)>,
) -> Result<StatusCode, ApiError> {
    take(&api, &id, &key)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes the tag of `key` off an image that has it.
pub(super) fn take(api: &Api, id: &str, key: &str) -> Result<(), ApiError> {
    api.images.edit(id, no_image(), |image, _| {
        let before = image.tags.len();
        image.tags.retain(|tag| tag.key != key);
        if image.tags.len() == before {
            return Err(ApiError::Ims {
                status: StatusCode::NOT_FOUND,
                code: "IMG.0121",
                message: "The object cannot be found.".to_owned(),
            });
        }
        Ok(())
    })?;
    Ok(())
}

/// GET /v2/{project_id}/images/{image_id}/tags.
pub(super) async fn of_image(
    State(api): State<Arc<Api>>,
    _: InProject,
    Path((_, id)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let image = api.images.image(&id).ok_or_else(no_image)?;
    Ok(Json(json!({"tags": image.tags})))
}

/// GET /v2/{project_id}/images/tags.
pub(super) async fn all(
    State(api): State<Arc<Api>>,
    _: InProject,
) -> Result<Json<Value>, ApiError> {
    let mut tags = BTreeMap::<String, BTreeSet<String>>::new();
    for tag in api.images.all().into_iter().flat_map(|image| image.tags) {
        tags.entry(tag.key).or_default().insert(tag.value);
    }
    let tags: Vec<Value> = tags
        .into_iter()
        .map(|(key, values)| json!({"key": key, "values": values}))
        .collect();
    Ok(Json(json!({"tags": tags})))
}

/// POST /v2/{project_id}/images/resource_instances/action.
pub(super) async fn find(
    State(api): State<Arc<Api>>,
    _: InProject,
    fields: Fields,
) -> Result<Json<Value>, ApiError> {
    let all = |name: &str, image: &ImageRecord| -> Result<Option<bool>, ApiError> {
        let Some(wanted) = fields.list(name)?.filter(|wanted| !wanted.is_empty()) else {
            return Ok(None);
        };
        let any = name.ends_with("any");
        let mut has = wanted.iter().map(|wanted| has_tag(image, wanted));
        Ok(Some(if any {
            has.any(|has| has)
        } else {
            has.all(|has| has)
        }))
    };
    let untagged = fields.0.get("without_any_tag") == Some(&Value::Bool(true));
    let mut found = Vec::new();
    for image in api.images.all() {
        if untagged {
            if image.tags.is_empty() {
                found.push(image);
            }
            continue;
        }
        let fits = all("tags", &image)? != Some(false)
            && all("tags_any", &image)? != Some(false)
            && all("not_tags", &image)? != Some(true)
            && all("not_tags_any", &image)? != Some(true)
            && fields
                .list("matches")?
                .unwrap_or_default()
                .iter()
                .all(|wanted| matches(&image, wanted));
        if fits {
            found.push(image);
        }
    }
    let total = found.len();
    match fields.text("action")? {
        Some("count") => Ok(Json(json!({"total_count": total}))),
        Some("filter") => {
            let number = |name: &str, default: usize| -> Result<usize, ApiError> {
                let text = fields.text(name)?;
                text.map_or(Ok(default), |text| {
                    text.parse().map_err(|_| bad_format(name))
                })
            };
            let (limit, offset) = (number("limit", 10)?, number("offset", 0)?);
            let resources: Vec<Value> = found
                .iter()
                .skip(offset)
                .take(limit.min(1000))
                .map(|image| {
                    json!({
                        "resource_id": image.id,
                        "resource_name": image.name,
                        "resource_detail": {"status": image.status.as_str()},
                        "tags": image.tags,
                    })
                })
                .collect();
            Ok(Json(json!({"total_count": total, "resources": resources})))
        }
        _ => Err(bad_format("action is not filter or count")),
    }
}

/// Whether the image has the key with one of the values; no values stand for any.
fn has_tag(image: &ImageRecord, wanted: &Value) -> bool {
    let key = wanted.get("key").and_then(Value::as_str);
    let values = wanted.get("values").and_then(Value::as_array);
    image.tags.iter().any(|tag| {
        Some(tag.key.as_str()) == key
            && values.is_none_or(|values| {
                values.is_empty() || values.iter().any(|value| *value == *tag.value)
            })
    })
}

fn matches(image: &ImageRecord, wanted: &Value) -> bool {
    let text = |name: &str| wanted.get(name).and_then(Value::as_str).unwrap_or_default();
    match text("key") {
        "resource_name" => image.name.contains(text("value")),
        "resource_id" => image.id == text("value"),
        _ => false,
    }
}
