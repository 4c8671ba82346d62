//! IAM: tokens, the project, the account, temporary keys.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;
use net::secret::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use super::error::ApiError;
use super::gateway::Caller;
use super::state::Api;

/// Shortest and longest life of a temporary key, in seconds.
const KEY_LIFETIME: std::ops::RangeInclusive<u64> = 900..=86_400;

#[derive(Deserialize)]
pub(super) struct TokenQuery {
    nocatalog: Option<String>,
}

/// POST /v3/auth/tokens: a token for user and password.
pub(super) async fn tokens(
    State(api): State<Arc<Api>>,
    Query(query): Query<TokenQuery>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let keys = &api.credentials.keys;
    let body = parse(&body)?;
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str);
    let by_password = body
        .pointer("/auth/identity/methods")
        .and_then(Value::as_array)
        .is_some_and(|methods| methods.iter().any(|method| method == "password"));
    if !by_password {
        return Err(bad_request("The identity method must be password."));
    }
    let user = "/auth/identity/password/user";
    let field = |name: &str| {
        text(&format!("{user}/{name}"))
            .ok_or_else(|| bad_request(&format!("auth.identity.password.user.{name} is missing.")))
    };
    let domain = text(&format!("{user}/domain/name"))
        .ok_or_else(|| bad_request("auth.identity.password.user.domain.name is missing."))?;
    if !api
        .credentials
        .is_user(field("name")?, field("password")?, domain)
    {
        return Err(unauthorized("The username or password is wrong."));
    }
    let in_project = match body.pointer("/auth/scope/project") {
        None => false,
        Some(project) => {
            let is = |name: &str, expected: &str| {
                project.get(name).is_none_or(|given| given == expected)
            };
            let named = project.get("name").or_else(|| project.get("id")).is_some();
            if !named || !is("name", &api.region) || !is("id", &keys.project_id) {
                return Err(unauthorized(
                    "The project in the scope does not exist or is not the user's.",
                ));
            }
            true
        }
    };
    let (token, facts) = api.credentials.issue_token(in_project);
    let mut answer = json!({
        "methods": ["password"],
        "issued_at": moment(facts.issued_at),
        "expires_at": moment(facts.expires_at),
        "user": {
            "id": keys.user_id,
            "name": keys.user,
            "domain": {"id": keys.domain_id, "name": keys.domain},
            "password_expires_at": "",
        },
        "roles": [{"id": "0", "name": "te_admin"}],
        "catalog": match query.nocatalog {
            None if in_project => catalog(&api),
            _ => json!([]),
        },
    });
    if let (true, Some(answer)) = (in_project, answer.as_object_mut()) {
        let project = json!({
            "id": keys.project_id,
            "name": api.region,
            "domain": {"id": keys.domain_id, "name": keys.domain},
        });
        answer.insert("project".to_owned(), project);
    }
    Ok((
        StatusCode::CREATED,
        [("x-subject-token", token)],
        Json(json!({"token": answer})),
    )
        .into_response())
}

/// Where the services are, as tools of OpenStack look them up.
fn catalog(api: &Api) -> Value {
    let service = |kind: &str, name: &str, url: String| {
        json!({
            "id": name,
            "type": kind,
            "name": name,
            "endpoints": [{
                "id": format!("{name}-public"),
                "interface": "public",
                "region": api.region,
                "region_id": api.region,
                "url": url,
            }],
        })
    };
    let root = api.endpoint.as_str().trim_end_matches('/');
    let objects = api.obs_endpoint.as_str().trim_end_matches('/');
    json!([
        service("identity", "keystone", format!("{root}/v3")),
        service("image", "glance", root.to_owned()),
        service("ims", "ims", root.to_owned()),
        service("object", "obs", objects.to_owned()),
    ])
}

#[derive(Deserialize)]
pub(super) struct ProjectQuery {
    name: Option<String>,
}

/// GET /v3/projects: the one project, if its name is asked for or none is.
pub(super) async fn projects(
    State(api): State<Arc<Api>>,
    Query(query): Query<ProjectQuery>,
) -> Json<Value> {
    let keys = &api.credentials.keys;
    let asked = query.name.is_none_or(|name| name == api.region);
    let project = json!({
        "id": keys.project_id,
        "name": api.region,
        "domain_id": keys.domain_id,
        "parent_id": keys.domain_id,
        "enabled": true,
        "is_domain": false,
        "description": "",
        "links": {},
    });
    let projects = if asked { vec![project] } else { Vec::new() };
    Json(json!({"projects": projects, "links": {}}))
}

/// GET /v3/auth/domains: the one account.
pub(super) async fn domains(State(api): State<Arc<Api>>) -> Json<Value> {
    let keys = &api.credentials.keys;
    let domain = json!({
        "id": keys.domain_id,
        "name": keys.domain,
        "enabled": true,
        "description": "",
        "links": {},
    });
    Json(json!({"domains": [domain], "links": {}}))
}

/// POST /v3.0/OS-CREDENTIAL/securitytokens: a temporary key for a token.
pub(super) async fn security_token(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let body = parse(&body)?;
    let identity = body.pointer("/auth/identity");
    let by_token = identity
        .and_then(|identity| identity.get("methods")?.as_array())
        .is_some_and(|methods| methods.iter().any(|method| method == "token"));
    if !by_token {
        return Err(bad_request("The identity method must be token."));
    }
    let inside = body
        .pointer("/auth/identity/token/id")
        .and_then(Value::as_str);
    let known = inside.is_none_or(|token| api.credentials.token(token).is_some());
    if !known || !(caller.by_token || inside.is_some()) {
        return Err(unauthorized("The token is wrong."));
    }
    let seconds = match body.pointer("/auth/identity/token/duration_seconds") {
        None => *KEY_LIFETIME.start(),
        Some(seconds) => seconds
            .as_u64()
            .filter(|seconds| KEY_LIFETIME.contains(seconds))
            .ok_or_else(|| bad_request("duration_seconds must be 900 to 86400."))?,
    };
    let credential = temporary_key(&api, Duration::from_secs(seconds));
    Ok((StatusCode::CREATED, Json(credential)).into_response())
}

/// A new temporary key, as IAM and the metadata service show it.
pub(super) fn temporary_key(api: &Api, lifetime: Duration) -> Value {
    let key = api.credentials.issue_key(lifetime);
    json!({"credential": {
        "access": key.id,
        "secret": key.secret.expose_secret(),
        "securitytoken": key.session_token.expose_secret(),
        "expires_at": moment(key.expires_at),
    }})
}

fn parse(body: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(body).map_err(|_| bad_request("The request body is not valid JSON."))
}

fn bad_request(message: &str) -> ApiError {
    ApiError::iam(StatusCode::BAD_REQUEST, message)
}

fn unauthorized(message: &str) -> ApiError {
    ApiError::iam(StatusCode::UNAUTHORIZED, message)
}

/// UTC with microseconds, as in `2026-11-22T01:30:00.000000Z`.
fn moment(time: OffsetDateTime) -> String {
    time.format(format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z"
    ))
    .unwrap_or_default()
}
