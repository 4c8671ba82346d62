//! A cloud for the length of one run: a real one, or a sandbox in this process.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::Path;
use std::time::Duration;

use ims::{ErrorKind, Job, JobId, WaitOptions};
use tokio::sync::OnceCell;

use crate::connect;
use crate::error::{Class, Failure, Result, from_ims, rejected};
use crate::hint::Hint;
use crate::local::InProcess;
use crate::settings::{self, Cloud, CloudOptions, ProcessEnvironment, SandboxDir};
use crate::stop::StopToken;

/// What a run needs of its cloud.
#[derive(Clone, Debug, Default)]
pub struct SessionOptions {
    /// Buckets that a sandbox in this process gets. A real cloud has its own.
    pub buckets: Vec<String>,
    /// Images that a sandbox in this process takes; `None` for its default.
    pub image_quota: Option<usize>,
    /// Bytes per second that parts and ranges may take together.
    pub rate_limit: Option<NonZeroU64>,
    /// Parts sent at the same time, over all uploads; `None` leaves it to each upload.
    pub parts_at_once: Option<NonZeroUsize>,
}

/// A cloud and the clients of its services.
#[derive(Debug)]
pub struct Session {
    cloud: Cloud,
    images: ims::Client,
    storage: OnceCell<obs::Client>,
    options: SessionOptions,
    sandbox: Option<InProcess>,
}

impl Session {
    /// The cloud that `options` describe: resolved with the environment and the configuration
    /// files, or a sandbox that is started here.
    ///
    /// # Errors
    /// When settings are missing or wrong, or the sandbox cannot start.
    pub async fn open(options: &CloudOptions, needs: SessionOptions) -> Result<Self> {
        match &options.sandbox {
            Some(dir) => Self::local(dir.path(), needs).await,
            None => {
                let cloud = settings::resolve(options, &ProcessEnvironment).map_err(rejected)?;
                Self::connect(cloud, needs)
            }
        }
    }

    /// The same for a run that uses the object storage only: with keys, no other service is
    /// needed. The objects must outlive the run, so a temporary sandbox is rejected.
    ///
    /// # Errors
    /// When settings are missing or wrong, or the sandbox cannot start.
    pub async fn open_storage(options: &CloudOptions, needs: SessionOptions) -> Result<Self> {
        match &options.sandbox {
            Some(SandboxDir::Temporary) => Err(Failure::new(
                Class::Refused,
                "a sandbox that ends with this command keeps no objects",
            )
            .hint(Hint::NameSandboxDir)),
            Some(SandboxDir::Kept(dir)) => Self::local(Some(dir), needs).await,
            None => {
                let cloud =
                    settings::resolve_storage(options, &ProcessEnvironment).map_err(rejected)?;
                Self::connect(cloud, needs)
            }
        }
    }

    /// A cloud whose settings are known. Nothing is sent yet.
    ///
    /// # Errors
    /// When a client cannot be set up with these settings.
    pub fn connect(cloud: Cloud, needs: SessionOptions) -> Result<Self> {
        Ok(Self {
            images: connect::images(&cloud)?,
            cloud,
            storage: OnceCell::new(),
            options: needs,
            sandbox: None,
        })
    }

    /// A sandbox in this process, in `dir` or a temporary directory.
    ///
    /// # Errors
    /// When the sandbox cannot start.
    pub async fn local(dir: Option<&Path>, needs: SessionOptions) -> Result<Self> {
        let sandbox = InProcess::start(dir, |options| {
            options.buckets.clone_from(&needs.buckets);
            if let Some(quota) = needs.image_quota {
                options.image_quota = quota;
            }
            Ok(())
        })
        .await?;
        match Self::connect(sandbox.cloud(), needs) {
            Ok(session) => Ok(Self {
                sandbox: Some(sandbox),
                ..session
            }),
            Err(failure) => Err(match sandbox.stop().await {
                Ok(()) => failure,
                Err(later) => failure.note(later.to_string()),
            }),
        }
    }

    /// Where the cloud is, and the credentials to use.
    #[must_use]
    pub fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    /// The client of the identity and the image service.
    #[must_use]
    pub fn images(&self) -> &ims::Client {
        &self.images
    }

    /// The client of the object storage, connected on first use. All clones share their limits.
    ///
    /// # Errors
    /// When there is no key, or the client cannot be set up with these settings.
    pub async fn storage(&self) -> Result<obs::Client> {
        let client = self.storage.get_or_try_init(|| {
            connect::storage(&self.cloud, &self.images, |config| obs::Config {
                rate_limit: self.options.rate_limit,
                parts_at_once: self.options.parts_at_once,
                ..config
            })
        });
        client.await.cloned()
    }

    /// What tells this cloud apart from others in journals: the address of its object storage. A
    /// sandbox in this process has another port each time, so that is its directory.
    #[must_use]
    pub fn endpoint(&self) -> String {
        match self.sandbox.as_ref().and_then(InProcess::kept_dir) {
            Some(dir) => {
                let dir = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
                format!("sandbox:{}", dir.display())
            }
            None => self.cloud.obs.as_str().trim_end_matches('/').to_owned(),
        }
    }

    /// Whether the cloud ends with this process, and every job in it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.sandbox.is_some()
    }

    /// Ends the sandbox, if there is one. `ended` is how the run itself ended; its failure comes
    /// first.
    ///
    /// # Errors
    /// That of `ended`, or else that of stopping the sandbox.
    pub async fn close<T>(self, ended: Result<T>) -> Result<T> {
        let closed = match self.sandbox {
            Some(sandbox) => sandbox.stop().await,
            None => Ok(()),
        };
        match (ended, closed) {
            (Ok(value), Ok(())) => Ok(value),
            (Ok(_), Err(failure)) | (Err(failure), Ok(())) => Err(failure),
            (Err(failure), Err(later)) => Err(failure.note(later.to_string())),
        }
    }

    /// How often to ask for a job, for at most `timeout` seconds.
    #[must_use]
    pub fn patience(&self, timeout: u64) -> WaitOptions {
        WaitOptions {
            timeout: Duration::from_secs(timeout),
            ..self.cloud.patience()
        }
    }

    /// Follows a job to its end, for at most `timeout` seconds; `progress` sees each state.
    ///
    /// # Errors
    /// When the job fails, the time is up, the service does not answer, or a stop was requested.
    pub async fn follow(
        &self,
        job: &JobId,
        timeout: u64,
        progress: impl FnMut(&Job),
        stop: &StopToken,
    ) -> Result<Job> {
        let options = self.patience(timeout);
        let ended = self.images.wait_end(job, &options, progress, stop.asked());
        ended
            .await
            .map_err(|error| from_ims(&error).about_job(&error, job))
    }

    /// Rejects a run that leaves its job behind in a cloud that ends with this process.
    ///
    /// # Errors
    /// When `no_wait` is set and the cloud is a sandbox in this process.
    pub fn refuse_no_wait(&self, no_wait: bool) -> Result {
        match no_wait && self.is_local() {
            true => Err(Failure::new(
                Class::Refused,
                "the job would end with this program, which runs the sandbox",
            )
            .hint(Hint::KeepSandboxRunning)),
            false => Ok(()),
        }
    }
}

impl Failure {
    /// Adds the job to a failure, and where it goes on, how to follow it.
    #[must_use]
    pub fn about_job(self, error: &ims::Error, job: &JobId) -> Self {
        let failure = self.data("job_id", &job.as_str());
        match error.kind() {
            ErrorKind::JobFailed => failure,
            _ => failure.hint(Hint::FollowJob(job.clone())),
        }
    }
}
