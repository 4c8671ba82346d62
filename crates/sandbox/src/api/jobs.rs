//! Import jobs: what they do, and how the API shows them.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use super::state::Api;
use super::work;
use crate::examine::{Outcome, bitmap_key, examine};
use crate::images::{ImageType, JobFailure, JobRecord, JobStatus, Work};

/// Starts a job that is already recorded.
pub(crate) fn start(api: &Arc<Api>, job_id: String) {
    let delay = api.faults.job_delay();
    api.jobs.start(delay, {
        let api = Arc::clone(api);
        move || run(&api, &job_id)
    });
}

/// Runs the job and keeps its result.
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

/// UTC, as in `04-Jun-2015 18:11:06:586`.
fn job_time(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(format_description!(
            "[day]-[month repr:short]-[year] [hour]:[minute]:[second]:[subsecond digits:3]"
        ))
        .unwrap_or_default()
}
