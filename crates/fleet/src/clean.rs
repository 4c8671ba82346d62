//! What an abandoned batch has left behind, in the cloud and on this machine.

use std::collections::HashSet;

use batch::Item;
use cloud::{Class, Failure, Result, from_ims, from_journal, from_obs};
use ims::ImageStatus;
use journal::{Found, Journal, RunLock};
use serde::Serialize;

use crate::claims::prefix_of;
use crate::observe::Context;
use crate::request;
use crate::spec::FleetSpec;
use crate::state::{self, Place, Record, now};

/// What an abandoned batch left behind and is no longer needed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Leftovers {
    /// Uploads that were neither completed nor aborted.
    pub uploads: Vec<LeftoverUpload>,
    /// Objects of zeros and claims.
    pub objects: Vec<LeftoverObject>,
    /// Images that never became active, and come from an object of the batch.
    pub images: Vec<LeftoverImage>,
    /// Journals of imports on this machine.
    pub journals: Vec<String>,
}

/// An incomplete upload.
#[derive(Clone, Debug, Serialize)]
pub struct LeftoverUpload {
    /// Its bucket.
    pub bucket: String,
    /// Key of the object that it would become.
    pub key: String,
    /// Its id.
    pub upload_id: String,
}

/// An object.
#[derive(Clone, Debug, Serialize)]
pub struct LeftoverObject {
    /// Its bucket.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// Its bytes.
    pub size: u64,
}

/// An image.
#[derive(Clone, Debug, Serialize)]
pub struct LeftoverImage {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// As the service reports it.
    pub status: String,
}

/// How a batch is cleaned up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanOptions {
    /// Also delete the markers of finished disks, which later workers rely on.
    pub claims: bool,
    /// Nothing will be deleted, so the batch may run meanwhile.
    pub dry_run: bool,
}

/// A batch that is cleaned up. No other process on this machine works on it meanwhile.
pub struct Cleaning<'a> {
    items: &'a [Item],
    digest: &'a str,
    cx: &'a Context,
    storage: obs::Client,
    place: Option<Place>,
    endpoint: String,
    options: CleanOptions,
    _lock: Option<RunLock>,
}

impl<'a> Cleaning<'a> {
    /// Locks the batch.
    ///
    /// # Errors
    /// When another process works on it, or the storage cannot be used.
    pub async fn begin(
        spec: &'a FleetSpec,
        cx: &'a Context,
        options: CleanOptions,
    ) -> Result<Self> {
        let place = Place::of(spec)?;
        let endpoint = cx.session.endpoint();
        let journal = place.as_ref().map(|place| place.path(&endpoint));
        let lock = match journal.filter(|path| !options.dry_run && path.exists()) {
            Some(path) => Some(state::lock(&path, false)?),
            None => None,
        };
        Ok(Self {
            items: &spec.manifest.items,
            digest: &spec.manifest.digest,
            cx,
            storage: cx.session.storage().await?,
            place,
            endpoint,
            options,
            _lock: lock,
        })
    }

    /// What there is to delete.
    ///
    /// # Errors
    /// When the cloud or a journal cannot be read, or an import is running.
    pub async fn find(&self) -> Result<Leftovers> {
        self.cx.stop.unless_asked(self.search()).await?
    }

    async fn search(&self) -> Result<Leftovers> {
        let storage = &self.storage;
        let mut left = Leftovers::default();
        let keys: HashSet<(String, String)> =
            tokio::task::block_in_place(|| self.items.iter().flat_map(objects_of).collect());
        let mut buckets: Vec<&str> = self.items.iter().map(|item| item.bucket.as_str()).collect();
        buckets.sort_unstable();
        buckets.dedup();
        for bucket in buckets {
            let open = storage
                .list_uploads(bucket, None)
                .await
                .map_err(|error| from_obs(&error))?;
            left.uploads.extend(
                open.into_iter()
                    .filter(|upload| keys.contains(&(bucket.to_owned(), upload.key.clone())))
                    .map(|upload| LeftoverUpload {
                        bucket: bucket.to_owned(),
                        key: upload.key,
                        upload_id: upload.upload_id,
                    }),
            );
            let claims = storage.list_objects(bucket, &prefix_of(self.digest)).await;
            let claims = claims.map_err(|error| from_obs(&error))?;
            let kept = |key: &str| !self.options.claims && key.ends_with("/done");
            let claims = claims.into_iter().filter(|object| !kept(&object.key));
            left.objects.extend(claims.map(|object| LeftoverObject {
                bucket: bucket.to_owned(),
                key: object.key,
                size: object.size,
            }));
        }
        for item in self.items {
            let prefix = format!("{}.zeros-", item.object_key());
            // Only raw objects have them, but an item may have been raw before.
            let helpers = storage.list_objects(&item.bucket, &prefix).await;
            let helpers = helpers.map_err(|error| from_obs(&error))?;
            left.objects
                .extend(helpers.into_iter().map(|object| LeftoverObject {
                    bucket: item.bucket.clone(),
                    key: object.key,
                    size: object.size,
                }));
            left.images.extend(self.image(item).await?);
            left.journals.extend(self.journal(item)?);
        }
        Ok(left)
    }

