//! What every command about a batch begins with: the manifest, the cloud, the limits, what is known
//! of earlier runs.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::Path;
use std::thread::available_parallelism;

use ::batch::{Item, Manifest, Problem, ReadOptions};
use ::convert::default_threads;
use cloud::{Session, SessionOptions, rejected};
use diskimg::text::shown;
use diskimg::units::GIB;

use super::budget::Budget;
use super::request;
use super::state::{self, Place, State};
use crate::args::{BatchCommonArgs, CloudArgs};
use crate::exit::{Exit, Failure, Outcome};

/// Memory of a batch unless told.
const DEFAULT_MEMORY: u64 = GIB;
/// Jobs of the image service at the same time unless told: it answers more with flow control.
const DEFAULT_JOBS: usize = 10;
/// Jobs of a sandbox in this process at the same time: memory is kept for so many.
const SANDBOX_JOBS: usize = 2;
/// Most parts under way at the same time, of all disks: more gain nothing, and time limits reckon
/// with as many.
const PARTS_AT_ONCE: usize = 64;
/// Images that a sandbox in this process takes: it is there to try a fleet out.
const SANDBOX_QUOTA: usize = 100_000;

/// How much goes on at the same time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Width {
    pub(super) converts: usize,
    pub(super) uploads: usize,
    pub(super) jobs: usize,
    /// Worker threads of one disk.
    pub(super) threads: usize,
    /// Of all together.
    pub(super) all_threads: usize,
}

/// Reads the manifest; everything that is wrong with it is told together.
pub(super) fn read_manifest(path: &Path, check_sources: bool) -> Outcome<Manifest> {
    let read = Manifest::read_with(path, ReadOptions { check_sources });
    let mut manifest = read.map_err(|problems| {
        let told = problems.iter().map(Problem::to_string);
        let failure = match problems.len() {
            1 => Failure::new(
                Exit::Refused,
                format!("{}: {}", shown(&path), told.collect::<String>()),
            ),
            count => told.fold(
                Failure::new(
                    Exit::Refused,
                    format!(
                        "{count} things are wrong with {}; nothing was begun",
                        shown(&path)
                    ),
                ),
                Failure::note,
            ),
        };
        failure.data("problems", &problems)
    })?;
    for item in &mut manifest.items {
        item.key = Some(request::object_key(item));
    }
    Ok(manifest)
}

/// The cloud of a batch, and the client of its object storage.
pub(super) async fn open(
    args: &CloudArgs,
    items: &[Item],
    rate_limit: Option<NonZeroU64>,
) -> Outcome<(Session, obs::Client)> {
    let mut buckets: Vec<String> = items.iter().map(|item| item.bucket.clone()).collect();
    buckets.sort();
    buckets.dedup();
    let needs = SessionOptions {
        buckets,
        image_quota: Some(SANDBOX_QUOTA),
        rate_limit,
        parts_at_once: NonZeroUsize::new(PARTS_AT_ONCE),
    };
    let session = Session::open(&args.options(), needs).await?;
    match session.storage().await {
        Ok(storage) => Ok((session, storage)),
        Err(failure) => session.close(Err(failure)).await,
    }
}

/// Everything that planning and running begin with.
pub(super) struct Setup {
    pub(super) manifest: Manifest,
    /// The disks of this worker, in the manifest's order.
    pub(super) items: Vec<Item>,
    pub(super) width: Width,
    pub(super) budget: Budget,
    pub(super) rate_limit: Option<NonZeroU64>,
    pub(super) session: Session,
    pub(super) storage: obs::Client,
    pub(super) endpoint: String,
    pub(super) place: Place,
    pub(super) state: State,
}

impl Setup {
    pub(super) async fn open(path: &Path, args: &BatchCommonArgs) -> Outcome<Self> {
        let manifest = read_manifest(path, true)?;
        let items: Vec<Item> = match args.shard {
            None => manifest.items.clone(),
            Some(shard) => {
                ::batch::shard::select(&manifest.items, shard.index.saturating_sub(1), shard.count)
                    .into_iter()
                    .cloned()
                    .collect()
            }
        };
        let unknown: Vec<String> = args
            .redo
            .iter()
            .filter(|id| !manifest.items.iter().any(|item| item.id == **id))
            .map(|id| format!("--redo {id}: the manifest has no disk of this id"))
            .collect();
        if !unknown.is_empty() {
            return Err(rejected(unknown));
        }
        let mut width = width(args, &manifest, items.len());
        let total = args
            .memory
            .or(manifest.limits.memory)
            .unwrap_or(DEFAULT_MEMORY);
        let reserved = match args.cloud.sandbox {
            // Jobs of the sandbox read images in this process.
            Some(_) => {
                width.jobs = width.jobs.min(SANDBOX_JOBS);
                ::sandbox::memory_bound().saturating_mul(2)
            }
            None => 0,
        };
        let budget = Budget::new(total, items.len(), width.converts, reserved)?;
        let rate_limit = args
            .limit_rate
            .or(manifest.limits.limit_rate.and_then(NonZeroU64::new));
        let place = Place::of(&args.state, path)?;
        let (session, storage) = open(&args.cloud, &items, rate_limit).await?;
        let endpoint = session.endpoint();
        // A sandbox in a temporary directory knows nothing of an earlier one.
        let state = match args.cloud.sandbox {
            Some(None) => Ok(State::default()),
            _ => state::read(&place.path(&endpoint)),
        };
        match state {
            Ok(state) => Ok(Self {
                manifest,
                items,
                width,
                budget,
                rate_limit,
                session,
                storage,
                endpoint,
                place,
                state,
            }),
            Err(failure) => session.close(Err(failure)).await,
        }
    }
}

fn width(args: &BatchCommonArgs, manifest: &Manifest, items: usize) -> Width {
    let limits = &manifest.limits;
    let cores = available_parallelism().map_or(1, std::num::NonZero::get);
    let given = |option: Option<NonZeroUsize>, written: Option<usize>| {
        option
            .map(NonZeroUsize::get)
            .or(written)
            .filter(|number| *number > 0)
    };
    let converts = given(args.converts, limits.converts)
        .unwrap_or_else(|| (cores / 4).clamp(2, 8))
        .min(items.max(1));
    let uploads = given(args.uploads, limits.uploads)
        .unwrap_or_else(|| converts.saturating_mul(2))
        .max(1);
    // A disk is uploaded while it is converted.
    let converts = converts.min(uploads);
    let all_threads = args.threads.unwrap_or_else(default_threads);
    Width {
        converts,
        uploads,
        jobs: given(args.jobs, limits.jobs).unwrap_or(DEFAULT_JOBS),
        threads: all_threads.div_ceil(converts).max(1),
        all_threads,
    }
}
