//! The token that asks a run to stop.

use convert::CancelToken;
use tokio_util::sync::CancellationToken;

use crate::error::{Class, Failure};

/// Asks a run to stop: threads poll it, tasks wait for it.
#[derive(Clone, Debug, Default)]
pub struct StopToken {
    cancel: CancelToken,
    asked: CancellationToken,
}

impl StopToken {
    /// A token that nobody has stopped yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A token that stops with this one, or alone by [`StopToken::stop`]. Call that at the end in
    /// any case, or the task that links the two never ends. Needs a tokio runtime.
    #[must_use]
    pub fn child(&self) -> Self {
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
    pub fn stop(&self) {
        self.cancel.cancel();
        self.asked.cancel();
    }

    /// Whether a stop was requested.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked.is_cancelled()
    }

    /// The same request for synchronous stages.
    #[must_use]
    pub fn token(&self) -> &CancelToken {
        &self.cancel
    }

    /// Waits for a request to stop.
    pub async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// Runs `task` to its end, or drops it when a stop is requested.
    ///
    /// # Errors
    /// [`Class::Interrupted`] when a stop was requested first.
    pub async fn unless_asked<T>(&self, task: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.asked() => Err(stopped()),
            value = task => Ok(value),
        }
    }
}

/// The failure of a run that was asked to stop.
#[must_use]
pub fn stopped() -> Failure {
    Failure::new(Class::Interrupted, "stopped on request")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_stops_with_its_parent_and_alone_without_it() {
        let parent = StopToken::new();
        let (first, second) = (parent.child(), parent.child());
        first.stop();
        assert!(first.is_asked() && first.token().is_cancelled());
        assert!(!parent.is_asked() && !second.is_asked());
        parent.stop();
        second.asked().await;
        while !second.token().is_cancelled() {
            tokio::task::yield_now().await;
        }
        let kept = second.unless_asked(async { 1 }).await;
        assert_eq!(kept.unwrap_err().class(), Class::Interrupted);
    }
}
