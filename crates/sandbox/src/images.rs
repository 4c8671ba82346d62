//! What the image service remembers: images and the jobs that make them. Kept in files.

mod record;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use parking_lot::{Mutex, MutexGuard};
use serde::de::DeserializeOwned;

pub(crate) use self::record::{Examined, FoundSystem, JobFailure, JobRecord, JobStatus, Work};
pub use self::record::{ImageRecord, ImageStatus, ImageType, More, Tag};
use crate::error::Error;
use crate::layout::{Layout, load};

/// All images and jobs, in memory and in files.
#[derive(Debug)]
pub(crate) struct Images {
    layout: Layout,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    images: BTreeMap<String, ImageRecord>,
    jobs: BTreeMap<String, JobRecord>,
}

impl Images {
    /// Reads what an earlier run left.
    pub(crate) fn open(layout: Layout) -> Result<Self, Error> {
        let state = State {
            images: read_all(&layout.images(), |image: &ImageRecord| image.id.clone())?,
            jobs: read_all(&layout.jobs(), |job: &JobRecord| job.id.clone())?,
        };
        Ok(Self {
            layout,
            state: Mutex::new(state),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// All images of the sandbox's region, the oldest first.
    pub(crate) fn all(&self) -> Vec<ImageRecord> {
        let mut images = self.everywhere();
        images.retain(|image| image.more.region.is_none());
        images
    }

    /// The same with those that were copied to other regions.
    pub(crate) fn everywhere(&self) -> Vec<ImageRecord> {
        let mut images: Vec<_> = self.lock().images.values().cloned().collect();
        images.sort_by_key(|image| image.created_at);
        images
    }

    /// An image of the sandbox's region.
    pub(crate) fn image(&self, id: &str) -> Option<ImageRecord> {
        let image = self.lock().images.get(id).cloned();
        image.filter(|image| image.more.region.is_none())
    }

    pub(crate) fn job(&self, id: &str) -> Option<JobRecord> {
        self.lock().jobs.get(id).cloned()
    }

    /// Ids of jobs that an earlier run did not finish.
    pub(crate) fn unfinished_jobs(&self) -> Vec<String> {
        let state = self.lock();
        let unfinished = |job: &&JobRecord| job.end.is_none();
        let jobs = state.jobs.values().filter(unfinished);
        jobs.map(|job| job.id.clone()).collect()
    }

    /// Adds a queued image and its job, unless `refuse` finds a reason in the images that are
    /// there. Nobody can add another one in between.
    pub(crate) fn add<E>(
        &self,
        image: ImageRecord,
        job: JobRecord,
        refuse: impl FnOnce(&mut dyn Iterator<Item = &ImageRecord>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut state = self.lock();
        refuse(&mut state.images.values())?;
        self.keep(&image, Some(&job));
        state.images.insert(image.id.clone(), image);
        state.jobs.insert(job.id.clone(), job);
        Ok(())
    }

    /// The same for several, of which all are added or none. `refuse` sees the images that are
    /// there, those of `made` that come before, and the next.
    pub(crate) fn add_all<E>(
        &self,
        made: Vec<(ImageRecord, JobRecord)>,
        refuse: impl Fn(&mut dyn Iterator<Item = &ImageRecord>, &ImageRecord) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut state = self.lock();
        for (number, (image, _)) in made.iter().enumerate() {
            let before = made.iter().take(number).map(|(image, _)| image);
            refuse(&mut state.images.values().chain(before), image)?;
        }
        for (image, job) in made {
            self.keep(&image, Some(&job));
            state.images.insert(image.id.clone(), image);
            state.jobs.insert(job.id.clone(), job);
        }
        Ok(())
    }

    /// Whether a job that has not ended writes the image into a bucket.
    pub(crate) fn is_exported_now(&self, id: &str) -> bool {
        let state = self.lock();
        state.jobs.values().any(|job| {
            job.image_id == id && job.end.is_none() && matches!(job.work, Work::Export { .. })
        })
    }

    /// The same for an image that no job makes yet.
    pub(crate) fn add_queued<E>(
        &self,
        image: ImageRecord,
        refuse: impl FnOnce(&mut dyn Iterator<Item = &ImageRecord>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut state = self.lock();
        refuse(&mut state.images.values())?;
        self.keep(&image, None);
        state.images.insert(image.id.clone(), image);
        Ok(())
    }

    /// Adds a job of an image that is there.
    pub(crate) fn add_job(&self, job: JobRecord) {
        let mut state = self.lock();
        self.keep_job(&job);
        state.jobs.insert(job.id.clone(), job);
    }

    /// Changes an image unless `change` refuses; the image as it is then. Other images may be
    /// looked at.
    pub(crate) fn edit<E>(
        &self,
        id: &str,
        missing: E,
        change: impl FnOnce(&mut ImageRecord, &[ImageRecord]) -> Result<(), E>,
    ) -> Result<ImageRecord, E> {
        let mut state = self.lock();
        let here = |image: &&ImageRecord| image.more.region.is_none();
        let others: Vec<_> = state
            .images
            .values()
            .filter(here)
            .filter(|image| image.id != id)
            .cloned()
            .collect();
        let image = state.images.get_mut(id);
        let image = image.filter(|image| here(&&**image)).ok_or(missing)?;
        let mut changed = image.clone();
        change(&mut changed, &others)?;
        changed.updated_at = SystemTime::now();
        *image = changed.clone();
        self.keep(&changed, None);
        Ok(changed)
    }

    /// A job that makes no image has begun; the job.
    pub(crate) fn begin_job(&self, job_id: &str) -> Option<JobRecord> {
        let mut state = self.lock();
        let job = state.jobs.get_mut(job_id)?;
        job.status = JobStatus::Running;
        self.keep_job(job);
        Some(job.clone())
    }

    /// A job that makes no image has ended.
    pub(crate) fn finish_job(&self, job_id: &str, outcome: Result<(), JobFailure>) {
        let mut state = self.lock();
        let Some(job) = state.jobs.get_mut(job_id) else {
            return;
        };
        job.end = Some(SystemTime::now());
        job.status = match outcome {
            Ok(()) => {
                job.progress = 1.0;
                JobStatus::Success
            }
            Err(failure) => {
                job.error_code = Some(failure.code.to_owned());
                job.fail_reason = Some(failure.reason);
                JobStatus::Fail
            }
        };
        self.keep_job(job);
    }

    /// The job has begun; its image.
    pub(crate) fn begin(&self, job_id: &str) -> Option<ImageRecord> {
        self.change(job_id, |job, image| {
            job.status = JobStatus::Running;
            image.status = ImageStatus::Saving;
        })
    }

    /// How far the job is, 0 to 1. Not kept in the file: a new run begins anew.
    pub(crate) fn progress(&self, job_id: &str, progress: f64) {
        if let Some(job) = self.lock().jobs.get_mut(job_id) {
            job.progress = progress.clamp(0.0, 1.0);
        }
    }

    /// The job has ended.
    pub(crate) fn finish(&self, job_id: &str, outcome: Result<Examined, JobFailure>) {
        self.change(job_id, |job, image| {
            job.end = Some(SystemTime::now());
            match outcome {
                Ok(examined) => {
                    job.status = JobStatus::Success;
                    job.progress = 1.0;
                    image.status = ImageStatus::Active;
                    image.virtual_size = Some(examined.virtual_size);
                    image.content_digest = Some(examined.content_digest);
                    if let Some(found) = examined.system {
                        image.os_version = Some(found.os_version);
                        image.os_type = found.os_type;
                    }
                }
                Err(failure) => {
                    job.status = JobStatus::Fail;
                    job.error_code = Some(failure.code.to_owned());
                    job.fail_reason = Some(failure.reason);
                    image.status = ImageStatus::Killed;
                }
            }
        });
    }

    fn change(
        &self,
        job_id: &str,
        change: impl FnOnce(&mut JobRecord, &mut ImageRecord),
    ) -> Option<ImageRecord> {
        let mut state = self.lock();
        let State { images, jobs } = &mut *state;
        let job = jobs.get_mut(job_id)?;
        let image = images.get_mut(&job.image_id)?;
        change(job, image);
        image.updated_at = SystemTime::now();
        self.keep(image, Some(job));
        Some(image.clone())
    }

    /// Deletes an image; whether it was there.
    pub(crate) fn delete(&self, id: &str) -> bool {
        let mut state = self.lock();
        let Some(image) = state.images.remove(id) else {
            return false;
        };
        let path = self.layout.images().join(format!("{}.json", image.id));
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!("cannot delete {}: {error}", path.display());
        }
        // Images that never became active have none.
        let _ = fs::remove_file(self.content_path(&image.id));
        true
    }

    fn keep(&self, image: &ImageRecord, job: Option<&JobRecord>) {
        let path = self.layout.images().join(format!("{}.json", image.id));
        if let Err(error) = self.layout.write_json(&path, image) {
            // The run goes on with what is in memory; only a restart would miss it.
            tracing::warn!("cannot keep image {}: {error}", image.id);
        }
        if let Some(job) = job {
            self.keep_job(job);
        }
    }

    fn keep_job(&self, job: &JobRecord) {
        let path = self.layout.jobs().join(format!("{}.json", job.id));
        if let Err(error) = self.layout.write_json(&path, job) {
            tracing::warn!("cannot keep job {}: {error}", job.id);
        }
    }

    /// Where the content of an image is kept: clouds copy it, and so do we, so that the object may
    /// go.
    pub(crate) fn content_path(&self, id: &str) -> PathBuf {
        self.layout.contents().join(id)
    }

    /// A file under way to becoming an object.
    pub(crate) fn scratch(&self) -> std::io::Result<tempfile::NamedTempFile> {
        tempfile::NamedTempFile::new_in(self.layout.tmp())
    }

    /// Keeps the object in `path` as the content of image `id`. The object is never written to,
    /// only replaced, so a second name for its file is a copy.
    pub(crate) fn keep_content(&self, id: &str, path: &Path) {
        let to = self.content_path(id);
        // What an earlier run left may be the same file under another name.
        let _ = fs::remove_file(&to);
        let kept = fs::hard_link(path, &to).or_else(|_| fs::copy(path, &to).map(drop));
        if let Err(error) = kept {
            tracing::warn!("cannot keep the content of image {id}: {error}");
        }
    }
}

fn read_all<T: DeserializeOwned>(
    dir: &Path,
    id: impl Fn(&T) -> String,
) -> Result<BTreeMap<String, T>, Error> {
    let mut records = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(|e| Error::io("read", dir, e))? {
        let path = entry.map_err(|e| Error::io("read", dir, e))?.path();
        let Some(record) = load::<T>(&path)? else {
            continue;
        };
        records.insert(id(&record), record);
    }
    Ok(records)
}
