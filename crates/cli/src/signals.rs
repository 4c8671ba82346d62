//! SIGINT, SIGTERM and SIGHUP: the first asks every stage to stop, a later one ends the program at
//! once.
//!
//! SIGINT and SIGHUP stay ignored if they were when the program started: that is how `nohup`, and a
//! shell that puts a job into the background without job control, keep it running.

use std::io;
use std::time::Duration;

use cloud::{Class, StopToken};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::console::Console;

/// Signals within this time after the first are the same request.
const ONE_REQUEST: Duration = Duration::from_secs(1);

/// SIGXFSZ, sent to who writes beyond `ulimit -f`.
const XFSZ: i32 = 25;

/// A token that the signals of this process stop, for the rest of its life. Must be called inside a
/// tokio runtime.
///
/// # Errors
/// When the system lets no handler be installed.
#[expect(
    clippy::exit,
    reason = "the second signal ends the program wherever it is"
)]
pub(crate) fn listen(console: Console) -> io::Result<StopToken> {
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
    // A file that may not grow is an error of writing it, and must not kill a process that would
    // clean up.
    drop(signal(SignalKind::from_raw(XFSZ))?);
    let stop = StopToken::new();
    let listener = stop.clone();
    tokio::spawn(async move {
        signals.any().await;
        listener.stop();
        console.notice("stopping; interrupt again to quit immediately");
        // A tool that stops a process group, as `timeout` does, signals twice and means it once.
        let calm = tokio::time::Instant::now() + ONE_REQUEST;
        while tokio::time::timeout_at(calm, signals.any()).await.is_ok() {}
        signals.any().await;
        // Nothing may delay the end that was requested twice, not even cleaning up.
        std::process::exit(Class::Interrupted.code().into());
    });
    Ok(stop)
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
