//! Sharing images. Whoever asks may answer for all projects: the sandbox has only one that can sign
//! in.
//!
//! Source: IMS API reference, "Image Sharing", "Error Codes".

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde_json::{Value, json};

use super::asked::InProject;
use super::error::ApiError;
use super::manage::no_image;
use super::membership::{self, MAX_MEMBERS, check_shareable, set_status};
use super::rules::{Fields, bad_format};
use super::state::Api;
use super::{jobs, list};
use crate::images::{ImageRecord, JobRecord, More, Work};

/// POST /v1/cloudimages/members.
pub(super) async fn share(
    State(api): State<Arc<Api>>,
    _: InProject,
    fields: Fields,
) -> Result<Json<Value>, ApiError> {
    let images = texts(&fields, "images")?;
    let (members, domains) = named(&fields)?;
    for id in &images {
        check_shareable(&api, id, &members)?;
    }
    change(&api, images, |more| {
        for member in &members {
            let known = more.members.entry(member.clone());
            known.or_insert_with(|| "pending".to_owned());
        }
        more.domains.extend(domains.iter().cloned());
    })
}

/// Projects and accounts that a request names, all of them and the accounts among them.
///
/// Source of `domains` and `organizations`: the SDK for Python, huaweicloudsdkims 3.1,
/// BatchAddMembers.
fn named(fields: &Fields) -> Result<(Vec<String>, Vec<String>), ApiError> {
    if fields
        .list("organizations")?
        .is_some_and(|all| !all.is_empty())
    {
        return Err(bad_format("the sandbox has no organizations"));
    }
    let empty = |name: &str| -> Result<bool, ApiError> {
        Ok(fields.list(name)?.is_none_or(<[Value]>::is_empty))
    };
    if empty("projects")? && empty("domains")? {
        return Err(match fields.0.contains_key("projects") {
            true => ApiError::ims("IMG.0041", "The authorized account is empty."),
            false => bad_format("projects and domains are empty"),
        });
    }
    let list = |name: &str| match empty(name)? {
        true => Ok(Vec::new()),
        false => texts(fields, name),
    };
    let (mut members, domains) = (list("projects")?, list("domains")?);
    members.extend(domains.iter().cloned());
    Ok((members, domains))
}

/// DELETE /v1/cloudimages/members.
pub(super) async fn unshare(
    State(api): State<Arc<Api>>,
    _: InProject,
    fields: Fields,
) -> Result<Json<Value>, ApiError> {
    let images = texts(&fields, "images")?;
    let (members, _) = named(&fields)?;
    change(&api, images, |more| {
        more.members.retain(|member, _| !members.contains(member));
        more.domains.retain(|member| !members.contains(member));
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

/// GET /v2/images/{image_id}/members.
pub(super) async fn all(
    State(api): State<Arc<Api>>,
    _: InProject,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let image = api.look_up(&id).ok_or_else(no_image)?;
    let members: Vec<Value> = api
        .members_of(&image)
        .iter()
        .map(|(project, status)| membership::describe(&image, project, status))
        .collect();
    Ok(Json(
        json!({"members": members, "schema": "/v2/schemas/members"}),
    ))
}

/// A member as the calls of IMS itself show it.
///
/// Source: the SDK for Python, huaweicloudsdkims 3.1, ListImageMembers and ShowImageMember.
fn describe(image: &ImageRecord, member: &str, status: &str) -> Value {
    let mut value = membership::describe(image, member, status);
    let kind = match image.more.domains.contains(member) {
        true => "domain",
        false => "project",
    };
    if let Some(fields) = value.as_object_mut() {
        fields.insert("member_type".to_owned(), kind.into());
    }
    value
}

/// GET /v1/{project_id}/cloudimages/{image_id}/members.
pub(super) async fn page(
    State(api): State<Arc<Api>>,
    _: InProject,
    Path((_, id)): Path<(String, String)>,
    Query(query): Query<list::Pairs>,
) -> Result<Json<Value>, ApiError> {
    let image = api.look_up(&id).ok_or_else(no_image)?;
    let limit = list::number(&query, "limit")?.unwrap_or(MAX_MEMBERS);
    let marker = list::value(&query, "marker").unwrap_or_default();
    let all = api.members_of(&image);
    let mut rest = all.iter().filter(|(member, _)| member.as_str() > marker);
    let listed: Vec<_> = rest.by_ref().take(limit).collect();
    let next = listed.last().filter(|_| rest.next().is_some());
    let next = next.map(|(member, _)| member.as_str());
    let members: Vec<Value> = listed
        .iter()
        .map(|(member, status)| describe(&image, member, status))
        .collect();
    Ok(Json(json!({
        "schema": "/v2/schemas/members",
        "page_info": {"current_count": members.len(), "next_marker": next},
        "members": members,
    })))
}

/// GET /v1/{project_id}/cloudimages/{image_id}/members/{member_id}.
pub(super) async fn one(
    State(api): State<Arc<Api>>,
    _: InProject,
    Path((_, id, member)): Path<(String, String, String)>,
) -> Result<Json<Value>, ApiError> {
    let image = api.look_up(&id).ok_or_else(no_image)?;
    let status = api.members_of(&image).remove(&member);
    let status = status.ok_or_else(membership::no_member)?;
    Ok(Json(describe(&image, &member, &status)))
}

/// Changes the members of all `images`, or of none; the answer names a job.
fn change(
    api: &Arc<Api>,
    images: Vec<String>,
    change: impl Fn(&mut More),
) -> Result<Json<Value>, ApiError> {
    let mut first = None;
    for id in &images {
        let image = api.images.image(id).ok_or_else(no_image)?;
        first = first.or(Some(image));
    }
    let Some(first) = first else {
        return Err(bad_format("images is empty"));
    };
    for id in &images {
        api.images.edit(id, no_image(), |image, _| {
            change(&mut image.more);
            Ok(())
        })?;
    }
    job(api, &first, images)
}

/// The job that the answer names.
fn job(api: &Arc<Api>, first: &ImageRecord, images: Vec<String>) -> Result<Json<Value>, ApiError> {
    let job = JobRecord::new(first, Work::Members { images });
    let job_id = job.id.clone();
    api.images.add_job(job);
    jobs::start(api, job_id.clone());
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
    texts.ok_or_else(|| bad_format(format_args!("{name} does not hold strings")))
}
