//! A cloud for the length of one command: the real one, or a sandbox in this process.

use std::time::Duration;

use diskimg::text::escaped;
use ims::{Client, ErrorKind, Job, JobId, WaitOptions};
use serde_json::{Value, json};

use super::import::{from_ims, patience, refused};
use super::sandbox::InProcess;
use crate::args::CloudArgs;
use crate::connect;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::progress::JobProgress;
use crate::settings::{self, Cloud, ProcessEnvironment};

/// What a command works with.
pub(crate) struct Session {
    pub(crate) images: Client,
    pub(crate) cloud: Cloud,
    sandbox: Option<InProcess>,
}

impl Session {
    /// Resolves where the cloud is and who we are; starts a sandbox with `buckets` if that is
    /// wanted.
    pub(crate) async fn open(args: &CloudArgs, buckets: Vec<String>) -> Outcome<Self> {
        let (cloud, sandbox) = match &args.sandbox {
            Some(dir) => {
                let sandbox = InProcess::start(dir.as_deref(), None, buckets).await?;
                (sandbox.cloud(), Some(sandbox))
            }
            None => {
                let cloud = settings::resolve(args, &ProcessEnvironment)
                    .map_err(|missing| refused(missing.0))?;
                (cloud, None)
            }
        };
        Ok(Self {
            images: connect::images(&cloud)?,
            cloud,
            sandbox,
        })
    }

    /// What a command that is one of many works with: what all of them share.
    pub(crate) fn of(cloud: Cloud, images: Client) -> Self {
        Self {
            images,
            cloud,
            sandbox: None,
        }
    }

    /// Ends the sandbox, if there is one; the first failure is the one to see.
    pub(crate) async fn close(self, ended: Outcome) -> Outcome {
        let stopped = match self.sandbox {
            Some(sandbox) => sandbox.stop().await,
            None => Ok(()),
        };
        match (ended, stopped) {
            (Ok(()), stopped) => stopped,
            (Err(failure), Ok(())) => Err(failure),
            (Err(failure), Err(later)) => Err(failure.note(later.to_string())),
        }
    }

    /// A client of the object storage.
    pub(crate) async fn storage(&self) -> Outcome<obs::Client> {
        connect::storage(&self.cloud, &self.images).await
    }

    /// How often to ask for a job.
    pub(crate) fn patience(&self, timeout: u64) -> WaitOptions {
        WaitOptions {
            timeout: Duration::from_secs(timeout),
            ..patience(&self.cloud.ims)
        }
    }

    /// Follows a job to its end.
    pub(crate) async fn follow(
        &self,
        job: &JobId,
        timeout: u64,
        console: Console,
        interrupt: &Interrupt,
    ) -> Outcome<Job> {
        let mut progress = JobProgress::new(console);
        let options = self.patience(timeout);
        let ended = self
            .images
            .wait_end(
                job,
                &options,
                |job| progress.update(job.status.as_str(), job.progress()),
                interrupt.asked(),
            )
            .await;
        drop(progress);
        ended.map_err(|error| with_job(from_ims(&error), &error, job))
    }

    /// Whether jobs go on when this process ends.
    pub(crate) fn refuse_no_wait(&self, no_wait: bool) -> Outcome {
        if no_wait && self.sandbox.is_some() {
            return Err(Failure::new(
                Exit::Refused,
                "--no-wait needs a cloud that goes on when this program ends",
            )
            .hint("leave --no-wait out, or run 'imgferry sandbox' beside it"));
        }
        Ok(())
    }
}

/// Adds the job to a failure, and the command that follows it where it goes on.
pub(crate) fn with_job(failure: Failure, error: &ims::Error, job: &JobId) -> Failure {
    let failure = failure.data("job_id", &job.as_str());
    match error.kind() {
        ErrorKind::JobFailed => failure,
        _ => failure.hint(format!("imgferry job wait {job}")),
    }
}

/// A job as JSON.
pub(crate) fn job_json(job: &Job) -> Value {
    json!({
        "job_id": job.job_id,
        "status": job.status.as_str(),
        "job_type": job.job_type,
        "begin_time": job.begin_time,
        "end_time": job.end_time,
        "progress": job.progress(),
        "current_task": job.entities.current_task,
        "image_id": job.image_id().map(|id| id.to_string()),
        "image_name": job.entities.image_name,
        "error_code": job.failure_code(),
        "failures": job.failures(),
        "sub_jobs": job.entities.sub_jobs.iter().map(job_json).collect::<Vec<_>>(),
    })
}

/// Text of a server, fit for a terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Rows in columns; the last one is as wide as it is.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<_>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| escaped(cell, |_| false)).collect())
        .collect();
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(column) {
                Some(known) => *known = width.max(*known),
                None => widths.push(width),
            }
        }
    }
    let lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let cells = row.iter().zip(&widths);
            let line: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            line.join("  ").trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}
