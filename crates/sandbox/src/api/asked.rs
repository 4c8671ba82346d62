//! What the calls take from a request, and refuse alike when it is not there.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::response::{IntoResponse, Response};
use http::request::Parts;

use super::error::ApiError;
use super::gateway::Caller;
use super::rules::Fields;
use super::state::Api;

/// A caller that may act in the project, and in the one that the path names.
pub(super) struct InProject;

impl FromRequestParts<Arc<Api>> for InProject {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Caller>();
        // A token without a project cannot act here.
        if !caller.is_some_and(|caller| caller.in_project) {
            return Err(ApiError::ims(
                "IMG.0030",
                "The project ID and token in the request are invalid.",
            ));
        }
        let named = RawPathParams::from_request_parts(parts, api).await;
        let mut named = named.iter().flatten();
        if named.any(|(name, id)| name == "project_id" && id != api.credentials.keys.project_id) {
            return Err(ApiError::ims("IMG.0067", "The project ID is incorrect."));
        }
        Ok(Self)
    }
}

impl FromRequest<Arc<Api>> for Fields {
    type Rejection = Response;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Response> {
        let body = Bytes::from_request(request, api).await;
        let body = body.map_err(IntoResponse::into_response)?;
        Self::parse(&body).map_err(IntoResponse::into_response)
    }
}
