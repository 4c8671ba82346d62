//! The stages that need an object storage: uploading, and importing into the sandbox.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::cloud::{ProcessEnvironment, Session, SessionOptions};
use ::convert::{CancelToken, PlanOptions, Sink as _, VoidMonitor};
use diskimg::DiskImage;
use ims::{ImageKind, ImageUrl, QuickImport};
use obs::{Client, MultipartSink, Upload, UploadOptions};

use super::figures::Run;
use super::view::View;
use super::work::{self, cpu_time, for_noise, stop};
use crate::args::{BenchArgs, PaceArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::{Interrupt, interrupted};
use ::cloud::{from_ims, from_obs};
use ::import::Concurrency;
use ::import::plan_stream;
use ::import::{identity, start_upload};

/// Bucket of the sandbox.
const BUCKET: &str = "bench";
/// Memory that the parts of the upload stage may take.
pub(super) const UPLOAD_MEMORY: u64 = 256 << 20;
/// How long deleting the object may take once the run was stopped.
const CLEANING: Duration = Duration::from_secs(20);

/// A sandbox on the disk that output goes to.
pub(super) struct Local {
    session: Session,
    pub(super) place: Place,
    number: u32,
}

/// An object that can be written and deleted.
pub(super) struct Place {
    client: Client,
    bucket: String,
    key: String,
    pace: PaceArgs,
}

impl Local {
    pub(super) async fn start(args: &BenchArgs, dir: &Path) -> Outcome<Self> {
        let named = args.cloud.sandbox.as_ref().and_then(Option::as_deref);
        let own = dir.join("sandbox");
        let dir = named.unwrap_or(&own);
        let needs = SessionOptions {
            buckets: vec![BUCKET.to_owned()],
            ..needs(args)
        };
        let session = Session::local(Some(dir), needs).await?;
        match session.storage().await {
            Ok(client) => Ok(Self {
                place: Place {
                    client,
                    bucket: BUCKET.to_owned(),
                    key: own_key(),
                    pace: args.pace,
                },
                session,
                number: 0,
            }),
            Err(failure) => session.close(Err(failure)).await,
        }
    }

    pub(super) async fn stop(self) -> Outcome {
        self.session.close(Ok(())).await
    }

    /// Whether the image service would take the disk.
    pub(super) fn takes(&self, view: &View) -> bool {
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
    pub(super) async fn import(
        &mut self,
        view: &Arc<View>,
        level: i32,
        threads: usize,
        interrupt: &Interrupt,
    ) -> Outcome<Run> {
        self.number += 1;
        let timer = Timer::start();
        let (read, size) = self.place.convert(view, level, threads, interrupt).await?;
        let ended = self.register(view.virtual_size(), interrupt).await;
        let run = timer.stop(read, size);
        self.place.delete(ended).await?;
        Ok(run)
    }

    async fn register(&self, virtual_size: u64, interrupt: &Interrupt) -> Outcome {
        let request = self.request(virtual_size);
        let job = interrupt
            .unless_asked(self.session.images().quick_import(&request))
            .await?
            .map_err(|error| from_ims(&error))?;
        let options = self.session.cloud().patience();
        self.session
            .images()
            .wait(&job, &options, |_| {}, interrupt.asked())
            .await
            .map(|_| ())
            .map_err(|error| from_ims(&error))
    }
}

impl Place {
    /// The bucket that the user names. Nothing is written yet.
    pub(super) async fn open(args: &BenchArgs, interrupt: &Interrupt) -> Outcome<Option<Self>> {
        let Some(target) = &args.upload else {
            return Ok(None);
        };
        let cloud = ::cloud::resolve(&args.cloud.options(), &ProcessEnvironment)
            .map_err(::cloud::rejected)?;
        let session = Session::connect(cloud, needs(args))?;
        let client = interrupt.unless_asked(session.storage()).await??;
        let place = Self {
            client,
            bucket: target.bucket.clone(),
            key: match target.key.is_empty() {
                true => own_key(),
                false => target.key.clone(),
            },
            pace: args.pace,
        };
        interrupt.unless_asked(place.check(&target.key)).await??;
        Ok(Some(place))
    }

    /// Refuses a bucket that is not there, and a key that is: what is deleted at the end must be
    /// ours.
    async fn check(&self, given: &str) -> Outcome {
        match self.client.bucket(&self.bucket).await {
            Err(error) if error.kind() != obs::ErrorKind::AccessDenied => {
                return Err(from_obs(&error));
            }
            _ => {}
        }
        let refused = |message: String| {
            Failure::new(Exit::Refused, message).hint(format!(
                "name only the bucket: --upload obs://{}",
                self.bucket
            ))
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
                "these credentials may not ask whether object {self} exists, and it would be deleted at the end"
            ))),
            Err(error) => Err(from_obs(&error)),
        }
    }

    /// Uploads `len` bytes that do not compress, and deletes them.
    pub(super) async fn upload(&self, len: u64, interrupt: &Interrupt) -> Outcome<Run> {
        let timer = Timer::start();
        let memory = UPLOAD_MEMORY.max(UploadOptions::least_memory(len));
        let cancel = interrupt.token().clone();
        let ((), size) = self
            .send(memory, len, interrupt, move |sink| {
                noise(sink, len, &cancel)
            })
            .await?;
        let run = timer.stop(size, size);
        self.delete(Ok(())).await?;
        Ok(Run {
            output: None,
            ..run
        })
    }

    /// Converts the view into the object, and deletes it.
    pub(super) async fn transfer(
        &self,
        view: &Arc<View>,
        level: i32,
        threads: usize,
        interrupt: &Interrupt,
    ) -> Outcome<Run> {
        let timer = Timer::start();
        let (read, size) = self.convert(view, level, threads, interrupt).await?;
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
        interrupt: &Interrupt,
    ) -> Outcome<(u64, u64)> {
        let options = plan_options(threads, level);
        let plan = plan_stream(view.as_ref(), self.pace.concurrency, options)?;
        let (view, cancel) = (Arc::clone(view), interrupt.token().clone());
        let (memory, longest) = (plan.memory.sink, plan.worst_case_bytes);
        self.send(memory, longest, interrupt, move |mut sink| {
            let image: &dyn DiskImage = view.as_ref();
            let report =
                ::convert::to_zvhd2(image, &plan, identity(), &mut sink, &VoidMonitor, &cancel)?;
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
        interrupt: &Interrupt,
        write: impl FnOnce(MultipartSink) -> Outcome<T> + Send + 'static,
    ) -> Outcome<(T, u64)> {
        let options = UploadOptions {
            memory,
            expected_max,
            max_in_flight: self.pace.concurrency.most(),
            adaptive: self.pace.concurrency == Concurrency::Auto,
            ..UploadOptions::default()
        };
        let place = (self.bucket.as_str(), self.key.as_str());
        let (sink, mut upload) = start_upload(&self.client, place, &options, interrupt).await?;
        let writing = tokio::task::spawn_blocking(move || write(sink));
        let written = tokio::select! {
            biased;
            () = interrupt.asked() => Err(interrupted()),
            written = writing => written.unwrap_or_else(|e| {
                Err(Failure::from_error(Exit::Io, &e).context("the upload's source crashed"))
            }),
        };
        let completed = match written {
            Ok(value) => match interrupt.unless_asked(upload.complete()).await {
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

    /// Throws away what `upload` has stored, because of `failure`.
    async fn clean(&self, upload: &mut Upload, failure: Failure) -> Failure {
        let failure = match (failure.class(), upload.failure()) {
            (Exit::Interrupted, _) | (_, None) => failure,
            (_, Some(first)) => from_obs(first),
        };
        let id = upload.upload_id().to_owned();
        match upload.abort().await {
            Ok(()) => failure,
            // The parts were joined already.
            Err(error) if error.kind() == obs::ErrorKind::Refused => {
                match self.delete(Err(failure)).await {
                    Ok(()) => interrupted(),
                    Err(failure) => failure,
                }
            }
            Err(error) => failure
                .note(format!(
                    "upload {id} could not be aborted: {error}; its parts may still be stored, and cost money"
                ))
                .hint(format!("imgferry uploads abort {} --id {id}", self.bucket)),
        }
    }

    /// Deletes the object, whatever `ended` is and even when the user asked to stop: the first
    /// failure is the one to see.
    async fn delete(&self, ended: Outcome) -> Outcome {
        let deleting = self.client.delete_object(&self.bucket, &self.key);
        let left = match tokio::time::timeout(CLEANING, deleting).await {
            Ok(Ok(())) => return ended,
            Ok(Err(error)) => from_obs(&error),
            Err(_) => Failure::new(Exit::Io, "the storage did not answer in time"),
        };
        Err(match ended {
            Ok(()) => left.context(format!(
                "object {self} was uploaded for measuring and could not be deleted"
            )),
            Err(failure) => failure.note(format!(
                "object {self} could not be deleted, and costs money: {}",
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

/// How to convert into an upload: a sandbox is in this process.
pub(super) fn plan_options(threads: usize, level: i32) -> PlanOptions {
    PlanOptions {
        reserved_memory: ::sandbox::memory_bound(),
        ..work::plan_options(threads, level)
    }
}

/// A key that nobody else has.
fn own_key() -> String {
    format!("imgferry-bench-{}", uuid::Uuid::new_v4().simple())
}

fn needs(args: &BenchArgs) -> SessionOptions {
    SessionOptions {
        rate_limit: args.pace.limit_rate,
        ..SessionOptions::default()
    }
}

fn noise(mut sink: MultipartSink, len: u64, cancel: &CancelToken) -> Outcome {
    let mut block = vec![0; zvhd2::BLOCK_SIZE];
    for_noise(len, &mut block, |part| {
        stop(cancel)?;
        sink.write(part)
            .map_err(|error| ::convert::Error::Sink(error).into())
    })?;
    sink.close().map_err(|error| from_obs(&error))
}

/// Times what goes across tasks.
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
