//! A file as it is into an object: what is missing is read where it is, and nothing else is.

use cloud::{Class, Failure, ImportHint, Result, StopToken, from_obs, stopped};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::convert::{CancelToken, Counter, Monitor, Sink};
use diskimg::source::open_regular;
use diskimg::text::shown;
use obs::{Client, ErrorKind, MultipartSink, UploadOptions, Uploaded};

use super::proof::Proving;
use super::route::{self, Left, Route, suspend};
use crate::ledger::{Entry, Ours};
use crate::memory::memory_of_parts;
use crate::observe::Observer;
use crate::spec::{Concurrency, JournalSpec};

/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;
/// What is missing before anything was sent.
const EVERYTHING: Range<u64> = 0..u64::MAX;

/// A file that becomes an object as it is, without an image.
#[derive(Clone, Debug)]
pub struct FileUpload<'a> {
    /// A regular file.
    pub path: &'a Path,
    /// Bytes of the file.
    pub len: u64,
    /// Name of the cloud in journals.
    pub endpoint: String,
    /// Bucket of the object.
    pub bucket: &'a str,
    /// Key of the object.
    pub key: &'a str,
    /// Replace an object that has the key.
    pub force: bool,
    /// Memory for parts. `None`: what suffices.
    pub memory: Option<u64>,
    /// Parts that are sent at the same time.
    pub concurrency: Concurrency,
    /// Where unfinished uploads are recorded. `None`: nowhere.
    pub journal: Option<&'a JournalSpec>,
    /// Discard what an interrupted run has stored, and start over.
    pub restart: bool,
}

/// Uploads a file, or what an interrupted run has not sent of it.
///
/// # Errors
/// When the object exists and is not an earlier run's; when the file cannot be read, or changes;
/// when the storage rejects it or fails.
pub async fn upload_file(
    upload: FileUpload<'_>,
    client: &Client,
    (observer, stop): (&dyn Observer, &StopToken),
    monitor: Arc<dyn Monitor>,
) -> Result<Uploaded> {
    let FileUpload { bucket, key, .. } = upload;
    let object = (upload.endpoint, bucket, key);
    let mut entry = Entry::of_file(
        upload.path,
        object,
        upload.journal,
        upload.restart,
        observer,
    )?;
    if !upload.force {
        refuse_unless_ours(client, (bucket, key), &entry.ours(), stop).await?;
    }
    let sender = Sender {
        route: Route {
            client,
            bucket,
            key,
            observer,
            stop,
        },
        path: upload.path,
        len: upload.len,
        memory: upload.memory.unwrap_or_else(|| memory_of_parts(upload.len)),
        concurrency: upload.concurrency,
        monitor,
    };
    let uploaded = sender.run(&mut entry).await?;
    entry.finish(None, observer);
    Ok(uploaded)
}

/// Rejects an upload whose object exists already.
///
/// # Errors
/// When it exists, or the storage fails.
pub async fn refuse_existing(client: &Client, object: (&str, &str), stop: &StopToken) -> Result {
    refuse_unless_ours(client, object, &Ours::default(), stop).await
}

async fn refuse_unless_ours(
    client: &Client,
    (bucket, key): (&str, &str),
    ours: &Ours,
    stop: &StopToken,
) -> Result {
    match stop.unless_asked(client.object(bucket, key)).await? {
        Ok(None) => Ok(()),
        Ok(Some(found)) if ours.may_be(&found) => Ok(()),
        Ok(Some(found)) => Err(Failure::new(
            Class::Refused,
            format!(
                "object obs://{bucket}/{key} already exists, with {} bytes",
                found.size
            ),
        )
        .hint(ImportHint::ReplaceUpload)),
        // A key that may only write: nothing can be said.
        Err(error) if error.kind() == ErrorKind::AccessDenied => Ok(()),
        Err(error) => Err(from_obs(&error)),
    }
}

/// Takes a regular file into an object.
pub(crate) struct Sender<'a> {
    pub(crate) route: Route<'a>,
    pub(crate) path: &'a Path,
    /// Bytes of the file.
    pub(crate) len: u64,
    pub(crate) memory: u64,
    pub(crate) concurrency: Concurrency,
    pub(crate) monitor: Arc<dyn Monitor>,
}

