//! What an import job does with the object: checks it, opens it, and reads all of it.

mod raw;

use std::error::Error as StdError;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use convert::{CancelToken, VoidMonitor};
use diskimg::{
    CheckReport, FileOffset, FileSource, Format, OpenOptions, Probe, ReadAt, Severity,
    SourceExtent, open_source,
};

use crate::images::{Examined, JobFailure};

/// Broken rules that a failure lists; it tells how many there are.
const LISTED: usize = 3;

/// How an examination ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The object is a disk image and was read to its end.
    Good(Examined),
    /// It is not, or not one that was asked for.
    Failed(JobFailure),
    /// The sandbox stops.
    Cancelled,
}

/// Told how much is done, 0 to 1, from any thread.
pub(crate) type Progress = Box<dyn Fn(f64) + Send + Sync>;

/// The key of the bitmap that a raw object needs; `None` when `key` is no raw object's.
pub(crate) fn bitmap_key(key: &str) -> Option<String> {
    Some(format!("{}.mf", key.strip_suffix(".raw")?))
}

/// Examines the object in the file `path`, which a client knows as `name`. Blocks until done.
///
/// The disk inside must fit into `min_disk` GiB. With a `bitmap` the object is raw.
pub(crate) fn examine(
    path: &Path,
    bitmap: Option<&Path>,
    name: &str,
    min_disk: u64,
    progress: Progress,
    cancel: &CancelToken,
) -> Outcome {
    match read(path, bitmap, min_disk, progress, cancel) {
        Ok(examined) => Outcome::Good(examined),
        Err(_) if cancel.is_cancelled() => Outcome::Cancelled,
        Err(failure) => Outcome::Failed(JobFailure {
            // Where the sandbox has the file means nothing to a client.
            reason: failure.reason.replace(&path.display().to_string(), name),
            ..failure
        }),
    }
}

fn read(
    path: &Path,
    bitmap: Option<&Path>,
    min_disk: u64,
    progress: Progress,
    cancel: &CancelToken,
) -> Result<Examined, JobFailure> {
    let unreadable = |error: diskimg::Error| failure("IMG.0057", chain(&error));
    let damaged = |error: &dyn StdError| failure("IMG.1075", chain(error));
    // Opened once: whatever happens to the object meanwhile, this is the same file throughout.
    let source = Arc::new(Watched {
        file: FileSource::open(path).map_err(unreadable)?,
        read: AtomicU64::new(0),
        progress,
    });
    if let (Some(bitmap), false) = (bitmap, is_zvhd2(source.as_ref())) {
        return raw::read(source, bitmap, min_disk, cancel);
    }
    check_format(source.as_ref())?;
    let report = zvhd2::check(source.as_ref(), &|| cancel.is_cancelled()).map_err(unreadable)?;
    if !report.is_sound() {
        return Err(failure("IMG.1075", broken_rules(&report)));
    }
    let format = OpenOptions::of(Some(Format::Zvhd2));
    let opened = open_source(source, &format, &zvhd2::DRIVERS).map_err(|error| damaged(&error))?;
    let virtual_size = opened.image.virtual_size();
    check_size(virtual_size, min_disk)?;
    let threads = crate::memory::job_threads();
    let digest = convert::digest(opened.image.as_ref(), threads, &VoidMonitor, cancel)
        .map_err(|error| damaged(&error))?;
    Ok(Examined {
        virtual_size,
        content_digest: digest.to_string(),
        // Quick import takes a disk as it is.
        system: None,
    })
}

fn check_size(virtual_size: u64, min_disk: u64) -> Result<(), JobFailure> {
    if virtual_size <= min_disk.saturating_mul(1 << 30) {
        return Ok(());
    }
    Err(failure(
        "IMG.0055",
        format!(
            "the disk in the image file has {virtual_size} bytes, which is more than min_disk \
             ({min_disk} GiB)"
        ),
    ))
}

fn is_zvhd2(source: &dyn ReadAt) -> bool {
    Probe::read(source).is_ok_and(|probe| {
        zvhd2::DRIVERS
            .iter()
            .any(|driver| driver.format == Format::Zvhd2 && (driver.claims)(&probe))
    })
}

fn check_format(source: &dyn ReadAt) -> Result<(), JobFailure> {
    if is_zvhd2(source) {
        return Ok(());
    }
    Err(failure(
        "IMG.0158",
        "the image file is neither ZVHD2 nor a raw disk whose key ends in .raw; the sandbox \
         imports nothing else",
    ))
}

fn failure(code: &'static str, reason: impl Into<String>) -> JobFailure {
    JobFailure {
        code,
        reason: reason.into(),
    }
}

fn broken_rules(report: &CheckReport) -> String {
    let mut text = format!("broken rules of ZVHD2: {}", report.errors);
    let errors = report
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error);
    for finding in errors.take(LISTED) {
        text.push_str(&format!(
            "; {}: {} at byte {} ({})",
            finding.structure,
            finding.message,
            finding.offset.unwrap_or_default(),
            finding.rule
        ));
    }
    text
}

/// A file whose reading is watched. It has no path, so errors name none.
struct Watched {
    file: FileSource,
    /// Bytes.
    read: AtomicU64,
    progress: Progress,
}

impl ReadAt for Watched {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn stored_len(&self) -> u64 {
        self.file.stored_len()
    }

    fn extent_at(&self, at: FileOffset, limit: u64) -> diskimg::Result<SourceExtent> {
        self.file.extent_at(at, limit)
    }

    fn read_exact_at(&self, at: FileOffset, buf: &mut [u8]) -> diskimg::Result<()> {
        self.file.read_exact_at(at, buf)?;
        let more = u64::try_from(buf.len()).unwrap_or(u64::MAX);
        let read = self.read.fetch_add(more, Ordering::Relaxed);
        // The file is read twice, by the checker and for the digest. Thousandths first: they are
        // exact.
        let thousandths = u128::from(read)
            .saturating_mul(500)
            .checked_div(u128::from(self.file.len()))
            .and_then(|thousandths| u16::try_from(thousandths).ok())
            .map_or(1000, |thousandths| thousandths.min(1000));
        (self.progress)(f64::from(thousandths) / 1000.0);
        Ok(())
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
