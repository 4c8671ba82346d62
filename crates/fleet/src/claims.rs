//! Claims of disks, as objects in the bucket: who works on what, when workers share a batch.
//!
//! What is decided is decided in [`batch::claim`]; here it is asked for and stored.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use batch::claim::{
    self, Action, Answer, Claim, Contest, DONE, Lease, Listing, MAX_CLAIM_BYTES, Timing, Way,
};
use batch::{Item, ItemOutcome};
use bytes::Bytes;
use obs::{Client, Stored};
use serde_json::json;
use tokio::task::JoinHandle;

use cloud::{Class, Failure, Hint, Result, StopToken, from_obs};

/// Where claims are in a bucket.
pub(crate) const PREFIX: &str = ".imgferry/claims/";
/// Says that there may be something of the disk in the cloud.
const BEGAN: &str = "began";
const JSON: &str = "application/json";
/// Longest outcome of another worker that is read, in bytes.
const MAX_OUTCOME: u64 = 256 << 10;
/// Longest claim that is read, in bytes.
const MAX_CLAIM: u64 = MAX_CLAIM_BYTES as u64;

/// The claims of one worker.
pub(crate) struct Claims {
    storage: Client,
    /// Of this manifest's claims.
    prefix: String,
    worker: String,
    timing: Timing,
    start: Instant,
    /// What each bucket's server can.
    ways: HashMap<String, Way>,
    /// They remember what they saw, for as long as this worker runs.
    contests: Mutex<HashMap<String, Contest>>,
}

/// What became of a claim.
pub(crate) enum Claimed {
    /// The disk is this worker's while the claim is held.
    Won(Held),
    /// Another worker has it; it is worth asking again then.
    Theirs(Duration),
    /// It is done; by whom, and how, where that can be read.
    Done(Option<Box<ItemOutcome>>),
}

/// The prefix of the claims of the manifest with this digest.
pub(crate) fn prefix_of(digest: &str) -> String {
    let digest = digest.get(..32).unwrap_or(digest);
    format!("{PREFIX}{digest}/")
}

impl Claims {
    /// Finds out what the servers of `items` can.
    pub(crate) async fn new(
        storage: &Client,
        digest: &str,
        lease: Duration,
        items: &[Item],
    ) -> Result<Self> {
        let worker = uuid::Uuid::new_v4().simple().to_string();
        let prefix = prefix_of(digest);
        let mut ways = HashMap::new();
        for item in items {
            if !ways.contains_key(&item.bucket) {
                let way = probe(storage, &item.bucket, &prefix, &worker).await?;
                ways.insert(item.bucket.clone(), way);
            }
        }
        let usual = Timing::default();
        Ok(Self {
            storage: storage.clone(),
            prefix,
            worker,
            timing: Timing {
                lease,
                settle: usual.settle.min(lease / 4),
            },
            start: Instant::now(),
            ways,
            contests: Mutex::default(),
        })
    }

    pub(crate) fn worker(&self) -> &str {
        &self.worker
    }

    /// Whether every server stores a claim only if there is none. Otherwise workers list the
    /// claims, and the lowest wins.
    pub(crate) fn are_conditional(&self) -> bool {
        self.ways.values().all(|way| *way == Way::IfAbsent)
    }

    fn contests(&self) -> MutexGuard<'_, HashMap<String, Contest>> {
        self.contests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Tries to get `item`. A claim that is lost later stops `interrupt`.
    pub(crate) async fn take(&self, item: &Item, interrupt: &StopToken) -> Result<Claimed> {
        let way = self.ways.get(&item.bucket).copied();
        let way = way.unwrap_or(Way::LowestWins);
        let mut contest = self
            .contests()
            .remove(&item.id)
            .unwrap_or_else(|| Contest::new(&item.id, &self.worker, way, self.timing));
        let directory = format!("{}{}/", self.prefix, claim::directory(&item.id));
        let mut answer = Answer::Begin;
        let claimed = loop {
            let action = contest.next(self.now(), answer);
            answer = match action {
                Action::Won(lease) => {
                    break Claimed::Won(self.hold(item, directory, lease, interrupt));
                }
                Action::Theirs { again } => break Claimed::Theirs(again),
                Action::Done => {
                    break Claimed::Done(
                        self.outcome(&item.bucket, &directory).await.map(Box::new),
                    );
                }
                action => {
                    interrupt
                        .unless_asked(self.act(&item.bucket, &directory, action))
                        .await?
                }
            };
        };
        self.contests().insert(item.id.clone(), contest);
        Ok(claimed)
    }

