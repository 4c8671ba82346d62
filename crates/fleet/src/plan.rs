//! What a batch would do, how much that is, and how long it may take. Nothing is changed.

use batch::Readiness;
use cloud::Result;
use diskimg::units::human;
use import::{Action, Planned};
use serde::Serialize;

use crate::check::{Checked, Verdict, registers_any};
use crate::estimate::{self, Estimate};
use crate::observe::{Context, Observer};
use crate::outcome;
use crate::setup::Setup;
use crate::spec::FleetSpec;

/// The plan of a batch.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The manifest's path.
    pub manifest: String,
    /// Its digest.
    pub manifest_digest: String,
    /// The region of the images.
    pub region: String,
    /// The disks, in the manifest's order.
    pub items: Vec<DiskPlan>,
    /// Sums over all disks.
    pub totals: PlanTotals,
    /// The memory of the batch.
    pub memory: MemoryPlan,
    /// Disks converted at the same time.
    pub converts: usize,
    /// Disks uploaded at the same time.
    pub uploads: usize,
    /// Jobs of the image service at the same time.
    pub jobs: usize,
    /// Worker threads of each disk that is converted.
    pub threads: usize,
    /// Bytes per second, if they are limited.
    pub limit_rate: Option<u64>,
    /// Images of the account, where the cloud tells.
    pub quota: Option<Quota>,
    /// How long it may take; `None` when nothing is to be converted.
    pub estimate: Option<Estimate>,
}

/// The plan of one disk.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DiskPlan {
    /// Its id in the manifest.
    pub id: String,
    /// Its group.
    pub group: Option<String>,
    /// The disk image.
    pub source: String,
    /// Name of the image.
    pub name: String,
    /// Bucket of the object.
    pub bucket: String,
    /// Key of the object.
    pub key: String,
    /// Format of the disk image.
    pub format: Option<String>,
    /// Size of the disk in bytes.
    pub virtual_size: Option<u64>,
    /// Bytes that are read.
    pub data_bytes: Option<u64>,
    /// Smallest disk, in GiB.
    pub min_disk: Option<u32>,
    /// What was found of the system on it, when somebody looked.
    pub guest: Option<Readiness>,
    /// What would happen: `upload`, `upload-as-is`, `adopt`, `resume`, `register`, `attach`, `skip`
    /// or `refuse`.
    pub action: &'static str,
    /// Why, where the action does not say it.
    pub why: Option<String>,
    /// What the user can do.
    pub hint: Option<String>,
    /// Bytes of memory that it runs in.
    pub memory: Option<u64>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Sums over the disks of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PlanTotals {
    /// All disks.
    pub items: usize,
    /// Those that would be imported.
    pub to_do: usize,
    /// Those that earlier runs have done, or that are skipped because of what exists.
    pub skipped: usize,
    /// Those that would be refused.
    pub refused: usize,
    /// Sizes of the disks in bytes.
    pub virtual_bytes: u64,
    /// Bytes that are read.
    pub data_bytes: u64,
    /// Bytes that are sent at most.
    pub worst_case_bytes: u64,
}

/// The memory of a batch, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// The bound for everything.
    pub budget: u64,
    /// Of that the program and the batch's own tables.
    pub fixed: u64,
    /// What a disk gets that could use more.
    pub share: u64,
    /// What the largest needs.
    pub largest: u64,
}

/// Images of the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Quota {
    /// Images that exist.
    pub used: u64,
    /// Images that may exist.
    pub quota: u64,
    /// Images that would be made.
    pub wanted: u64,
}

/// Checks every disk, and says what a run would do.
///
/// # Errors
/// When no disk can be checked at all, or a stop was requested. Disks that would be refused are no
/// errors: the plan lists them.
pub async fn plan(spec: &FleetSpec, cx: &Context) -> Result<Plan> {
    let setup = Setup::open(spec, cx).await?;
    let checked = setup.check().await?;
    let (mut totals, mut largest, mut wanted) = (PlanTotals::default(), 0, 0_u64);
    totals.items = checked.len();
    for checked in &checked {
        match &checked.verdict {
            Verdict::Done(_) => totals.skipped = totals.skipped.saturating_add(1),
            Verdict::Refused(_) => totals.refused = totals.refused.saturating_add(1),
            Verdict::Ready(ready) => {
                let planned = ready.planned.as_ref();
                if ready.skips() {
                    totals.skipped = totals.skipped.saturating_add(1);
                    continue;
                }
                totals.to_do = totals.to_do.saturating_add(1);
                let Some(planned) = planned else {
                    continue;
                };
                totals.add(planned);
                largest = largest.max(planned.memory);
                wanted = wanted.saturating_add(planned.images());
            }
        }
    }
    Ok(Plan {
        manifest: spec.manifest.path.display().to_string(),
        manifest_digest: spec.manifest.digest.clone(),
        region: cx.session.cloud().region.clone(),
        items: checked
            .iter()
            .map(|checked| DiskPlan::of(checked, &*cx.observer))
            .collect(),
        totals,
        memory: MemoryPlan {
            budget: setup.budget.total,
            fixed: setup.budget.fixed,
            share: setup.budget.share,
            largest,
        },
        converts: setup.width.converts,
        uploads: setup.width.uploads,
        jobs: setup.width.jobs,
        threads: setup.width.threads,
        limit_rate: spec.limits.limit_rate,
        quota: match registers_any(&checked) {
            true => quota(cx, wanted).await,
            false => None,
        },
        estimate: estimate::estimate(&setup, &checked).await?,
    })
}

