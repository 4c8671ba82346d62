//! What stands before the calls: request ids, body limits, tokens and signatures.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use net::sign::{self, SignatureError};
use time::OffsetDateTime;

use super::error::ApiError;
use super::state::Api;
use crate::keys::hex_id;

/// Most bytes of a body. No call here needs more than some KiB.
pub(super) const MAX_BODY: usize = 1 << 20;

/// Name under which a request is found again; every answer carries it.
#[derive(Clone, Debug)]
pub(super) struct RequestId(String);

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// Whether the credentials may act in the project.
    pub(super) in_project: bool,
    /// The token, if the request came with one and not with a signature.
    pub(super) by_token: bool,
}

/// Gives every request an id, and the answer the same.
pub(super) async fn number_requests(mut request: Request, next: Next) -> Response {
    let id = hex_id();
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

/// No such call.
pub(super) async fn not_found(request: Request) -> ApiError {
    refused(
        &request,
        StatusCode::NOT_FOUND,
        "APIGW.0101",
        "The API does not exist or has not been published in the environment",
    )
}

/// Lets a request through that has a valid token or signature.
pub(super) async fn authenticate(
    State(api): State<Arc<Api>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let unauthorized = |request: &Request, reason: &str| {
        refused(
            request,
            StatusCode::UNAUTHORIZED,
            "APIGW.0301",
            format!("Incorrect IAM authentication information: {reason}"),
        )
    };
    if let Some(token) = request.headers().get("x-auth-token") {
        let token = token.to_str().ok().and_then(|t| api.credentials.token(t));
        let Some(token) = token else {
            return Err(unauthorized(&request, "decrypt token fail"));
        };
        let caller = Caller {
            in_project: token.in_project,
            by_token: true,
        };
        return pass(&api, request, caller, next).await;
    }
    // The signature covers the body, so it must be here first.
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, MAX_BODY).await;
    let mut request = Request::from_parts(head, Body::empty());
    let Ok(body) = body else {
        return Err(refused(
            &request,
            StatusCode::PAYLOAD_TOO_LARGE,
            "APIGW.0201",
            "Request entity too large",
        ));
    };
    let parts = sign::Parts {
        method: request.method().as_str(),
        path: request.uri().path(),
        query: request.uri().query().unwrap_or_default(),
        headers: request.headers(),
        body: &body,
    };
    let lookup = |id: &str| api.credentials.secret(id);
    let id = match sign::verify(&parts, lookup, OffsetDateTime::now_utc()) {
        Ok(id) => id,
        Err(error) => return Err(unauthorized(&request, &reason(&error))),
    };
    let session = text(request.headers(), "x-security-token");
    if !api.credentials.is_session(&id, session) {
        return Err(unauthorized(&request, "verify security token fail"));
    }
    if let Some(project) = text(request.headers(), "x-project-id")
        && project != api.credentials.keys.project_id
    {
        return Err(unauthorized(&request, "project_id is not the caller's"));
    }
    *request.body_mut() = Body::from(body);
    let caller = Caller {
        in_project: true,
        by_token: false,
    };
    pass(&api, request, caller, next).await
}

async fn pass(
    api: &Api,
    mut request: Request,
    caller: Caller,
    next: Next,
) -> Result<Response, ApiError> {
    let path = request.uri().path();
    if api.faults.lacks_data_files() && path.ends_with("/dataimages/action") {
        return Err(not_found(request).await);
    }
    // What looks for images by tags is a POST too.
    let looks = request.method() == Method::GET
        || path.starts_with("/v3")
        || path.ends_with("/resource_instances/action");
    if api.faults.may_only_look() && !looks {
        return Err(ApiError::Ims {
            status: StatusCode::FORBIDDEN,
            code: "IMG.0026",
            message: "The role is invalid. You need to apply for the required permissions or pass \
                      the real-name authentication."
                .to_owned(),
        });
    }
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// The words of the real gateway.
fn reason(error: &SignatureError) -> String {
    match error {
        SignatureError::Missing => "no token and no signature in the request".to_owned(),
        SignatureError::UnknownKey(_) => "Get secretKey failed".to_owned(),
        SignatureError::Mismatch { canonical_request } => format!(
            "verify aksk signature fail,canonicalRequest:{}",
            canonical_request.replace('\n', "|")
        ),
        SignatureError::BodyTooLarge(_) => "calc aksk signature fail:body too large".to_owned(),
        other => format!("verify aksk signature fail,{other}"),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn refused(
    request: &Request,
    status: StatusCode,
    code: &'static str,
    message: impl Into<String>,
) -> ApiError {
    let id = request.extensions().get::<RequestId>();
    ApiError::Gateway {
        status,
        code,
        message: message.into(),
        request_id: id.map(|id| id.0.clone()).unwrap_or_default(),
    }
}
