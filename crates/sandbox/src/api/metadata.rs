//! The metadata service that each server of a cloud reaches: here it gives keys of an agency that
//! may do everything. Like the real one it asks nobody who they are; it is reachable from this
//! machine only.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use super::iam;
use super::state::Api;

/// Life of an agency's key, as documented.
const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// GET /openstack/latest/securitykey.
pub(super) async fn security_key(State(api): State<Arc<Api>>) -> Json<Value> {
    Json(iam::temporary_key(&api, LIFETIME))
}
