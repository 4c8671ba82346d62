//! Registering the uploaded object, and following the job.

use std::time::{Duration, Instant};

use ims::{Client, ErrorKind, ImageDetail, ImageId, ImageStatus, JobId, QuickImport, WaitOptions};
use url::Url;

use super::attach::{Attach, Begun};
use super::call::Call;
use super::errors::from_ims;
use super::settle::settle;
use crate::console::Console;
use crate::exit::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::progress::JobProgress;

/// What registering came to.
#[derive(Debug)]
pub(super) struct Registered {
    /// `None` when an earlier run started it, and could not note its id.
    pub(super) job_id: Option<JobId>,
    /// `None` when the job was not waited for.
    pub(super) image_id: Option<ImageId>,
    pub(super) status: Option<String>,
    /// The digest of what the service decoded: the sandbox tells it.
    pub(super) content_digest: Option<String>,
    /// `bios` or `uefi`, where the service tells it.
    pub(super) firmware: Option<String>,
}

/// The sandbox's own field of an image.
pub(super) const DIGEST_FIELD: &str = "__imgferry_content_digest";

/// Registers `request` by `call`, and follows the job as `waiting` says; without it, the job's start is enough.
pub(super) async fn register(
    client: &Client,
    (request, call): (&QuickImport, &Call),
    attach: &Attach<'_>,
    waiting: Option<&WaitOptions>,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome<Registered> {
    let begun = attach.begin(client, request, call, console).await?;
    let mut registered = Registered {
        job_id: match &begun {
            Begun::Job(id) => Some(id.clone()),
            Begun::Image(_) => None,
        },
        image_id: None,
        status: None,
        content_digest: None,
        firmware: None,
    };
    let Some(waiting) = waiting else {
        return Ok(registered);
    };
    let image_id = match &begun {
        Begun::Image(image) => image.id.clone(),
        Begun::Job(job_id) => wait(client, job_id, attach, waiting, console, interrupt).await?,
    };
    let known = |failure: Failure| {
        let failure = match &begun {
            Begun::Job(job_id) => with_job(failure, job_id, false),
            Begun::Image(_) => failure,
        };
        failure
            .note(format!("the image is {image_id}"))
            .data("image_id", &image_id.as_str())
    };
    // Nobody knows the job that makes it, so it is the image that is waited for.
    let making = matches!(begun, Begun::Image(_)).then(|| Instant::now() + waiting.timeout);
    let detail = detail_of(client, &image_id, making, waiting, interrupt)
        .await
        .map_err(known)?;
    let detail = match detail {
        Some(image) => Some(
            settle(client, image, request, console)
                .await
                .map_err(known)?,
        ),
        None => None,
    };
    registered.status = Some(match &detail {
        Some(detail) => detail.status.as_str().to_owned(),
        None => "not listed".to_owned(),
    });
    registered.content_digest = detail
        .as_ref()
        .and_then(|detail| detail.field(DIGEST_FIELD));
    registered.firmware = detail.and_then(|detail| detail.firmware);
    registered.image_id = Some(image_id);
    Ok(registered)
}

/// Follows the job to its image.
async fn wait(
    client: &Client,
    job_id: &JobId,
    attach: &Attach<'_>,
    waiting: &WaitOptions,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome<ImageId> {
    let mut progress = JobProgress::new(console);
    let waited = client
        .wait(
            job_id,
            waiting,
            |job| progress.update(job.status.as_str(), job.progress()),
            interrupt.asked(),
        )
        .await;
    drop(progress);
    let error = match waited {
        Ok(image_id) => return Ok(image_id),
        Err(error) => error,
    };
    let goes_on = matches!(
        error.kind(),
        ErrorKind::JobTimeout
            | ErrorKind::Cancelled
            | ErrorKind::Network
            | ErrorKind::Unavailable
            | ErrorKind::Credentials
    );
    let failure = with_job(from_ims(&error), job_id, goes_on);
    match error.kind() {
        // There is nothing left to wait for.
        ErrorKind::JobFailed | ErrorKind::NotFound => Err(attach.failed(failure)),
        _ => Err(failure),
    }
}

/// How often an image that is not active yet is asked for again: lists lag behind jobs.
const LOOKS: u32 = 10;

/// The image, once it is listed as active, or as it is after some time; after `making`, while it is being made.
pub(super) async fn detail_of(
    client: &Client,
    image_id: &ImageId,
    making: Option<Instant>,
    waiting: &WaitOptions,
    interrupt: &Interrupt,
) -> Outcome<Option<ImageDetail>> {
    let mut detail: Option<ImageDetail>;
    let mut look = 0;
    loop {
        look += 1;
        detail = interrupt
            .unless_asked(client.image(image_id))
            .await?
            .map_err(|e| from_ims(&e))?;
        let status = detail.as_ref().map(|detail| &detail.status);
        let patient = making.is_some_and(|until| Instant::now() < until)
            && matches!(status, Some(ImageStatus::Queued | ImageStatus::Saving));
        if status == Some(&ImageStatus::Active) || (look >= LOOKS && !patient) {
            break;
        }
        interrupt
            .unless_asked(tokio::time::sleep(waiting.first))
            .await?;
    }
    Ok(detail)
}

/// How often to ask: a service on this machine answers at once.
pub(crate) fn patience(ims: &Url) -> WaitOptions {
    let usual = WaitOptions::default();
    if !net::http::is_loopback(ims) {
        return usual;
    }
    WaitOptions {
        first: Duration::from_millis(100),
        max: Duration::from_secs(1),
        ..usual
    }
}

fn with_job(failure: Failure, job_id: &JobId, goes_on: bool) -> Failure {
    let state = if goes_on {
        "it goes on in the cloud, and the image appears when it is done"
    } else {
        "it has ended"
    };
    failure
        .note(format!("the import job is {job_id}; {state}"))
        .data("job_id", &job_id.as_str())
}
