//! Registering the uploaded object: asks, looks and waits as the table of registrations says.

mod attach;
mod beside;
mod call;
mod failing;
mod replace;
mod settle;

use cloud::{Result, StopToken};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ims::{Client, ErrorKind, ImageDetail, ImageId, ImageStatus, JobId, QuickImport, WaitOptions};
use journal::Record;
use journal::registration::{Action, End, Event, Found, Known, Note, Registration};

pub(crate) use self::attach::{Attach, Own, comes_from, follows, origin};
pub(crate) use self::beside::{choose_call, made_before, made_beside};
pub(crate) use self::call::Call;
use self::call::{Made, event_of};
pub use self::replace::Renamed;
pub(crate) use self::replace::{free_name, renamed_before};
use self::settle::settle;
use crate::observe::Observer;
use crate::send::GRACE;

/// What registering came to.
#[derive(Debug, Default)]
pub(crate) struct Registered {
    /// `None` when an earlier run started it, and could not note its id.
    pub(crate) job_id: Option<JobId>,
    /// `None` when the job was not waited for.
    pub(crate) image_id: Option<ImageId>,
    pub(crate) status: Option<String>,
    /// The digest of what the service decoded: the sandbox tells it.
    pub(crate) content_digest: Option<String>,
    /// `bios` or `uefi`, where the service tells it.
    pub(crate) firmware: Option<String>,
    /// Whether an earlier run had made the image, so that nothing was left to do.
    pub(crate) already: bool,
}

impl Registered {
    /// An image, and the job that made it where that is known.
    fn of(job_id: Option<JobId>, image: ImageDetail) -> Self {
        Self {
            job_id,
            status: Some(image.status.as_str().to_owned()),
            content_digest: image.field(DIGEST_FIELD),
            image_id: Some(image.id),
            firmware: image.firmware,
            already: false,
        }
    }

    /// Id and state of the image, where it was waited for.
    pub(crate) fn image(&self) -> Option<(&str, &str)> {
        let id = self.image_id.as_ref()?;
        Some((id.as_str(), self.status.as_deref()?))
    }
}

/// The sandbox's own field of an image.
pub(crate) const DIGEST_FIELD: &str = "__imgferry_content_digest";

/// A registration, and how patient it is.
pub(crate) struct Asking<'a> {
    pub(crate) client: &'a Client,
    /// Where the object is. `None` where it was not connected to: then nothing is known of when it
    /// was stored.
    pub(crate) storage: Option<&'a obs::Client>,
    pub(crate) request: &'a QuickImport,
    pub(crate) call: &'a Call,
    pub(crate) attach: &'a Attach<'a>,
    pub(crate) patience: &'a WaitOptions,
    /// Whether the image is waited for; otherwise the start of the job is enough.
    pub(crate) waits: bool,
    /// Whether [`Asking::adopt`] has found nothing.
    pub(crate) looked: bool,
    pub(crate) observer: &'a dyn Observer,
    pub(crate) stop: &'a StopToken,
}

impl<'a> Asking<'a> {
    /// Registers the object, unless an earlier run has.
    pub(crate) async fn register(&self) -> Result<Registered> {
        let known = match self.attach.known() {
            // That was looked for before.
            Known::Sent | Known::Job | Known::Done if self.looked => Known::Perhaps,
            known => known,
        };
        let registered = Run::new(self).drive(known, true).await?;
        Ok(registered.unwrap_or_default())
    }

    /// What an earlier run has registered. `None` when nothing was found, and the registration must
    /// be sent: whoever does that makes sure of the object before.
    pub(crate) async fn adopt(&self) -> Result<Option<Registered>> {
        Run::new(self).drive(self.attach.known(), false).await
    }
}

impl Asking<'_> {
    /// When the object was stored, where that is told.
    async fn stored(&self) -> Option<i64> {
        let target = &self.request.image_url;
        let found = self.storage?.object(&target.bucket, &target.key).await;
        found.ok().flatten()?.modified
    }
}

/// One run of a registration.
struct Run<'a> {
    asking: &'a Asking<'a>,
    own: Own<'a>,
    /// Whether an earlier run may have finished, and this one has sent nothing.
    earlier: bool,
    job: Option<JobId>,
    image: Option<ImageId>,
    detail: Option<ImageDetail>,
    /// Why it ended, if it does.
    error: Option<ims::Error>,
    /// Until when an image that is being made is waited for.
    until: Option<Instant>,
}

impl<'a> Run<'a> {
    fn new(asking: &'a Asking<'a>) -> Self {
        let state = asking.attach.entry.state();
        let noted = state.filter(|_| asking.attach.entry.known() != Known::Nothing);
        let image = noted.and_then(|state| state.active.as_ref()?.as_ref()?.parse().ok());
        Self {
            asking,
            own: asking.attach.own(asking.request, asking.call),
            earlier: false,
            job: noted.and_then(|state| state.job.as_ref()?.parse().ok()),
            image,
            detail: None,
            error: None,
            until: None,
        }
    }

