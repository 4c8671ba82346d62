//! An object that is there already and holds the same disk: nothing is uploaded then.

use cloud::{Class, Failure, Result, StopToken, from_obs, stopped};
use std::sync::Arc;
use std::time::Instant;

use ::convert::monitor::CountingMonitor;
use ::convert::{ContentDigest, Counter, Levels, Monitor, Plan};
use diskimg::DiskImage;
use ims::ImageUrl;
use journal::Record;
use obs::{Client, ErrorKind, Manifest, ObjectInfo, Uploaded};

use super::sent::{Content, Sent};
use crate::ledger::Entry;
use crate::observe::{Activity, Counting, Observer};

/// An object, and what its manifest says of it.
#[derive(Clone, Debug)]
pub(crate) struct Existing {
    size: u64,
    etag: String,
    digest: ContentDigest,
}

impl Existing {
    /// What is known of `object` at `url`, if that can be a disk of `virtual_size` bytes.
    pub(crate) async fn find(
        storage: &Client,
        url: &ImageUrl,
        object: &ObjectInfo,
        virtual_size: u64,
    ) -> Result<Option<Self>> {
        let manifest = match storage.manifest(&url.bucket, &url.key).await {
            Ok(manifest) => manifest,
            // Whoever may not read it knows nothing of the object.
            Err(error) if error.kind() == ErrorKind::AccessDenied => None,
            Err(error) => return Err(from_obs(&error)),
        };
        let fits = manifest.filter(|manifest| {
            manifest.describes(object)
                && manifest.virtual_size == virtual_size
                && manifest.format == FORMAT
        });
        Ok(fits.and_then(|manifest| {
            Some(Self {
                size: object.size,
                etag: object.etag.clone().unwrap_or_default(),
                digest: manifest.content_digest.parse().ok()?,
            })
        }))
    }

    fn is(&self, object: &ObjectInfo) -> bool {
        object.may_be(self.size, &self.etag)
    }
}

/// Format of the objects that are used again.
const FORMAT: &str = "zvhd2";

/// Where an import goes, and what it reads.
pub(crate) struct Reuse<'a> {
    pub(crate) storage: &'a Client,
    pub(crate) url: &'a ImageUrl,
    pub(crate) image: &'a Arc<dyn DiskImage>,
    pub(crate) plan: &'a Plan,
    pub(crate) observer: &'a dyn Observer,
    pub(crate) stop: &'a StopToken,
}

impl Reuse<'_> {
    /// Takes the object instead of uploading one, if it holds the disk. Otherwise it is refused,
    /// unless it `may_be_replaced`.
    pub(crate) async fn run(
        self,
        existing: Existing,
        entry: &mut Entry,
        may_be_replaced: bool,
    ) -> Result<Option<Sent>> {
        let Self { url, observer, .. } = self;
        let started = Instant::now();
        observer.notice(format_args!(
            "object {url} exists and its manifest tells its content digest; \
             the disk is read to compare them, nothing is uploaded yet"
        ));
        let content = self.digest().await?;
        entry.check_source()?;
        if content.digest != existing.digest && may_be_replaced {
            observer.notice(format_args!(
                "object {url} of an earlier owner holds another disk; it is replaced"
            ));
            return Ok(None);
        }
        if content.digest != existing.digest {
            return Err(Failure::new(
                Class::Refused,
                format!(
                    "object {url} exists already and holds another disk: its content digest is {}, that of the source {}",
                    existing.digest, content.digest
                ),
            )
            .hint("pass --force to replace it, or another key with --key"));
        }
        // Reading took its time.
        let object = self
            .stop
            .unless_asked(self.storage.object(&url.bucket, &url.key))
            .await?
            .map_err(|error| from_obs(&error))?;
        if !object.is_some_and(|object| existing.is(&object)) {
            return Err(Failure::new(
                Class::Refused,
                format!("object {url} was replaced or deleted while the disk was read"),
            )
            .hint("give the command again"));
        }
        observer.notice(format_args!(
            "object {url} holds this disk already; it is not uploaded again"
        ));
        let uploaded = Uploaded {
            size: existing.size,
            // Of an upload in parts the ETag ends in their number.
            parts: existing
                .etag
                .rsplit_once('-')
                .and_then(|(_, parts)| parts.parse().ok())
                .unwrap_or(1),
            etag: existing.etag,
            etag_verified: false,
            upload_id: String::new(),
            sent_bytes: 0,
            kept_bytes: existing.size,
            retries: 0,
            copies: None,
        };
        // From here on it is as if this import had uploaded it.
        entry.forget();
        entry.begin(self.storage, observer).await?;
        entry.record(&Record::Sent {
            size: uploaded.size,
            digest: content.digest.to_string(),
        })?;
        entry.completed(&uploaded)?;
        Ok(Some(Sent {
            content: Some(content),
            reused: true,
            converting: started.elapsed(),
            ..Sent::new(uploaded)
        }))
    }

    /// Reads the whole disk.
    async fn digest(&self) -> Result<Content> {
        let virtual_size = self.plan.virtual_size;
        let progress = self.observer.count(Activity::Comparing, virtual_size);
        let counts = Arc::new(Counts {
            sums: CountingMonitor::default(),
            shown: Arc::clone(&progress),
        });
        let reading = tokio::task::spawn_blocking({
            let (image, counts) = (Arc::clone(self.image), Arc::clone(&counts));
            let (threads, cancel) = (self.plan.threads, self.stop.token().clone());
            move || ::convert::digest(image.as_ref(), threads, counts.as_ref(), &cancel)
        });
        let digest = tokio::select! {
            biased;
            () = self.stop.asked() => Err(stopped()),
            read = reading => match read {
                Ok(digest) => digest.map_err(Failure::from),
                Err(e) => Err(Failure::from_error(Class::Io, &e).context("reading the disk crashed")),
            },
        };
        progress.end();
        Ok(Content {
            digest: digest?,
            virtual_size,
            read_bytes: counts.sums.get(Counter::ReadBytes),
            skipped_bytes: counts.sums.get(Counter::SkippedBytes),
            kept_bytes: 0,
            zero_bytes: counts.sums.get(Counter::ZeroBytes),
            levels: Levels::default(),
        })
    }
}

/// Shows, and adds up.
struct Counts {
    sums: CountingMonitor,
    shown: Arc<dyn Counting>,
}

impl Monitor for Counts {
    fn count(&self, counter: Counter, increment: u64) {
        self.sums.count(counter, increment);
        self.shown.count(counter, increment);
    }
}

/// Stores the manifest of an object that is complete and verified. Without one the object is as
/// good, so what goes wrong is a warning.
pub(crate) async fn describe(
    storage: &Client,
    url: &ImageUrl,
    plan: &Plan,
    content: &Content,
    uploaded: &Uploaded,
) -> Option<String> {
    let manifest = Manifest::new(
        plan.target.name(),
        content.digest.to_string(),
        content.virtual_size,
        plan.data_blocks,
        (uploaded.size, uploaded.etag.clone()),
    )
    .with_level(plan.level);
    let stored = storage.put_manifest(&url.bucket, &url.key, &manifest).await;
    stored.err().map(|error| {
        format!(
            "the manifest {} could not be stored, so another import of this disk would upload it again: {}",
            Manifest::key_of(&url.key),
            from_obs(&error).line()
        )
    })
}
