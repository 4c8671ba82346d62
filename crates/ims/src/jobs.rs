//! Asynchronous jobs: querying their state, and waiting for their end.

mod model;
mod wait;

pub use model::{Job, JobEntities, JobResult, JobStatus};
pub use wait::WaitOptions;

use net::http::Response;
use net::retry::Policy;

use crate::answer::tidy;
use crate::call::{Call, json};
use crate::client::Client;
use crate::endpoint::Service;
use crate::error::{Error, ErrorKind, Result};
use crate::id::JobId;

const DOING: &str = "asking for the job";

impl Client {
    /// The job's state (GET /v1/{project_id}/jobs/{job_id}, and where that is not known, GET
    /// /v1/cloudimages/job/{job_id}).
    ///
    /// ```no_run
    /// # async fn example(client: &ims::Client, id: &ims::JobId) -> ims::Result<()> {
    /// let job = client.job(id).await?;
    /// println!("{} {:?}", job.status.as_str(), job.progress());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `NotFound` when neither knows the job; otherwise what the service said, or `BadAnswer`.
    pub async fn job(&self, id: &JobId) -> Result<Job> {
        self.job_by(id, self.0.options.policy).await
    }

    async fn job_by(&self, id: &JobId, policy: Policy) -> Result<Job> {
        let project = self.project_id().await?;
        let answer = match self
            .get_job(format!("/v1/{project}/jobs/{id}"), policy)
            .await
        {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.get_job(format!("/v1/cloudimages/job/{id}"), policy)
                    .await?
            }
            other => other?,
        };
        let answer = json(DOING, &answer)?;
        let known = ["status", "job_id", "entities"];
        if known.iter().all(|name| answer.get(name).is_none()) {
            // Failing services answer `[]`. That is not a running job.
            return Err(Error::new(
                ErrorKind::BadAnswer,
                format!(
                    "the answer to {DOING} {id} shows no job: {}",
                    tidy(&answer.to_string(), 100)
                ),
            ));
        }
        Ok(Job::parse(&answer))
    }

    async fn get_job(&self, path: String, policy: Policy) -> Result<Response> {
        let call = Call {
            policy,
            ..Call::get(self, DOING, Service::Ims, path)
        };
        self.call_in_project(&call).await
    }
}
