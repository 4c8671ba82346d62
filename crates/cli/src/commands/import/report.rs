//! What an import came to, for people and as JSON.

use std::fmt;
use std::time::Duration;

use ::convert::{ContentDigest, Level, Levels, Plan};
use diskimg::text::escaped;
use diskimg::units::human;
use ims::QuickImport;
use obs::Uploaded;
use serde::Serialize;

use super::method::Chosen;
use super::raw::RawTransferred;
use super::register::Registered;
use super::upload::Transferred;
use crate::args::ImportArgs;
use crate::console::Console;
use crate::exit::Outcome;

/// Seconds that each stage took.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Stages {
    /// Opening, planning, and asking the cloud.
    pub(crate) check_seconds: f64,
    /// Converting, uploading at the same time.
    pub(crate) transfer_seconds: f64,
    /// The last parts, joining them, and verifying the object.
    pub(crate) complete_seconds: f64,
    /// From the registration to the end of its job.
    pub(crate) register_seconds: f64,
}

impl Stages {
    pub(crate) fn seconds(duration: Duration) -> f64 {
        (duration.as_secs_f64() * 1000.0).round() / 1000.0
    }
}

/// What an import was asked for.
pub(super) struct Facts<'a> {
    pub(super) args: &'a ImportArgs,
    pub(super) chosen: Chosen,
    pub(super) request: &'a QuickImport,
    pub(super) plan: &'a Plan,
}

impl Facts<'_> {
    /// The result, as far as object and image tell it.
    pub(super) fn imported(&self, transferred: Transferred, registered: Registered) -> Imported {
        let (target, content) = (&self.request.image_url, transferred.content);
        Imported {
            source: self.args.disk.display().to_string(),
            name: self.args.name.clone(),
            register: self.chosen.register,
            register_reason: self.chosen.why,
            bucket: target.bucket.clone(),
            key: target.key.clone(),
            job_id: registered.job_id.as_ref().map(ToString::to_string),
            image_id: registered.image_id.as_ref().map(ToString::to_string),
            status: registered.status,
            min_disk: self.request.min_disk,
            virtual_size: content.virtual_size,
            digest: content.digest,
            image_digest: registered.content_digest,
            read_bytes: content.read_bytes,
            skipped_bytes: content.skipped_bytes,
            kept_bytes: content.kept_bytes,
            zero_bytes: content.zero_bytes,
            level: self.plan.level,
            levels: content.levels,
            uploaded: transferred.uploaded,
            raw: transferred.raw,
            reused: false,
            stages: Stages::default(),
            memory_bound: self.plan.memory.total(),
            peak_memory: peak_memory(),
            warnings: Vec::new(),
        }
    }
}

