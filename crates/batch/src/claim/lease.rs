//! A claim that was won, and how long it is.

use std::time::Duration;

use super::{Claim, Timing};

/// A won claim. Times are of the worker's monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    name: String,
    claim: Claim,
    timing: Timing,
    /// When the last renewal that succeeded was sent.
    since: Duration,
    /// When the one that is on its way was sent.
    sent: Option<Duration>,
    lost: bool,
}

impl Lease {
    pub(super) fn new(name: String, claim: Claim, timing: Timing, since: Duration) -> Self {
        Self {
            name,
            claim,
            timing,
            since,
            sent: None,
            lost: false,
        }
    }

    /// The object's name in the item's directory; to be deleted when the item is given up.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When the next renewal is due.
    #[must_use]
    pub fn renew_at(&self) -> Duration {
        self.since.saturating_add(self.timing.heartbeat())
    }

    /// When the claim ends if nothing renews it.
    #[must_use]
    pub fn ends_at(&self) -> Duration {
        self.since.saturating_add(self.timing.held())
    }

    /// Whether the item is this worker's. To be asked before every step that cannot be undone.
    #[must_use]
    pub fn is_held(&self, now: Duration) -> bool {
        !self.lost && now < self.ends_at()
    }

    /// The object to store now, whatever stands there; `None` when the claim is lost.
    pub fn renew(&mut self, now: Duration) -> Option<(String, Vec<u8>)> {
        if !self.is_held(now) {
            self.lost = true;
            return None;
        }
        self.claim.beat = self.claim.beat.saturating_add(1);
        self.sent = Some(now);
        Some((self.name.clone(), self.claim.body()))
    }

    /// The object is stored. Whether the claim is held: an answer that comes after its end is too late,
    /// another worker may have the item by then.
    pub fn renewed(&mut self, now: Duration) -> bool {
        if !self.is_held(now) {
            self.lost = true;
        } else if let Some(sent) = self.sent.take() {
            self.since = sent;
        }
        self.is_held(now)
    }
}
