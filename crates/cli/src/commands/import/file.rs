//! A file as it is into an object: what is missing is read where it is, and nothing else is.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::convert::{CancelToken, Counter, Monitor, Sink};
use diskimg::source::open_regular;
use diskimg::text::shown;
use obs::{MultipartSink, UploadOptions, Uploaded};

use super::proof::Proving;
use super::resuming::Session;
use super::route::{self, Left, Route, suspend};
use crate::args::Concurrency;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::interrupted;
use cloud::from_obs;

/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;
/// What is missing before anything was sent.
const EVERYTHING: Range<u64> = 0..u64::MAX;

/// Takes a regular file into an object.
pub(crate) struct FileUpload<'a> {
    pub(crate) route: Route<'a>,
    pub(crate) path: &'a Path,
    /// Bytes of the file.
    pub(crate) len: u64,
    pub(crate) memory: u64,
    pub(crate) concurrency: Concurrency,
    pub(crate) monitor: Arc<dyn Monitor>,
}

impl FileUpload<'_> {
    /// Sends what an earlier run has not. A run that is interrupted or fails keeps the upload where
    /// a journal remembers it, and aborts it otherwise.
    pub(crate) async fn run(self, session: &mut Session) -> Outcome<Uploaded> {
        let route = self.route;
        let proving = Proving {
            console: route.console,
            interrupt: route.interrupt,
        };
        proving.file(self.path, session).await?;
        if let Some(uploaded) = route.done_before(session).await? {
            route.console.notice(format_args!(
                "{}/{} was uploaded before",
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
            log: route::log(session),
            ..UploadOptions::default()
        };
        let (sink, mut upload, missing) = match route.go_on(session, &options).await? {
            Some(Left::Something(resumed)) => (resumed.sink, resumed.upload, resumed.missing),
            Some(Left::Nothing(uploaded)) => {
                session.completed(&uploaded)?;
                return Ok(uploaded);
            }
            None => {
                let (sink, upload) = route.begin(session, &options).await?;
                (sink, upload, Vec::from([EVERYTHING]))
            }
        };
        let sent = match self.read(sink, missing).await {
            // No digest of the content is known: what was sent before is not read again.
            Ok(()) => route.complete(session, &mut upload, String::new()).await,
            Err(failure) => Err(failure),
        };
        match sent.and_then(|uploaded| session.completed(&uploaded).map(|()| uploaded)) {
            Ok(uploaded) => Ok(uploaded),
            Err(failure) => Err(suspend(&mut upload, session, failure).await),
        }
    }

    async fn read(&self, sink: MultipartSink, missing: Vec<Range<u64>>) -> Outcome {
        let reading = tokio::task::spawn_blocking({
            let file = Reading {
                path: self.path.to_owned(),
                len: self.len,
                monitor: Arc::clone(&self.monitor),
                cancel: self.route.interrupt.token().clone(),
            };
            move || file.into_sink(sink, missing)
        });
        tokio::select! {
            biased;
            // The reader may be waiting for a part to be sent.
            () = self.route.interrupt.asked() => Err(interrupted()),
            read = reading => read.unwrap_or_else(|e| {
                Err(Failure::from_error(Exit::Io, &e).context("reading crashed"))
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
    fn into_sink(self, mut sink: MultipartSink, missing: Vec<Range<u64>>) -> Outcome {
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
                    return Err(interrupted());
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
        Failure::from_error(Exit::Io, error)
            .context(format!("{} cannot be read at byte {at}", shown(&self.path)))
    }

    fn changed(&self, how: &str) -> Failure {
        Failure::new(
            Exit::Io,
            format!(
                "{} {how}, and had {} when the upload began",
                shown(&self.path),
                self.len
            ),
        )
        .hint("is it still in use?")
    }
}
