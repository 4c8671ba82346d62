//! The stages that need an object storage: uploading, and importing into the sandbox.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloud::stopped;
use cloud::{Class, Failure, Hint, Result, Session, SessionOptions, StopToken, from_ims, from_obs};
use convert::{CancelToken, PlanOptions, Sink as _, VoidMonitor};
use diskimg::DiskImage;
use import::{Concurrency, identity, plan_stream, start_upload};
use ims::{ImageKind, ImageUrl, QuickImport};
use obs::{Client, MultipartSink, Upload, UploadOptions};

use crate::figures::Run;
use crate::options::Options;
use crate::view::View;
use crate::work::{self, cpu_time, for_noise};

/// Bucket of the sandbox.
const BUCKET: &str = "bench";
/// Memory that the parts of the upload stage may take.
pub(crate) const UPLOAD_MEMORY: u64 = 256 << 20;
/// How long deleting the object may take after the run was stopped.
const CLEANING: Duration = Duration::from_secs(20);

/// A sandbox on the disk that output goes to.
pub(crate) struct Local {
    session: Session,
    pub(crate) place: Place,
    number: u32,
}

/// An object that can be written and deleted.
pub struct Place {
    client: Client,
    bucket: String,
    key: String,
    /// As the user named it.
    asked: String,
    concurrency: Concurrency,
}

impl Local {
    /// Starts the sandbox, in `dir` unless the options name a directory.
    pub(crate) async fn start(options: &Options, dir: &Path) -> Result<Self> {
        let own = dir.join("sandbox");
        let dir = options.sandbox.as_deref().unwrap_or(&own);
        let needs = SessionOptions {
            buckets: vec![BUCKET.to_owned()],
            rate_limit: options.rate_limit,
            ..SessionOptions::default()
        };
        let session = Session::local(Some(dir), needs).await?;
        match session.storage().await {
            Ok(client) => Ok(Self {
                place: Place {
                    client,
                    bucket: BUCKET.to_owned(),
                    key: own_key(),
                    asked: String::new(),
                    concurrency: options.concurrency,
                },
                session,
                number: 0,
            }),
            Err(failure) => session.close(Err(failure)).await,
        }
    }

    /// Stops the sandbox; `ended` is how its use ended.
    pub(crate) async fn stop<T>(self, ended: Result<T>) -> Result<T> {
        self.session.close(ended).await
    }

    /// Whether the image service accepts a disk of this size.
    pub(crate) fn takes(&self, view: &View) -> bool {
        let size = view.virtual_size();
        self.request(size).violations_on(size, None).is_empty()
    }

    fn request(&self, virtual_size: u64) -> QuickImport {
        let url = ImageUrl {
            bucket: self.place.bucket.clone(),
            key: self.place.key.clone(),
        };
        let min_disk = u32::try_from(ims::min_disk_gib(virtual_size)).unwrap_or(u32::MAX);
        let name = format!("{}-{}", self.place.key, self.number);
        let mut request = QuickImport::new(name, url, min_disk);
        request.kind = ImageKind::DataImage;
        request
    }

    /// Takes the view to an active image.
    pub(crate) async fn import(
        &mut self,
        view: &Arc<View>,
        level: i32,
        threads: usize,
        stop: &StopToken,
    ) -> Result<Run> {
        self.number += 1;
        let timer = Timer::start();
        let (read, size) = self.place.convert(view, level, threads, stop).await?;
        let ended = self.register(view.virtual_size(), stop).await;
        let run = timer.stop(read, size);
        self.place.delete(ended).await?;
        Ok(run)
    }

    async fn register(&self, virtual_size: u64, stop: &StopToken) -> Result {
        let request = self.request(virtual_size);
        let job = stop
            .unless_asked(self.session.images().quick_import(&request))
            .await?
            .map_err(|error| from_ims(&error))?;
        let options = self.session.cloud().patience();
        self.session
            .images()
            .wait(&job, &options, |_| {}, stop.asked())
            .await
            .map(|_| ())
            .map_err(|error| from_ims(&error))
    }
}

