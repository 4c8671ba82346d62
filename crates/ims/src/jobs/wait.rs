//! Waiting for a job: patiently, tolerating temporary failures.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use net::mask::mask;
use net::retry::{Policy, Retryable, Verdict};
use net::secret::SecretString;
use tokio::time::{Instant, sleep, timeout_at};

use super::model::{Job, JobStatus};
use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ImageId, JobId};

/// How to wait for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitOptions {
    /// Pause before the first query; it grows by half after each.
    pub first: Duration,
    /// Longest pause.
    pub max: Duration,
    /// Longest time to wait in all.
    pub timeout: Duration,
    /// Most failed queries in a row.
    pub max_failures: u32,
}

impl Default for WaitOptions {
    /// Every 10 to 30 s for an hour, as the service's other clients do. An outage of ten minutes
    /// does not end the wait.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(10),
            max: Duration::from_secs(30),
            timeout: Duration::from_secs(3600),
            max_failures: 20,
        }
    }
}

impl Client {
    /// Queries the job until it ends; `on_progress` gets every answer. A network failure, a 5xx
    /// status or an unreadable answer is not a failure of the job: only many of them in a row end
    /// the wait, and fewer if they are 404, because new jobs can appear late. Ends at once when
    /// `cancel` does. Neither that nor any error stops the job itself, and waiting again loses
    /// nothing.
    ///
    /// # Errors
    /// `JobFailed` with everything the job says; `JobTimeout`, `Cancelled`; otherwise why the job
    /// cannot be asked for.
    pub async fn wait(
        &self,
        job: &JobId,
        options: &WaitOptions,
        on_progress: impl FnMut(&Job),
        cancel: impl Future<Output = ()>,
    ) -> Result<ImageId> {
        let ended = self.wait_end(job, options, on_progress, cancel).await?;
        made(job, &ended)
    }

    /// The same for jobs that make no image; the job's last state.
    ///
    /// # Errors
    /// As [`Client::wait`].
    pub async fn wait_end(
        &self,
        job: &JobId,
        options: &WaitOptions,
        mut on_progress: impl FnMut(&Job),
        cancel: impl Future<Output = ()>,
    ) -> Result<Job> {
        let mut cancel = pin!(cancel);
        let cancelled = || {
            Error::new(
                ErrorKind::Cancelled,
                format!("waiting for job {job} was stopped"),
            )
            .with_hint(goes_on(job))
        };
        let deadline = Instant::now()
            .checked_add(options.timeout)
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(u32::MAX.into()));
        let mut pause = options.first;
        let mut failures = 0_u32;
        loop {
            let asked = async {
                sleep(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
                // One attempt: this loop is the one that repeats.
                timeout_at(
                    deadline.max(Instant::now() + ENOUGH),
                    self.job_by(job, Policy::never()),
                )
                .await
            };
            let answer = tokio::select! {
                biased;
                () = &mut cancel => return Err(cancelled()),
                answer = asked => answer,
            };
            pause = pause.saturating_add(pause / 2).min(options.max);
            match answer {
                Ok(Ok(state)) => {
                    failures = 0;
                    on_progress(&state);
                    match state.status {
                        JobStatus::Success => return Ok(state),
                        JobStatus::Fail => {
                            return Err(failed(job, &state, &self.0.secrets().await));
                        }
                        _ => {}
                    }
                }
                Ok(Err(error)) if failures < patience(&error, options) => {
                    failures = failures.saturating_add(1);
                    tracing::warn!(
                        "job {job} cannot be asked for, still waiting: {}",
                        error.reason()
                    );
                    if let Verdict::RetryAfter(told) = error.verdict() {
                        pause = pause.max(told.min(options.max));
                    }
                }
                Ok(Err(error)) => return Err(error.with_hint(not_known(job))),
                // The deadline, looked at below.
                Err(_) => {}
            }
            if Instant::now() >= deadline {
                return Err(Error::new(
                    ErrorKind::JobTimeout,
                    format!(
                        "job {job} did not end within {} s",
                        options.timeout.as_secs()
                    ),
                )
                .with_hint(goes_on(job)));
            }
        }
    }
}

/// How often a job that the service does not know is asked for again: a minute or two.
const MISSING: u32 = 5;

/// Time for the last question when the deadline has come.
const ENOUGH: Duration = Duration::from_secs(5);

fn goes_on(job: &JobId) -> String {
    format!("job {job} continues in the cloud and can be queried again")
}

fn not_known(job: &JobId) -> String {
    format!("the state of job {job} is unknown; it may still be running and can be queried again")
}

/// How many questions in a row may end like this: the next one may be answered, and the job itself
/// is not concerned.
fn patience(error: &Error, options: &WaitOptions) -> u32 {
    match error.kind() {
        ErrorKind::Network | ErrorKind::Unavailable | ErrorKind::BadAnswer | ErrorKind::Foreign => {
            options.max_failures
        }
        ErrorKind::NotFound => options.max_failures.min(MISSING),
        _ => 0,
    }
}

fn made(job: &JobId, state: &Job) -> Result<ImageId> {
    state.image_id().ok_or_else(|| {
        Error::new(
            ErrorKind::BadAnswer,
            format!("job {job} succeeded and names no image"),
        )
        .with_hint("look for the image in the console")
    })
}

fn failed(job: &JobId, state: &Job, secrets: &[SecretString]) -> Error {
    let said = state.failures();
    let reason = if said.is_empty() {
        "no reason is given".to_owned()
    } else {
        mask(&said.join("; "), secrets)
    };
    Error::new(ErrorKind::JobFailed, format!("job {job} failed: {reason}"))
        .with_code(state.failure_code())
}
