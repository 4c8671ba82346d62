//! A claim that is held: renewed while it is, asked for before what cannot be undone, and ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use batch::claim::{Claim, DONE, Lease, Listing, MAX_CLAIM_BYTES};
use batch::{Item, ItemOutcome};
use cloud::{Class, Failure, Hint, Result, StopToken, from_obs};
use obs::Client;
use parking_lot::Mutex;
use serde_json::json;
use tokio::task::JoinHandle;

/// Says that there may be something of the disk in the cloud.
const BEGAN: &str = "began";
pub(crate) const JSON: &str = "application/json";
/// Longest outcome of another worker that is read, in bytes.
pub(crate) const MAX_OUTCOME: u64 = 256 << 10;
/// Longest claim that is read, in bytes.
pub(crate) const MAX_CLAIM: u64 = MAX_CLAIM_BYTES as u64;

pub(crate) fn listing(directory: &str, objects: &[obs::ListedObject]) -> Listing {
    let names = objects
        .iter()
        .filter_map(|object| object.key.strip_prefix(directory));
    Listing {
        names: names.map(str::to_owned).collect(),
    }
}

/// Where the claims of one disk are.
pub(crate) struct Spot {
    pub(crate) storage: Client,
    pub(crate) bucket: String,
    /// The prefix of their keys.
    pub(crate) directory: String,
    /// When the clock of leases began.
    pub(crate) start: Instant,
}

struct Core {
    spot: Spot,
    lease: Mutex<Lease>,
    lost: AtomicBool,
    /// The worker that has the item now, where that is known.
    taken_by: Mutex<Option<String>>,
}

/// The result of renewing a claim.
enum Standing {
    Held,
    Lost,
    /// It is renewed, and whether another worker has the item is not known.
    Unknown(obs::Error),
}

impl Core {
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.spot.directory)
    }

    /// Renews the claim, and looks whether another worker has taken the item over.
    async fn renew(&self) -> Standing {
        let (renewal, until) = {
            let mut lease = self.lease.lock();
            (lease.renew(self.spot.start.elapsed()), lease.ends_at())
        };
        let Some((name, body)) = renewal else {
            return self.lose();
        };
        let left = until.saturating_sub(self.spot.start.elapsed());
        let key = self.key(&name);
        let put = self
            .spot
            .storage
            .put_object(&self.spot.bucket, &key, body.into(), JSON);
        if let Ok(Ok(_)) = tokio::time::timeout(left, put).await {
            self.lease.lock().renewed(self.spot.start.elapsed());
        }
        // A worker whose machine slept has missed the end of its lease.
        let rival = match self.left() {
            Some(left) => tokio::time::timeout(left, self.rival()).await,
            None => return self.lose(),
        };
        match rival {
            Ok(Ok(Some(worker))) => {
                self.lease.lock().lose();
                *self.taken_by.lock() = Some(worker);
                self.lose()
            }
            Ok(Err(error)) if self.left().is_some() => Standing::Unknown(error),
            Ok(Ok(None)) if self.left().is_some() => Standing::Held,
            _ => self.lose(),
        }
    }

    fn lose(&self) -> Standing {
        self.lost.store(true, Ordering::Release);
        Standing::Lost
    }

    /// How long the claim is held if nothing renews it.
    fn left(&self) -> Option<Duration> {
        let now = self.spot.start.elapsed();
        let lease = self.lease.lock();
        let held = lease.is_held(now);
        held.then(|| lease.ends_at().saturating_sub(now))
    }

    /// The worker that has taken the item over, if there is one.
    async fn rival(&self) -> Result<Option<String>, obs::Error> {
        let objects = self
            .spot
            .storage
            .list_objects(&self.spot.bucket, &self.spot.directory)
            .await?;
        let listing = listing(&self.spot.directory, &objects);
        let rivals: Vec<String> = {
            let lease = self.lease.lock();
            let rivals = lease.rivals(&listing);
            rivals.into_iter().map(str::to_owned).collect()
        };
        for name in rivals {
            let body = self
                .spot
                .storage
                .small_object(&self.spot.bucket, &self.key(&name), MAX_CLAIM)
                .await?;
            let body = body.unwrap_or_default();
            if self.lease.lock().yields_to(&name, &body) {
                let claim = Claim::parse(&body);
                return Ok(Some(claim.map_or_else(|| "another".into(), |c| c.worker)));
            }
        }
        Ok(None)
    }
}

/// Renews a claim until it is lost.
async fn beat(core: Arc<Core>, stop: StopToken) {
    loop {
        let due = core.lease.lock().renew_at();
        // Where a renewal has failed, it is due at once.
        let pause = due
            .saturating_sub(core.spot.start.elapsed())
            .max(Duration::from_millis(50));
        tokio::time::sleep(pause).await;
        if matches!(core.renew().await, Standing::Lost) {
            stop.stop();
            return;
        }
    }
}