    async fn act(&self, bucket: &str, directory: &str, action: Action) -> Answer {
        let storage = &self.storage;
        let key = |name: &str| format!("{directory}{name}");
        let answer = match action {
            Action::List => storage
                .list_objects(bucket, directory)
                .await
                .map(|objects| Answer::Listing(listing(directory, &objects))),
            Action::Get { name } => storage
                .small_object(bucket, &key(&name), MAX_CLAIM)
                .await
                .map(|body| Answer::Body(body.map(Vec::from))),
            Action::Put {
                name,
                body,
                if_absent: true,
            } => storage
                .put_if_absent(bucket, &key(&name), body.into())
                .await
                .map(|stored| match stored {
                    Stored::New => Answer::Stored,
                    Stored::Taken => Answer::Exists,
                }),
            Action::Put { name, body, .. } => storage
                .put_object(bucket, &key(&name), body.into(), JSON)
                .await
                .map(|_| Answer::Stored),
            Action::Delete { name } => storage
                .delete_object(bucket, &key(&name))
                .await
                .map(|()| Answer::Deleted),
            Action::Wait(span) => {
                tokio::time::sleep(span).await;
                Ok(Answer::Waited)
            }
            Action::Won(_) | Action::Theirs { .. } | Action::Done => Ok(Answer::Failed),
        };
        // Every request was tried again by its own rules; the contest begins anew later.
        answer.unwrap_or(Answer::Failed)
    }

    /// How another worker has done the item.
    async fn outcome(&self, bucket: &str, directory: &str) -> Option<ItemOutcome> {
        let key = format!("{directory}{DONE}");
        let body = self.storage.small_object(bucket, &key, MAX_OUTCOME).await;
        serde_json::from_slice(&body.ok()??).ok()
    }

    /// Keeps a claim that was won.
    fn hold(&self, item: &Item, directory: String, lease: Lease, interrupt: &StopToken) -> Held {
        let core = Arc::new(Core {
            storage: self.storage.clone(),
            bucket: item.bucket.clone(),
            directory,
            lease: Mutex::new(lease),
            start: self.start,
            lost: AtomicBool::new(false),
            taken_by: Mutex::default(),
        });
        let child = interrupt.child();
        let beat = tokio::spawn(beat(Arc::clone(&core), child.clone()));
        Held { core, beat, child }
    }
}

fn listing(directory: &str, objects: &[obs::ListedObject]) -> Listing {
    let names = objects
        .iter()
        .filter_map(|object| object.key.strip_prefix(directory));
    Listing {
        names: names.map(str::to_owned).collect(),
    }
}

/// Whether the server stores an object only if there is none: tried out, because a server that
/// ignores the condition says nothing.
async fn probe(storage: &Client, bucket: &str, prefix: &str, worker: &str) -> Result<Way> {
    let key = format!("{prefix}probe-{worker}");
    let body = |number: u32| Bytes::from(json!({ "probe": worker, "number": number }).to_string());
    let first = storage.put_if_absent(bucket, &key, body(1)).await;
    let way = match first {
        // A server that does not know the header may refuse it.
        Err(error) if matches!(error.status(), Some(400 | 405 | 501)) => Ok(Way::LowestWins),
        Err(error) => Err(from_obs(&error).context(format!(
            "cannot store claims in bucket {bucket} (below {PREFIX})"
        ))),
        Ok(Stored::Taken) => Ok(Way::LowestWins),
        Ok(Stored::New) => match storage.put_if_absent(bucket, &key, body(2)).await {
            Ok(Stored::Taken) => Ok(Way::IfAbsent),
            Ok(Stored::New) => Ok(Way::LowestWins),
            Err(error) => Err(from_obs(&error)),
        },
    };
    // It only lies there if this fails.
    let _ = storage.delete_object(bucket, &key).await;
    way
}

struct Core {
    storage: Client,
    bucket: String,
    directory: String,
    lease: Mutex<Lease>,
    start: Instant,
    lost: AtomicBool,
    /// The worker that has the item now, where that is known.
    taken_by: Mutex<Option<String>>,
}

/// What looking at a claim told.
enum Standing {
    Held,
    Lost,
    /// It is renewed, and whether another worker has the item is not known.
    Unknown(obs::Error),
}

