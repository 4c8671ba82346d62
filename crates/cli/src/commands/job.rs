//! `imgferry job`: jobs of the image service, also those that other runs started.

use ims::JobId;

use super::session::{self, Session, job_json, plain};
use crate::args::{JobArgs, JobCommand};
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;

pub(crate) async fn run(args: &JobArgs, console: Console, interrupt: &Interrupt) -> Outcome {
    let (id, cloud) = match &args.command {
        JobCommand::Show(args) => (&args.id, &args.cloud),
        JobCommand::Wait(args) => (&args.id, &args.cloud),
    };
    let id: JobId = id
        .parse()
        .map_err(|e| Failure::from_error(Exit::Refused, &e))?;
    let session = session::open(cloud).await?;
    let ended = match &args.command {
        JobCommand::Show(_) => show(&session, &id, console, interrupt).await,
        JobCommand::Wait(args) => {
            let job = session::follow(&session, &id, args.timeout, console, interrupt).await;
            job.and_then(|job| report(&id, &job, console))
        }
    };
    session.close(ended).await
}

async fn show(session: &Session, id: &JobId, console: Console, interrupt: &Interrupt) -> Outcome {
    let job = interrupt.unless_asked(session.images().job(id)).await??;
    report(id, &job, console)
}

fn report(id: &JobId, job: &ims::Job, console: Console) -> Outcome {
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
