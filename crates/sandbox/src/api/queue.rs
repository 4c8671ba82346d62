//! The turns of jobs: at most two at a time, on threads that may block.

use std::sync::Arc;
use std::time::Duration;

use convert::CancelToken;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Jobs that read at the same time; each keeps the machine's cores busy.
const AT_A_TIME: usize = 2;

/// How long a stop waits for jobs to notice it. They check once per block of 2 MiB.
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

    /// Starts `job` after `delay`, when it has its turn.
    pub(super) fn start(&self, delay: Duration, job: impl FnOnce() + Send + 'static) {
        let turns = Arc::clone(&self.turns);
        let stop = self.stop.clone();
        let work = async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let Ok(turn) = turns.acquire_owned().await else {
                return;
            };
            let ended = tokio::task::spawn_blocking(move || {
                job();
                drop(turn);
            })
            .await;
            if let Err(error) = ended {
                tracing::error!("an import job ended badly: {error}");
            }
        };
        let mut running = self.running.lock();
        while running.try_join_next().is_some() {}
        running.spawn(async move {
            // A job that has begun to read is stopped by the token and keeps its turn until it
            // ends; the rest can be dropped.
            tokio::select! {
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// Waits for running jobs after a stop request. Unfinished jobs run again at the next start.
    pub(crate) async fn stopped(&self) {
        let turns = u32::try_from(AT_A_TIME).unwrap_or(u32::MAX);
        let idle = self.turns.acquire_many(turns);
        if tokio::time::timeout(GRACE, idle).await.is_err() {
            tracing::warn!("import jobs were still running after {GRACE:?}");
        }
    }
}