impl Core {
    fn lease(&self) -> MutexGuard<'_, Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn taken_by(&self) -> MutexGuard<'_, Option<String>> {
        self.taken_by.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.directory)
    }

    /// Renews the claim, and looks whether another worker has taken the item over.
    async fn renew(&self) -> Standing {
        let (renewal, until) = {
            let mut lease = self.lease();
            (lease.renew(self.start.elapsed()), lease.ends_at())
        };
        let Some((name, body)) = renewal else {
            return self.lose();
        };
        let left = until.saturating_sub(self.start.elapsed());
        let key = self.key(&name);
        let put = self
            .storage
            .put_object(&self.bucket, &key, body.into(), JSON);
        if let Ok(Ok(_)) = tokio::time::timeout(left, put).await {
            self.lease().renewed(self.start.elapsed());
        }
        // A worker whose machine slept has missed the end of its lease.
        let rival = match self.left() {
            Some(left) => tokio::time::timeout(left, self.rival()).await,
            None => return self.lose(),
        };
        match rival {
            Ok(Ok(Some(worker))) => {
                self.lease().lose();
                *self.taken_by() = Some(worker);
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
        let now = self.start.elapsed();
        let lease = self.lease();
        let held = lease.is_held(now);
        held.then(|| lease.ends_at().saturating_sub(now))
    }

    /// The worker that has taken the item over, if there is one.
    async fn rival(&self) -> Result<Option<String>, obs::Error> {
        let objects = self
            .storage
            .list_objects(&self.bucket, &self.directory)
            .await?;
        let listing = listing(&self.directory, &objects);
        let rivals: Vec<String> = {
            let lease = self.lease();
            let rivals = lease.rivals(&listing);
            rivals.into_iter().map(str::to_owned).collect()
        };
        for name in rivals {
            let body = self
                .storage
                .small_object(&self.bucket, &self.key(&name), MAX_CLAIM)
                .await?;
            let body = body.unwrap_or_default();
            if self.lease().yields_to(&name, &body) {
                let claim = Claim::parse(&body);
                return Ok(Some(claim.map_or_else(|| "another".into(), |c| c.worker)));
            }
        }
        Ok(None)
    }
}

/// Renews a claim until it is lost.
async fn beat(core: Arc<Core>, interrupt: StopToken) {
    loop {
        let due = core.lease().renew_at();
        // Where a renewal has failed, it is due at once.
        let pause = due
            .saturating_sub(core.start.elapsed())
            .max(Duration::from_millis(50));
        tokio::time::sleep(pause).await;
        if matches!(core.renew().await, Standing::Lost) {
            interrupt.stop();
            return;
        }
    }
}

/// A claim that is held, and renewed while it is.
pub(crate) struct Held {
    core: Arc<Core>,
    beat: JoinHandle<()>,
    /// Stops what is done under the claim.
    child: StopToken,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.beat.abort();
        self.child.stop();
    }
}

impl Held {
    /// Stops when the claim is lost.
    pub(crate) fn interrupt(&self) -> &StopToken {
        &self.child
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
            .storage
            .small_object(&core.bucket, &core.key(BEGAN), MAX_OUTCOME)
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
        core.storage
            .put_object(&core.bucket, &core.key(BEGAN), body.into(), JSON)
            .await
            .map(drop)
            .map_err(|error| from_obs(&error))
    }

    /// The disk is done: nobody needs to look at it again.
    pub(crate) async fn done(self, outcome: &ItemOutcome) -> Result {
        let core = Arc::clone(&self.core);
        let body = serde_json::to_vec(outcome).unwrap_or_default();
        core.storage
            .put_object(&core.bucket, &core.key(DONE), body.into(), JSON)
            .await
            .map_err(|error| {
                from_obs(&error).context("cannot mark the disk as done in the bucket")
            })?;
        self.end(None).await
    }

    /// Lets others have the disk.
    pub(crate) async fn give_up(self) -> Result {
        let released = self.core.lease().released();
        self.end(released).await
    }

    /// Stores what is left of the claim in its place, or deletes it.
    async fn end(self, left: Option<Vec<u8>>) -> Result {
        self.beat.abort();
        let core = Arc::clone(&self.core);
        if self.is_lost() {
            return Ok(());
        }
        let key = core.key(core.lease().name());
        let ended = match left {
            Some(body) => {
                let put = core
                    .storage
                    .put_object(&core.bucket, &key, body.into(), JSON);
                put.await.map(drop)
            }
            None => core.storage.delete_object(&core.bucket, &key).await,
        };
        ended.map_err(|error| from_obs(&error))
    }
}

/// Tells whether a claim is held.
#[derive(Clone)]
pub(crate) struct Guard(Arc<Core>);

impl Guard {
    /// Renews the claim, so that nobody takes the disk over during what comes next.
    ///
    /// # Errors
    /// When it is lost, or when nobody can tell.
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
    let message = match core.taken_by().as_deref() {
        Some(worker) => format!("worker {worker} has taken over the disk"),
        None => "the claim expired, so another worker may own the disk".to_owned(),
    };
    Failure::new(Class::Interrupted, message).hint(Hint::ExtendLease)
}