    /// Does what the table says, until there is nothing to do; `None` when it would send something
    /// and may not.
    async fn drive(mut self, known: Known, may_send: bool) -> Result<Option<Registered>> {
        let known = match known {
            // A note that names nothing.
            Known::Job if self.job.is_none() => Known::Sent,
            Known::Done if self.image.is_none() => Known::Sent,
            known => known,
        };
        if let (Known::Job, Some(job_id)) = (known, &self.job) {
            self.asking.observer.notice(format_args!(
                "import job {job_id} was started by an earlier run; following it"
            ));
        }
        self.earlier = matches!(known, Known::Perhaps | Known::Done);
        let mut table = Registration::new(known);
        let mut step = table.begin();
        loop {
            if !may_send && matches!(step.action, Action::Send | Action::GiveFile) {
                return Ok(None);
            }
            self.note(step.note)?;
            self.earlier &= !matches!(step.action, Action::Send | Action::GiveFile);
            let event = match step.action {
                // An image that is there already is asked for once.
                Action::Follow | Action::Await { pause: true } if !self.asking.waits => {
                    return Ok(Some(Registered {
                        job_id: self.job,
                        ..Registered::default()
                    }));
                }
                Action::Look { pause } => self.look(pause).await,
                Action::Send => self.send().await,
                Action::GiveFile => self.give_file().await,
                Action::Follow => self.follow().await,
                Action::Await { pause } => self.image(pause).await,
                Action::End(End::Active) => return self.active().await.map(Some),
                Action::End(end) => return Err(self.failure(end)),
            };
            step = table.next(event);
        }
    }

    fn note(&mut self, note: Option<Note>) -> Result {
        let entry = self.asking.attach.entry;
        match note {
            None => Ok(()),
            Some(Note::Sent) => {
                let skew = self.asking.client.clock_skew().whole_seconds();
                let now = SystemTime::now().duration_since(UNIX_EPOCH);
                let now = now
                    .map_or(0, |since| since.as_secs())
                    .saturating_add_signed(skew);
                let first = *self
                    .own
                    .since
                    .get_or_insert(i64::try_from(now).unwrap_or(i64::MAX));
                self.job = None;
                self.own.asked = true;
                entry.record(&Record::Registering {
                    service: entry.service().to_owned(),
                    name: self.asking.request.name.clone(),
                    at: u64::try_from(first).ok(),
                })
            }
            Some(Note::Job) => match &self.job {
                Some(job_id) => entry.record(&Record::Job {
                    id: job_id.to_string(),
                }),
                None => Ok(()),
            },
            Some(Note::Declined) => entry.record(&Record::Declined),
        }
    }

    /// Pauses; the event that ends the run if it is asked to stop meanwhile.
    async fn pause(&self, pause: bool) -> Result<(), Event> {
        if !pause {
            return Ok(());
        }
        let pause = tokio::time::sleep(self.asking.patience.first);
        let paused = self.asking.stop.unless_asked(pause).await;
        paused.map_err(|_| Event::Stop)
    }

    /// Lists the images of this name.
    async fn look(&mut self, pause: bool) -> Event {
        let Asking {
            client,
            request,
            observer,
            stop,
            ..
        } = *self.asking;
        if let Err(stop) = self.pause(pause).await {
            return stop;
        }
        if self.own.stored.is_none() {
            match stop.unless_asked(self.asking.stored()).await {
                Err(_) => return Event::Stop,
                Ok(stored) => self.own.stored = stored,
            }
        }
        let listed = stop.unless_asked(client.images_named(&request.name)).await;
        let images = match listed {
            Err(_) => return Event::Stop,
            Ok(Err(error)) => {
                // What the request itself was told matters more.
                self.error.get_or_insert(error);
                return Event::NoAnswer;
            }
            Ok(Ok(images)) => images,
        };
        let (found, image) = self.own.among(images);
        if let Some(image) = image.filter(|_| found != Found::Nothing) {
            if found != Found::Theirs {
                observer.notice(format_args!(
                    "image {} of this name is already registered; following it",
                    image.id
                ));
            }
            self.image = Some(image.id.clone());
            self.detail = Some(image);
        }
        Event::Listed(found)
    }

    async fn send(&mut self) -> Event {
        let Asking {
            client,
            request,
            call,
            ..
        } = *self.asking;
        match self.in_time(call.send(client, request)).await {
            None => Event::Stop,
            Some(Ok(Made::Job(job_id))) => self.started(job_id),
            Some(Ok(Made::Image(image))) => {
                self.image = Some(image.id.clone());
                Event::Half
            }
            Some(Err(error)) => self.refused(error),
        }
    }

