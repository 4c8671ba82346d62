//! The outcome of an import.

use cloud::{Class, Failure, Result};
use std::time::Duration;

use ::convert::{ContentDigest, Level};
use obs::Uploaded;
use serde::Serialize;

use super::method::Method;
use super::piece::{Piece, Pieces};
use super::preflight::Skipped;
use super::register::{Registered, Renamed};
use super::send::{Content, RawTransferred, Sent};
use super::spec::ImportSpec;

/// What an import came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Completion {
    /// The image is there.
    Imported,
    /// The job that makes the image was started, and not waited for.
    Started,
    /// The object is there; nothing was to be registered.
    Stored,
    /// An earlier run had created the image from this disk: nothing was left to do.
    AlreadyImported,
    /// The image, or the object where nothing is registered, existed. It was not compared with the
    /// disk.
    Skipped,
}

/// What became of an import that did not fail.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// What it came to.
    pub result: Completion,
    /// The file, as it was named.
    pub source: String,
    /// Name of the image.
    pub name: String,
    /// How it is registered, as options and manifests name it, and why so.
    pub register: &'static str,
    /// Why it is registered so.
    pub register_reason: &'static str,
    /// Bucket of the object.
    pub bucket: String,
    /// Key of the object.
    pub key: String,
    /// The job that registers the image; `None` when an earlier run started it and could not
    /// record its id, and when nothing is registered.
    pub job_id: Option<String>,
    /// The image; `None` when its job was not waited for, and when nothing is registered.
    pub image_id: Option<String>,
    /// As the service reports it.
    pub status: Option<String>,
    /// Smallest disk, in GiB.
    pub min_disk: u32,
    /// Bytes of the file; of a device or a pipe, of its disk.
    pub size: u64,
    /// What became of the disk's bytes, where the file was read as a disk.
    #[serde(flatten)]
    pub content: Option<Content>,
    /// Content digest of the active image, where the service reports it (the sandbox does).
    pub image_digest: Option<String>,
    /// `bios` or `uefi`, where the service reports it.
    pub firmware: Option<String>,
    /// The zstd level, as planned; none where nothing is compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// The object; `None` when an earlier run had registered it already.
    pub uploaded: Option<Uploaded>,
    /// What was sent and what was copied, when the object is raw; its bitmap.
    pub raw: Option<RawTransferred>,
    /// Whether an object or image that existed was used instead of uploading one.
    pub reused: bool,
    /// What a run of a migration has made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm: Option<Generation>,
    /// Images that had the name, and were renamed to be replaced by this one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub renamed: Vec<Renamed>,
    /// Data images that were registered together with the system.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub data_images: Vec<DataImage>,
    /// How long it took.
    pub stages: Stages,
    /// Bytes that the plan allowed to be held in memory, where there is a plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bound: Option<u64>,
    /// Most bytes that the process held at any time, where the system reports it.
    pub peak_memory: Option<u64>,
    /// The free space that was left out of the system's disk, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discarded: Option<freespace::FreeSpace>,
    /// What was found on the system's disk, if somebody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest: Option<::guest::Report>,
    /// Everything that was warned of.
    pub warnings: Vec<String>,
}

/// What a run of a migration has made.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Generation {
    /// Its number; `None` for the object that the image is made of.
    pub number: Option<u32>,
    /// The generation that it was made of; `None` when the whole disk was sent.
    pub base: Option<u32>,
    /// Guest bytes of the blocks that had changed; all that hold data when the whole disk was sent.
    pub changed_bytes: u64,
    /// Whether manifest and table were stored with it, so that a later run can be based on it.
    #[serde(skip)]
    pub(crate) is_described: bool,
    /// How long it took, the registration left out.
    pub seconds: f64,
    /// How long the cutover may take, without its registration: as long as the last run that was
    /// based on another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cutover_seconds: Option<f64>,
    /// Keys of the older generations that were removed.
    pub removed: Vec<String>,
}

/// A data image.
#[derive(Clone, Debug, Serialize)]
pub struct DataImage {
    /// The file, as it was named.
    pub source: String,
    /// Name of the image.
    pub name: String,
    /// Bucket of the object.
    pub bucket: String,
    /// Key of the object.
    pub key: String,
    /// Smallest disk, in GiB.
    pub min_disk: u32,
    /// Bytes of the file.
    pub size: u64,
    /// Bytes of the object, once it is complete.
    #[serde(skip)]
    pub stored: Option<u64>,
    /// Bytes of its disk that were read.
    #[serde(skip)]
    pub read_bytes: u64,
    /// Bytes that were sent.
    #[serde(skip)]
    pub sent_bytes: u64,
    /// Bytes that were stored before, and not sent again.
    #[serde(skip)]
    pub kept_bytes: u64,
    /// The image, once it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// Its status, as the service reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// Seconds that each stage took.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Stages {
    /// Opening, planning, and asking the cloud.
    pub check_seconds: f64,
    /// Converting, uploading at the same time.
    pub transfer_seconds: f64,
    /// The last parts, joining them, and verifying the object.
    pub complete_seconds: f64,
    /// From the registration to the end of its job.
    pub register_seconds: f64,
}

impl Stages {
    pub(super) fn seconds(duration: Duration) -> f64 {
        (duration.as_secs_f64() * 1000.0).round() / 1000.0
    }
}

