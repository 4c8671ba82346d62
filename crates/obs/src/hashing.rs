//! The hashes of parts: several parts at the same time, each in a lane of the processor's vectors.
//!
//! A step of MD5 waits for the one before it, so a core computes four MD5s in little more time than
//! one. Parts are held back until some have come together, where that costs nobody anything:
//!
//! ```text
//!  full parts ──▶ Held ──▶ hashed when half of the memory or MD5_AT_ONCE parts are held, or the stream has ended;
//!                          sooner when no hashed part is left to send, and either their maker waits for
//!                          memory or the first of them has waited for PATIENCE
//! ```

use std::time::Duration;

use md5_simd::Md5Engine;
use tokio::time::Instant;

use crate::part::Part;

/// Most parts that are hashed at the same time: as many as the vectors of common processors have
/// lanes.
pub const MD5_AT_ONCE: usize = 8;
/// How long a part waits for others. Short against the time in which a line that matters sends it,
/// long against that in which two cores make the next ones.
const PATIENCE: Duration = Duration::from_millis(250);

/// What is to be known of a body before it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hashes {
    pub(crate) md5: [u8; 16],
    /// SHA-256 in hexadecimal, for the signature. `None`: whoever signs computes it, or needs none.
    pub(crate) sha256: Option<String>,
}

/// A part and its hashes.
pub(crate) type Hashed = (Part, Hashes);

/// Parts that wait for being hashed together.
#[derive(Debug)]
pub(crate) struct Held {
    parts: Vec<Part>,
    bytes: u64,
    /// Bytes that are enough to begin.
    enough: u64,
    /// When the first one has waited long enough.
    until: Option<Instant>,
}

impl Held {
    /// Nothing yet, of a stream whose parts may take `memory` bytes.
    pub(crate) fn new(memory: u64) -> Self {
        Self {
            parts: Vec::new(),
            bytes: 0,
            enough: memory / 2,
            until: None,
        }
    }

    pub(crate) fn push(&mut self, part: Part, now: Instant) {
        self.bytes = self.bytes.saturating_add(part.body.len() as u64);
        self.parts.push(part);
        self.until.get_or_insert(now + PATIENCE);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// When the parts have waited long enough; `None` when there are none.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Whether it is time to hash the parts.
    fn is_due(&self, demand: Demand, now: Instant) -> bool {
        let many = self.bytes >= self.enough || self.parts.len() >= MD5_AT_ONCE;
        let late = self.until.is_some_and(|until| until <= now);
        let sooner = demand.idle && (demand.short || late);
        !self.parts.is_empty() && (many || demand.ended || sooner)
    }

    /// The parts, when it is time to hash them.
    pub(crate) fn take(&mut self, demand: Demand, now: Instant) -> Option<Vec<Part>> {
        if !self.is_due(demand, now) {
            return None;
        }
        self.bytes = 0;
        self.until = None;
        Some(std::mem::take(&mut self.parts))
    }
}

/// Who waits for the parts that are held.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Demand {
    /// No more will come.
    pub(crate) ended: bool,
    /// Their maker waits for memory.
    pub(crate) short: bool,
    /// No other part is ready to be sent, or being hashed.
    pub(crate) idle: bool,
}

/// MD5 of each of `bodies`, in their order, all at the same time.
#[must_use]
pub fn md5_all(bodies: &[&[u8]]) -> Vec<[u8; 16]> {
    let mut md5s = vec![[0; 16]; bodies.len()];
    Md5Engine::new().hash_many(bodies, &mut md5s);
    md5s
}

