//! `imgferry job`: jobs of the image service, also those that other runs started.

use ims::{Job, JobId};
use serde_json::{Value, json};

use super::table::plain;
use crate::args::{JobArgs, JobCommand};
use crate::console::Console;
use crate::progress::JobProgress;
use cloud::{Class, Failure, Result, Session, SessionOptions, StopToken};

pub(crate) async fn run(args: &JobArgs, console: Console, stop: &StopToken) -> Result {
    let (id, cloud) = match &args.command {
        JobCommand::Show(args) => (&args.id, &args.cloud),
        JobCommand::Wait(args) => (&args.id, &args.cloud),
    };
    let id: JobId = id
        .parse()
        .map_err(|e| Failure::from_error(Class::Refused, &e))?;
    let session = Session::open(&cloud.options(), SessionOptions::default()).await?;
    let ended = match &args.command {
        JobCommand::Show(_) => show(&session, &id, console, stop).await,
        JobCommand::Wait(args) => {
            let job = follow(&session, &id, args.timeout, console, stop).await;
            job.and_then(|job| report(&id, &job, console))
        }
    };
    session.close(ended).await
}

async fn show(session: &Session, id: &JobId, console: Console, stop: &StopToken) -> Result {
    let job = stop.unless_asked(session.images().job(id)).await??;
    report(id, &job, console)
}

fn report(id: &JobId, job: &ims::Job, console: Console) -> Result {
    let mut text = format!("job {id} is {}", plain(job.status.as_str()));
    if let Some(done) = job.progress() {
        text.push_str(&format!(", {:.0} %", done * 100.0));
    }
    if let Some(kind) = &job.job_type {
        text.push_str(&format!("\ntype   {}", plain(kind)));
    }
    if let Some(image) = job.image_id() {
        text.push_str(&format!("\nimage  {image}"));
    }
    for sub in &job.entities.sub_jobs {
        let id = sub.job_id.as_deref().unwrap_or("without id");
        let status = plain(sub.status.as_str());
        text.push_str(&format!("\npart   {} is {status}", plain(id)));
        if let Some(image) = sub.image_id() {
            text.push_str(&format!(", image {image}"));
        }
    }
    for said in job.failures() {
        text.push_str(&format!("\nfailed {said}"));
    }
    console.result(text, &job_json(job))
}

/// Follows a job to its end, and shows how far it is.
pub(crate) async fn follow(
    session: &Session,
    job: &JobId,
    timeout: u64,
    console: Console,
    stop: &StopToken,
) -> Result<Job> {
    let mut progress = JobProgress::new(console);
    let update = |job: &Job| progress.update(job.status.as_str(), job.progress());
    session.follow(job, timeout, update, stop).await
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
