//! How long a batch may take: a few blocks of real data are converted in memory, and the rest is
//! reckoned from them.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use convert::monitor::CountingMonitor;
use convert::{CancelToken, Counter, Error, PlanOptions, Sink, SinkError, SinkMemory, Target};
use serde::Serialize;

use crate::check::{Checked, Verdict};
use crate::setup::Setup;
use cloud::Result;
use import::{Action, ImportSpec, Silent, SourceDisk, identity, with_holes, without_free};

/// How long the measurement may take.
const MOST: Duration = Duration::from_millis(1500);

/// What was measured, and what follows.
#[derive(Clone, Debug, Serialize)]
pub struct Estimate {
    /// The disk that was measured.
    pub measured: String,
    /// Bytes of it that were read and converted.
    pub measured_bytes: u64,
    /// Bytes of disks per second, with all threads.
    pub bytes_per_second: u64,
    /// Bytes sent for each byte read.
    pub ratio: f64,
    /// Bytes that would be sent.
    pub sent_bytes: u64,
    /// For converting everything.
    pub convert_seconds: f64,
    /// For sending it at the rate limit; `None` without a limit, when the line decides.
    pub send_seconds: Option<f64>,
    /// The longer of the two.
    pub seconds: f64,
}

/// Swallows a stream.
struct Void;

impl Sink for Void {
    fn write(&mut self, _: &[u8]) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Measures the largest disk that is to be converted; `None` when there is none, or it cannot be
/// read: the run finds out why.
pub(crate) async fn estimate(setup: &Setup, checked: &[Checked]) -> Result<Option<Estimate>> {
    let converted = || checked.iter().filter_map(Converted::of);
    let Some(largest) = converted().max_by_key(|disk| disk.bytes) else {
        return Ok(None);
    };
    if largest.bytes == 0 {
        return Ok(None);
    }
    let measured = measure(setup, &largest.spec()).await?;
    let total = converted().fold(0_u64, |sum, disk| sum.saturating_add(disk.bytes));
    let limit = setup.spec.rate_limit().map(NonZeroU64::get);
    Ok(measured.map(|measured| measured.extrapolated(largest.id, total, limit)))
}

/// A disk that is read and converted.
struct Converted<'a> {
    id: &'a str,
    spec: &'a ImportSpec,
    disk: &'a SourceDisk,
    /// Bytes that are read.
    bytes: u64,
}

impl<'a> Converted<'a> {
    fn of(checked: &'a Checked) -> Option<Self> {
        let Verdict::Ready(ready) = &checked.verdict else {
            return None;
        };
        let planned = ready.planned.as_ref()?;
        let reads = matches!(
            planned.action,
            Action::Upload | Action::Adopt | Action::Resume
        );
        (reads && planned.plan.is_some()).then(|| Self {
            id: &checked.item.id,
            spec: &ready.spec,
            disk: &planned.disk,
            bytes: planned.data_bytes(),
        })
    }

    /// The import of the system's disk.
    fn spec(&self) -> ImportSpec {
        ImportSpec {
            disk: self.disk.clone(),
            ..self.spec.clone()
        }
    }
}

/// What was converted in memory.
struct Measured {
    read: u64,
    written: u64,
    took: Duration,
}

impl Measured {
    /// What follows for `total` bytes, of which `limit` are sent in a second.
    fn extrapolated(&self, id: &str, total: u64, limit: Option<u64>) -> Estimate {
        let per_second = self.read as f64 / self.took.as_secs_f64().max(1e-6);
        let ratio = (self.written as f64 / self.read as f64).min(1.0);
        let convert_seconds = total as f64 / per_second;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an estimate of something that is not negative"
        )]
        let (bytes_per_second, sent_bytes) = (per_second as u64, (total as f64 * ratio) as u64);
        let send_seconds = limit.map(|limit| sent_bytes as f64 / limit as f64);
        Estimate {
            measured: id.to_owned(),
            measured_bytes: self.read,
            bytes_per_second,
            ratio,
            sent_bytes,
            convert_seconds,
            send_seconds,
            seconds: convert_seconds.max(send_seconds.unwrap_or_default()),
        }
    }
}

/// Converts a disk in memory, for as long as a measurement may take.
async fn measure(setup: &Setup, spec: &ImportSpec) -> Result<Option<Measured>> {
    let memory = PlanOptions {
        threads: Some(setup.width.all_threads),
        level: spec.work.level,
        memory: Some(setup.budget.for_disks()),
        upload_memory: SinkMemory::default(),
        reserved_memory: 0,
        program_memory: 0,
    };
    let cancel = CancelToken::new();
    let counts = Arc::new(CountingMonitor::default());
    let converting = tokio::task::spawn_blocking({
        let (spec, cancel, counts) = (spec.clone(), cancel.clone(), Arc::clone(&counts));
        move || convert_in_memory(&spec, &memory, &counts, &cancel)
    });
    tokio::pin!(converting);
    let took = tokio::select! {
        took = &mut converting => took,
        () = tokio::time::sleep(MOST) => {
            cancel.cancel();
            converting.await
        }
        () = setup.cx.stop.asked() => {
            cancel.cancel();
            let _ = converting.await;
            return Err(cloud::stopped());
        }
    };
    let Ok(Ok(took)) = took else {
        return Ok(None);
    };
    let read = counts.get(Counter::ReadBytes);
    Ok((read > 0).then(|| Measured {
        read,
        written: counts.get(Counter::WrittenBytes),
        took,
    }))
}

/// How long it took until the end, or until it was cancelled.
fn convert_in_memory(
    spec: &ImportSpec,
    memory: &PlanOptions,
    counts: &CountingMonitor,
    cancel: &CancelToken,
) -> Result<Duration> {
    let opened = ::import::open_disk(&spec.disk, &spec.open, cancel)?;
    let (image, _) = with_holes(opened.image, spec.verify_holes);
    let (image, _) = without_free(image, &spec.disk.path, spec.discard_free, &Silent, cancel)?;
    let plan = convert::plan(image.as_ref(), Target::Zvhd2, memory)?;
    let began = Instant::now();
    match convert::to_zvhd2(image.as_ref(), &plan, identity(), &mut Void, counts, cancel) {
        Ok(_) | Err(Error::Cancelled) => Ok(began.elapsed()),
        Err(error) => Err(error.into()),
    }
}