/// Hashes `parts`, on the thread that calls; with SHA-256 when they are to be `signed`.
pub(crate) fn hash(parts: Vec<Part>, signed: bool) -> Vec<Hashed> {
    let bodies: Vec<&[u8]> = parts.iter().map(|part| &*part.body).collect();
    let md5s = md5_all(&bodies);
    let sha256s = convert::hash_all(bodies.iter().map(|body| signed.then_some(*body)));
    let hashes = md5s.into_iter().zip(sha256s).map(|(md5, sha256)| Hashes {
        md5,
        sha256: sha256.map(hex::encode),
    });
    let hashes: Vec<_> = hashes.collect();
    parts.into_iter().zip(hashes).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use md5::{Digest, Md5};
    use proptest::prelude::*;
    use sha2::Sha256;

    use super::*;
    use crate::budget::Budget;

    const MEMORY: u64 = 1000;
    const NOBODY: Demand = Demand {
        ended: false,
        short: false,
        idle: false,
    };
    const IDLE: Demand = Demand {
        idle: true,
        ..NOBODY
    };

    fn part(body: Vec<u8>) -> Part {
        let permit = Budget::new(0).acquire(0).unwrap();
        Part {
            number: 1,
            body: Bytes::from(body),
            permit,
        }
    }

    fn held(count: usize, len: usize, now: Instant) -> Held {
        let mut held = Held::new(MEMORY);
        for _ in 0..count {
            held.push(part(vec![0; len]), now);
        }
        held
    }

    #[test]
    fn parts_are_held_until_half_of_the_memory_is() {
        let now = Instant::now();
        for demand in [NOBODY, IDLE] {
            assert!(!held(3, 125, now).is_due(demand, now));
            assert!(!held(MD5_AT_ONCE - 1, 1, now).is_due(demand, now));
        }
        assert!(held(4, 125, now).is_due(NOBODY, now));
        assert!(held(MD5_AT_ONCE, 1, now).is_due(NOBODY, now));
        let mut last = held(1, 1, now);
        let ended = Demand {
            ended: true,
            ..NOBODY
        };
        assert_eq!(last.take(ended, now).unwrap().len(), 1);
        assert!(last.is_empty() && last.take(ended, now).is_none());
    }

    #[test]
    fn where_nothing_else_can_be_sent_a_part_waits_for_others_for_a_limited_time() {
        let now = Instant::now();
        let mut waiting = held(1, 1, now);
        assert_eq!(waiting.until(), Some(now + PATIENCE));
        // Those that come later do not make the first one wait longer.
        waiting.push(part(vec![0; 1]), now + PATIENCE / 2);
        assert!(!waiting.is_due(IDLE, now + PATIENCE / 2));
        assert!(!waiting.is_due(NOBODY, now + PATIENCE));
        assert_eq!(waiting.take(IDLE, now + PATIENCE).unwrap().len(), 2);
        assert_eq!(waiting.until(), None);
    }

    #[test]
    fn a_part_does_not_wait_for_others_that_wait_for_its_memory() {
        let now = Instant::now();
        let waiting = held(1, 1, now);
        let short = Demand {
            short: true,
            ..NOBODY
        };
        // There is time until the others are sent.
        assert!(!waiting.is_due(short, now));
        assert!(waiting.is_due(
            Demand {
                idle: true,
                ..short
            },
            now
        ));
    }

    proptest! {
        /// Other libraries are the witnesses.
        #[test]
        fn each_part_has_the_hashes_that_it_has_alone(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..700), 0..20),
            alike in prop::collection::vec(prop::collection::vec(any::<u8>(), 4096), 0..9),
            signed: bool,
        ) {
            for bodies in [bodies, alike] {
                let hashed = hash(bodies.iter().cloned().map(part).collect(), signed);
                prop_assert_eq!(hashed.len(), bodies.len());
                for ((part, hashes), body) in hashed.into_iter().zip(bodies) {
                    prop_assert_eq!(&*part.body, &*body);
                    prop_assert_eq!(hashes.md5, <[u8; 16]>::from(Md5::digest(&body)));
                    let sha256 = signed.then(|| hex::encode(Sha256::digest(&body)));
                    prop_assert_eq!(hashes.sha256, sha256);
                }
            }
        }
    }
}
