//! The API server: IAM and IMS behind one gateway, on one address.

mod error;
mod gateway;
mod iam;
mod ims;
mod jobs;
mod rules;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, post};

use crate::credentials::Credentials;
use crate::faults::FaultState;
use crate::images::Images;
use crate::s3::ObjectStore;

pub(crate) use jobs::Jobs;

/// What the calls share.
pub(crate) struct Api {
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) region: String,
    pub(crate) objects: ObjectStore,
    pub(crate) images: Images,
    pub(crate) jobs: Jobs,
    pub(crate) faults: Arc<FaultState>,
    /// Most images that are not killed.
    pub(crate) image_quota: usize,
}

/// The calls.
pub(crate) fn router(api: Arc<Api>) -> Router {
    let signed = Router::new()
        .route("/v3/projects", get(iam::projects))
        .route("/v3/auth/domains", get(iam::domains))
        .route(
            "/v3.0/OS-CREDENTIAL/securitytokens",
            post(iam::security_token),
        )
        .route(
            "/v2/cloudimages/quickimport/action",
            post(ims::quick_import),
        )
        .route(
            "/v2.1/cloudimages/quickimport/action",
            post(ims::quick_import),
        )
        .route("/v2/cloudimages", get(ims::list))
        .route("/v2/images/{image_id}", delete(ims::delete))
        .route("/v1/cloudimages/quota", get(ims::quota))
        .route("/v1/cloudimages/os_version", get(ims::os_versions))
        .route("/v1/cloudimages/job/{job_id}", get(ims::job))
        .route("/v1/{project_id}/jobs/{job_id}", get(ims::project_job))
        .route_layer(from_fn_with_state(Arc::clone(&api), gateway::authenticate));
    Router::new()
        .route("/v3/auth/tokens", post(iam::tokens))
        .merge(signed)
        .fallback(gateway::not_found)
        .method_not_allowed_fallback(gateway::not_found)
        .layer(DefaultBodyLimit::max(gateway::MAX_BODY))
        .layer(from_fn(gateway::number_requests))
        .with_state(api)
}