    /// The image of `item`, if it is of no use: made of its object, and never active.
    async fn image(&self, item: &Item) -> Result<Option<LeftoverImage>> {
        if item.register == batch::Register::None {
            return Ok(None);
        }
        let found = self
            .cx
            .session
            .images()
            .image_named(&item.name)
            .await
            .map_err(|error| from_ims(&error))?;
        let origin = format!("{}:{}", item.bucket, item.object_key());
        Ok(found
            .filter(|image| image.status != ImageStatus::Active)
            .filter(|image| {
                image
                    .data_origin
                    .as_ref()
                    .is_some_and(|told| told.split(',').any(|piece| piece == origin))
            })
            .map(|image| LeftoverImage {
                id: image.id.to_string(),
                name: item.name.clone(),
                status: image.status.as_str().to_owned(),
            }))
    }

    /// The journal of `item`'s import, if it could go on.
    fn journal(&self, item: &Item) -> Result<Option<String>> {
        let key = item.object_key();
        let target = journal::Target {
            endpoint: &self.endpoint,
            bucket: &item.bucket,
            key: &key,
        };
        let Some(place) = &self.place else {
            return Ok(None);
        };
        let path = place.dir.path_of(&target);
        if !path.exists() {
            return Ok(None);
        }
        if Journal::in_use(&path) || RunLock::is_taken(&path) {
            return Err(Failure::new(
                Class::Refused,
                format!("another process is importing {}", item.id),
            )
            .hint(journal::Hint::WaitForOther));
        }
        match Journal::peek(&path).map_err(|error| from_journal(&error))? {
            Found::Nothing | Found::Unreadable { .. } | Found::Import(..) => {
                Ok(Some(path.display().to_string()))
            }
        }
    }

    /// Deletes `left`.
    ///
    /// # Errors
    /// In a dry run; when something cannot be deleted: what stands before it is.
    pub async fn delete(&self, left: &Leftovers) -> Result {
        if self.options.dry_run {
            return Err(Failure::new(
                Class::Refused,
                "nothing is deleted in a dry run, which does not lock the batch",
            ));
        }
        let (storage, stop) = (&self.storage, &self.cx.stop);
        for upload in &left.uploads {
            stop.unless_asked(storage.abort_upload(&upload.bucket, &upload.key, &upload.upload_id))
                .await?
                .map_err(|error| from_obs(&error))?;
        }
        for image in &left.images {
            let id = image.id.parse::<ims::ImageId>().map_err(|_| {
                Failure::new(Class::Cloud, format!("{} is no id of an image", image.id))
            })?;
            stop.unless_asked(self.cx.session.images().delete_image(&id, false))
                .await?
                .map_err(|error| from_ims(&error))?;
        }
        // Journals before claims: what this machine forgets, another one may still take up, but not
        // the other way.
        for journal in &left.journals {
            std::fs::remove_file(journal).map_err(|error| {
                Failure::from_error(Class::Io, &error)
                    .context(format!("the journal {journal} cannot be removed"))
            })?;
        }
        for object in &left.objects {
            stop.unless_asked(storage.delete_object(&object.bucket, &object.key))
                .await?
                .map_err(|error| from_obs(&error))?;
        }
        let journal = self.place.as_ref().map(|place| place.path(&self.endpoint));
        if let Some(path) = journal.filter(|path| path.exists()) {
            state::open(&path)?
                .append(&Record::Cleaned { at: now() })
                .map_err(|error| from_journal(&error))?;
        }
        Ok(())
    }
}

/// Bucket and key of all objects that the import of `item` makes.
fn objects_of(item: &Item) -> Vec<(String, String)> {
    let keys = match request::import_of(item) {
        Ok(spec) => import::object_keys(&spec),
        // It is refused before it makes any.
        Err(_) => vec![item.object_key()],
    };
    let bucket = &item.bucket;
    keys.into_iter().map(|key| (bucket.clone(), key)).collect()
}

impl Leftovers {
    /// Whether there is nothing to delete.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.uploads.is_empty()
            && self.objects.is_empty()
            && self.images.is_empty()
            && self.journals.is_empty()
    }
}