impl Place {
    /// The object `key` in `bucket`, or one that does not exist if the key is empty. Nothing is
    /// written yet.
    ///
    /// # Errors
    /// When the bucket does not exist, or the object does.
    pub async fn open(
        session: &Session,
        (bucket, key): (&str, &str),
        concurrency: Concurrency,
        stop: &StopToken,
    ) -> Result<Self> {
        let place = Self {
            client: stop.unless_asked(session.storage()).await??,
            bucket: bucket.to_owned(),
            key: match key.is_empty() {
                true => own_key(),
                false => key.to_owned(),
            },
            asked: match key.is_empty() {
                true => format!("obs://{bucket}"),
                false => format!("obs://{bucket}/{key}"),
            },
            concurrency,
        };
        stop.unless_asked(place.check(key)).await??;
        Ok(place)
    }

    /// The object or bucket as the user named it.
    pub(crate) fn asked(&self) -> &str {
        &self.asked
    }

    /// Refuses a bucket that does not exist, and a key that does: what is deleted at the end must be
    /// ours.
    async fn check(&self, given: &str) -> Result {
        match self.client.bucket(&self.bucket).await {
            Err(error) if error.kind() != obs::ErrorKind::AccessDenied => {
                return Err(from_obs(&error));
            }
            _ => {}
        }
        let refused = |message: String| {
            Failure::new(Class::Refused, message).hint(Hint::NameBucketOnly(self.bucket.clone()))
        };
        match self.client.object(&self.bucket, &self.key).await {
            Ok(None) => Ok(()),
            Ok(Some(found)) => Err(refused(format!(
                "object {self} exists, with {} bytes, and would be deleted at the end",
                found.size
            ))),
            // A key of our own making exists nowhere.
            Err(error) if error.kind() == obs::ErrorKind::AccessDenied && given.is_empty() => {
                Ok(())
            }
            Err(error) if error.kind() == obs::ErrorKind::AccessDenied => Err(refused(format!(
                "these credentials cannot check whether object {self} exists, and it would be deleted at the \
                 end"
            ))),
            Err(error) => Err(from_obs(&error)),
        }
    }

    /// Uploads `len` bytes that do not compress, and deletes them.
    pub(crate) async fn upload(&self, len: u64, stop: &StopToken) -> Result<Run> {
        let timer = Timer::start();
        let memory = UPLOAD_MEMORY.max(UploadOptions::least_memory(len));
        let cancel = stop.token().clone();
        let ((), size) = self
            .send(memory, len, stop, move |sink| noise(sink, len, &cancel))
            .await?;
        let run = timer.stop(size, size);
        self.delete(Ok(())).await?;
        Ok(Run {
            output: None,
            ..run
        })
    }

    /// Converts the view into the object, and deletes it.
    pub(crate) async fn transfer(
        &self,
        view: &Arc<View>,
        level: i32,
        threads: usize,
        stop: &StopToken,
    ) -> Result<Run> {
        let timer = Timer::start();
        let (read, size) = self.convert(view, level, threads, stop).await?;
        let run = timer.stop(read, size);
        self.delete(Ok(())).await?;
        Ok(run)
    }

    /// Converts the view into the object; bytes that were read and that the object has.
    async fn convert(
        &self,
        view: &Arc<View>,
        level: i32,
        threads: usize,
        stop: &StopToken,
    ) -> Result<(u64, u64)> {
        let options = plan_options(threads, level);
        let plan = plan_stream(view.as_ref(), self.concurrency, options)?;
        let (view, cancel) = (Arc::clone(view), stop.token().clone());
        let (memory, longest) = (plan.memory.sink, plan.worst_case_bytes);
        self.send(memory, longest, stop, move |mut sink| {
            let image: &dyn DiskImage = view.as_ref();
            let report =
                convert::to_zvhd2(image, &plan, identity(), &mut sink, &VoidMonitor, &cancel)?;
            sink.close().map_err(|error| from_obs(&error))?;
            Ok(report.read_bytes)
        })
        .await
    }

