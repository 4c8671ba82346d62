//! One piece into the bucket, in its form; what an earlier run has sent is not sent again.

mod base;
mod bytes;
mod changed;
mod delta;
mod describe;
mod parts;
mod proof;
mod reading;
mod reuse;
mod route;
mod sent;
mod stream;

use cloud::{Class, Failure, Result};
use std::sync::Arc;

use obs::Client as Storage;

pub use self::base::PlannedBase;
pub(crate) use self::base::{Base, check_min_part};
use self::bytes::Sender;
pub use self::bytes::{FileUpload, refuse_existing, upload_file};
pub use self::changed::ChangedBy;
use self::describe::Describing;
use self::proof::Proving;
pub(crate) use self::reuse::Existing;
use self::reuse::Reuse;
pub(crate) use self::route::GRACE;
use self::route::Route;
pub use self::route::{abort, start_upload};
pub(crate) use self::sent::Sent;
pub use self::sent::{Content, RawTransferred};
use self::stream::{Transfer, as_noted};
use super::bitmap::warn_of_holes;
use super::ledger::Entry;
use super::observe::{Activity, Context, Step};
use super::piece::{Disk, Form, Piece};
use super::spec::ImportSpec;

/// The object of an earlier run, as its journal records it. `None` when that run has not
/// completed it.
pub(crate) fn noted(piece: &Piece, entry: &Entry) -> Result<Option<Sent>> {
    let Some(uploaded) = entry.noted_object() else {
        return Ok(None);
    };
    match piece.form.disk() {
        Some(disk) => as_noted(entry, &disk.plan, uploaded).map(Some),
        None => Ok(Some(Sent::new(uploaded))),
    }
}

/// Sends pieces.
pub(crate) struct Sending<'a> {
    pub(crate) spec: &'a ImportSpec,
    pub(crate) cx: Context<'a>,
    pub(crate) storage: &'a Storage,
    /// The earlier object of the system's disk.
    pub(crate) base: Option<Arc<Base>>,
    /// Key of the final object, where a generation of it is made.
    pub(crate) generation_of: Option<&'a str>,
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
        if let Some(existing) = existing {
            observer.at(Step::Compare);
            piece.watch.verify()?;
            let compared = self.compare(piece, &form, existing, entry).await;
            observer.at(match &compared {
                Ok(None) => Step::Convert,
                _ => Step::Complete,
            });
            if let Some(sent) = compared? {
                return Ok(sent);
            }
        } else {
            observer.at(Step::Convert);
        }
        let Some(disk) = form.disk() else {
            return match form {
                Form::Bytes(memory) => self.bytes(piece, memory, entry).await,
                _ => Err(Failure::new(Class::Io, "the piece was sent before")),
            };
        };
        let mut sent = self.disk(piece, &form, disk, entry).await?;
        warn_of_holes(disk.misreported.as_ref(), observer);
        let table = sent.table.take();
        let has_table = table.is_some();
        if let Some(content) = &sent.content {
            let url = &piece.request.image_url;
            let describing = Describing {
                storage: self.storage,
                url,
                plan: &disk.plan,
                generation_of: self.generation_of,
            };
            let describing = describing.run(content, &sent.uploaded, table);
            let described = self.cx.stop.unless_asked(describing).await;
            let described = described.map_err(|failure| entry.goes_on(failure))?;
            sent.is_described = has_table && described.is_none();
            if let Some(warning) = described {
                observer.warn(format_args!("{warning}"));
                warnings.push(warning);
            }
        }
        Ok(sent)
    }

    async fn compare(
        &self,
        piece: &Piece,
        form: &Form,
        existing: Existing,
        entry: &mut Entry,
    ) -> Result<Option<Sent>> {
        let reuse = Reuse {
            storage: self.storage,
            url: &piece.request.image_url,
            observer: self.cx.observer,
            stop: self.cx.stop,
            may_be_replaced: self.cx.before.uploaded,
        };
        match form.disk() {
            Some(disk) => reuse.disk(existing, disk, entry).await,
            None => reuse.file(existing, piece, entry).await,
        }
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
            path: &piece.disk.path,
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
        piece.watch.verify()?;
        let progress = observer.count(Activity::Converting, disk.image.virtual_size());
        let transfer = Transfer {
            route: self.route(piece),
            image: Arc::clone(&disk.image),
            plan: &disk.plan,
            concurrency: self.spec.concurrency,
            monitor: progress.clone(),
            base: self.base.clone(),
        };
        let sent = match form {
            Form::Parts(_, raw) => parts::transfer(transfer, raw, entry).await,
            _ => transfer.run(entry).await,
        };
        progress.end();
        sent
    }
}
