//! What is in the bucket becomes images: by one call, however many there are.

use std::time::Instant;

use diskimg::units::human;
use ims::{ImageUrl, WaitOptions};

use super::super::attach::Attach;
use super::super::call::Call;
use super::super::check_image;
use super::super::register::{Asking, Registered};
use super::super::shared::Before;
use super::files::Pieces;
use super::kept::Kept;
use super::sending::Sent;
use super::{Way, set, starting, stays};
use crate::args::ImportArgs;
use crate::commands::session::Session;
use crate::console::Console;
use crate::exit::Outcome;
use crate::interrupt::Interrupt;

/// What is in the bucket, on its way to images.
pub(super) struct Registering<'a> {
    pub(super) session: &'a Session,
    /// `None` before it was connected to.
    pub(super) storage: Option<&'a obs::Client>,
    pub(super) args: &'a ImportArgs,
    pub(super) way: Way,
    pub(super) pieces: &'a Pieces,
    /// In the order of the pieces, the system's last.
    pub(super) sent: &'a [Sent],
    pub(super) before: Before,
    /// Whether an image that an earlier run has registered was looked for, and there is none.
    pub(super) looked: bool,
    pub(super) console: Console,
    pub(super) interrupt: &'a Interrupt,
}

/// The system's image, and what there is to say.
pub(super) type Made = (Option<String>, String);

impl Registering<'_> {
    /// Registers everything by one call, and follows its job.
    pub(super) async fn register(
        &self,
        kept: &Kept,
        told: &mut serde_json::Value,
    ) -> Outcome<Made> {
        let call = starting::call(self.args, self.pieces, self.way);
        let attach = self.attach(kept);
        let patience = self.session.patience(self.args.timeout);
        let asking = self.asking(&call, &attach, &patience);
        let registered = asking.register().await;
        let registered = registered.map_err(|failure| self.sent.iter().fold(failure, stays))?;
        self.tell(registered, kept, told).await
    }

    /// Follows what an earlier run has registered, if it has.
    pub(super) async fn adopt(
        &self,
        kept: &Kept,
        told: &mut serde_json::Value,
    ) -> Outcome<Option<Made>> {
        let call = starting::call(self.args, self.pieces, self.way);
        let attach = self.attach(kept);
        let patience = self.session.patience(self.args.timeout);
        match self.asking(&call, &attach, &patience).adopt().await? {
            Some(registered) => self.tell(registered, kept, told).await.map(Some),
            None => Ok(None),
        }
    }

    fn attach<'b>(&self, kept: &'b Kept) -> Attach<'b> {
        Attach {
            session: &kept.system,
            before: self.before,
        }
    }

    fn asking<'b>(
        &'b self,
        call: &'b Call,
        attach: &'b Attach<'b>,
        patience: &'b WaitOptions,
    ) -> Asking<'b> {
        Asking {
            client: self.session.images(),
            storage: self.storage,
            request: &self.pieces.system.request,
            call,
            attach,
            patience,
            waits: !self.args.no_wait,
            looked: self.looked,
            console: self.console,
            interrupt: self.interrupt,
        }
    }

    /// Says what was registered, and waits for the data disks that were registered with it.
    async fn tell(
        &self,
        registered: Registered,
        kept: &Kept,
        told: &mut serde_json::Value,
    ) -> Outcome<Made> {
        let Self {
            session,
            args,
            pieces,
            sent,
            console,
            interrupt,
            ..
        } = *self;
        let of_system = sent.last();
        let request = &pieces.system.request;
        let patience = session.patience(args.timeout);
        let job = registered.job_id.as_ref().map(ToString::to_string);
        set(told, "job_id", job.clone().into());
        let uploaded = of_system.map(|sent| &sent.uploaded);
        set(
            told,
            "uploaded",
            serde_json::to_value(uploaded).unwrap_or_default(),
        );
        let digest = of_system.and_then(|sent| sent.digest);
        if let Some(digest) = digest {
            set(told, "digest", digest.to_string().into());
        }
        let Some(id) = &registered.image_id else {
            let name = &args.name;
            let text = match job {
                Some(job) => {
                    format!("job {job} of {name} has started; imgferry job wait {job} follows it")
                }
                None => format!("an earlier run has registered {name}"),
            };
            return Ok((None, text));
        };
        set(told, "image_id", id.as_str().into());
        set(told, "status", registered.status.clone().into());
        set(
            told,
            "image_digest",
            registered.content_digest.clone().into(),
        );
        set(told, "firmware", registered.firmware.clone().into());
        check_image(
            registered.image(),
            (registered.content_digest.as_deref(), digest.as_ref()),
            told,
        )?;
        let mut text = line(&registered, &args.name, &request.image_url, of_system);
        // Nobody knows the job that makes them, so they are waited for like their system.
        let making = job.is_none().then(|| Instant::now() + patience.timeout);
        let mut data = Vec::new();
        for (piece, sent) in pieces.data.iter().zip(sent) {
            let made = starting::made_beside(
                session,
                &piece.request,
                (making, &patience),
                console,
                interrupt,
            );
            let made = made
                .await
                .map_err(|failure| kept.system.goes_on(failure.data("import", told)))?;
            check_image(
                made.image(),
                (made.content_digest.as_deref(), sent.digest.as_ref()),
                told,
            )?;
            text.push('\n');
            let (name, url) = (&piece.request.name, &piece.request.image_url);
            text.push_str(&line(&made, name, url, Some(sent)));
            let mut json = piece.json();
            let id = made.image_id.as_ref().map(ToString::to_string);
            set(&mut json, "image_id", id.into());
            set(&mut json, "status", made.status.into());
            data.push(json);
        }
        if !data.is_empty() {
            set(told, "data_images", data.into());
        }
        Ok((Some(id.to_string()), text))
    }
}

/// An image and its object, for people.
fn line(made: &Registered, name: &str, url: &ImageUrl, sent: Option<&Sent>) -> String {
    let id = made.image_id.as_ref().map_or("-", ims::ImageId::as_str);
    format!(
        "image {id} ({name}) is {}\nobject   {url}, {}",
        made.status.as_deref().unwrap_or("registered"),
        human(sent.map_or(0, |sent| sent.uploaded.size))
    )
}
