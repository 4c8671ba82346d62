//! Commands about objects reach the storage through here: a cloud as it is configured, or a
//! sandbox.

use std::num::NonZeroU64;
use std::time::Duration;

use cloud::{Session, SessionOptions, from_obs};
use obs::{Client, MultipartSink, Upload, UploadOptions};

use crate::args::CloudArgs;
use crate::exit::Outcome;
use crate::interrupt::{Interrupt, interrupted};

/// How long what is on its way may take to arrive when the run is stopped.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// Begins an upload. When the user asks to stop meanwhile, its answer is still waited for: dropped,
/// it would leave an upload behind whose id nobody knows. So this may succeed after that; what
/// comes next finds it out.
pub(super) async fn start_upload(
    client: &Client,
    (bucket, key): (&str, &str),
    options: &UploadOptions,
    interrupt: &Interrupt,
) -> Outcome<(MultipartSink, Upload)> {
    let mut starting = std::pin::pin!(client.start_upload(bucket, key, options));
    let begun = tokio::select! {
        begun = &mut starting => begun,
        () = interrupt.asked() => tokio::time::timeout(GRACE, starting).await.map_err(|_| {
            interrupted()
                .note("an empty upload may have begun, whose id is not known")
                .hint(format!("imgferry uploads list {bucket}"))
        })?,
    };
    begun.map_err(|error| from_obs(&error))
}

/// Opens the object storage as `args` say. A sandbox gets `bucket`.
pub(super) async fn open(
    args: &CloudArgs,
    bucket: Option<&str>,
    rate_limit: Option<NonZeroU64>,
) -> Outcome<(Session, Client)> {
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
