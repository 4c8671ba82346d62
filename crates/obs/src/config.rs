//! Settings of a client: address, credentials, retries and time limits.

use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;

use net::credentials::Keys;
use net::retry::Policy;
use url::Url;

/// Address of the storage, and the credentials.
#[derive(Clone, Debug)]
pub struct Config {
    /// Scheme, host and port of the region's endpoint, without a bucket.
    pub endpoint: Url,
    /// The region's name as it stands in the endpoint; part of each signature.
    pub region: String,
    /// Puts the bucket into the path instead of the host. OBS refuses this; private servers and
    /// addresses without a name need it.
    pub path_style: bool,
    /// The access key. Keys that expire are fetched again from their source.
    pub keys: Keys,
    /// How often each request is tried.
    pub retry: Policy,
    /// How long one attempt may take.
    pub limits: Limits,
    /// Bytes per second that parts and ranges may take together, for all clones of the client.
    /// `None` for no limit.
    pub rate_limit: Option<NonZeroU64>,
    /// Parts that are sent at the same time, for all clones of the client and all their uploads.
    /// `None` leaves it to each upload.
    pub parts_at_once: Option<NonZeroUsize>,
    /// Allows plain http to other machines. To this machine it is always allowed.
    pub allow_http: bool,
}

impl Config {
    /// Virtual-host addressing over TLS, with the usual limits.
    #[must_use]
    pub fn new(endpoint: Url, region: impl Into<String>, keys: impl Into<Keys>) -> Self {
        Self {
            endpoint,
            region: region.into(),
            path_style: false,
            keys: keys.into(),
            retry: Policy::default(),
            limits: Limits::default(),
            rate_limit: None,
            parts_at_once: None,
            allow_http: false,
        }
    }
}

/// Time limits of one attempt of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For a connection to stand, TLS included.
    pub connect: Duration,
    /// For a request that carries no data.
    pub request: Duration,
    /// For completing, which makes the server join all parts.
    pub complete: Duration,
    /// For a part or a range, beside what its bytes may take at [`Limits::slowest`].
    pub data: Duration,
    /// Slowest pace at which a part's first attempt still succeeds, in bytes per second.
    pub slowest: NonZeroU64,
    /// A part or a range that makes no progress for this long is abandoned and retried.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            request: Duration::from_secs(60),
            complete: Duration::from_secs(300),
            data: Duration::from_secs(60),
            slowest: NonZeroU64::MIN.saturating_add((64 << 10) - 1),
            stall: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// Time limit of attempt number `attempt` (from 1) to move `len` bytes. It grows, so that a
    /// line slower than expected gets them through in the end.
    pub(crate) fn attempt(&self, len: u64, attempt: u32) -> Duration {
        self.data
            .saturating_add(self.draining(len))
            .saturating_mul(attempt)
    }

    /// What `len` bytes take at the slowest pace.
    pub(crate) fn draining(&self, len: u64) -> Duration {
        Duration::from_secs_f64(len as f64 / self.slowest.get() as f64)
    }
}