impl Outcome {
    /// What is known before anything is sent.
    pub(super) fn new(spec: &ImportSpec, pieces: &Pieces, warnings: Vec<String>) -> Self {
        let system = &pieces.system;
        let target = &system.request.image_url;
        let plan = system.form.disk().map(|disk| &disk.plan);
        Self {
            result: match spec.registers() {
                true => Completion::Imported,
                false => Completion::Stored,
            },
            source: spec.disk.to_string(),
            name: spec.name.clone(),
            register: pieces.method.by.name(),
            register_reason: pieces.method.why,
            bucket: target.bucket.clone(),
            key: target.key.clone(),
            job_id: None,
            image_id: None,
            status: None,
            min_disk: system.request.min_disk,
            size: system.size,
            content: None,
            image_digest: None,
            firmware: None,
            level: plan.and_then(|plan| plan.level),
            uploaded: None,
            raw: None,
            reused: false,
            warm: None,
            renamed: Vec::new(),
            data_images: pieces.data.iter().map(DataImage::new).collect(),
            stages: Stages::default(),
            memory_bound: plan.map(|plan| plan.memory.total()),
            peak_memory: None,
            discarded: pieces.system.form.discarded(),
            guest: pieces.guest.clone(),
            warnings,
        }
    }

    pub(super) fn set_method(&mut self, method: Method) {
        self.register = method.by.name();
        self.register_reason = method.why;
    }

    /// Adds the objects, in the order of [`Pieces::all`]: the system's is the last.
    pub(super) fn set_sent(&mut self, sent: &[Sent]) {
        let Some((system, data)) = sent.split_last() else {
            return;
        };
        self.content.clone_from(&system.content);
        self.uploaded = Some(system.uploaded.clone());
        self.raw.clone_from(&system.raw);
        self.reused = system.reused;
        let seconds = |of: fn(&Sent) -> Duration| Stages::seconds(sent.iter().map(of).sum());
        self.stages.transfer_seconds = seconds(|sent| sent.converting);
        self.stages.complete_seconds = seconds(|sent| sent.completing);
        for (image, sent) in self.data_images.iter_mut().zip(data) {
            image.stored = Some(sent.uploaded.size);
            image.read_bytes = sent
                .content
                .as_ref()
                .map_or(0, |content| content.read_bytes);
            image.sent_bytes = sent.uploaded.sent_bytes;
            image.kept_bytes = sent.uploaded.kept_bytes;
        }
    }

    /// Adds the system's image.
    pub(super) fn set_image(&mut self, registered: &Registered) {
        self.result = match &registered.image_id {
            Some(_) if registered.already => Completion::AlreadyImported,
            Some(_) => Completion::Imported,
            None => Completion::Started,
        };
        self.job_id = registered.job_id.as_ref().map(ToString::to_string);
        self.image_id = registered.image_id.as_ref().map(ToString::to_string);
        self.status.clone_from(&registered.status);
        self.image_digest.clone_from(&registered.content_digest);
        self.firmware.clone_from(&registered.firmware);
    }

    /// The generation of a migration that was made, where no image was.
    pub fn generation(&self) -> Option<u32> {
        self.warm.as_ref()?.number
    }

    /// In words what was there before, when this import has changed nothing.
    pub fn nothing_done(&self) -> Option<String> {
        let status = self.status.as_deref().unwrap_or("there");
        match (self.result, &self.image_id) {
            (Completion::AlreadyImported, Some(id)) => Some(format!(
                "already imported: image {id} is {status}, created from this disk"
            )),
            (Completion::Skipped, Some(id)) => Some(format!(
                "image {id} already has the name {:?} and is {status}; it was not \
                 compared with the disk",
                self.name
            )),
            (Completion::Skipped, None) => Some(format!(
                "object {}:{} already exists; it was not compared with the disk",
                self.bucket, self.key
            )),
            _ => None,
        }
    }

    /// The import was skipped because of what exists.
    pub(super) fn set_skipped(&mut self, skipped: Skipped) {
        self.result = Completion::Skipped;
        if let Skipped::Image(image) = skipped {
            self.status = Some(image.status.as_str().to_owned());
            self.image_id = Some(image.id.to_string());
        }
    }

    /// Rejects an image that is not active, or does not hold what was read, as far as that and the
    /// service can tell.
    pub(super) fn check_image(&self, image: &Registered, digest: Option<&ContentDigest>) -> Result {
        let failure = match image.image() {
            Some((id, status)) if status != "active" => Failure::new(
                Class::Cloud,
                format!("the job succeeded, but image {id} is {status}, expected active"),
            ),
            _ => match (&image.content_digest, digest) {
                (Some(found), Some(digest)) if *found != digest.to_string() => Failure::new(
                    Class::Mismatch,
                    format!("the active image has content digest {found}, the source has {digest}"),
                ),
                _ => return Ok(()),
            },
        };
        Err(failure.data("import", self))
    }
}

impl DataImage {
    pub(super) fn new(piece: &Piece) -> Self {
        Self {
            source: piece.disk.to_string(),
            name: piece.request.name.clone(),
            bucket: piece.request.image_url.bucket.clone(),
            key: piece.request.image_url.key.clone(),
            min_disk: piece.request.min_disk,
            size: piece.size,
            stored: None,
            read_bytes: 0,
            sent_bytes: 0,
            kept_bytes: 0,
            image_id: None,
            status: None,
        }
    }
}

/// The process's peak resident memory in bytes, where the system reports it.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_peak_is_at_least_what_is_in_use() {
        let ballast = vec![1_u8; 64 << 20];
        let peak = peak_memory().unwrap();
        assert!(peak > ballast.iter().map(|b| u64::from(*b)).sum());
    }
}
