//! One piece into the bucket, in its form; what an earlier run has sent is not sent again.

mod bytes;
mod parts;
mod proof;
mod reuse;
mod route;
mod stream;

use cloud::{Class, Failure, Result};
use std::sync::Arc;
use std::time::Duration;

use ::convert::{ContentDigest, Levels, Report};
use obs::{Client as Storage, Uploaded};
use serde::Serialize;

use self::bytes::Sender;
pub use self::bytes::{FileUpload, refuse_existing, upload_file};
use self::proof::Proving;
pub(crate) use self::reuse::Existing;
use self::reuse::Reuse;
pub(crate) use self::route::GRACE;
use self::route::Route;
pub use self::route::{abort, start_upload};
use self::stream::{Transfer, as_noted};
use super::bitmap::warn_of_holes;
use super::ledger::Entry;
use super::observe::{Activity, Context, Step};
use super::outcome::RawTransferred;
use super::piece::{Disk, Form, Piece};
use super::spec::ImportSpec;

/// An object that is complete and verified.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) uploaded: Uploaded,
    /// What became of the disk's bytes, where the file was read as a disk.
    pub(crate) content: Option<Content>,
    /// Where a raw object was uploaded by this run.
    pub(crate) raw: Option<RawTransferred>,
    /// Whether the object existed and holds the same disk.
    pub(crate) reused: bool,
    /// From the first byte read to the last part handed over.
    pub(crate) converting: Duration,
    /// From there to the verified object.
    pub(crate) completing: Duration,
}

/// What became of the disk's bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Content {
    /// Bytes of the disk that the guest sees.
    pub virtual_size: u64,
    /// Content digest of what was read from the source.
    pub digest: ContentDigest,
    /// Bytes read from the source as guest data.
    pub read_bytes: u64,
    /// Bytes never read, because the source's metadata says that they are zero.
    pub skipped_bytes: u64,
    /// Bytes of the disk that an earlier, interrupted run has dealt with.
    pub kept_bytes: u64,
    /// Bytes read that turned out to be zero.
    pub zero_bytes: u64,
    /// How many blocks have which level, those of an earlier run too.
    #[serde(skip_serializing_if = "Levels::is_empty")]
    pub levels: Levels,
}

impl From<&Report> for Content {
    fn from(report: &Report) -> Self {
        Self {
            digest: report.digest,
            virtual_size: report.virtual_size,
            read_bytes: report.read_bytes,
            skipped_bytes: report.skipped_bytes,
            kept_bytes: report.kept_bytes,
            zero_bytes: report.zero_bytes,
            levels: report.levels.clone(),
        }
    }
}

impl Sent {
    fn new(uploaded: Uploaded) -> Self {
        Self {
            uploaded,
            content: None,
            raw: None,
            reused: false,
            converting: Duration::ZERO,
            completing: Duration::ZERO,
        }
    }

    /// The digest of the object's content, if it was read as a disk.
    pub(crate) fn digest(&self) -> Option<ContentDigest> {
        self.content.as_ref().map(|content| content.digest)
    }

    /// The object of an earlier run, as its journal records it. `None` when that run has not
    /// completed it.
    pub(crate) fn noted(piece: &Piece, entry: &Entry) -> Result<Option<Self>> {
        let Some(uploaded) = entry.noted_object() else {
            return Ok(None);
        };
        match piece.form.disk() {
            Some(disk) => as_noted(entry, &disk.plan, uploaded).map(Some),
            None => Ok(Some(Self::new(uploaded))),
        }
    }
}

/// Sends pieces.
pub(crate) struct Sending<'a> {
    pub(crate) spec: &'a ImportSpec,
    pub(crate) cx: Context<'a>,
    pub(crate) storage: &'a Storage,
}

impl Sending<'_> {
    /// Sends of `piece` what an earlier run has not, unless the `existing` object holds the same
    /// disk. Its disk is not in memory after that.
    pub(crate) async fn send(
        &self,
        piece: &mut Piece,
        existing: Option<Existing>,
        entry: &mut Entry,
        warnings: &mut Vec<String>,
    ) -> Result<Sent> {
        let observer = self.cx.observer;
        let form = std::mem::replace(&mut piece.form, Form::Sent);
        let Some(disk) = form.disk() else {
            observer.at(Step::Convert);
            return match form {
                Form::Bytes(memory) => self.bytes(piece, memory, entry).await,
                _ => Err(Failure::new(Class::Io, "the piece was sent before")),
            };
        };
        observer.at(match existing {
            Some(_) => Step::Compare,
            None => Step::Convert,
        });
        if let Some(existing) = existing {
            let reuse = Reuse {
                storage: self.storage,
                url: &piece.request.image_url,
                image: &disk.image,
                plan: &disk.plan,
                observer,
                stop: self.cx.stop,
            };
            let compared = reuse.run(existing, entry, self.cx.before.uploaded).await;
            observer.at(match &compared {
                Ok(None) => Step::Convert,
                _ => Step::Complete,
            });
            if let Some(sent) = compared? {
                return Ok(sent);
            }
        }
        let sent = self.disk(piece, &form, disk, entry).await?;
        warn_of_holes(disk.misreported.as_ref(), observer);
        if let Some(content) = &sent.content {
            let url = &piece.request.image_url;
            let describing =
                reuse::describe(self.storage, url, &disk.plan, content, &sent.uploaded);
            let described = self.cx.stop.unless_asked(describing).await;
            if let Some(warning) = described.map_err(|failure| entry.goes_on(failure))? {
                observer.warn(format_args!("{warning}"));
                warnings.push(warning);
            }
        }
        Ok(sent)
    }

    fn route<'b>(&'b self, piece: &'b Piece) -> Route<'b> {
        let url = &piece.request.image_url;
        Route {
            client: self.storage,
            bucket: &url.bucket,
            key: &url.key,
            observer: self.cx.observer,
            stop: self.cx.stop,
        }
    }

    async fn bytes(&self, piece: &Piece, memory: u64, entry: &mut Entry) -> Result<Sent> {
        let progress = self.cx.observer.count(Activity::Reading, piece.size);
        let upload = Sender {
            route: self.route(piece),
            path: &piece.path,
            len: piece.size,
            memory,
            concurrency: self.spec.concurrency,
            monitor: progress.clone(),
        };
        let uploaded = upload.run(entry).await;
        progress.end();
        uploaded.map(Sent::new)
    }

    async fn disk(
        &self,
        piece: &Piece,
        form: &Form,
        disk: &Disk,
        entry: &mut Entry,
    ) -> Result<Sent> {
        let Context { observer, stop, .. } = self.cx;
        let proving = Proving { observer, stop };
        proving.disk(&disk.image, &disk.plan, entry).await?;
        let progress = observer.count(Activity::Converting, disk.image.virtual_size());
        let transfer = Transfer {
            route: self.route(piece),
            image: Arc::clone(&disk.image),
            plan: &disk.plan,
            concurrency: self.spec.concurrency,
            monitor: progress.clone(),
        };
        let sent = match form {
            Form::Parts(_, raw) => parts::transfer(transfer, raw, entry).await,
            _ => transfer.run(entry).await,
        };
        progress.end();
        sent
    }
}