impl Sender<'_> {
    /// Sends what an earlier run has not. A run that is interrupted or fails keeps the upload where
    /// a journal remembers it, and aborts it otherwise.
    pub(crate) async fn run(self, entry: &mut Entry) -> Result<Uploaded> {
        let route = self.route;
        let proving = Proving {
            observer: route.observer,
            stop: route.stop,
        };
        proving.file(self.path, entry).await?;
        if let Some(uploaded) = route.done_before(entry).await? {
            route.observer.notice(format_args!(
                "{}/{} is already uploaded",
                route.bucket, route.key
            ));
            return Ok(uploaded);
        }
        let options = UploadOptions {
            memory: self.memory,
            expected_max: self.len,
            max_in_flight: self.concurrency.most(),
            adaptive: self.concurrency == Concurrency::Auto,
            monitor: Arc::clone(&self.monitor),
            log: route::log(entry),
            ..UploadOptions::default()
        };
        let (sink, mut upload, missing) = match route.go_on(entry, &options).await? {
            Some(Left::Something(resumed)) => (resumed.sink, resumed.upload, resumed.missing),
            Some(Left::Nothing(uploaded)) => {
                entry.completed(&uploaded)?;
                return Ok(uploaded);
            }
            None => {
                let (sink, upload) = route.begin(entry, &options).await?;
                (sink, upload, Vec::from([EVERYTHING]))
            }
        };
        let sent = match self.read(sink, missing).await {
            // No digest of the content is known: what was sent before is not read again.
            Ok(()) => route.complete(entry, &mut upload, String::new()).await,
            Err(failure) => Err(failure),
        };
        match sent.and_then(|uploaded| entry.completed(&uploaded).map(|()| uploaded)) {
            Ok(uploaded) => Ok(uploaded),
            Err(failure) => Err(suspend(&mut upload, entry, failure).await),
        }
    }

    async fn read(&self, sink: MultipartSink, missing: Vec<Range<u64>>) -> Result {
        let reading = tokio::task::spawn_blocking({
            let file = Reading {
                path: self.path.to_owned(),
                len: self.len,
                monitor: Arc::clone(&self.monitor),
                cancel: self.route.stop.token().clone(),
            };
            move || file.into_sink(sink, missing)
        });
        tokio::select! {
            biased;
            // The reader may be waiting for a part to be sent.
            () = self.route.stop.asked() => Err(stopped()),
            read = reading => read.unwrap_or_else(|e| {
                Err(Failure::from_error(Class::Io, &e).context("reading crashed"))
            }),
        }
    }
}

/// A file that is read by a thread of its own.
struct Reading {
    path: PathBuf,
    len: u64,
    monitor: Arc<dyn Monitor>,
    cancel: CancelToken,
}

impl Reading {
    /// Reads the ranges of `missing`, ascending, and passes over what is between them.
    fn into_sink(self, mut sink: MultipartSink, missing: Vec<Range<u64>>) -> Result {
        let mut file = open_regular(&self.path).map_err(|e| self.failed(&e, 0))?;
        let mut piece = vec![0; PIECE];
        let mut at = 0;
        let refused = |error| Failure::from(::convert::Error::Sink(error));
        for Range { start, end } in missing {
            let (start, end) = (start.min(self.len), end.min(self.len));
            let passed = start.saturating_sub(at);
            sink.skip(passed).map_err(refused)?;
            self.monitor.count(Counter::GuestBytes, passed);
            file.seek(SeekFrom::Start(start))
                .map_err(|e| self.failed(&e, start))?;
            at = start;
            while at < end {
                if self.cancel.is_cancelled() {
                    return Err(stopped());
                }
                let most = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
                let read = match file.read(piece.get_mut(..most).unwrap_or_default()) {
                    Ok(0) => return Err(self.changed(&format!("ends after {at} bytes"))),
                    Ok(read) => read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(self.failed(&error, at)),
                };
                sink.write(piece.get(..read).unwrap_or_default())
                    .map_err(refused)?;
                self.monitor.count(Counter::GuestBytes, read as u64);
                at = at.saturating_add(read as u64);
            }
        }
        let rest = self.len.saturating_sub(at);
        sink.skip(rest).map_err(refused)?;
        self.monitor.count(Counter::GuestBytes, rest);
        let now = file.metadata().map_err(|e| self.failed(&e, at))?.len();
        if now != self.len {
            return Err(self.changed(&format!("has {now} bytes now")));
        }
        sink.close().map_err(|error| from_obs(&error))
    }

    fn failed(&self, error: &io::Error, at: u64) -> Failure {
        Failure::from_error(Class::Io, error)
            .context(format!("{} cannot be read at byte {at}", shown(&self.path)))
    }

    fn changed(&self, how: &str) -> Failure {
        Failure::new(
            Class::Io,
            format!(
                "{} {how}, and had {} when the upload began",
                shown(&self.path),
                self.len
            ),
        )
        .hint("is it still in use?")
    }
}
