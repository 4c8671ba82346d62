//! The object that an import takes unchanged blocks from: whether it is what its table and its
//! manifest say.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::convert::delta::{BlockTable, RAW};
use ::convert::{CancelToken, Plan, Target, reread_sample};
use cloud::{Class, Failure, ImportHint, Result, StopToken, from_obs};
use diskimg::{DiskImage, OpenOptions};
use obs::{Chunking, Client, CopySource, Manifest, ObjectInfo, Upload};
use serde::Serialize;

use super::changed::{Changed, ChangedBy};
use super::reading::on_thread;
use crate::observe::Observer;

/// Blocks of the object that are read and compared with its table.
const SAMPLE: usize = 8;
/// How the object is read meanwhile.
const CHUNKS: Chunking = Chunking::SCATTERED;

/// An earlier object, and its blocks.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) table: BlockTable,
    pub(crate) source: CopySource,
    /// Bytes that every part but the last must have.
    pub(crate) min_part: u64,
    /// What has changed since, if somebody is believed about that.
    pub(super) changed: Option<Changed>,
}

/// The earlier object that an import is based on.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedBase {
    /// Its bucket.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// Blocks of 2 MiB that it holds.
    pub blocks: u64,
    /// Its bytes.
    pub size: u64,
    /// The bitmap that is believed about what has changed since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_by: Option<ChangedBy>,
}

/// Refuses a least size of parts that no storage has.
///
/// # Errors
/// `Refused`.
pub(crate) fn check_min_part(bytes: u64) -> Result {
    let (least, most) = (obs::OBS_MIN_PART_SIZE, obs::MIN_PART_SIZE);
    if (least..=most).contains(&bytes) {
        return Ok(());
    }
    let message =
        format!("parts have {bytes} bytes at least, expected a size from {least} to {most}");
    Err(Failure::new(Class::Refused, message))
}

impl Base {
    /// The object `key`, checked: its table is of this very object, agrees with its manifest, and
    /// a sample of its blocks holds what the table says.
    ///
    /// # Errors
    /// `Refused` when it cannot be the base of this disk.
    pub(crate) async fn find(
        storage: &Client,
        (bucket, key): (&str, &str),
        min_part: u64,
        plan: &Plan,
        stop: &StopToken,
    ) -> Result<Self> {
        let refused = |why: String| {
            let message = format!("{bucket}/{key} cannot be the base of this import: {why}");
            Failure::new(Class::Refused, message).hint(ImportHint::ImportWithoutBase)
        };
        let failed = |error: obs::Error| from_obs(&error);
        let info = storage.object(bucket, key).await.map_err(failed)?;
        let info = info.ok_or_else(|| refused("there is no such object".into()))?;
        let table = storage.blocks(bucket, key).await.map_err(failed)?;
        let table = table.ok_or_else(|| {
            let name = obs::blocks_key(key);
            refused(format!("there is no table of its blocks, {name}"))
        })?;
        let table = BlockTable::decode(&table).map_err(|error| refused(error.to_string()))?;
        let manifest = storage.manifest(bucket, key).await.map_err(failed)?;
        check(&table, &info, manifest.as_ref(), plan).map_err(refused)?;
        let base = Self {
            source: CopySource {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
                info,
            },
            table,
            min_part,
            changed: None,
        };
        match base.differs(storage, stop).await? {
            None => Ok(base),
            Some(number) => Err(refused(format!(
                "its block {number} is not the one that its table says"
            ))),
        }
    }

    /// Believes `bitmap` about what has changed on the disk in `image` since this was made.
    ///
    /// # Errors
    /// Those of [`Changed::find`].
    pub(crate) async fn changed_by(
        mut self,
        bitmap: &str,
        image: &Arc<dyn DiskImage>,
        stop: &StopToken,
    ) -> Result<Self> {
        let (bitmap, image) = (bitmap.to_owned(), Arc::clone(image));
        let cancel: CancelToken = stop.token().clone();
        on_thread(stop, move || {
            let base = (self.source.key.as_str(), &self.table);
            let changed = Changed::find(image.as_ref(), &bitmap, base, &cancel)?;
            self.changed = Some(changed);
            Ok(self)
        })
        .await
    }

