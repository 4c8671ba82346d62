//! Never registering twice: the job that an earlier run has started, or may have started.

use ims::{Client, ImageDetail, ImageStatus, JobId, QuickImport};
use journal::Record;

use super::call::{Call, Left, NotBegun, give_file};
use super::errors::from_ims;
use super::resuming::Session;
use super::shared::Before;
use crate::console::Console;
use crate::exit::{Failure, Outcome};

/// What the journal knows of the registration.
pub(super) struct Attach<'a> {
    pub(super) session: &'a Session,
    /// Address of the image service.
    pub(super) service: &'a str,
    /// What the journal may not know.
    pub(super) before: Before,
}

/// What works on the image.
#[derive(Debug)]
pub(super) enum Begun {
    /// This job.
    Job(JobId),
    /// A job that nobody knows the id of: this image is what it makes.
    Image(Box<ImageDetail>),
}

impl Attach<'_> {
    /// Starts the registration by `call`, unless an earlier run has.
    pub(super) async fn begin(
        &self,
        client: &Client,
        request: &QuickImport,
        call: &Call,
        console: Console,
    ) -> Outcome<Begun> {
        let before = self.begun_before(client, request, call, console).await?;
        let half = match before {
            Some(Begun::Image(image)) if call.is_half_done(&image, request) => Some(image),
            Some(begun) => return Ok(begun),
            None => None,
        };
        // Before it is sent: if its answer is lost with this process, the next one looks before it asks again.
        self.session.record(&Record::Registering {
            service: self.service.to_owned(),
            name: request.name.clone(),
        })?;
        // Not dropped halfway on an interrupt: whether the job started would be unknown.
        let started = match half {
            Some(image) => give_file(client, &image.id, request).await,
            None => call.send(client, request).await,
        };
        match started {
            Ok(job_id) => {
                console.notice(format_args!("import job {job_id} has started"));
                self.session.record(&Record::Job {
                    id: job_id.to_string(),
                })?;
                Ok(Begun::Job(job_id))
            }
            Err(NotBegun { error, left }) => Err(match left {
                Left::Unknown => from_ims(&error),
                Left::Nothing => self.failed(from_ims(&error)),
                Left::Image(id) => from_ims(&error).note(format!(
                    "image {id} stays queued, without a file, until another run gives it one; 'imgferry image delete {id} --yes' deletes it"
                )),
            }),
        }
    }

    /// Notes that no job is at work; the next run starts one.
    pub(super) fn failed(&self, failure: Failure) -> Failure {
        match self.session.record(&Record::JobFailed) {
            Ok(()) => failure,
            Err(later) => failure.note(later.to_string()),
        }
    }

    async fn begun_before(
        &self,
        client: &Client,
        request: &QuickImport,
        call: &Call,
        console: Console,
    ) -> Outcome<Option<Begun>> {
        let same =
            |(service, name): &&(String, String)| service == self.service && *name == request.name;
        let noted = self
            .session
            .state()
            .filter(|state| state.registering.as_ref().filter(same).is_some());
        if noted.is_none() && !self.before.registered {
            return Ok(None);
        }
        let job = noted.and_then(|state| state.job.as_ref()?.parse::<JobId>().ok());
        if let Some(job_id) = job {
            console.notice(format_args!(
                "import job {job_id} was started before; going on with it"
            ));
            return Ok(Some(Begun::Job(job_id)));
        }
        // The request may have had its effect. Names are unique, and this one was free before it.
        let found = client
            .image_named(&request.name)
            .await
            .map_err(|error| from_ims(&error))?;
        let Some(found) = found.filter(|image| !image.has_failed()) else {
            return Ok(None);
        };
        // With a journal the name was free before this import asked; without one the image must tell, or be half of one.
        let ours = noted.is_some() || call.is_half_done(&found, request);
        if !comes_from(&found, request).unwrap_or(ours) {
            // Registering is refused by the service then, and says why.
            return Ok(None);
        }
        console.notice(format_args!(
            "image {} of this name was registered before; going on with it",
            found.id
        ));
        Ok(Some(Begun::Image(Box::new(found))))
    }
}

/// Whether `image` has no file, as far as is told: one that was made by the first of two calls.
pub(super) fn waits_for_file(image: &ImageDetail, request: &QuickImport) -> bool {
    image.status == ImageStatus::Queued && comes_from(image, request).is_none()
}

/// Whether `image` was made of the object of `request`, where the service tells. Of an image that has no file yet it
/// tells an origin that names nothing, if any.
pub(super) fn comes_from(image: &ImageDetail, request: &QuickImport) -> Option<bool> {
    let url = &request.image_url;
    let origin = format!("{}:{}", url.bucket, url.key);
    let told = image.data_origin.as_ref()?;
    let nothing = told
        .split(',')
        .all(|piece| ["file", "", ":"].contains(&piece));
    (!nothing).then(|| told.split(',').any(|piece| piece == origin))
}
