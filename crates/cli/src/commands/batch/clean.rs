//! `imgferry batch clean`: what an abandoned batch has left in the cloud, shown and thrown away.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use ::batch::Item;
use cloud::Session;
use ims::ImageStatus;
use journal::{Found, Journal, RunLock};
use serde::Serialize;

use super::claims::prefix_of;
use super::setup::{self, read_manifest};
use super::state::{self, Place, Record, now};
use crate::args::BatchCleanArgs;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;
use cloud::{from_ims, from_journal, from_obs};

/// What is there to be thrown away.
#[derive(Debug, Default, Serialize)]
struct Left {
    /// Uploads that were neither completed nor aborted.
    uploads: Vec<OpenUpload>,
    /// Objects of zeros and claims.
    objects: Vec<Object>,
    /// Images that never became active, and come from an object of the batch.
    images: Vec<Image>,
    /// Journals of imports on this machine.
    journals: Vec<String>,
    /// Whether it was thrown away.
    thrown_away: bool,
}

#[derive(Debug, Serialize)]
struct OpenUpload {
    bucket: String,
    key: String,
    upload_id: String,
}

#[derive(Debug, Serialize)]
struct Object {
    bucket: String,
    key: String,
    size: u64,
}

#[derive(Debug, Serialize)]
struct Image {
    id: String,
    name: String,
    status: String,
}

pub(super) async fn run(args: &BatchCleanArgs, console: Console, interrupt: &Interrupt) -> Outcome {
    let manifest = read_manifest(&args.manifest, false)?;
    let place = Place::of(&args.state, &args.manifest)?;
    let (session, storage) = setup::open(&args.cloud, &manifest.items, None).await?;
    let endpoint = session.endpoint();
    let path = place.path(&endpoint);
    let ended = async {
        let lock = match args.dry_run || !path.exists() {
            true => None,
            false => Some(state::lock(&path, false)?),
        };
        let cleaning = Cleaning {
            items: &manifest.items,
            digest: &manifest.digest,
            session: &session,
            storage: &storage,
            place: &place,
            endpoint: &endpoint,
            claims: args.claims,
        };
        let ended = cleaning.run(args, &path, console, interrupt).await;
        drop(lock);
        ended
    };
    let ended = ended.await;
    session.close(ended).await
}

struct Cleaning<'a> {
    items: &'a [Item],
    digest: &'a str,
    session: &'a Session,
    storage: &'a obs::Client,
    place: &'a Place,
    endpoint: &'a str,
    /// Whether marks of what is done are thrown away too.
    claims: bool,
}

