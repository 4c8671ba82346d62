//! SIGINT and SIGTERM: the first asks every stage to stop, the second ends the program at once.

use std::io;

use convert::CancelToken;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::console::Console;
use crate::exit::{Exit, Failure};

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
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let this = Self {
            cancel: CancelToken::new(),
            asked: CancellationToken::new(),
        };
        let listener = this.clone();
        tokio::spawn(async move {
            either(&mut interrupt, &mut terminate).await;
            listener.cancel.cancel();
            listener.asked.cancel();
            console.notice("stopping; once more ends at once");
            either(&mut interrupt, &mut terminate).await;
            // Nothing may delay the end that was asked for twice, not even cleaning up.
            std::process::exit(Exit::Interrupted as i32);
        });
        Ok(this)
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

async fn either(a: &mut Signal, b: &mut Signal) {
    tokio::select! {
        _ = a.recv() => {}
        _ = b.recv() => {}
    }
}
