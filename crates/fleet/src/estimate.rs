//! How long a batch may take: a few blocks of real data are converted in memory, and the rest is
//! reckoned from them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use convert::monitor::CountingMonitor;
use convert::{CancelToken, Counter, Error, PlanOptions, Sink, SinkError, SinkMemory, Target};
use serde::Serialize;

use crate::check::{Checked, Ready, Verdict};
use crate::setup::Setup;
use cloud::{Failure, Result};
use import::{Action, identity, with_holes};

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

pub(crate) async fn estimate(setup: &Setup, checked: &[Checked]) -> Result<Option<Estimate>> {
    let converted: Vec<(&Checked, &Ready, u64)> = checked
        .iter()
        .filter_map(|checked| {
            let Verdict::Ready(ready) = &checked.verdict else {
                return None;
            };
            let planned = ready.planned.as_ref()?;
            let reads = matches!(
                planned.action,
                Action::Upload | Action::Adopt | Action::Resume
            );
            (reads && planned.plan.is_some()).then_some((checked, &**ready, planned.data_bytes()))
        })
        .collect();
    let total = converted
        .iter()
        .fold(0_u64, |sum, (_, _, bytes)| sum.saturating_add(*bytes));
    let Some((largest, ready, _)) = converted
        .into_iter()
        .max_by_key(|(_, _, bytes)| *bytes)
        .filter(|(_, _, bytes)| *bytes > 0)
    else {
        return Ok(None);
    };
    let memory = PlanOptions {
        threads: Some(setup.width.all_threads),
        level: ready.spec.work.level,
        memory: Some(setup.budget.for_disks()),
        upload_memory: SinkMemory::default(),
        reserved_memory: 0,
        program_memory: 0,
    };
    let (disk, options, holes) = (
        ready.spec.disk.clone(),
        ready.spec.open.clone(),
        ready.spec.verify_holes,
    );
    let cancel = CancelToken::new();
    let counts = Arc::new(CountingMonitor::default());
    let measuring = tokio::task::spawn_blocking({
        let (cancel, counts) = (cancel.clone(), Arc::clone(&counts));
        move || {
            let opened = ::import::open_disk(&disk, &options)?;
            let (image, _) = with_holes(opened.image, holes);
            let plan = convert::plan(image.as_ref(), Target::Zvhd2, &memory)?;
            let began = Instant::now();
            let done = convert::to_zvhd2(
                image.as_ref(),
                &plan,
                identity(),
                &mut Void,
                counts.as_ref(),
                &cancel,
            );
            match done {
                Ok(_) | Err(Error::Cancelled) => Ok(began.elapsed()),
                Err(error) => Err(Failure::from(error)),
            }
        }
    });
    tokio::pin!(measuring);
    let measured = tokio::select! {
        measured = &mut measuring => measured,
        () = tokio::time::sleep(MOST) => {
            cancel.cancel();
            measuring.await
        }
        () = setup.cx.stop.asked() => {
            cancel.cancel();
            let _ = measuring.await;
            return Err(cloud::stopped());
        }
    };
    // A disk that cannot be read is found out by the run; there is only no estimate then.
    let Ok(Ok(took)) = measured else {
        return Ok(None);
    };
    let (read, written) = (
        counts.get(Counter::ReadBytes),
        counts.get(Counter::WrittenBytes),
    );
    if read == 0 {
        return Ok(None);
    }
    let per_second = read as f64 / took.as_secs_f64().max(1e-6);
    let ratio = (written as f64 / read as f64).min(1.0);
    let convert_seconds = total as f64 / per_second;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate of something that is not negative"
    )]
    let (bytes_per_second, sent_bytes) = (per_second as u64, (total as f64 * ratio) as u64);
    let send_seconds = setup
        .spec
        .rate_limit()
        .map(|limit| sent_bytes as f64 / limit.get() as f64);
    Ok(Some(Estimate {
        measured: largest.item.id.clone(),
        measured_bytes: read,
        bytes_per_second,
        ratio,
        sent_bytes,
        convert_seconds,
        send_seconds,
        seconds: convert_seconds.max(send_seconds.unwrap_or_default()),
    }))
}
