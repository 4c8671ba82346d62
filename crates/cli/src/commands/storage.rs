//! Commands about objects reach the storage through here: a cloud as it is configured, or a sandbox.

use obs::{Client, Config};

use super::sandbox::InProcess;
use crate::args::CloudArgs;
use crate::connect;
use crate::exit::{Exit, Failure, Outcome};
use crate::settings::{self, Cloud, ProcessEnvironment};

/// A client, and the sandbox behind it, if there is one.
pub(super) struct Connected {
    pub(super) client: Client,
    sandbox: Option<InProcess>,
}

/// Connects as `args` say; `adjust` changes the client's settings. A sandbox gets `bucket`.
pub(super) async fn connect(
    args: &CloudArgs,
    bucket: &str,
    adjust: impl FnOnce(Config) -> Config,
) -> Outcome<Connected> {
    let Some(dir) = &args.sandbox else {
        let cloud = settings::resolve(args, &ProcessEnvironment)
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
    let sandbox = InProcess::start(Some(dir), None, vec![bucket.to_owned()]).await?;
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
