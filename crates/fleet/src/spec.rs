//! What a batch imports, and how.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::Path;
use std::time::Duration;

use batch::{Item, Limits, Manifest, Problem, Shard};
use cloud::{Class, Failure, Result, SessionOptions, rejected};
use diskimg::text::shown;
use import::{Concurrency, GuestCheck, ImportSpec, JournalSpec};

use crate::request;

/// Most parts under way at the same time, of all disks: more gain nothing, and time limits reckon
/// with as many.
const PARTS_AT_ONCE: usize = 64;
/// Images that a sandbox in this process takes: it is there to try a fleet out.
const SANDBOX_QUOTA: usize = 100_000;

/// A batch: the disks of a manifest, and how they are imported.
#[derive(Clone, Debug)]
pub struct FleetSpec {
    /// The manifest.
    pub manifest: Manifest,
    /// Import only the share of one worker.
    pub shard: Option<Shard>,
    /// Share the disks with other workers by claims in the bucket. A worker that is silent for this
    /// long loses its disks.
    pub lease: Option<Duration>,
    /// Ids of disks that are imported again although they are done.
    pub redo: Vec<String>,
    /// Stop the run as soon as a disk fails.
    pub fail_fast: bool,
    /// Make the images of disks of which generations are uploaded otherwise.
    pub cutover: bool,
    /// What follows from what is found on the disks.
    pub guest_check: GuestCheck,
    /// Rules about the systems on the disks that they may break.
    pub allowed_rules: Vec<String>,

    /// How much happens at the same time: the manifest's limits, unless they are changed.
    pub limits: Limits,
    /// Worker threads of all conversions together. `None`: one more than there are cores.
    pub threads: Option<usize>,
    /// Parts of one disk that are sent at the same time.
    pub concurrency: Concurrency,
    /// How long the job of a disk is followed.
    pub timeout: Duration,

    /// Where the batch and its imports are recorded. `None`: nowhere, so that nothing can be
    /// resumed.
    pub journal: Option<JournalSpec>,
}

impl FleetSpec {
    /// The disks of the manifest at `path`, with its limits.
    ///
    /// # Errors
    /// One failure for everything that is wrong with the manifest.
    pub fn read(path: &Path) -> Result<Self> {
        match Manifest::read(path) {
            Ok(manifest) => Ok(Self::new(manifest)),
            Err(problems) => Err(wrong_manifest(path, &problems)),
        }
    }

    /// The disks of `manifest`, with its limits.
    #[must_use]
    pub fn new(mut manifest: Manifest) -> Self {
        // Where the manifest gives no key, it depends on what is uploaded.
        for item in &mut manifest.items {
            item.key = Some(match request::import_of(item) {
                Ok(spec) => import::object_key(&spec),
                // It is refused later.
                Err(_) => item.object_key(),
            });
        }
        Self {
            limits: manifest.limits,
            manifest,
            shard: None,
            lease: None,
            redo: Vec::new(),
            fail_fast: false,
            cutover: false,
            guest_check: GuestCheck::Default,
            allowed_rules: Vec::new(),
            threads: None,
            concurrency: Concurrency::Auto,
            timeout: Duration::from_secs(3600),
            journal: None,
        }
    }

    /// What can be rejected without the cloud; plans and runs begin with it.
    ///
    /// # Errors
    /// When a disk that is to be imported again is none of the manifest; when workers would share
    /// disks that are uploaded in generations.
    pub fn check(&self) -> Result {
        let known = |id: &&String| self.manifest.items.iter().any(|item| item.id == **id);
        let unknown = self.redo.iter().filter(|id| !known(id));
        let unknown: Vec<String> = unknown
            .map(|id| format!("cannot redo {id}: the manifest has no disk with this id"))
            .collect();
        if !unknown.is_empty() {
            return Err(rejected(unknown));
        }
        // A disk whose generation is uploaded is not done, so each worker would make another one.
        match self.manifest.items.iter().find(|item| item.warm) {
            Some(item) if self.lease.is_some() && !self.cutover => Err(Failure::new(
                Class::Refused,
                format!(
                    "claims are for disks that are done after one run, and {} is uploaded in \
                     generations (warm: true)",
                    item.id
                ),
            )
            .hint("give each worker a share of the disks instead")),
            _ => Ok(()),
        }
    }

    /// What the cloud of the batch needs.
    #[must_use]
    pub fn session_options(&self) -> SessionOptions {
        let mut buckets: Vec<String> = self.items().map(|item| item.bucket.clone()).collect();
        buckets.sort();
        buckets.dedup();
        SessionOptions {
            buckets,
            image_quota: Some(SANDBOX_QUOTA),
            rate_limit: self.rate_limit(),
            parts_at_once: NonZeroUsize::new(PARTS_AT_ONCE),
        }
    }

    /// Bytes per second of all uploads together.
    pub(crate) fn rate_limit(&self) -> Option<NonZeroU64> {
        self.limits.limit_rate.and_then(NonZeroU64::new)
    }

    /// The disks of this worker, in the manifest's order.
    pub(crate) fn items(&self) -> impl Iterator<Item = &Item> {
        match self.shard {
            None => self.manifest.items.iter().collect(),
            Some(shard) => shard.select(&self.manifest.items),
        }
        .into_iter()
    }

    /// What is imported of `item`, with `threads` threads. Memory is granted later.
    ///
    /// # Errors
    /// What of the item this version does not know.
    pub(crate) fn import(&self, item: &Item, threads: usize) -> Result<ImportSpec, Vec<String>> {
        let mut spec = request::import_of(item)?;
        if let Some(warm) = &mut spec.warm {
            warm.cutover = self.cutover;
        }
        spec.guest_check = self.guest_check;
        spec.allowed_rules.clone_from(&self.allowed_rules);
        spec.work.threads = Some(threads);
        spec.concurrency = self.concurrency;
        spec.timeout = self.timeout;
        spec.journal.clone_from(&self.journal);
        Ok(spec)
    }
}

/// One failure for everything that is wrong with the manifest at `path`.
pub(crate) fn wrong_manifest(path: &Path, problems: &[Problem]) -> Failure {
    let failure = match problems {
        [problem] => Failure::new(Class::Refused, format!("{}: {problem}", shown(&path))),
        _ => {
            let count = problems.len();
            let message = format!("{count} problems in {}; nothing was started", shown(&path));
            let failure = Failure::new(Class::Refused, message);
            let notes = problems.iter().map(Problem::to_string);
            notes.fold(failure, Failure::note)
        }
    };
    failure.data("problems", &problems)
}
