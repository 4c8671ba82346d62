//! A claim that was won, and how long it is.

use std::collections::BTreeMap;
use std::time::Duration;

use super::liveness::{Content, content_of};
use super::{Claim, DONE, Listing, Timing, candidate_lease, generation};

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
    /// What was there when it was won, and what this worker had read of it.
    before: BTreeMap<String, Option<Content>>,
}

impl Lease {
    pub(super) fn new(
        name: String,
        claim: Claim,
        timing: Timing,
        since: Duration,
        before: BTreeMap<String, Option<Content>>,
    ) -> Self {
        Self {
            name,
            claim,
            timing,
            since,
            sent: None,
            lost: false,
            before,
        }
    }

    /// The object's name in the item's directory; to be deleted when the item is done.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When the next renewal is due: the first at once, because it tells others that the item was
    /// won.
    #[must_use]
    pub fn renew_at(&self) -> Duration {
        if self.claim.beat == 0 {
            return self.since;
        }
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

    /// Objects whose workers may have taken the item over, for [`Lease::yields_to`]. To be asked
    /// with a directory that was listed after a renewal: who took this worker for dead before it,
    /// is there.
    #[must_use]
    pub fn rivals<'a>(&self, listing: &'a Listing) -> Vec<&'a str> {
        let own = generation(&self.name);
        let may = |name: &&String| match (generation(name), own) {
            (Some(other), Some(own)) => other > own,
            // A candidate that was taken for dead may have woken up.
            _ if candidate_lease(name).is_some() => **name != self.name,
            (other, _) => (other.is_some() || *name == DONE) && !self.before.contains_key(*name),
        };
        let names = listing.names.iter().filter(may);
        names.map(String::as_str).collect()
    }

    /// Whether the item is another worker's, now that `rival` is there with this content.
    #[must_use]
    pub fn yields_to(&self, rival: &str, body: &[u8]) -> bool {
        // A candidate may only stand yet. One that was renewed has won, unless it died long ago.
        match candidate_lease(rival) {
            Some(_) => {
                let known = self.before.get(rival).copied().flatten();
                Claim::parse(body).is_some_and(|claim| claim.beat > 0)
                    && known != Some(content_of(body))
            }
            None => true,
        }
    }

    /// The item is another worker's: the claim is not held any more.
    pub fn lose(&mut self) {
        self.lost = true;
    }

    /// The object to store in its place when the item is left to others; `None` for a candidate,
    /// which is deleted.
    #[must_use]
    pub fn released(&self) -> Option<Vec<u8>> {
        generation(&self.name).map(|_| self.claim.clone().released().body())
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

    /// The object is stored. Whether the claim is held: an answer that comes after its end is too
    /// late, another worker may have the item by then.
    pub fn renewed(&mut self, now: Duration) -> bool {
        if !self.is_held(now) {
            self.lost = true;
        } else if let Some(sent) = self.sent.take() {
            self.since = sent;
        }
        self.is_held(now)
    }
}
