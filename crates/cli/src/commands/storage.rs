//! Commands about objects reach the storage through here: a cloud as it is configured, or a
//! sandbox.

use std::num::NonZeroU64;

use cloud::{Result, Session, SessionOptions};
use obs::Client;

use crate::args::CloudArgs;

/// Opens the object storage as `args` say. A sandbox gets `bucket`.
pub(super) async fn open(
    args: &CloudArgs,
    bucket: Option<&str>,
    rate_limit: Option<NonZeroU64>,
) -> Result<(Session, Client)> {
    let needs = SessionOptions {
        buckets: bucket.map(str::to_owned).into_iter().collect(),
        rate_limit,
        ..SessionOptions::default()
    };
    let session = Session::open_storage(&args.options(), needs).await?;
    match session.storage().await {
        Ok(client) => Ok((session, client)),
        Err(failure) => session.close(Err(failure)).await,
    }
}
