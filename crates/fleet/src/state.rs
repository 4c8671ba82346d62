//! What is known of a batch on this machine: the batch's own journal, beside those of its imports.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use batch::{Item, ItemOutcome, UnixMillis};
use journal::{Log, RunLock, SourceIdentity, StateDir, read_log};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use cloud::{Class, Failure, Hint, Result, from_journal};

use crate::spec::FleetSpec;

/// One entry of the journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub(crate) enum Record {
    /// A process begins to work on the batch.
    Run {
        at: UnixMillis,
        pid: u32,
        tool: String,
        manifest: String,
        digest: String,
        endpoint: String,
        worker: Option<String>,
        items: usize,
        command: Vec<String>,
        directory: String,
    },
    /// From here on there may be something of the item in the cloud.
    Began {
        at: UnixMillis,
        id: String,
        bucket: String,
        key: String,
        name: String,
    },
    /// The image's registration is about to be asked for.
    Registering { at: UnixMillis, id: String },
    /// The item has ended, for now or for good.
    Ended {
        at: UnixMillis,
        outcome: Box<ItemOutcome>,
        /// The disk as it was, when the item is done.
        source: Option<SourceIdentity>,
        /// Whether the item was skipped because of what exists, which was not compared with the
        /// disk: the next run looks again.
        #[serde(default)]
        left_alone: bool,
    },
    /// The process has ended by itself.
    Stopped { at: UnixMillis, pid: u32, exit: u8 },
    /// What was begun was thrown away.
    Cleaned { at: UnixMillis },
}

/// What the records say of one item.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// Bucket, key and name, once something may be in the cloud.
    pub(crate) began: Option<(String, String, String)>,
    /// Whether a registration may have been sent whose result is unknown.
    pub(crate) registering: bool,
    /// How it ended last.
    pub(crate) ended: Option<ItemOutcome>,
    /// Whether it was skipped without being imported.
    pub(crate) left_alone: bool,
    /// The disk that is done.
    pub(crate) source: Option<SourceIdentity>,
}

impl Known {
    /// Whether an earlier run has begun this very object and image.
    pub(crate) fn has_begun(&self, item: &Item) -> bool {
        self.began.as_ref().is_some_and(|(bucket, key, name)| {
            *bucket == item.bucket && *key == item.object_key() && *name == item.name
        })
    }

    /// How it ended, if it was imported with what `item` asks for.
    pub(crate) fn done(&self, item: &Item) -> Option<&ItemOutcome> {
        self.settled(item).filter(|_| !self.left_alone)
    }

    /// How it ended, if nothing was left to do for what `item` asks for.
    pub(crate) fn settled(&self, item: &Item) -> Option<&ItemOutcome> {
        self.ended.as_ref().filter(|ended| {
            ended.state.is_done()
                && ended.bucket == item.bucket
                && ended.key == item.object_key()
                && ended.name == item.name
        })
    }
}

/// The last process that worked on the batch.
#[derive(Clone, Debug)]
pub(crate) struct LastRun {
    pub(crate) at: UnixMillis,
    pub(crate) directory: String,
    pub(crate) command: Vec<String>,
    /// Exit code; `None` when it is at work or was killed.
    pub(crate) exit: Option<u8>,
}

/// Everything that a journal says.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) items: HashMap<String, Known>,
    pub(crate) last: Option<LastRun>,
    /// Whether the end of the journal could not be read.
    pub(crate) damaged: bool,
}

impl State {
    fn of(records: Vec<Record>) -> Self {
        let mut state = Self::default();
        for record in records {
            match record {
                Record::Run {
                    at,
                    directory,
                    command,
                    ..
                } => {
                    state.last = Some(LastRun {
                        at,
                        directory,
                        command,
                        exit: None,
                    });
                }
                Record::Began {
                    id,
                    bucket,
                    key,
                    name,
                    ..
                } => {
                    let known = state.items.entry(id).or_default();
                    known.began = Some((bucket, key, name));
                }
                Record::Registering { id, .. } => {
                    state.items.entry(id).or_default().registering = true;
                }
                Record::Ended {
                    outcome,
                    source,
                    left_alone,
                    ..
                } => {
                    let known = state.items.entry(outcome.id.clone()).or_default();
                    known.left_alone = left_alone;
                    if outcome.state.is_done() && !left_alone {
                        known.registering = false;
                        known.began = None;
                    }
                    known.source = source;
                    known.ended = Some(*outcome);
                }
                Record::Stopped { exit, .. } => {
                    if let Some(last) = &mut state.last {
                        last.exit = Some(exit);
                    }
                }
                Record::Cleaned { .. } => {
                    for known in state.items.values_mut() {
                        // An image that is active was not thrown away, and is still this batch's.
                        let done = |ended: &ItemOutcome| ended.state.is_done();
                        known.ended = known.ended.take().filter(done);
                    }
                }
            }
        }
        state
    }

    /// What is known of `id`.
    pub(crate) fn of_item(&self, id: &str) -> Known {
        self.items.get(id).cloned().unwrap_or_default()
    }
}

