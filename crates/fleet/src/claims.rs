//! Claims of disks, as objects in the bucket: who works on what, when workers share a batch.
//!
//! What is decided is decided in [`batch::claim`]; here it is asked for and stored.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use batch::claim::{self, Action, Answer, Contest, DONE, Timing, Way};
use batch::{Item, ItemOutcome};
use bytes::Bytes;
use cloud::{Result, StopToken, from_obs};
use obs::{Client, Stored};
use parking_lot::Mutex;
use serde_json::json;

use crate::held::{Held, JSON, MAX_CLAIM, MAX_OUTCOME, Spot, listing};

/// Where claims are in a bucket.
pub(crate) const PREFIX: &str = ".imgferry/claims/";

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

/// The prefix of the claims of one disk.
fn directory_of(prefix: &str, item: &Item) -> String {
    format!("{prefix}{}/", claim::directory(&item.id))
}

/// Whether a worker has marked `item`, of the manifest with this digest, as done.
pub(crate) async fn is_done(storage: &Client, digest: &str, item: &Item) -> Result<bool> {
    let directory = directory_of(&prefix_of(digest), item);
    let objects = storage.list_objects(&item.bucket, &directory).await;
    let objects = objects.map_err(|error| from_obs(&error))?;
    Ok(listing(&directory, &objects).is_done())
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

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Tries to get `item`. A claim that is lost later stops `stop`.
    pub(crate) async fn take(&self, item: &Item, stop: &StopToken) -> Result<Claimed> {
        let way = self.ways.get(&item.bucket).copied();
        let way = way.unwrap_or(Way::LowestWins);
        let mut contest = self
            .contests
            .lock()
            .remove(&item.id)
            .unwrap_or_else(|| Contest::new(&item.id, &self.worker, way, self.timing));
        let directory = directory_of(&self.prefix, item);
        let mut answer = Answer::Begin;
        let claimed = loop {
            let action = contest.next(self.now(), answer);
            answer = match action {
                Action::Won(lease) => {
                    let spot = Spot {
                        storage: self.storage.clone(),
                        bucket: item.bucket.clone(),
                        directory,
                        start: self.start,
                    };
                    break Claimed::Won(Held::new(spot, lease, stop));
                }
                Action::Theirs { again } => break Claimed::Theirs(again),
                Action::Done => {
                    break Claimed::Done(
                        self.outcome(&item.bucket, &directory).await.map(Box::new),
                    );
                }
                action => {
                    stop.unless_asked(self.act(&item.bucket, &directory, action))
                        .await?
                }
            };
        };
        self.contests.lock().insert(item.id.clone(), contest);
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
        // The client has retried the request already; the contest starts over later.
        answer.unwrap_or(Answer::Failed)
    }

    /// How another worker has done the item.
    async fn outcome(&self, bucket: &str, directory: &str) -> Option<ItemOutcome> {
        let key = format!("{directory}{DONE}");
        let body = self.storage.small_object(bucket, &key, MAX_OUTCOME).await;
        serde_json::from_slice(&body.ok()??).ok()
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
