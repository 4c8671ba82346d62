//! Whether an object was renewed within its lease, by the storage's clock or by watching it.

use std::collections::HashMap;
use std::time::Duration;

use super::{Listing, Seen};

/// Seconds by which two times of a storage may differ more than they say: they are cut to seconds.
const GRAIN: u64 = 1;

/// What one worker saw of an item's directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch(HashMap<String, Watched>);

#[derive(Clone, Debug)]
struct Watched {
    etag: String,
    /// When the first listing with this etag had arrived.
    since: Duration,
    /// When the last one was asked for.
    until: Duration,
}

impl Watch {
    /// Takes a listing in that was asked for at `asked` and had arrived at `now`.
    pub(super) fn see(&mut self, listing: &Listing, asked: Duration, now: Duration) {
        let known = std::mem::take(&mut self.0);
        for object in &listing.objects {
            let same = known
                .get(&object.name)
                .filter(|watched| watched.etag == object.etag);
            let watched = Watched {
                etag: object.etag.clone(),
                since: same.map_or(now, |watched| watched.since),
                until: asked,
            };
            self.0.insert(object.name.clone(), watched);
        }
    }

    /// How long the object counts yet; `None` when its worker is dead.
    pub(super) fn remaining(
        &self,
        object: &Seen,
        lease: Duration,
        now: Option<u64>,
    ) -> Option<Duration> {
        let watched = self
            .0
            .get(&object.name)
            .map(|watched| watched.until.saturating_sub(watched.since))
            .unwrap_or_default();
        let by_watching = lease.saturating_sub(watched);
        let by_clock = match (object.modified, now) {
            (Some(modified), Some(now)) => {
                let age = now.saturating_sub(modified).saturating_sub(GRAIN);
                lease.saturating_sub(Duration::from_secs(age))
            }
            _ => lease,
        };
        Some(by_watching.min(by_clock)).filter(|remaining| !remaining.is_zero())
    }
}