/// Where the journals of batches are.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) dir: StateDir,
    /// Hash of the manifest's path.
    manifest: String,
}

impl Place {
    /// That of a batch, if it is recorded.
    pub(crate) fn of(spec: &FleetSpec) -> Result<Option<Self>> {
        let Some(journal) = &spec.journal else {
            return Ok(None);
        };
        let dir = StateDir::resolve(journal.dir.as_deref(), |name| std::env::var_os(name))
            .map_err(|error| from_journal(&error))?;
        let manifest = &spec.manifest.path;
        let path = std::fs::canonicalize(manifest).unwrap_or_else(|_| manifest.to_owned());
        Ok(Some(Self {
            dir,
            manifest: digits(path.as_os_str().as_encoded_bytes()),
        }))
    }

    fn batches(&self) -> PathBuf {
        self.dir.path().join("batches")
    }

    /// The journal of the manifest in the cloud at `endpoint`.
    pub(crate) fn path(&self, endpoint: &str) -> PathBuf {
        let endpoint = digits(endpoint.as_bytes());
        self.batches()
            .join(format!("{}-{endpoint}.{EXTENSION}", self.manifest))
    }

    /// The journals of the manifest in every cloud, the latest first.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let mut found: Vec<(std::time::SystemTime, PathBuf)> = std::fs::read_dir(self.batches())
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let ours = path.extension().is_some_and(|found| found == EXTENSION)
                    && path
                        .file_name()?
                        .to_str()?
                        .starts_with(&format!("{}-", self.manifest));
                let modified = std::fs::metadata(&path).ok()?.modified().ok()?;
                ours.then_some((modified, path))
            })
            .collect();
        found.sort();
        found.into_iter().rev().map(|(_, path)| path).collect()
    }
}

const EXTENSION: &str = "batch";

/// Sixteen digits of a hash.
fn digits(bytes: &[u8]) -> String {
    let hash = hex::encode(Sha256::digest(bytes));
    hash.get(..16).unwrap_or(&hash).to_owned()
}

/// What the journal at `path` says; nothing when there is none.
pub(crate) fn read(path: &Path) -> Result<State> {
    let (records, ending) = read_log(path).map_err(|error| from_journal(&error))?;
    let mut state = State::of(records);
    state.damaged = ending != journal::Ending::Clean;
    Ok(state)
}

/// Where the lock of a process that works on the batch is.
pub(crate) fn lock_path(path: &Path) -> PathBuf {
    path.with_extension("lock")
}

/// Locks the batch. Workers that share it may be several, others are alone.
pub(crate) fn lock(path: &Path, shared: bool) -> Result<RunLock> {
    lock_at(&lock_path(path), shared)
}

/// Locks the file at `path`.
pub(crate) fn lock_at(path: &Path, shared: bool) -> Result<RunLock> {
    let taken = RunLock::try_take(path, !shared).map_err(|error| from_journal(&error))?;
    taken.ok_or_else(|| {
        Failure::new(
            Class::Refused,
            "another process on this machine is running this batch",
        )
        .hint(Hint::ShareBatch)
    })
}

/// The journal, open for writing.
pub(crate) fn open(path: &Path) -> Result<Log> {
    Log::open(path).map_err(|error| from_journal(&error))
}

/// Now, in milliseconds since 1970.
#[must_use]
pub fn now() -> UnixMillis {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

#[cfg(test)]
mod tests {
    use batch::ItemState;

    use super::*;

    fn ended(id: &str, state: ItemState) -> Record {
        Record::Ended {
            at: 0,
            outcome: Box::new(ItemOutcome {
                id: id.to_owned(),
                state,
                ..ItemOutcome::default()
            }),
            source: None,
            left_alone: false,
        }
    }

    fn began(id: &str) -> Record {
        Record::Began {
            at: 0,
            id: id.to_owned(),
            bucket: "b".into(),
            key: "k".into(),
            name: "n".into(),
        }
    }

    #[test]
    fn the_last_end_of_an_item_counts() {
        let registering = Record::Registering {
            at: 0,
            id: "a".into(),
        };
        let state = State::of(vec![
            began("a"),
            registering,
            ended("a", ItemState::Failed),
            began("b"),
            ended("b", ItemState::Active),
        ]);
        let a = state.of_item("a");
        assert!(a.registering && a.began.is_some());
        let b = state.of_item("b");
        assert!(!b.registering && b.began.is_none());
        assert_eq!(b.ended.unwrap().state, ItemState::Active);
        assert!(state.of_item("c").ended.is_none());
    }

    #[test]
    fn records_read_back_from_their_json() {
        for record in [
            began("a"),
            ended("a", ItemState::Active),
            Record::Cleaned { at: 1 },
        ] {
            let text = serde_json::to_string(&record).unwrap();
            let back: Record = serde_json::from_str(&text).unwrap();
            assert_eq!(serde_json::to_string(&back).unwrap(), text);
        }
    }
}
