//! SIGINT, SIGTERM and SIGHUP: the first asks every stage to stop, a later one ends the program at once.

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
        let mut signals = Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        };
        // A file that may not grow is an error of writing it, and must not kill whoever would clean up.
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

    /// One that is asked to stop with this one, or alone by [`Interrupt::stop`], which must be called at
    /// the end in any case.
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

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
