//! Whether a claim was renewed within its lease: by reading it again, and nothing else.
//!
//! What a listing says besides names is not looked at. Some storages leave ETags out of it, some do
//! not change them, and times are those of a clock that somebody may set.

use std::collections::HashMap;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::Listing;

/// SHA-256 of an object's content.
pub(super) type Content = [u8; 32];

/// By which two states of an object are compared.
pub(super) fn content_of(body: &[u8]) -> Content {
    Sha256::digest(body).into()
}

/// What one worker saw of an item's directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch(HashMap<String, Watched>);

#[derive(Clone, Debug)]
struct Watched {
    content: Content,
    /// When the first answer with this content had arrived.
    since: Duration,
    /// When the last one was asked for.
    until: Duration,
    /// How long it counts unchanged.
    lease: Duration,
}

impl Watch {
    /// Forgets objects that are not there any more.
    pub(super) fn keep(&mut self, listing: &Listing) {
        self.0.retain(|name, _| listing.names.contains(name));
    }

    /// Takes in the content of an object, which was asked for at `asked` and had arrived at `now`.
    pub(super) fn see(
        &mut self,
        name: &str,
        body: &[u8],
        lease: Duration,
        (asked, now): (Duration, Duration),
    ) {
        let content = content_of(body);
        let same = self
            .0
            .get(name)
            .filter(|watched| watched.content == content);
        let watched = Watched {
            content,
            since: same.map_or(now, |watched| watched.since),
            until: asked,
            lease,
        };
        self.0.insert(name.to_owned(), watched);
    }

    /// What was read of the object last.
    pub(super) fn content(&self, name: &str) -> Option<Content> {
        self.0.get(name).map(|watched| watched.content)
    }

    /// How long the object counts yet; `None` when its worker is dead. One that was never read
    /// counts for `lease`.
    pub(super) fn remaining(&self, name: &str, lease: Duration) -> Option<Duration> {
        let remaining = match self.0.get(name) {
            None => lease,
            Some(watched) => {
                let unchanged = watched.until.saturating_sub(watched.since);
                watched.lease.saturating_sub(unchanged)
            }
        };
        Some(remaining).filter(|remaining| !remaining.is_zero())
    }
}
