//! What every job of a batch begins with: the disks, the cloud, the limits, what is known of earlier
//! runs.

use std::thread::available_parallelism;

use batch::{Item, Limits};
use cloud::Result;
use convert::default_threads;
use diskimg::units::GIB;

use crate::budget::Budget;
use crate::claims;
use crate::observe::Context;
use crate::spec::{FleetSpec, wrong_manifest};
use crate::state::{self, Place, State};

/// Memory of a batch by default.
const DEFAULT_MEMORY: u64 = GIB;
/// Jobs of the image service at the same time by default: it throttles more.
const DEFAULT_JOBS: usize = 10;
/// Jobs of a sandbox in this process at the same time: memory is kept for so many.
const SANDBOX_JOBS: usize = 2;

/// How much happens at the same time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Width {
    pub(crate) converts: usize,
    pub(crate) uploads: usize,
    pub(crate) jobs: usize,
    /// Worker threads of one disk.
    pub(crate) threads: usize,
    /// Of all together.
    pub(crate) all_threads: usize,
}

/// Everything that planning and running begin with.
pub(crate) struct Setup {
    pub(crate) spec: FleetSpec,
    pub(crate) cx: Context,
    /// The disks of this worker, in the manifest's order.
    pub(crate) items: Vec<Item>,
    pub(crate) width: Width,
    pub(crate) budget: Budget,
    pub(crate) storage: obs::Client,
    pub(crate) endpoint: String,
    /// The batch's journal, if there is to be one.
    pub(crate) place: Option<Place>,
    pub(crate) state: State,
}

impl Setup {
    pub(crate) async fn open(spec: &FleetSpec, cx: &Context) -> Result<Self> {
        spec.check()?;
        let items: Vec<Item> = spec.items().cloned().collect();
        let mut width = width(&spec.limits, spec.threads, items.len());
        let reserved = match cx.session.is_local() {
            // Jobs of the sandbox read images in this process.
            true => {
                width.jobs = width.jobs.min(SANDBOX_JOBS);
                sandbox::memory_bound().saturating_mul(2)
            }
            false => 0,
        };
        let total = spec.limits.memory.unwrap_or(DEFAULT_MEMORY);
        let budget = Budget::new(total, items.len(), width.converts, reserved)?;
        let place = Place::of(spec)?;
        let storage = cx.session.storage().await?;
        let endpoint = cx.session.endpoint();
        let state = match &place {
            Some(place) => state::read(&place.path(&endpoint))?,
            None => State::default(),
        };
        refuse_unreadable(spec, &items, &state, &storage).await?;
        Ok(Self {
            spec: spec.clone(),
            cx: cx.clone(),
            items,
            width,
            budget,
            storage,
            endpoint,
            place,
            state,
        })
    }
}

/// Refuses disks that cannot be read, unless they are done.
async fn refuse_unreadable(
    spec: &FleetSpec,
    items: &[Item],
    state: &State,
    storage: &obs::Client,
) -> Result {
    let mut problems = Vec::new();
    for item in items {
        let Some(problem) = &item.unreadable else {
            continue;
        };
        let shared = spec.lease.is_some();
        let digest = &spec.manifest.digest;
        let done = match spec.redo.contains(&item.id) {
            true => false,
            false if state.of_item(&item.id).done(item).is_some() => true,
            false => shared && claims::is_done(storage, digest, item).await?,
        };
        if !done {
            problems.push(problem.clone());
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(wrong_manifest(&spec.manifest.path, &problems)),
    }
}

fn width(limits: &Limits, threads: Option<usize>, items: usize) -> Width {
    let cores = available_parallelism().map_or(1, std::num::NonZero::get);
    let given = |limit: Option<usize>| limit.filter(|number| *number > 0);
    let converts = given(limits.converts)
        .unwrap_or_else(|| (cores / 4).clamp(2, 8))
        .min(items.max(1));
    let uploads = given(limits.uploads)
        .unwrap_or_else(|| converts.saturating_mul(2))
        .max(1);
    // A disk is uploaded while it is converted.
    let converts = converts.min(uploads);
    let all_threads = threads.unwrap_or_else(default_threads);
    Width {
        converts,
        uploads,
        jobs: given(limits.jobs).unwrap_or(DEFAULT_JOBS),
        threads: all_threads.div_ceil(converts).max(1),
        all_threads,
    }
}
