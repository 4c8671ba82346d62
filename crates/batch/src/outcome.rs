//! How items ended and what the batch did: what the runner keeps, and reports are made of.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::readiness::Readiness;

/// A time: milliseconds since 1970 in UTC.
pub type UnixMillis = u64;

/// Where an item is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum ItemState {
    /// An error ended it.
    Failed,
    /// A check refused it; nothing was sent.
    Refused,
    /// The run was interrupted, or ended early, while it was worked on.
    Cancelled,
    /// Work is going on.
    Running,
    /// Its turn has not come.
    #[default]
    Waiting,
    /// Another worker has it.
    Elsewhere,
    /// Uploaded, and not to be registered.
    Uploaded,
    /// The object was there and holds the same disk; registered from it.
    Adopted,
    /// Done by an earlier run; nothing was to do.
    Skipped,
    /// Converted, uploaded, registered.
    Active,
}

impl ItemState {
    /// Every state, in the order in which they are told: what needs a person first.
    pub const ALL: [Self; 10] = [
        Self::Failed,
        Self::Refused,
        Self::Cancelled,
        Self::Running,
        Self::Waiting,
        Self::Elsewhere,
        Self::Uploaded,
        Self::Adopted,
        Self::Skipped,
        Self::Active,
    ];

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Elsewhere => "elsewhere",
            Self::Uploaded => "uploaded",
            Self::Adopted => "adopted",
            Self::Skipped => "skipped",
            Self::Active => "active",
        }
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub const fn is_done(self) -> bool {
        matches!(
            self,
            Self::Uploaded | Self::Adopted | Self::Skipped | Self::Active
        )
    }

    /// Whether somebody has to look at it.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Refused)
    }
}

impl fmt::Display for ItemState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What is done with an item, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Waiting for its turn.
    Queue,
    /// Opened, planned, checked.
    Check,
    /// Its content compared with an object that exists.
    Compare,
    /// Converted while it is uploaded.
    Transfer,
    /// The upload completed and compared.
    Complete,
    /// The image being registered, and its job followed.
    Register,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 6] = [
        Self::Queue,
        Self::Check,
        Self::Compare,
        Self::Transfer,
        Self::Complete,
        Self::Register,
    ];

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Check => "check",
            Self::Compare => "compare",
            Self::Transfer => "transfer",
            Self::Complete => "complete",
            Self::Register => "register",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// When a stage of an item began and ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageSpan {
    /// What was done.
    pub stage: Stage,
    /// Its first moment.
    pub start: UnixMillis,
    /// Its last; `None` while it goes on.
    pub end: Option<UnixMillis>,
}

/// How an item ended, or where it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ItemOutcome {
    /// The item's id.
    pub id: String,
    /// The item's group.
    pub group: Option<String>,
    /// The image's name.
    pub name: String,
    /// The disk image, as people read it.
    pub source: String,
    /// Format of the disk image, when it was opened.
    pub format: Option<String>,
    /// Size of the disk in bytes, when it was opened.
    pub virtual_size: Option<u64>,
    /// What was found of the system on it, when somebody looked.
    pub guest: Option<Readiness>,
    /// Where it is.
    pub state: ItemState,
    /// Why it failed, was refused or skipped.
    pub cause: Option<String>,
    /// What the user can do.
    pub hint: Option<String>,
    /// The exit code that `imgferry import` of this item would end with.
    pub exit: u8,
    /// Id of the image.
    pub image_id: Option<String>,
    /// Ids of the images of data disks that were registered with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub data_image_ids: Vec<String>,
    /// Id of the job that registers it.
    pub job_id: Option<String>,
    /// The bucket.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// Content digest of the disk.
    pub digest: Option<String>,
    /// Bytes read from the source.
    pub read_bytes: u64,
    /// Bytes sent to the storage.
    pub sent_bytes: u64,
    /// Bytes that were stored before and not sent again.
    pub kept_bytes: u64,
    /// Requests that were repeated.
    pub retries: u64,
    /// What was done when.
    pub timeline: Vec<StageSpan>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// The worker that did it, when several share the batch.
    pub worker: Option<String>,
}

/// How far all items together were at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThroughputSample {
    /// The moment.
    pub at: UnixMillis,
    /// Bytes of disks read and converted since the start.
    pub converted_bytes: u64,
    /// Bytes sent since the start.
    pub sent_bytes: u64,
}

/// Where the batch ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// Version of the program.
    pub version: String,
    /// Name of the machine.
    pub host: Option<String>,
    /// This worker, when several share the batch, such as `2/4` or its id.
    pub worker: Option<String>,
    /// Processors.
    pub cores: usize,
    /// What buffers and caches may take, in bytes.
    pub memory_bound: u64,
    /// Most memory the process had, in bytes.
    pub peak_memory: Option<u64>,
    /// Processor time of the process in seconds.
    pub cpu_seconds: Option<f64>,
    /// The region, when there is one.
    pub region: Option<String>,
}

/// Sums over all items.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Items of the manifest that this run is about.
    pub items: usize,
    /// Items by state; states without items are left out.
    pub states: BTreeMap<String, usize>,
    /// Sum of the disks' sizes in bytes.
    pub virtual_bytes: u64,
    /// Bytes read from sources.
    pub read_bytes: u64,
    /// Bytes sent to the storage.
    pub sent_bytes: u64,
    /// Bytes that were stored before and not sent again.
    pub kept_bytes: u64,
    /// Requests that were repeated.
    pub retries: u64,
}

impl ItemOutcome {
    /// Ids of all images that it made, the system's first.
    pub(crate) fn image_ids(&self) -> String {
        let ids = self.image_id.iter().chain(&self.data_image_ids);
        ids.map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

impl Totals {
    /// The sums over `items`.
    #[must_use]
    pub fn of(items: &[ItemOutcome]) -> Self {
        let mut totals = Self {
            items: items.len(),
            ..Self::default()
        };
        for item in items {
            let count = totals
                .states
                .entry(item.state.word().to_owned())
                .or_default();
            *count = count.saturating_add(1);
            let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
            add(&mut totals.virtual_bytes, item.virtual_size.unwrap_or(0));
            add(&mut totals.read_bytes, item.read_bytes);
            add(&mut totals.sent_bytes, item.sent_bytes);
            add(&mut totals.kept_bytes, item.kept_bytes);
            add(&mut totals.retries, item.retries);
        }
        totals
    }

    /// How many items are in `state`.
    #[must_use]
    pub fn count(&self, state: ItemState) -> usize {
        self.states.get(state.word()).copied().unwrap_or_default()
    }
}

/// All that is known of a run of a batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchReport {
    /// The manifest, as people read its path.
    pub manifest: String,
    /// Digest of the manifest's content.
    pub manifest_digest: String,
    /// When the run began.
    pub started: UnixMillis,
    /// When it ended; `None` while it goes on.
    pub ended: Option<UnixMillis>,
    /// The exit code of the run.
    pub exit: u8,
    /// Every item, in the manifest's order.
    pub items: Vec<ItemOutcome>,
    /// How fast it went.
    pub samples: Vec<ThroughputSample>,
    /// Where it ran.
    pub machine: Machine,
    /// Sums over the items.
    pub totals: Totals,
}
