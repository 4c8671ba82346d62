//! Import jobs: at most two at a time, on threads that may block.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use convert::CancelToken;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::ims::job_time;
use super::{Api, work};
use crate::examine::{Outcome, bitmap_key, examine};
use crate::images::{ImageType, JobFailure, JobRecord, JobStatus, Work};

/// Jobs that read at the same time; each keeps the machine's cores busy.
const AT_A_TIME: usize = 2;

/// How long a stop waits for jobs to notice it. They look once per block of 2 MiB.
const GRACE: Duration = Duration::from_secs(10);

/// The jobs that run or wait.
#[derive(Debug)]
pub(crate) struct Jobs {
    running: Mutex<JoinSet<()>>,
    turns: Arc<Semaphore>,
    /// For jobs that wait.
    stop: CancellationToken,
    /// The same for jobs that read.
    pub(super) cancel: CancelToken,
}

impl Jobs {
    /// Jobs that end when `stop` is cancelled. Needs a runtime.
    pub(crate) fn new(stop: CancellationToken) -> Self {
        let cancel = CancelToken::new();
        let mut running = JoinSet::new();
        let (stopped, reading) = (stop.clone(), cancel.clone());
        running.spawn(async move {
            stopped.cancelled().await;
            reading.cancel();
        });
        Self {
            running: Mutex::new(running),
            turns: Arc::new(Semaphore::new(AT_A_TIME)),
            stop,
            cancel,
        }
    }

    /// Starts the job, which is remembered already.
    pub(crate) fn start(&self, api: &Arc<Api>, job_id: String) {
        let api = Arc::clone(api);
        let turns = Arc::clone(&self.turns);
        let stop = self.stop.clone();
        let work = async move {
            let delay = api.faults.job_delay();
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let Ok(turn) = turns.acquire_owned().await else {
                return;
            };
            let ended = tokio::task::spawn_blocking(move || {
                run(&api, &job_id);
                drop(turn);
            })
            .await;
            if let Err(error) = ended {
                tracing::error!("an import job ended badly: {error}");
            }
        };
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        while running.try_join_next().is_some() {}
        running.spawn(async move {
            // A job that has begun to read is told by the token and keeps its turn until it ends;
            // the rest can be dropped.
            tokio::select! {
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// Waits for running jobs, after the stop was asked for. What is unfinished is done again at
    /// the next start.
    pub(crate) async fn stopped(&self) {
        let turns = u32::try_from(AT_A_TIME).unwrap_or(u32::MAX);
        let idle = self.turns.acquire_many(turns);
        if tokio::time::timeout(GRACE, idle).await.is_err() {
            tracing::warn!("import jobs were still running after {GRACE:?}");
        }
    }
}

/// Does the job and keeps what came out.
fn run(api: &Arc<Api>, job_id: &str) {
    if work::run(api, job_id) {
        return;
    }
    let Some(image) = api.images.begin(job_id) else {
        return;
    };
    let outcome = match api.faults.failing_job() {
        Some(reason) => Outcome::Failed(JobFailure {
            code: "IMG.1075",
            reason: reason.to_owned(),
        }),
        None => match api.objects.path_of(&image.bucket, &image.key) {
            Some(path) => {
                let progress = {
                    let (api, job_id) = (Arc::clone(api), job_id.to_owned());
                    move |progress| api.images.progress(&job_id, progress)
                };
                let bitmap =
                    bitmap_key(&image.key).and_then(|key| api.objects.path_of(&image.bucket, &key));
                examine(
                    &path,
                    bitmap.as_deref(),
                    &format!("{}:{}", image.bucket, image.key),
                    image.min_disk,
                    Box::new(progress),
                    &api.jobs.cancel,
                )
            }
            None => Outcome::Failed(JobFailure {
                code: "IMG.0057",
                reason: format!("the bucket {} is gone", image.bucket),
            }),
        },
    };
    match outcome {
        Outcome::Good(examined) => {
            if let Some(path) = api.objects.path_of(&image.bucket, &image.key) {
                api.images.keep_content(&image.id, &path);
            }
            api.images.finish(job_id, Ok(examined));
        }
        Outcome::Failed(failure) => api.images.finish(job_id, Err(failure)),
        Outcome::Cancelled => {}
    }
}

/// Deepest nesting of sub-jobs. The service nests once.
const MAX_DEPTH: u32 = 1;

/// A job as the API shows it.
pub(super) fn describe(api: &Api, job: &JobRecord) -> Value {
    describe_within(api, job, MAX_DEPTH)
}

fn describe_within(api: &Api, job: &JobRecord, depth: u32) -> Value {
    let image = api.images.image(&job.image_id);
    let data = image.is_some_and(|image| image.image_type == ImageType::DataImage);
    let subs: Vec<JobRecord> = match depth {
        0 => Vec::new(),
        _ => {
            let subs = job.sub_jobs.iter();
            subs.filter_map(|id| api.images.job(id)).collect()
        }
    };
    // A job has ended when its parts have, and failed when one did.
    let status = [JobStatus::Running, JobStatus::Init, JobStatus::Fail]
        .into_iter()
        .find(|status| job.status == *status || subs.iter().any(|sub| sub.status == *status))
        .unwrap_or(JobStatus::Success);
    let (job_type, task) = match (&job.work, data) {
        (Work::QuickImport, false) => ("imsImportImageJob", "QuickImportImageTask"),
        (Work::QuickImport, true) => ("imsImportDataImageJob", "QuickImportImageTask"),
        (Work::CommonImport, false) => ("imsImportImageJob", "ImportImageTask"),
        (Work::CommonImport, true) => ("imsImportDataImageJob", "ImportImageTask"),
        (Work::OfDisk { .. }, false) => ("imsCreateImageByInstance", "CreateImageByInstanceTask"),
        (Work::OfDisk { .. }, true) => ("imsVolumeCreateImageJob", "CreateImageByVolumeTask"),
        (Work::Uploaded, _) => ("imsUploadImageJob", "UploadImageTask"),
        (Work::Copy { .. }, _) => ("imsCopyImageJob", "CopyImageTask"),
        (Work::Export { .. }, _) => ("imsExportImageJob", "ExportImageTask"),
        (Work::Members { .. }, _) => ("imsImageMemberJob", "ImageMemberTask"),
    };
    let project = &api.credentials.keys.project_id;
    let result = |id: &str| json!({"image_id": id, "project_id": project, "status": "success"});
    let results: Vec<Value> = match (status, &job.work) {
        (JobStatus::Success, Work::Members { images }) => {
            images.iter().map(|id| result(id)).collect()
        }
        (JobStatus::Success, _) => vec![result(&job.image_id)],
        _ => Vec::new(),
    };
    let parts: Vec<Value> = subs
        .iter()
        .map(|sub| describe_within(api, sub, 0))
        .collect();
    json!({
        "job_id": job.id,
        "job_type": job_type,
        "status": status,
        "begin_time": job_time(job.begin),
        "end_time": job.end.map(job_time).unwrap_or_default(),
        "error_code": job.error_code,
        "fail_reason": job.fail_reason,
        "entities": {
            "image_id": job.image_id,
            "image_name": job.image_name,
            "current_task": task,
            "process_percent": job.progress,
            "results": results,
            "sub_jobs_result": parts,
            "sub_jobs_list": job.sub_jobs,
        },
    })
}