impl Cleaning<'_> {
    async fn run(
        &self,
        args: &BatchCleanArgs,
        path: &std::path::Path,
        console: Console,
        interrupt: &Interrupt,
    ) -> Outcome {
        let mut left = interrupt.unless_asked(self.find()).await??;
        if left.is_empty() {
            return console.result("there is nothing to throw away", &left);
        }
        if args.dry_run {
            return console.result(&left, &left);
        }
        if !args.yes {
            console.notice(&left);
            confirm(interrupt).await?;
        }
        self.throw_away(&left, interrupt).await?;
        if path.exists() {
            let mut log = state::open(path)?;
            log.append(&Record::Cleaned { at: now() })
                .map_err(|error| from_journal(&error))?;
        }
        left.thrown_away = true;
        console.result(&left, &left)
    }

    async fn find(&self) -> Outcome<Left> {
        let storage = &self.storage;
        let mut left = Left::default();
        let keys: HashSet<(String, String)> = self
            .items
            .iter()
            .map(|item| (item.bucket.clone(), item.object_key()))
            .collect();
        let mut buckets: Vec<&str> = self.items.iter().map(|item| item.bucket.as_str()).collect();
        buckets.sort_unstable();
        buckets.dedup();
        for bucket in buckets {
            let open = storage
                .list_uploads(bucket, None)
                .await
                .map_err(|error| from_obs(&error))?;
            left.uploads.extend(
                open.into_iter()
                    .filter(|upload| keys.contains(&(bucket.to_owned(), upload.key.clone())))
                    .map(|upload| OpenUpload {
                        bucket: bucket.to_owned(),
                        key: upload.key,
                        upload_id: upload.upload_id,
                    }),
            );
            let claims = storage.list_objects(bucket, &prefix_of(self.digest)).await;
            let claims = claims.map_err(|error| from_obs(&error))?;
            let kept = |key: &str| !self.claims && key.ends_with("/done");
            let claims = claims.into_iter().filter(|object| !kept(&object.key));
            left.objects.extend(claims.map(|object| Object {
                bucket: bucket.to_owned(),
                key: object.key,
                size: object.size,
            }));
        }
        for item in self.items {
            let prefix = format!("{}.zeros-", item.object_key());
            // Only raw objects have them, but an item may have been raw before.
            let helpers = storage.list_objects(&item.bucket, &prefix).await;
            let helpers = helpers.map_err(|error| from_obs(&error))?;
            left.objects
                .extend(helpers.into_iter().map(|object| Object {
                    bucket: item.bucket.clone(),
                    key: object.key,
                    size: object.size,
                }));
            left.images.extend(self.image(item).await?);
            left.journals.extend(self.journal(item)?);
        }
        Ok(left)
    }

    /// The image of `item`, if it is of no use: made of its object, and never active.
    async fn image(&self, item: &Item) -> Outcome<Option<Image>> {
        if item.register == ::batch::Register::None {
            return Ok(None);
        }
        let found = self
            .session
            .images()
            .image_named(&item.name)
            .await
            .map_err(|error| from_ims(&error))?;
        let origin = format!("{}:{}", item.bucket, item.object_key());
        Ok(found
            .filter(|image| image.status != ImageStatus::Active)
            .filter(|image| {
                image
                    .data_origin
                    .as_ref()
                    .is_some_and(|told| told.split(',').any(|piece| piece == origin))
            })
            .map(|image| Image {
                id: image.id.to_string(),
                name: item.name.clone(),
                status: image.status.as_str().to_owned(),
            }))
    }

    /// The journal of `item`'s import, if it could go on.
    fn journal(&self, item: &Item) -> Outcome<Option<String>> {
        let key = item.object_key();
        let target = journal::Target {
            endpoint: self.endpoint,
            bucket: &item.bucket,
            key: &key,
        };
        let path = self.place.dir.path_of(&target);
        if !path.exists() {
            return Ok(None);
        }
        if Journal::in_use(&path) || RunLock::is_taken(&path) {
            return Err(Failure::new(
                Exit::Refused,
                format!("an imgferry is at work on {}", item.id),
            )
            .hint("wait until it has ended; 'imgferry status' shows what is running"));
        }
        match Journal::peek(&path).map_err(|error| from_journal(&error))? {
            Found::Nothing | Found::Unreadable { .. } | Found::Import(..) => {
                Ok(Some(path.display().to_string()))
            }
        }
    }

    async fn throw_away(&self, left: &Left, interrupt: &Interrupt) -> Outcome {
        let storage = &self.storage;
        for upload in &left.uploads {
            interrupt
                .unless_asked(storage.abort_upload(&upload.bucket, &upload.key, &upload.upload_id))
                .await?
                .map_err(|error| from_obs(&error))?;
        }
        for image in &left.images {
            let id = image.id.parse::<ims::ImageId>().map_err(|_| {
                Failure::new(Exit::Cloud, format!("{} is no id of an image", image.id))
            })?;
            interrupt
                .unless_asked(self.session.images().delete_image(&id, false))
                .await?
                .map_err(|error| from_ims(&error))?;
        }
        // Journals before claims: what this machine forgets, another one may still take up, but not
        // the other way.
        for journal in &left.journals {
            std::fs::remove_file(journal).map_err(|error| {
                Failure::from_error(Exit::Io, &error)
                    .context(format!("the journal {journal} cannot be removed"))
            })?;
        }
        for object in &left.objects {
            interrupt
                .unless_asked(storage.delete_object(&object.bucket, &object.key))
                .await?
                .map_err(|error| from_obs(&error))?;
        }
        Ok(())
    }
}

impl Left {
    fn is_empty(&self) -> bool {
        self.uploads.is_empty()
            && self.objects.is_empty()
            && self.images.is_empty()
            && self.journals.is_empty()
    }
}

/// Asks on a terminal; elsewhere nobody can answer.
async fn confirm(interrupt: &Interrupt) -> Outcome {
    let nothing = || Failure::new(Exit::Refused, "nothing was thrown away");
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(nothing().hint("there is no terminal to ask on: pass --yes"));
    }
    let mut err = io::stderr();
    let _ = write!(err, "throw all of this away? [y/N] ").and_then(|()| err.flush());
    // A thread of its own: the program does not wait for it when it is interrupted.
    let (told, answer) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line).map(|_| line);
        let _ = told.send(read);
    });
    let answer = interrupt
        .unless_asked(answer)
        .await?
        .map_err(|e| Failure::from_error(Exit::Io, &e))?
        .map_err(|e| Failure::from_error(Exit::Io, &e))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(nothing()),
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        for upload in &self.uploads {
            lines.push(format!(
                "upload   {} of {}/{}",
                upload.upload_id, upload.bucket, upload.key
            ));
        }
        for object in &self.objects {
            lines.push(format!("object   {}/{}", object.bucket, object.key));
        }
        for image in &self.images {
            lines.push(format!(
                "image    {} ({}, {})",
                image.id, image.name, image.status
            ));
        }
        for journal in &self.journals {
            lines.push(format!("journal  {journal}"));
        }
        if self.thrown_away {
            lines.push("all of this was thrown away".to_owned());
        }
        f.write_str(&lines.join("\n"))
    }
}
