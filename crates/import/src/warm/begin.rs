//! How a run of a migration begins: whether the cutover could register its image, which generations
//! there are, and which one comes next.

use cloud::{Class, Failure, ImportHint, Result, from_obs};
use std::collections::BTreeMap;
use std::time::Instant;

use ::convert::Target;

use super::names::{Names, There};
use super::{Migration, refused};
use crate::ledger::{self, Ledger, now};
use crate::method::{By, Method};
use crate::observe::Context;
use crate::os_name::name_os;
use crate::piece::Pieces;
use crate::preflight::preflight;
use crate::send::check_min_part;
use crate::spec::{IfExists, ImportSpec, Register};
use crate::stdin::is_standard_input;

/// Refuses what no migration can be of.
pub(crate) fn check(spec: &ImportSpec, method: Method) -> Result {
    if spec.warm.is_none() {
        return Ok(());
    }
    if spec.base.is_some() {
        return Err(refused(
            "a warm migration finds its base itself, and another one was given",
            ImportHint::LeaveBaseOrWarm,
        ));
    }
    if spec.target != Target::Zvhd2 {
        return Err(refused(
            "a warm migration makes ZVHD2 objects, and a raw one is asked for",
            ImportHint::LeaveRawOrWarm,
        ));
    }
    if !spec.data_disks.is_empty() {
        return Err(refused(
            "a warm migration is of a single disk",
            ImportHint::ImportDataDisksAlone,
        ));
    }
    if !method.converts() {
        return Err(refused(
            "a warm migration converts the disk, and this one would be uploaded unchanged",
            ImportHint::UseQuickImport,
        ));
    }
    check_min_part(spec.min_part)?;
    if is_standard_input(&spec.disk.path) {
        return Err(refused(
            "a warm migration reads the disk again and again, and standard input is read once",
            ImportHint::NameFile,
        ));
    }
    if spec.journal.is_none() {
        return Err(Failure::new(
            Class::Refused,
            "a warm migration needs a cloud that is still there in the next run, and the sandbox of \
             this process is not",
        )
        .hint(ImportHint::RunSandboxAlone));
    }
    Ok(())
}

impl Migration {
    /// Begins a run, if the import is one of a migration. The spec and the pieces of a generation
    /// are from then on those of an object that nobody registers.
    pub(crate) async fn begin(
        spec: &mut ImportSpec,
        pieces: &mut Pieces,
        cx: Context<'_>,
    ) -> Result<Option<Self>> {
        let Some(warm) = spec.warm else {
            return Ok(None);
        };
        let (begun, started) = (Instant::now(), now());
        if !warm.cutover {
            may_cut_over(spec, pieces, cx).await?;
        }
        let storage = match cx.storage {
            Some(storage) => storage.clone(),
            None => cx.session.storage().await?,
        };
        let url = &mut pieces.system.request.image_url;
        let mut migration = Self {
            names: Names::of(&url.key),
            storage,
            bucket: url.bucket.clone(),
            key: url.key.clone(),
            found: BTreeMap::new(),
            number: None,
            keep: warm.keep.get(),
            min_part: spec.min_part,
            begun,
            started,
        };
        migration.found = migration.list(cx).await?;
        if warm.cutover {
            return Ok(Some(migration));
        }
        let number = migration.next(spec, cx)?;
        migration.number = Some(number);
        url.key = migration.names.key(number);
        cx.observer.notice(format_args!(
            "this is generation {number} of {}/{}; it is uploaded and not registered",
            migration.bucket, migration.key
        ));
        spec.key = Some(url.key.clone());
        spec.register = Register::None;
        // The key is ours: an object that has it is one of a run that was interrupted.
        spec.if_exists = IfExists::Replace;
        pieces.method.by = By::Nothing;
        pieces.method.why = "the cutover registers the image";
        pieces.system.watch.may_move();
        Ok(Some(migration))
    }

    async fn list(&self, cx: Context<'_>) -> Result<BTreeMap<u32, There>> {
        let prefix = self.names.prefix();
        let listing = self.storage.list_objects(&self.bucket, &prefix);
        let listed = cx.stop.unless_asked(listing).await?;
        let listed = listed.map_err(|error| {
            from_obs(&error).context("looking for the generations of the migration failed")
        })?;
        Ok(self.names.sort(&listed))
    }

    /// The generation that comes next: the one that an interrupted run was making, or a new one.
    fn next(&self, spec: &ImportSpec, cx: Context<'_>) -> Result<u32> {
        let Some((newest, there)) = self.found.last_key_value() else {
            return Ok(1);
        };
        let key = self.names.key(*newest);
        if !there.is_complete() && ledger::is_unfinished(spec, cx.session, &key) {
            return Ok(*newest);
        }
        newest.checked_add(1).ok_or_else(|| {
            let message = format!("{key} has the last number that a generation can have");
            refused(message, ImportHint::NameKey)
        })
    }
}

/// Whether the cutover could register the image now: name, operating system, quota and bucket.
async fn may_cut_over(spec: &ImportSpec, pieces: &mut Pieces, cx: Context<'_>) -> Result {
    name_os(spec, cx, pieces).await;
    let ours = Ledger::peek(spec, cx, pieces)?.ours(cx.before);
    let mut warnings = Vec::new();
    let checking = preflight(spec, cx, pieces, &ours, &mut warnings);
    let checked = cx.stop.unless_asked(checking).await??;
    let url = &pieces.system.request.image_url;
    if let (true, Some(image)) = (checked.made, &checked.image) {
        let message = format!("the migration is over: image {image} was made of {url}");
        return Err(refused(message, ImportHint::FreeName));
    }
    if checked.existing.iter().any(Option::is_some) {
        warnings.push(format!(
            "object {url} exists: the cutover is refused unless it holds the disk as it is then, or \
             may replace it"
        ));
    }
    pieces.warnings.append(&mut warnings);
    Ok(())
}