    /// Uploads what `write` writes; what it returned, and the object's length. After a failure
    /// nothing is left.
    async fn send<T: Send + 'static>(
        &self,
        memory: u64,
        expected_max: u64,
        stop: &StopToken,
        write: impl FnOnce(MultipartSink) -> Result<T> + Send + 'static,
    ) -> Result<(T, u64)> {
        let options = UploadOptions {
            memory,
            expected_max,
            max_in_flight: self.concurrency.most(),
            adaptive: self.concurrency == Concurrency::Auto,
            ..UploadOptions::default()
        };
        let place = (self.bucket.as_str(), self.key.as_str());
        let (sink, mut upload) = start_upload(&self.client, place, &options, stop).await?;
        let writing = tokio::task::spawn_blocking(move || write(sink));
        let written = tokio::select! {
            biased;
            () = stop.asked() => Err(stopped()),
            written = writing => written.unwrap_or_else(|e| {
                Err(Failure::from_error(Class::Io, &e).context("the thread that writes the upload crashed"))
            }),
        };
        let completed = match written {
            Ok(value) => match stop.unless_asked(upload.complete()).await {
                Ok(Ok(uploaded)) => Ok((value, uploaded.size)),
                Ok(Err(error)) => Err(from_obs(&error)),
                Err(interrupted) => Err(interrupted),
            },
            Err(failure) => Err(failure),
        };
        match completed {
            Ok(done) => Ok(done),
            Err(failure) => Err(self.clean(&mut upload, failure).await),
        }
    }

    /// Discards what `upload` has stored, because of `failure`.
    async fn clean(&self, upload: &mut Upload, failure: Failure) -> Failure {
        let failure = match (failure.class(), upload.failure()) {
            (Class::Interrupted, _) | (_, None) => failure,
            (_, Some(first)) => from_obs(first),
        };
        let id = upload.upload_id().to_owned();
        match upload.abort().await {
            Ok(()) => failure,
            // The parts are one object already.
            Err(error) if error.kind() == obs::ErrorKind::Refused => {
                match self.delete(Err(failure)).await {
                    Ok(()) => stopped(),
                    Err(failure) => failure,
                }
            }
            Err(error) => failure
                .note(format!(
                    "aborting upload {id} failed: {error}; its parts may still be stored and cost money"
                ))
                .hint(Hint::AbortUpload {
                    bucket: self.bucket.clone(),
                    id,
                }),
        }
    }

    /// Deletes the object, whatever `ended` is and even after a stop was requested. The first failure
    /// counts.
    async fn delete(&self, ended: Result) -> Result {
        let deleting = self.client.delete_object(&self.bucket, &self.key);
        let left = match tokio::time::timeout(CLEANING, deleting).await {
            Ok(Ok(())) => return ended,
            Ok(Err(error)) => from_obs(&error),
            Err(_) => Failure::new(Class::Io, "the storage did not answer in time"),
        };
        Err(match ended {
            Ok(()) => left.context(format!(
                "deleting object {self}, which was uploaded for measuring, failed"
            )),
            Err(failure) => failure.note(format!(
                "deleting object {self} failed; it still costs money: {}",
                left.line()
            )),
        })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "obs://{}/{}", self.bucket, self.key)
    }
}

/// How to convert into an upload: a sandbox runs in this process.
pub(crate) fn plan_options(threads: usize, level: i32) -> PlanOptions {
    PlanOptions {
        reserved_memory: ::sandbox::memory_bound(),
        ..work::plan_options(threads, level)
    }
}

/// A key that nobody else uses.
fn own_key() -> String {
    format!("imgferry-bench-{}", uuid::Uuid::new_v4().simple())
}

fn noise(mut sink: MultipartSink, len: u64, cancel: &CancelToken) -> Result {
    let mut block = vec![0; zvhd2::BLOCK_SIZE];
    for_noise(len, &mut block, |part| {
        work::stop(cancel)?;
        sink.write(part)
            .map_err(|error| convert::Error::Sink(error).into())
    })?;
    sink.close().map_err(|error| from_obs(&error))
}

/// Times work across tasks.
struct Timer {
    started: Instant,
    cpu: Duration,
}

impl Timer {
    fn start() -> Self {
        Self {
            started: Instant::now(),
            cpu: cpu_time(),
        }
    }

    fn stop(&self, bytes: u64, output: u64) -> Run {
        Run {
            bytes,
            output: Some(output),
            elapsed: self.started.elapsed(),
            cpu: cpu_time().saturating_sub(self.cpu),
        }
    }
}
