//! The releases of the API, and how its objects are described. Neither asks who is asking.
//!
//! Source: IMS API reference, "API Version Query" and "Image Schema".

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use http::StatusCode;
use serde_json::{Value, json};

use super::error::ApiError;
use super::gateway;
use super::state::Api;

/// Releases, the newest first, each with its state and path.
const RELEASES: &[(&str, &str, &str)] = &[
    ("v2.2", "CURRENT", "v2"),
    ("v2.1", "SUPPORTED", "v2"),
    ("v2.0", "SUPPORTED", "v2"),
    ("v1.1", "DEPRECATED", "v1"),
    ("v1.0", "DEPRECATED", "v1"),
];

fn describe(api: &Api, (id, status, path): &(&str, &str, &str)) -> Value {
    json!({
        "id": id,
        "status": status,
        "links": [{"href": format!("{}{path}/", api.endpoint), "rel": "self"}],
    })
}

/// GET /.
pub(super) async fn all(State(api): State<Arc<Api>>) -> (StatusCode, Json<Value>) {
    let versions: Vec<Value> = RELEASES
        .iter()
        .map(|release| describe(&api, release))
        .collect();
    (
        StatusCode::MULTIPLE_CHOICES,
        Json(json!({"versions": versions})),
    )
}

/// GET /{api_version}; `v2` stands for the newest that begins so.
pub(super) async fn one(
    State(api): State<Arc<Api>>,
    Path(wanted): Path<String>,
    request: Request,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let major = format!("{wanted}.");
    let found = RELEASES
        .iter()
        .find(|(id, _, _)| *id == wanted || id.starts_with(&major));
    match found {
        Some(release) => Ok((
            StatusCode::MULTIPLE_CHOICES,
            Json(json!({"versions": [describe(&api, release)]})),
        )),
        None => Err(gateway::not_found(request).await),
    }
}

/// GET /v2/schemas/{name}.
pub(super) async fn schema(
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let text = |description: &str| json!({"type": "string", "description": description});
    let image = || {
        json!({
            "name": "image",
            "additionalProperties": {"type": "string"},
            "links": [{"href": "{self}", "rel": "self"}, {"href": "{schema}", "rel": "describedby"}],
            "properties": {
                "id": text("Identifier of the image"),
                "name": {"type": ["null", "string"], "maxLength": 255},
                "status": {"type": "string", "readOnly": true,
                    "enum": ["queued", "saving", "active", "killed", "deleted"]},
                "visibility": {"type": "string", "enum": ["public", "private", "shared"]},
                "min_disk": {"type": "integer"},
                "protected": {"type": "boolean"},
            },
        })
    };
    let member = || {
        json!({
            "name": "member",
            "properties": {
                "status": {"type": "string", "enum": ["pending", "accepted", "rejected"]},
                "image_id": text("Identifier of the image"),
                "member_id": text("Identifier of the project"),
                "schema": {"type": "string", "readOnly": true},
            },
        })
    };
    let list = |name: &str, of: Value| {
        json!({
            "name": name,
            "links": [{"href": "{schema}", "rel": "describedby"}],
            "properties": {name: {"type": "array", "items": of}, "schema": {"type": "string"}},
        })
    };
    match name.as_str() {
        "image" => Ok(Json(image())),
        "images" => Ok(Json(list("images", image()))),
        "member" => Ok(Json(member())),
        "members" => Ok(Json(list("members", member()))),
        _ => Err(gateway::not_found(request).await),
    }
}