async fn quota(cx: &Context, wanted: u64) -> Option<Quota> {
    let quotas = cx.session.images().quotas().await.ok()?;
    let images = quotas.iter().find(|quota| quota.kind == "image")?;
    Some(Quota {
        used: images.used?,
        quota: images.quota?,
        wanted,
    })
}

impl PlanTotals {
    fn add(&mut self, planned: &import::Planned) {
        let add = |sum: &mut u64, more| *sum = sum.saturating_add(more);
        let plan = planned.plan.as_ref();
        add(
            &mut self.virtual_bytes,
            plan.map_or(0, |plan| plan.virtual_size),
        );
        add(&mut self.data_bytes, planned.data_bytes());
        let most = planned.worst_case_bytes();
        add(
            &mut self.worst_case_bytes,
            most.saturating_sub(planned.stored_bytes),
        );
    }
}

impl DiskPlan {
    fn of(checked: &Checked, observer: &dyn Observer) -> Self {
        let item = &checked.item;
        let mut line = Self {
            id: item.id.clone(),
            group: item.group.clone(),
            source: import::public_name(&item.source).display().to_string(),
            name: item.name.clone(),
            bucket: item.bucket.clone(),
            key: item.object_key(),
            action: "refuse",
            ..Self::default()
        };
        match &checked.verdict {
            Verdict::Ready(ready) => {
                let Some(planned) = &ready.planned else {
                    line.action = "upload";
                    return line;
                };
                line.action = action(planned.action);
                line.format = planned.format();
                line.virtual_size = planned.plan.as_ref().map(|plan| plan.virtual_size);
                line.data_bytes = Some(planned.data_bytes());
                line.min_disk = Some(planned.min_disk);
                line.memory = Some(planned.memory);
                line.guest = planned.guest.as_ref().and_then(Readiness::read);
                line.warnings.clone_from(&planned.warnings);
                line.why = why(planned);
            }
            Verdict::Done(done) => {
                line.action = "skip";
                line.format.clone_from(&done.format);
                line.virtual_size = done.virtual_size;
                line.guest.clone_from(&done.guest);
                line.why = Some(match &done.image_id {
                    Some(image) => format!("done by an earlier run: image {image}"),
                    None => "done by an earlier run".to_owned(),
                });
            }
            Verdict::Refused(failure) => {
                line.why = Some(outcome::cause(failure));
                line.hint = outcome::hint(failure, (&item.id, &line.source), observer);
                line.guest = outcome::guest(failure);
                (line.format, line.virtual_size) = outcome::disk(failure);
                line.warnings = outcome::notes(failure);
            }
        }
        line
    }
}

const fn action(action: Action) -> &'static str {
    match action {
        Action::Upload => "upload",
        Action::UploadAsIs => "upload-as-is",
        Action::Adopt => "adopt",
        Action::Skip => "skip",
        Action::Resume => "resume",
        Action::Register => "register",
        Action::Attach => "attach",
    }
}

/// What there is to say of an action beside its name.
fn why(planned: &Planned) -> Option<String> {
    let image = planned.image_id.as_deref();
    match planned.action {
        Action::Upload => None,
        Action::UploadAsIs => Some("the service converts it".into()),
        Action::Adopt => Some(match image {
            Some(image) => {
                format!("image {image} exists: kept if it is of this disk, refused otherwise")
            }
            None => "the object exists: used if it holds this disk, refused otherwise".into(),
        }),
        Action::Skip => Some(match image {
            Some(image) => format!("image {image} exists and is not compared"),
            None => "the object exists and is not compared".into(),
        }),
        Action::Resume => Some(format!(
            "an earlier run stored {}",
            human(planned.stored_bytes)
        )),
        Action::Register => Some("an earlier run uploaded it".into()),
        Action::Attach => Some("an earlier run started to register it".into()),
    }
}
