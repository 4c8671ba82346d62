//! Commands about objects reach the storage through here: a cloud as it is configured, or a
//! sandbox.

use std::time::Duration;

use obs::{Client, Config, MultipartSink, Upload, UploadOptions};

use super::import::from_obs;
use super::sandbox::InProcess;
use crate::args::CloudArgs;
use crate::connect;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::{Interrupt, interrupted};
use crate::settings::{self, Cloud, ProcessEnvironment};

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

/// A client, and the sandbox behind it, if there is one.
pub(super) struct Connected {
    pub(super) client: Client,
    sandbox: Option<InProcess>,
}

/// Connects as `args` say; `adjust` changes the client's settings. A sandbox gets `buckets`.
pub(super) async fn connect(
    args: &CloudArgs,
    buckets: &[&str],
    adjust: impl FnOnce(Config) -> Config,
) -> Outcome<Connected> {
    let Some(dir) = &args.sandbox else {
        let cloud = settings::resolve_storage(args, &ProcessEnvironment)
            .map_err(|missing| super::import::refused(missing.0))?;
        let client = client(&cloud, adjust).await?;
        return Ok(Connected {
            client,
            sandbox: None,
        });
    };
    let Some(dir) = dir else {
        return Err(Failure::new(
            Exit::Refused,
            "a sandbox that ends with this command keeps no objects",
        )
        .hint("name its directory: --sandbox=DIR"));
    };
    let buckets = buckets.iter().map(|&bucket| bucket.to_owned()).collect();
    let sandbox = InProcess::start(Some(dir), None, buckets).await?;
    match client(&sandbox.cloud(), adjust).await {
        Ok(client) => Ok(Connected {
            client,
            sandbox: Some(sandbox),
        }),
        Err(failure) => {
            let stopped = sandbox.stop().await;
            Err(match stopped {
                Ok(()) => failure,
                Err(later) => failure.note(later.to_string()),
            })
        }
    }
}

async fn client(cloud: &Cloud, adjust: impl FnOnce(Config) -> Config) -> Outcome<Client> {
    let images = connect::images(cloud)?;
    connect::storage_with(cloud, &images, adjust).await
}

impl Connected {
    /// Stops the sandbox, if there is one; the first error is the one to see.
    pub(super) async fn end<T>(self, ended: Outcome<T>) -> Outcome<T> {
        let stopped = match self.sandbox {
            Some(sandbox) => sandbox.stop().await,
            None => Ok(()),
        };
        match (ended, stopped) {
            (Ok(value), Ok(())) => Ok(value),
            (Ok(_), Err(failure)) => Err(failure),
            (Err(failure), Ok(())) => Err(failure),
            (Err(failure), Err(later)) => Err(failure.note(later.to_string())),
        }
    }
}