    /// Whether `upload` failed because the server does not copy.
    pub(super) fn copies_are_refused(upload: &Upload) -> bool {
        upload.failure().is_some_and(obs::Error::refuses_copy)
    }

    /// Says that everything is sent, because the server does not copy.
    pub(super) fn warn_of_refusal(&self, upload: &Upload, observer: &dyn Observer) {
        if let Some(refused) = upload.failure() {
            observer.warn(format_args!(
                "the whole disk is sent, because the server does not join copies of {}: {refused}",
                self.source.key
            ));
        }
    }

    /// What a plan says of it.
    pub(crate) fn planned(&self) -> PlannedBase {
        PlannedBase {
            bucket: self.source.bucket.clone(),
            key: self.source.key.clone(),
            blocks: self.table.blocks.len() as u64,
            size: self.source.info.size,
            changed_by: self.changed.as_ref().map(|changed| changed.by(None)),
        }
    }

    /// A block of the object that is not what the table says, of those that are looked at.
    async fn differs(&self, storage: &Client, stop: &StopToken) -> Result<Option<u64>> {
        let CopySource { bucket, key, .. } = &self.source;
        let opening = storage.open_object(bucket, key, CHUNKS);
        let source = opening.await.map_err(|error| from_obs(&error))?;
        let mut blocks: Vec<_> = self.table.blocks.iter().collect();
        fastrand::shuffle(&mut blocks);
        let sample: BTreeMap<_, _> = blocks
            .into_iter()
            .take(SAMPLE)
            .map(|block| (u64::from(block.number), Some(block.hash)))
            .collect();
        let format = match self.table.encoder == RAW {
            true => diskimg::Format::Raw,
            false => diskimg::Format::Zvhd2,
        };
        let cancel: CancelToken = stop.token().clone();
        on_thread(stop, move || {
            let options = OpenOptions::of(Some(format));
            let opened = ::convert::open_source_with(Arc::new(source), &options)?;
            Ok(reread_sample(opened.image.as_ref(), 1, &sample, &cancel)?)
        })
        .await
    }
}

/// What makes the bytes of objects from blocks.
pub(super) fn encoder_of(target: Target) -> String {
    match target {
        Target::Zvhd2 => zvhd2::encoder_version(),
        Target::Raw => RAW.to_owned(),
    }
}

/// Why the table is not that of the object, or of no use for this plan.
fn check(
    table: &BlockTable,
    info: &ObjectInfo,
    manifest: Option<&Manifest>,
    plan: &Plan,
) -> Result<(), String> {
    let etag = info.etag.as_deref().unwrap_or_default();
    if etag.is_empty() || info.weak_etag {
        return Err("the storage reports no ETag for it that copies could be bound to".into());
    }
    if info.size != table.object_size || !etag.eq_ignore_ascii_case(&table.object_etag) {
        return Err("the table of blocks next to it is of another object".into());
    }
    let manifest = manifest.filter(|manifest| manifest.describes(info));
    let Some(manifest) = manifest else {
        return Err("no manifest next to it describes it".into());
    };
    if manifest.content_digest != table.digest().to_string() {
        return Err("its manifest and its table of blocks have different content digests".into());
    }
    if table.virtual_size != plan.virtual_size {
        return Err(format!(
            "it holds a disk of {} bytes, this one has {}",
            table.virtual_size, plan.virtual_size
        ));
    }
    if manifest.format != plan.target.name() {
        return Err(format!(
            "its format is {}, that of the new object {}",
            manifest.format,
            plan.target.name()
        ));
    }
    let encoder = encoder_of(plan.target);
    if table.encoder != encoder {
        return Err(format!(
            "its blocks were made by {}, this version has {encoder}",
            table.encoder
        ));
    }
    Ok(())
}