    /// Gives the image the object. One image takes one file, so asking twice makes nothing twice.
    async fn give_file(&mut self) -> Event {
        let Asking {
            client, request, ..
        } = *self.asking;
        let Some(image) = self.image.clone() else {
            return Event::Unclear;
        };
        let given = client.register_file(&image, &request.image_url);
        match self.in_time(given).await {
            None => Event::Stop,
            Some(Ok(job_id)) => self.started(job_id),
            Some(Err(error)) => self.refused(error),
        }
    }

    /// A request that is on its way gets a few seconds for its answer when the run is asked to
    /// stop. Without an answer the next run looks what became of it.
    async fn in_time<T>(&self, request: impl Future<Output = T>) -> Option<T> {
        let mut request = std::pin::pin!(request);
        tokio::select! {
            answer = &mut request => Some(answer),
            () = self.asking.stop.asked() => tokio::time::timeout(GRACE, request).await.ok(),
        }
    }

    fn started(&mut self, job_id: JobId) -> Event {
        self.asking
            .observer
            .notice(format_args!("import job {job_id} has started"));
        self.error = None;
        self.job = Some(job_id);
        Event::Started
    }

    fn refused(&mut self, error: ims::Error) -> Event {
        let event = event_of(&error);
        // The name was free before, and nobody said that the request was in vain.
        self.own.trusting |= event == Event::Unclear;
        self.error = Some(error);
        event
    }

    /// Follows the job to its end.
    async fn follow(&mut self) -> Event {
        let Asking {
            client,
            patience,
            observer,
            stop,
            ..
        } = *self.asking;
        let Some(job_id) = &self.job else {
            return Event::NoAnswer;
        };
        let mut progress = observer.follow();
        let ended = client
            .wait_end(
                job_id,
                patience,
                |job| progress.update(job.status.as_str(), job.progress()),
                stop.asked(),
            )
            .await;
        drop(progress);
        let error = match ended {
            Ok(job) => {
                let image = job.image_id();
                let named = image.is_some();
                self.image = image.or_else(|| self.image.take());
                return Event::Succeeded { named };
            }
            Err(error) => error,
        };
        let event = match error.kind() {
            ErrorKind::Cancelled => Event::Stop,
            ErrorKind::JobFailed => Event::JobFailed,
            ErrorKind::NotFound => Event::JobMissing,
            ErrorKind::JobTimeout
            | ErrorKind::Network
            | ErrorKind::Unavailable
            | ErrorKind::Credentials => Event::GoesOn,
            _ => Event::NoAnswer,
        };
        self.error = Some(error);
        event
    }

    /// Asks for the image by its id.
    async fn image(&mut self, pause: bool) -> Event {
        let Asking {
            client,
            patience,
            stop,
            ..
        } = *self.asking;
        let until = *self
            .until
            .get_or_insert_with(|| Instant::now() + patience.timeout);
        if let Err(stop) = self.pause(pause).await {
            return stop;
        }
        let Some(id) = &self.image else {
            return Event::Missing;
        };
        let image = match stop.unless_asked(client.image(id)).await {
            Err(_) => return Event::Stop,
            Ok(Err(error)) => {
                self.error.get_or_insert(error);
                return Event::NoAnswer;
            }
            Ok(Ok(image)) => image,
        };
        let event = match image.as_ref().map(|image| &image.status) {
            Some(ImageStatus::Active) => Event::Active,
            Some(ImageStatus::Queued | ImageStatus::Saving) if Instant::now() < until => {
                Event::Making
            }
            Some(ImageStatus::Queued | ImageStatus::Saving) => Event::TimeUp,
            Some(ImageStatus::Killed | ImageStatus::Deleted) => Event::Gone,
            Some(ImageStatus::Other(_)) | None => Event::Missing,
        };
        self.detail = image;
        event
    }

    async fn active(self) -> Result<Registered> {
        let Asking {
            client,
            request,
            observer,
            ..
        } = *self.asking;
        let Some(detail) = self.detail else {
            return Ok(Registered::default());
        };
        let (job_id, id) = (self.job, detail.id.clone());
        let detail = settle(client, detail, request, observer)
            .await
            .map_err(|failure| {
                let failure = match &job_id {
                    Some(job_id) => failure
                        .note(format!("the import job is {job_id}; it has ended"))
                        .data("job_id", &job_id.as_str()),
                    None => failure,
                };
                let failure = failure.note(format!("the image is {id}"));
                self.asking
                    .attach
                    .entry
                    .goes_on(failure.data("image_id", &id.as_str()))
            })?;
        Ok(Registered {
            already: self.earlier,
            ..Registered::of(job_id, detail)
        })
    }
}