/// A claim that is held, and renewed while it is.
pub(crate) struct Held {
    core: Arc<Core>,
    beat: JoinHandle<()>,
    /// Stops what is done under the claim.
    stop: StopToken,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.beat.abort();
        self.stop.stop();
    }
}

impl Held {
    /// Keeps a claim that was won. One that is lost stops its token, as `stop` does.
    pub(crate) fn new(spot: Spot, lease: Lease, stop: &StopToken) -> Self {
        let core = Arc::new(Core {
            spot,
            lease: Mutex::new(lease),
            lost: AtomicBool::new(false),
            taken_by: Mutex::default(),
        });
        let stop = stop.child();
        let beat = tokio::spawn(beat(Arc::clone(&core), stop.clone()));
        Self { core, beat, stop }
    }

    /// Stops when the claim is lost.
    pub(crate) fn token(&self) -> &StopToken {
        &self.stop
    }

    fn is_lost(&self) -> bool {
        self.core.lost.load(Ordering::Acquire)
    }

    /// Why the claim is lost, if it is. What another worker does to the upload of a disk that it
    /// has taken over looks like any failure: so this is asked first.
    pub(crate) async fn why_lost(&self) -> Option<Failure> {
        if !self.is_lost() && !matches!(self.core.renew().await, Standing::Lost) {
            return None;
        }
        Some(lost(&self.core))
    }

    /// What asks for the claim before a step that cannot be undone.
    pub(crate) fn guard(&self) -> Guard {
        Guard(Arc::clone(&self.core))
    }

    /// Whether an earlier owner has begun the disk.
    pub(crate) async fn was_begun(&self, item: &Item) -> Result<bool> {
        let core = &self.core;
        let body = core
            .spot
            .storage
            .small_object(&core.spot.bucket, &core.key(BEGAN), MAX_OUTCOME)
            .await
            .map_err(|error| from_obs(&error))?;
        let same = |value: serde_json::Value| {
            let is = |field: &str, wanted: &str| {
                value.get(field).and_then(serde_json::Value::as_str) == Some(wanted)
            };
            is("key", &item.object_key()) && is("name", &item.name)
        };
        Ok(body
            .and_then(|body| serde_json::from_slice(&body).ok())
            .is_some_and(same))
    }

    /// Notes that from here on there may be something of the disk in the cloud.
    pub(crate) async fn begin(&self, item: &Item) -> Result {
        let core = &self.core;
        let body = json!({ "key": item.object_key(), "name": item.name }).to_string();
        core.spot
            .storage
            .put_object(&core.spot.bucket, &core.key(BEGAN), body.into(), JSON)
            .await
            .map(drop)
            .map_err(|error| from_obs(&error))
    }

    /// Marks the disk as done, for all workers.
    pub(crate) async fn done(self, outcome: &ItemOutcome) -> Result {
        let core = Arc::clone(&self.core);
        let body = serde_json::to_vec(outcome).unwrap_or_default();
        core.spot
            .storage
            .put_object(&core.spot.bucket, &core.key(DONE), body.into(), JSON)
            .await
            .map_err(|error| {
                from_obs(&error).context("cannot mark the disk as done in the bucket")
            })?;
        self.end(None).await
    }

    /// Lets others have the disk.
    pub(crate) async fn give_up(self) -> Result {
        let released = self.core.lease.lock().released();
        self.end(released).await
    }

    /// Stores what is left of the claim in its place, or deletes it.
    async fn end(self, left: Option<Vec<u8>>) -> Result {
        self.beat.abort();
        let core = Arc::clone(&self.core);
        if self.is_lost() {
            return Ok(());
        }
        let key = core.key(core.lease.lock().name());
        let ended = match left {
            Some(body) => {
                let put = core
                    .spot
                    .storage
                    .put_object(&core.spot.bucket, &key, body.into(), JSON);
                put.await.map(drop)
            }
            None => {
                core.spot
                    .storage
                    .delete_object(&core.spot.bucket, &key)
                    .await
            }
        };
        ended.map_err(|error| from_obs(&error))
    }
}

/// Tells whether a claim is held.
#[derive(Clone)]
pub(crate) struct Guard(Arc<Core>);

impl Guard {
    /// Renews the claim, so that no worker takes over the disk during the next step.
    ///
    /// # Errors
    /// When it is lost, or when that is unknown.
    pub(crate) async fn sure(&self) -> Result {
        match self.0.renew().await {
            Standing::Held => Ok(()),
            Standing::Lost => Err(lost(&self.0)),
            Standing::Unknown(error) => {
                Err(from_obs(&error)
                    .context("cannot check whether this worker still owns the disk"))
            }
        }
    }
}

/// The failure of a disk that another worker has taken over, or may have.
fn lost(core: &Core) -> Failure {
    let message = match core.taken_by.lock().as_deref() {
        Some(worker) => format!("worker {worker} has taken over the disk"),
        None => "the claim expired, so another worker may own the disk".to_owned(),
    };
    Failure::new(Class::Interrupted, message).hint(Hint::ExtendLease)
}