/// The result of an import.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Imported {
    pub(crate) source: String,
    pub(crate) name: String,
    /// How it is registered, as `--register` names it, and why so.
    pub(crate) register: &'static str,
    pub(crate) register_reason: &'static str,
    pub(crate) bucket: String,
    pub(crate) key: String,
    /// The job that registers the image; `None` when an earlier run started it and could not note
    /// it.
    pub(crate) job_id: Option<String>,
    /// The image; `None` when its job was not waited for.
    pub(crate) image_id: Option<String>,
    /// As the service tells it.
    pub(crate) status: Option<String>,
    /// Smallest disk, in GiB.
    pub(crate) min_disk: u32,
    /// Bytes of the disk that the guest sees.
    pub(crate) virtual_size: u64,
    /// Content digest of what was read from the source.
    pub(crate) digest: ContentDigest,
    /// Content digest of the active image, where the service tells it (the sandbox does).
    pub(crate) image_digest: Option<String>,
    /// Bytes read from the source as guest data.
    pub(crate) read_bytes: u64,
    /// Bytes never read, because the source's metadata says that they are zero.
    pub(crate) skipped_bytes: u64,
    /// Bytes of the disk that an earlier, interrupted run has dealt with.
    pub(crate) kept_bytes: u64,
    /// Bytes read that turned out to be zero.
    pub(crate) zero_bytes: u64,
    /// The zstd level, as planned; none where nothing is compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) level: Option<Level>,
    /// How many blocks have which level, those of an earlier run too.
    #[serde(skip_serializing_if = "Levels::is_empty")]
    pub(crate) levels: Levels,
    /// The object.
    pub(crate) uploaded: Uploaded,
    /// What was sent and what was copied, when the object is raw; its bitmap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) raw: Option<RawTransferred>,
    /// Whether an object that was there already and holds the same disk was used instead of
    /// uploading one.
    pub(crate) reused: bool,
    pub(crate) stages: Stages,
    /// Bytes that the plan allowed to be held in memory.
    pub(crate) memory_bound: u64,
    /// Most bytes that the process held at any time, where the system tells it.
    pub(crate) peak_memory: Option<u64>,
    pub(crate) warnings: Vec<String>,
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.image_id, &self.status) {
            (Some(id), Some(status)) => writeln!(f, "image {id} ({}) is {status}", self.name)?,
            (Some(id), None) => writeln!(f, "image {id} ({}) is registered", self.name)?,
            _ => writeln!(
                f,
                "import job {} of {} has started",
                self.job_id.as_deref().unwrap_or("-"),
                self.name
            )?,
        }
        writeln!(
            f,
            "object   {}/{}, {}",
            self.bucket,
            self.key,
            human(self.uploaded.size)
        )?;
        writeln!(f, "digest   {}", self.digest)?;
        if self.image_digest.is_some() {
            writeln!(f, "         the active image has the same")?;
        }
        writeln!(
            f,
            "bytes    {} read, {} skipped, {} found zero, {} uploaded in {} parts{}",
            human(self.read_bytes),
            human(self.skipped_bytes),
            human(self.zero_bytes),
            human(self.uploaded.sent_bytes),
            self.uploaded.parts,
            match self.uploaded.retries {
                0 => String::new(),
                n => format!(", {n} sent again"),
            }
        )?;
        if self.uploaded.kept_bytes > 0 {
            writeln!(
                f,
                "         {} were stored by an earlier run",
                human(self.uploaded.kept_bytes)
            )?;
        }
        if self.level == Some(Level::Auto) && !self.levels.is_empty() {
            writeln!(f, "level    auto: {}", self.levels)?;
        }
        if let Some(raw) = &self.raw {
            raw.fmt(f)?;
        }
        let stages = &self.stages;
        writeln!(
            f,
            "time     check {:.1} s, convert and upload {:.1} s, complete {:.1} s, register {:.1} s",
            stages.check_seconds,
            stages.transfer_seconds,
            stages.complete_seconds,
            stages.register_seconds
        )?;
        write!(f, "memory   at most {} planned", human(self.memory_bound))?;
        if let Some(peak) = self.peak_memory {
            write!(f, ", {} used", human(peak))?;
        }
        Ok(())
    }
}

/// What would be done.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DryRun {
    pub(crate) source: String,
    pub(crate) name: String,
    /// How it is registered, as `--register` names it, and why so.
    pub(crate) register: &'static str,
    pub(crate) register_reason: &'static str,
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) min_disk: u32,
    pub(crate) region: String,
    pub(crate) plan: Plan,
    pub(crate) warnings: Vec<String>,
}

impl fmt::Display for DryRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "would import {} as {} in {}, through {}/{}, min_disk {} GiB\nand register by --register {}: {}\n{}\nnothing speaks against it; nothing was changed",
            escaped(&self.source, |_| false),
            self.name,
            self.region,
            self.bucket,
            self.key,
            self.min_disk,
            self.register,
            self.register_reason,
            self.plan
        )
    }
}

/// A result without a type of its own: its text, and its JSON form.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) text: String,
    pub(crate) told: serde_json::Value,
}

/// How an import ended that did not fail.
#[derive(Debug)]
pub(crate) enum Ended {
    DryRun(Box<DryRun>),
    Imported(Box<Imported>),
    /// Uploaded and not registered, or imported by a way that has its own report.
    Told(Box<Told>),
}

impl Ended {
    /// Writes the result of a command that was this import alone.
    pub(crate) fn tell(&self, console: Console) -> Outcome {
        match self {
            Self::DryRun(dry_run) => console.result(dry_run, dry_run),
            Self::Imported(imported) => console.result(imported, imported),
            Self::Told(told) => console.result(&told.text, &told.told),
        }
    }

    /// The JSON form.
    pub(crate) fn json(&self) -> serde_json::Value {
        let value = match self {
            Self::DryRun(dry_run) => serde_json::to_value(dry_run),
            Self::Imported(imported) => serde_json::to_value(imported),
            Self::Told(told) => return told.told.clone(),
        };
        value.unwrap_or_default()
    }
}

/// The process's peak resident memory in bytes, where the system tells it.
pub(crate) fn peak_memory() -> Option<u64> {
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
