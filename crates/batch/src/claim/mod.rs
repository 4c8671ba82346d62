//! Which worker works on an item, when workers share a batch through a bucket alone.
//!
//! Each item has a directory of its own in the bucket, in which workers leave small objects:
//!
//! | object | who stores it | what it means |
//! |---|---|---|
//! | `g00000001` | the one whose put-if-absent succeeded | the claim; a dead worker's is followed by `g00000002` |
//! | `c.WORKER.LEASE` | every worker that wants the item | a candidate, where nothing is put only if absent |
//! | `done` | the worker that did the item | nothing is left to do |
//!
//! A claim counts as long as its worker renews it: it stores its own object again, with a counter
//! that grows. An owner holds itself to its own monotonic clock: it counts its lease from the
//! moment at which the renewal that succeeded was *sent*, and stops an eighth early. A worker that
//! looks on takes an object for dead when it has read the same content for a lease. It compares no
//! clocks, and no ETags.
//!
//! An owner also looks who else is there ([`Lease::rivals`]): its clock may have stood still with
//! its machine, and then another worker has the item although this one still counts on it.
//!
//! The machine is pure: [`Contest::next`] says what is to be done, the runner does it and says what
//! happened.

mod contest;
mod lease;
mod liveness;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use self::contest::Contest;
pub use self::lease::Lease;

/// The object that says that an item is done.
pub const DONE: &str = "done";
/// Largest body of a claim that is looked at, in bytes. Ours.
pub const MAX_CLAIM_BYTES: usize = 64 << 10;
/// The lease of a claim that cannot be read. Ours: longer than anybody's.
const UNKNOWN_LEASE: Duration = Duration::from_secs(3600);
/// Longest lease that is believed. Ours.
const MAX_LEASE: Duration = Duration::from_secs(24 * 3600);

/// How one of several workers gets an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// The storage puts an object only if there is none (`If-None-Match: *`).
    IfAbsent,
    /// It does not: everyone puts a candidate, waits, and the lowest name that lives wins.
    LowestWins,
}

/// How long things take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a claim counts after its last renewal.
    pub lease: Duration,
    /// [`Way::LowestWins`]: how long a candidate waits before it looks who else there is. A
    /// candidate whose request took half of that withdraws.
    pub settle: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(60),
            settle: Duration::from_secs(4),
        }
    }
}

impl Timing {
    /// How often a claim is renewed.
    #[must_use]
    pub fn heartbeat(&self) -> Duration {
        self.lease.checked_div(4).unwrap_or_default()
    }

    /// How long an owner counts on its claim: an eighth less than others do.
    fn held(&self) -> Duration {
        let margin = self.lease.checked_div(8).unwrap_or_default();
        self.lease.saturating_sub(margin)
    }
}

/// What stands in a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// 1.
    pub version: u32,
    /// The item's id.
    pub item: String,
    /// Who holds it.
    pub worker: String,
    /// How long it counts after it was stored.
    pub lease_seconds: u64,
    /// How often this worker has claimed the item: what is stored anew never looks like what was
    /// there before.
    #[serde(default)]
    pub attempt: u32,
    /// How often it was renewed.
    pub beat: u64,
}

impl Claim {
    /// The claim in an object, if it is one.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let body = body.get(..MAX_CLAIM_BYTES).unwrap_or(body);
        let claim: Self = serde_json::from_slice(body).ok()?;
        (claim.version == 1).then_some(claim)
    }

    /// The claim as its worker leaves it to others. It is not deleted: a worker that was slow could
    /// store another one of its name, or delete one that another worker has stored meanwhile.
    fn released(mut self) -> Self {
        self.lease_seconds = 0;
        self.beat = self.beat.saturating_add(1);
        self
    }

    fn body(&self) -> Vec<u8> {
        // A struct of texts and numbers always has a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// An item's directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Names of all objects in it.
    pub names: Vec<String>,
}

impl Listing {
    /// Whether the item is done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.names.iter().any(|name| name == DONE)
    }

    /// The claim that counts.
    fn highest(&self) -> Option<(u32, &str)> {
        let claims = self.names.iter();
        let claims = claims.filter_map(|name| Some((generation(name)?, name.as_str())));
        claims.max_by_key(|(generation, _)| *generation)
    }
}

/// The number in `g00000001`.
fn generation(name: &str) -> Option<u32> {
    let digits = name.strip_prefix('g')?;
    let plain = digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// The lease in `c.WORKER.LEASE`.
fn candidate_lease(name: &str) -> Option<Duration> {
    let (_, lease) = name.strip_prefix("c.")?.rsplit_once('.')?;
    Some(believed(lease.parse().ok()?))
}

/// A lease that somebody claims to have.
fn believed(seconds: u64) -> Duration {
    Duration::from_secs(seconds.max(1)).min(MAX_LEASE)
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// List the item's directory; answer with [`Answer::Listing`].
    List,
    /// Read an object; answer with [`Answer::Body`].
    Get {
        /// Its name.
        name: String,
    },
    /// Store an object; answer with [`Answer::Stored`] or [`Answer::Exists`].
    Put {
        /// Its name.
        name: String,
        /// Its content.
        body: Vec<u8>,
        /// Only if there is none of this name.
        if_absent: bool,
    },
    /// Delete an object; answer with [`Answer::Deleted`].
    Delete {
        /// Its name.
        name: String,
    },
    /// Wait; answer with [`Answer::Waited`].
    Wait(Duration),
    /// The contest is won: the item is this worker's as long as the lease is held.
    Won(Lease),
    /// The item is another worker's. Ask again (with [`Answer::Begin`]) after this time.
    Theirs {
        /// When it is worth looking again.
        again: Duration,
    },
    /// The item is done.
    Done,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing yet: begin, or begin again.
    Begin,
    /// The directory.
    Listing(Listing),
    /// The content of an object; `None` when it is not there.
    Body(Option<Vec<u8>>),
    /// The object is stored.
    Stored,
    /// There is an object of this name already.
    Exists,
    /// The object is deleted, or was not there.
    Deleted,
    /// The time is over.
    Waited,
    /// The request failed, and whether it had an effect is not known.
    Failed,
}

/// The name of an item's directory: readable, and unique by the hash behind it.
#[must_use]
pub fn directory(item: &str) -> String {
    let readable: String = item
        .chars()
        .take(40)
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') => c,
            _ => '-',
        })
        .collect();
    let hash = hex::encode(Sha256::digest(item.as_bytes()));
    format!("{readable}-{}", hash.get(..16).unwrap_or(&hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_a_plain_name_and_unique() {
        let name = directory("web 01/../x");
        assert!(name.starts_with("web-01----x-"), "{name}");
        assert_ne!(directory("a b"), directory("a-b"));
        assert!(directory(&"ä".repeat(500)).len() <= 57);
    }

    #[test]
    fn a_claim_that_is_none_is_not_believed() {
        assert_eq!(Claim::parse(b"{}"), None);
        assert_eq!(Claim::parse(&[b'['; 1 << 20]), None);
        let claim = Claim {
            version: 1,
            item: "web01".into(),
            worker: "w".into(),
            lease_seconds: 60,
            attempt: 1,
            beat: 3,
        };
        assert_eq!(Claim::parse(&claim.body()), Some(claim));
    }
}
