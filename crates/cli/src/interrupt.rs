//! SIGINT, SIGTERM and SIGHUP: the first asks every stage to stop, a later one ends the program at
//! once.
//!
//! SIGINT and SIGHUP stay ignored if they were when the program started: that is how `nohup`, and a
//! shell that puts a job into the background without job control, keep it running.

use std::io;
use std::time::Duration;

use convert::CancelToken;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::console::Console;
use crate::exit::{Exit, Failure};

/// Signals within this time after the first are the same request.
const ONE_REQUEST: Duration = Duration::from_secs(1);

/// SIGXFSZ, sent to who writes beyond `ulimit -f`.
const XFSZ: i32 = 25;

/// Whether the user asked to stop: for threads to look at, and for tasks to wait on.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    cancel: CancelToken,
    asked: CancellationToken,
}

impl Interrupt {
    /// Listens for the rest of the program's life. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the system lets no handler be installed.
    pub(crate) fn listen(console: Console) -> io::Result<Self> {
        let ignored = Ignored::at_start();
        let unless_ignored = |kind: SignalKind| match ignored.has(kind) {
            true => Ok(None),
            false => signal(kind).map(Some),
        };
        let mut signals = Signals {
            interrupt: unless_ignored(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: unless_ignored(SignalKind::hangup())?,
        };
        // A file that may not grow is an error of writing it, and must not kill whoever would clean
        // up.
        drop(signal(SignalKind::from_raw(XFSZ))?);
        let this = Self {
            cancel: CancelToken::new(),
            asked: CancellationToken::new(),
        };
        let listener = this.clone();
        tokio::spawn(async move {
            signals.any().await;
            listener.stop();
            console.notice("stopping; once more ends at once");
            // Whoever stops a process group, as `timeout` does, signals twice and means it once.
            let calm = tokio::time::Instant::now() + ONE_REQUEST;
            while tokio::time::timeout_at(calm, signals.any()).await.is_ok() {}
            signals.any().await;
            // Nothing may delay the end that was asked for twice, not even cleaning up.
            std::process::exit(Exit::Interrupted as i32);
        });
        Ok(this)
    }

    /// One that is asked to stop with this one, or alone by [`Interrupt::stop`], which must be
    /// called at the end in any case.
    pub(crate) fn child(&self) -> Self {
        let child = Self {
            cancel: CancelToken::new(),
            asked: self.asked.child_token(),
        };
        let (asked, cancel) = (child.asked.clone(), child.cancel.clone());
        tokio::spawn(async move {
            asked.cancelled().await;
            cancel.cancel();
        });
        child
    }

    /// Asks every stage to stop.
    pub(crate) fn stop(&self) {
        self.cancel.cancel();
        self.asked.cancel();
    }

    /// Whether somebody has asked.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.is_cancelled()
    }

    /// For the synchronous stages.
    pub(crate) fn token(&self) -> &CancelToken {
        &self.cancel
    }

    /// Ends when the user asks to stop.
    pub(crate) async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// Runs `task` unless the user asks to stop first; it is dropped then.
    ///
    /// # Errors
    /// A failure with [`Exit::Interrupted`].
    pub(crate) async fn unless_asked<T>(
        &self,
        task: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.asked() => Err(interrupted()),
            value = task => Ok(value),
        }
    }
}

/// The failure of a run that the user stopped.
pub(crate) fn interrupted() -> Failure {
    Failure::new(Exit::Interrupted, "stopped on request")
}

/// Signals that this process ignores, as the kernel shows them: one bit each, from signal 1 on.
struct Ignored(u64);

impl Ignored {
    /// Those that it inherited. To be asked before handlers are installed; where there is no
    /// `/proc`, there are none.
    fn at_start() -> Self {
        let status = std::fs::read_to_string("/proc/self/status");
        Self(
            status
                .ok()
                .and_then(|text| parse_ignored(&text))
                .unwrap_or(0),
        )
    }

    fn has(&self, kind: SignalKind) -> bool {
        let bit = u32::try_from(kind.as_raw_value() - 1).ok();
        bit.and_then(|bit| self.0.checked_shr(bit))
            .is_some_and(|bits| bits & 1 == 1)
    }
}

fn parse_ignored(status: &str) -> Option<u64> {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

struct Signals {
    interrupt: Option<Signal>,
    terminate: Signal,
    hangup: Option<Signal>,
}

/// The next of `signal`; never, if it is ignored.
async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

impl Signals {
    async fn any(&mut self) {
        tokio::select! {
            () = next(&mut self.interrupt) => {}
            _ = self.terminate.recv() => {}
            () = next(&mut self.hangup) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_kernels_mask() {
        let status = "Name:\tx\nSigBlk:\t0000000000000003\nSigIgn:\t0000000000001001\n";
        let ignored = Ignored(parse_ignored(status).unwrap());
        assert!(ignored.has(SignalKind::hangup()));
        assert!(!ignored.has(SignalKind::interrupt()));
        assert_eq!(parse_ignored("Name:\tx\n"), None);
        assert_eq!(parse_ignored("SigIgn:\tx\n"), None);
    }
}
