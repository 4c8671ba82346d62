//! What an import would do, without changing anything.

use ::convert::{Plan, PlanOptions};
use cloud::Result;
use journal::Stage;
use serde::Serialize;

use super::disk::SourceDisk;
use super::ledger::{Ledger, Ours};
use super::observe::Context;
use super::os_name::name_os;
use super::outcome::DataImage;
use super::piece::{Form, Piece, Pieces};
use super::preflight::{Checked, Skipped, preflight, to_skip};
use super::register::choose_call;
use super::run::{Prepared, prepare_within};
use super::send::PlannedBase;
use super::spec::{IfExists, ImportSpec};
use super::warm::Migration;

/// What would happen to the system's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Converted, uploaded and registered.
    Upload,
    /// Uploaded as it is; the service converts it.
    UploadAsIs,
    /// Compared with an object that exists, which is used when it holds the same disk. If an image
    /// exists too, nothing is left to do then.
    Adopt,
    /// Not imported, because the image or the object exists.
    Skip,
    /// An upload that was interrupted is resumed.
    Resume,
    /// The object is complete: only registered.
    Register,
    /// The registration was sent: followed, and not sent again.
    Attach,
}

/// An import that passed all checks.
#[derive(Clone, Debug, Serialize)]
pub struct Planned {
    /// The file, as it was named.
    pub source: String,
    /// Name of the image.
    pub name: String,
    /// How it is registered, as options and manifests name it, and why so.
    pub register: &'static str,
    /// Why it is registered so.
    pub register_reason: &'static str,
    /// Bucket of the object.
    pub bucket: String,
    /// Key of the object.
    pub key: String,
    /// Smallest disk, in GiB.
    pub min_disk: u32,
    /// Region of the image.
    pub region: String,
    /// What would happen to the system's disk.
    pub action: Action,
    /// What happens when the image or the object exists.
    pub if_exists: IfExists,
    /// The image that has the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// Bytes of the file; of a device or a pipe, of its disk.
    pub size: u64,
    /// Bytes that an earlier run has stored.
    pub stored_bytes: u64,
    /// Bytes of memory that it runs in.
    pub memory: u64,
    /// The system's disk.
    #[serde(skip)]
    pub disk: SourceDisk,
    /// How the disk is converted, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// What unchanged blocks are copied from. What has changed is not known before the disk is
    /// read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<PlannedBase>,
    /// Data images that are registered together with the system.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub data_images: Vec<DataImage>,
    /// How their disks are converted, if they are.
    #[serde(skip)]
    pub data_plans: Vec<Plan>,
    /// The free space that is left out of the system's disk, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discarded: Option<freespace::FreeSpace>,
    /// The free space of that disk that would be sent, if somebody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_space: Option<freespace::FreeSpace>,
    /// What was found on the system's disk, if somebody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest: Option<::guest::Report>,
    /// Everything that was warned of.
    pub warnings: Vec<String>,
    /// How many of the first warnings the observer has received.
    #[serde(skip)]
    pub told: usize,
}

impl Planned {
    /// Images that would be made, as far as is known before anything is read.
    pub fn images(&self) -> u64 {
        let makes = match self.action {
            Action::Attach | Action::Skip => false,
            Action::Adopt => self.register != "none" && self.image_id.is_none(),
            _ => self.register != "none",
        };
        let data = u64::try_from(self.data_images.len()).unwrap_or(u64::MAX);
        if makes { data.saturating_add(1) } else { 0 }
    }

    /// Format of the source; `None` where only the service reads it.
    pub fn format(&self) -> Option<String> {
        self.plan
            .as_ref()
            .map(|plan| plan.source_format.to_string())
    }

    /// Bytes that are read.
    pub fn data_bytes(&self) -> u64 {
        self.sum(|plan| plan.data_bytes)
    }

    /// The sum over the plans of all disks; files that are uploaded as they are count whole.
    fn sum(&self, of: fn(&Plan) -> u64) -> u64 {
        let system = self.plan.as_ref().map_or(self.size, of);
        let plans = self.data_plans.iter().map(of);
        let files = self.data_images.iter().skip(self.data_plans.len());
        let files = files.map(|image| image.size);
        plans.chain(files).fold(system, u64::saturating_add)
    }

    /// Bytes that are sent at most.
    pub fn worst_case_bytes(&self) -> u64 {
        self.sum(|plan| plan.worst_case_bytes)
    }

    /// Bytes of memory that are still needed when everything is read.
    pub fn tail_memory(&self) -> u64 {
        self.plan
            .as_ref()
            .map_or(self.memory, |plan| plan.memory.sink)
    }
}

/// Opens and plans the disk in the first of `budgets` that suffices, and asks the cloud.
pub async fn plan(spec: &ImportSpec, cx: Context<'_>, budgets: &[PlanOptions]) -> Result<Planned> {
    let prepared = tokio::task::block_in_place(|| {
        let observing = (cx.observer, cx.stop);
        prepare_within(spec, cx.session.cloud().provider, &[], budgets, observing)
    })?;
    prepared.plan(cx).await
}

