//! The API server: IAM and IMS behind one gateway, on one address.

mod asked;
mod copy;
mod create;
mod error;
mod gateway;
mod iam;
mod ims;
mod jobs;
mod list;
mod manage;
mod members;
mod membership;
mod metadata;
mod native;
mod new_image;
mod queue;
mod releases;
mod rules;
mod servers;
mod state;
mod tags;
mod versions;
mod work;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, patch, post, put};

pub(crate) use jobs::start;
pub(crate) use queue::Jobs;
pub(crate) use state::Api;

/// The calls.
pub(crate) fn router(api: Arc<Api>) -> Router {
    let signed = identity_routes()
        .merge(images_routes())
        .merge(tags_routes())
        .merge(members_routes())
        .merge(others_routes())
        .route_layer(from_fn_with_state(Arc::clone(&api), gateway::authenticate));
    Router::new()
        .route("/v3/auth/tokens", post(iam::tokens))
        .route("/openstack/latest/securitykey", get(metadata::security_key))
        .route("/", get(releases::all))
        .route("/{api_version}", get(releases::one))
        .route("/v2/schemas/{name}", get(releases::schema))
        .merge(signed)
        .fallback(gateway::not_found)
        .method_not_allowed_fallback(gateway::not_found)
        .layer(DefaultBodyLimit::max(gateway::MAX_BODY))
        .layer(from_fn(gateway::number_requests))
        .with_state(api)
}

/// Calls of the identity service.
fn identity_routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/v3/projects", get(iam::projects))
        .route("/v3/auth/domains", get(iam::domains))
        .route(
            "/v3.0/OS-CREDENTIAL/securitytokens",
            post(iam::security_token),
        )
}

/// Calls that make, show, change and delete images.
fn images_routes() -> Router<Arc<Api>> {
    Router::new()
        .route(
            "/v2/cloudimages/quickimport/action",
            post(ims::quick_import),
        )
        .route(
            "/v2.1/cloudimages/quickimport/action",
            post(ims::quick_import),
        )
        .route("/v2/cloudimages", get(list::images))
        .route("/v2/images", get(list::native).post(create::metadata))
        .route(
            "/v2/images/{image_id}",
            delete(manage::delete)
                .get(manage::show)
                .patch(manage::update),
        )
        .route("/v2/cloudimages/{image_id}", patch(manage::update))
        .route("/v2/cloudimages/action", post(create::action))
        .route("/v2.1/cloudimages/action", post(create::action))
        .route("/v1/cloudimages/dataimages/action", post(create::data))
        .route("/v2.1/cloudimages/dataimages/action", post(create::data))
        .route("/v1/cloudimages/wholeimages/action", post(servers::whole))
        .route("/v1/cloudimages/{image_id}/upload", put(create::register))
        .route("/v1/cloudimages/{image_id}/copy", post(copy::within))
        .route("/v2.1/cloudimages/{image_id}/copy", post(copy::within))
        .route(
            "/v1/cloudimages/{image_id}/cross_region_copy",
            post(copy::elsewhere),
        )
        .route("/v1/cloudimages/{image_id}/file", post(manage::export))
        .route("/v2.1/cloudimages/{image_id}/file", post(manage::export))
        .route("/v1/cloudimages/tags", put(tags::put).get(tags::texts))
        .route("/v2/{project_id}/images/tags", get(tags::all))
        .route(
            "/v2/{project_id}/images/resource_instances/action",
            post(tags::find),
        )
        .route("/v2/images/{image_id}/file", put(native::upload))
        .route("/v1/cloudimages/quota", get(ims::quota))
        .route("/v1/cloudimages/os_version", get(versions::os_versions))
        .route("/v1/cloudimages/job/{job_id}", get(ims::job))
        .route("/v1/{project_id}/jobs/{job_id}", get(ims::project_job))
        .route(
            "/v1/{project_id}/cloudimages/{image_id}/members",
            get(members::page),
        )
}

/// Calls about tags.
fn tags_routes() -> Router<Arc<Api>> {
    Router::new()
        .route(
            "/v2/{project_id}/images/{image_id}/tags",
            get(tags::of_image).post(tags::set),
        )
        .route(
            "/v2/{project_id}/images/{image_id}/tags/action",
            post(tags::change),
        )
        .route(
            "/v2/{project_id}/images/{image_id}/tags/{key}",
            delete(tags::remove),
        )
        .route(
            "/v2/images/{image_id}/tags/{tag}",
            put(native::tag).delete(native::untag),
        )
        .route(
            "/v1/{project_id}/cloudimages/{image_id}/tags/delete",
            delete(tags::remove_all),
        )
}

/// Calls about members of shared images.
fn members_routes() -> Router<Arc<Api>> {
    Router::new()
        .route(
            "/v1/cloudimages/members",
            post(members::share)
                .delete(members::unshare)
                .put(members::reply),
        )
        .route(
            "/v2/images/{image_id}/members",
            get(members::all).post(native::add_member),
        )
        .route(
            "/v2/images/{image_id}/members/{member_id}",
            get(native::member)
                .put(native::reply)
                .delete(native::remove_member),
        )
        .route(
            "/v1/{project_id}/cloudimages/{image_id}/members/{member_id}",
            get(members::one),
        )
}

/// Quotas, operating systems and jobs.
fn others_routes() -> Router<Arc<Api>> {
    Router::new()
}
