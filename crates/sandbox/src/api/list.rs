//! Lists of images: filters, order and pages.
//!
//! Source: IMS API reference, "Querying Images", "Querying Images (Native OpenStack API)",
//! "Querying Tags"; `architecture` and `enterprise_project_id` from the SDK for Python,
//! huaweicloudsdkims 3.1.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::{Query, State};
use serde_json::{Value, json};
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};
use url::form_urlencoded;

use super::asked::InProject;
use super::error::ApiError;
use super::ims::describe;
use super::rules::bad_format;
use super::state::Api;
use crate::images::ImageRecord;
use crate::inventory;

/// Images of a page when no limit is given.
const LISTED: usize = 500;
/// The same in the native call.
const LISTED_NATIVE: usize = 25;
/// Most images of a page. Ours: the documents name none.
const MAX_LISTED: usize = 1000;

/// The parameters of a query, in their order.
pub(super) type Pairs = Vec<(String, String)>;

/// An image, and how the API shows it.
struct Shown {
    image: ImageRecord,
    value: Value,
}

/// GET /v2/cloudimages.
pub(super) async fn images(
    State(api): State<Arc<Api>>,
    _: InProject,
    Query(query): Query<Pairs>,
) -> Result<Json<Value>, ApiError> {
    let (images, _) = page(&api, &query, LISTED)?;
    Ok(Json(json!({"images": images})))
}

/// GET /v2/images: the same with links to the first and the next page.
pub(super) async fn native(
    State(api): State<Arc<Api>>,
    _: InProject,
    Query(query): Query<Pairs>,
) -> Result<Json<Value>, ApiError> {
    let (images, next) = page(&api, &query, LISTED_NATIVE)?;
    let mut answer = json!({
        "schema": "/v2/schemas/images",
        "images": images,
        "first": link(&query, None),
    });
    if let (Some(next), Some(fields)) = (next, answer.as_object_mut()) {
        fields.insert("next".to_owned(), link(&query, Some(&next)).into());
    }
    Ok(Json(answer))
}

/// The images that a query selects, without regard to pages.
pub(super) fn selected(api: &Api, query: &Pairs) -> Result<Vec<ImageRecord>, ApiError> {
    let found = select(api, query)?.into_iter();
    Ok(found.map(|shown| shown.image).collect())
}

/// One page, and the id of its last image if there are more.
fn page(
    api: &Api,
    query: &Pairs,
    default: usize,
) -> Result<(Vec<Value>, Option<String>), ApiError> {
    let limit = number(query, "limit")?.unwrap_or(default).min(MAX_LISTED);
    let mut found = select(api, query)?;
    sort(&mut found, query)?;
    let start = match value(query, "marker") {
        None => 0,
        Some(marker) => found
            .iter()
            .position(|shown| shown.image.id == marker)
            .map(|at| at.saturating_add(1))
            .ok_or_else(|| {
                bad_format(format_args!(
                    "marker {marker:?} is not an image in the list"
                ))
            })?,
    };
    let mut rest = found.into_iter().skip(start);
    let images: Vec<Shown> = rest.by_ref().take(limit).collect();
    let last = images.last().filter(|_| rest.next().is_some());
    let next = last.map(|shown| shown.image.id.clone());
    Ok((images.into_iter().map(|shown| shown.value).collect(), next))
}

/// The images that all filters of the query let through, the newest first.
fn select(api: &Api, query: &Pairs) -> Result<Vec<Shown>, ApiError> {
    let said = value(query, "member_status");
    let mut images = api.images.all();
    images.reverse();
    images.extend(inventory::images());
    let mut found = Vec::new();
    for image in images.into_iter().filter(|image| shows(api, image, said)) {
        let value = describe(api, &image);
        let shown = Shown { image, value };
        let mut fits = true;
        for (name, wanted) in query {
            fits &= shown.fits(name, wanted)?;
        }
        if fits {
            found.push(shown);
        }
    }
    Ok(found)
}

/// Whether a list shows the image to the project. What others share is shown when it was accepted,
/// or when the question is about what was said to it.
fn shows(api: &Api, image: &ImageRecord, member_status: Option<&str>) -> bool {
    let members = api.members_of(image);
    let said = |status: &str| members.values().any(|said| said == status);
    match (image.more.owner.as_deref(), member_status) {
        (Some(inventory::OTHERS), None) => said("accepted"),
        (_, Some(status)) => said(status),
        (_, None) => true,
    }
}