impl Prepared {
    /// Asks the cloud what would become of the import.
    pub async fn plan(mut self, cx: Context<'_>) -> Result<Planned> {
        self.complete(cx);
        let migration = Migration::begin(&mut self.spec, &mut self.pieces, cx).await?;
        name_os(&self.spec, cx, &mut self.pieces).await;
        let Self { spec, pieces, .. } = &self;
        let ledger = Ledger::peek(spec, cx, pieces)?;
        let ours = ledger.ours(cx.before);
        let mut warnings = pieces.warnings.clone();
        let own = ledger.system.ours();
        let skipping = to_skip(spec, cx, pieces, &own);
        let skipped = cx.stop.unless_asked(skipping).await??;
        let checked = match &skipped {
            Some(_) => None,
            None => {
                let checking = preflight(spec, cx, pieces, &ours, &mut warnings);
                Some(cx.stop.unless_asked(checking).await??)
            }
        };
        let method = match &checked {
            Some(_) => choose_call(spec, cx, pieces).await?.0,
            None => pieces.method,
        };
        let base = match (&migration, &checked) {
            (Some(migration), Some(_)) => migration.base(pieces, cx).await?.map(|(_, base)| base),
            (_, Some(checked)) => checked.base.clone(),
            (_, None) => None,
        };
        let system = &pieces.system;
        let target = &system.request.image_url;
        let (action, image_id) = match (&skipped, &checked) {
            (Some(Skipped::Image(image)), _) => (Action::Skip, Some(image.id.to_string())),
            (Some(Skipped::Object), _) | (_, None) => (Action::Skip, None),
            (None, Some(checked)) => {
                warnings.extend(told(spec, pieces, checked));
                let image = checked.image.as_ref().map(ToString::to_string);
                (action(system, &ledger, ours.last(), checked), image)
            }
        };
        warnings.splice(0..0, pieces.told.iter().cloned());
        let plan = system.form.disk().map(|disk| disk.plan.clone());
        Ok(Planned {
            source: spec.disk.to_string(),
            name: spec.name.clone(),
            register: method.by.name(),
            register_reason: method.why,
            bucket: target.bucket.clone(),
            key: target.key.clone(),
            min_disk: system.request.min_disk,
            region: cx.session.cloud().region.clone(),
            action,
            if_exists: spec.if_exists,
            image_id,
            size: system.size,
            stored_bytes: ledger
                .system
                .state()
                .map_or(0, journal::State::confirmed_bytes),
            memory: memory(pieces),
            disk: spec.disk.clone(),
            plan,
            base: base.map(|base| base.planned()),
            data_images: pieces.data.iter().map(DataImage::new).collect(),
            data_plans: pieces
                .data
                .iter()
                .filter_map(|piece| piece.form.disk().map(|disk| disk.plan.clone()))
                .collect(),
            discarded: system.form.discarded(),
            free_space: None,
            guest: pieces.guest.clone(),
            warnings,
            told: pieces.told.len(),
        })
    }
}

/// What the checks have found and a run decides.
fn told(spec: &ImportSpec, pieces: &Pieces, checked: &Checked) -> Vec<String> {
    let mut told = Vec::new();
    if let Some(image) = &checked.image {
        if checked.made {
            told.push(format!(
                "image {image} was created from the existing object; if that holds this disk, \
                 nothing is left to do"
            ));
        } else if spec.if_exists == IfExists::Replace {
            told.push(format!(
                "image {image} has the name; it would be renamed and kept"
            ));
        }
    }
    for (piece, existing) in pieces.all().zip(&checked.existing) {
        if existing.is_some() {
            told.push(format!(
                "object {} exists: it is used as it is if it holds the same disk, and rejected \
                 otherwise",
                piece.request.image_url
            ));
        }
    }
    told
}

fn action(system: &Piece, ledger: &Ledger, ours: Option<&Ours>, checked: &Checked) -> Action {
    if checked.existing.last().is_some_and(Option::is_some) {
        return Action::Adopt;
    }
    if ours.is_some_and(Ours::registering) {
        return Action::Attach;
    }
    match (
        ledger.system.state().map(journal::State::stage),
        &system.form,
    ) {
        (Some(Stage::Registering | Stage::Registered | Stage::Done), _) => Action::Attach,
        (_, Form::Bytes(_)) => Action::UploadAsIs,
        (Some(Stage::Sent | Stage::Uploaded), _) => Action::Register,
        (Some(Stage::Uploading), Form::Stream(_)) => Action::Resume,
        _ => Action::Upload,
    }
}

/// The most that one of the pieces needs: they are sent one after the other.
fn memory(pieces: &Pieces) -> u64 {
    let of = |piece: &Piece| match (piece.form.disk(), &piece.form) {
        (Some(disk), _) => disk.plan.memory.total(),
        (None, Form::Bytes(memory)) => *memory,
        (None, _) => 0,
    };
    pieces.all().map(of).max().unwrap_or_default()
}