impl Shown {
    fn text(&self, name: &str) -> &str {
        self.value
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Whether the parameter `name` lets the image through.
    fn fits(&self, name: &str, wanted: &str) -> Result<bool, ApiError> {
        let image = &self.image;
        Ok(match name {
            "limit" | "page" | "marker" | "sort_key" | "sort_dir" | "member_status" => true,
            "created_at" => is_when(image.created_at, name, wanted)?,
            "updated_at" => is_when(image.updated_at, name, wanted)?,
            "architecture" => image.architecture == wanted,
            "enterprise_project_id" => {
                // Images that nobody put elsewhere are in the default project, whose id is 0.
                let own = Some(self.text(name)).filter(|id| !id.is_empty());
                wanted == "all_granted_eps" || wanted == own.unwrap_or("0")
            }
            "tag" => self.has_tag(wanted),
            // The reference has both names for each, in its tables and in its paths.
            "__system_cmkid" => self.is("__system__cmkid", wanted),
            "virtual_environment_type" => self.is("virtual_env_type", wanted),
            _ => self.is(name, wanted),
        })
    }

    /// Whether the attribute `name` is the `wanted` one.
    fn is(&self, name: &str, wanted: &str) -> bool {
        match self.value.get(name) {
            Some(Value::String(value)) => value == wanted,
            Some(Value::Bool(value)) => value.to_string().eq_ignore_ascii_case(wanted),
            Some(Value::Null) | None => false,
            Some(value) => {
                let text = value.to_string();
                text == wanted
            }
        }
    }

    fn has_tag(&self, wanted: &str) -> bool {
        let wanted = wanted.replacen('=', ".", 1);
        let wanted = wanted.strip_suffix('.').unwrap_or(&wanted);
        let tags = self.value.get("tags").and_then(Value::as_array);
        tags.is_some_and(|tags| tags.iter().any(|tag| tag.as_str() == Some(wanted)))
    }
}

/// Whether a time is what `OPERATOR:TIME` asks for; a time alone must be equal. Seconds count, as
/// images show no less.
fn is_when(time: SystemTime, name: &str, wanted: &str) -> Result<bool, ApiError> {
    let invalid = || {
        bad_format(format_args!(
            "{name} is {wanted:?}, not gt, gte, lt, lte, eq or neq with a time, \
             as in gte:2018-10-28T10:00:00Z"
        ))
    };
    let is_operator = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase());
    let (operator, when) = match wanted.split_once(':') {
        Some((operator, when)) if is_operator(operator) => (operator, when),
        _ => ("eq", wanted),
    };
    let when = moment(when).ok_or_else(invalid)?;
    let order = OffsetDateTime::from(time).unix_timestamp().cmp(&when);
    match operator {
        "gt" => Ok(order == Ordering::Greater),
        "gte" => Ok(order != Ordering::Less),
        "lt" => Ok(order == Ordering::Less),
        "lte" => Ok(order != Ordering::Greater),
        "eq" => Ok(order == Ordering::Equal),
        "neq" => Ok(order != Ordering::Equal),
        _ => Err(invalid()),
    }
}

/// Seconds since 1970 of `2018-10-28T10:00:00Z` or `2018-10-28 10:00:00`.
fn moment(text: &str) -> Option<i64> {
    let zulu = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    let plain = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    PrimitiveDateTime::parse(text, zulu)
        .or_else(|_| PrimitiveDateTime::parse(text, plain))
        .ok()
        .map(|time| time.assume_utc().unix_timestamp())
}

/// Sorts what is in the order of creation, the newest first.
fn sort(found: &mut [Shown], query: &Pairs) -> Result<(), ApiError> {
    let descending = match value(query, "sort_dir") {
        None | Some("desc") => true,
        Some("asc") => false,
        Some(other) => {
            return Err(bad_format(format_args!(
                "sort_dir is {other:?}, not asc or desc"
            )));
        }
    };
    let key = value(query, "sort_key").unwrap_or("created_at");
    let compare: fn(&Shown, &Shown, &str) -> Ordering = match key {
        "created_at" => |a, b, _| since(a.image.created_at).cmp(&since(b.image.created_at)),
        "updated_at" => |a, b, _| since(a.image.updated_at).cmp(&since(b.image.updated_at)),
        "name" | "container_format" | "disk_format" | "status" | "id" => {
            |a, b, key| a.text(key).cmp(b.text(key))
        }
        // Always 0, as it is on the service.
        "size" => |_, _, _| Ordering::Equal,
        other => {
            return Err(bad_format(format_args!(
                "sort_key is {other:?}, not name, container_format, disk_format, status, id, size, \
                 created_at or updated_at"
            )));
        }
    };
    found.sort_by(|a, b| {
        let order = compare(a, b, key);
        if descending { order.reverse() } else { order }
    });
    Ok(())
}

fn since(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// Path and query of a page.
fn link(query: &Pairs, marker: Option<&str>) -> String {
    let mut pairs = form_urlencoded::Serializer::new(String::new());
    for (name, value) in query.iter().filter(|(name, _)| name != "marker") {
        pairs.append_pair(name, value);
    }
    if let Some(marker) = marker {
        pairs.append_pair("marker", marker);
    }
    match pairs.finish().as_str() {
        "" => "/v2/images".to_owned(),
        pairs => format!("/v2/images?{pairs}"),
    }
}

/// The last value of the parameter `name`.
pub(super) fn value<'a>(query: &'a Pairs, name: &str) -> Option<&'a str> {
    let mut named = query.iter().rev().filter(|(known, _)| known == name);
    named.next().map(|(_, value)| value.as_str())
}

/// The parameter `name` as a number.
pub(super) fn number(query: &Pairs, name: &str) -> Result<Option<usize>, ApiError> {
    let invalid = |_| bad_format(format_args!("{name} is not a number"));
    value(query, name)
        .map(|text| text.parse().map_err(invalid))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_compared_by_their_operator_in_both_formats() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_540_720_800_900);
        let (before, same, after) = (
            "2018-10-28T09:59:59Z",
            "2018-10-28 10:00:00",
            "2018-10-28T10:00:01Z",
        );
        for (operator, expected) in [
            ("gt:", [true, false, false]),
            ("gte:", [true, true, false]),
            ("lt:", [false, false, true]),
            ("lte:", [false, true, true]),
            ("eq:", [false, true, false]),
            ("neq:", [true, false, true]),
            ("", [false, true, false]),
        ] {
            let found = [before, same, after]
                .map(|when| is_when(time, "created_at", &format!("{operator}{when}")).unwrap());
            assert_eq!(found, expected, "{operator}");
        }
        for wanted in [
            "",
            "gt:",
            "near:2018-10-28T10:00:00Z",
            "gt:2018-13-28 10:00:00",
        ] {
            assert!(is_when(time, "created_at", wanted).is_err(), "{wanted}");
        }
    }
}
