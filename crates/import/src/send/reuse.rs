//! An object that is there already and holds the same disk or file: nothing is uploaded then.
//!
//! | piece | compared by |
//! |---|---|
//! | a disk that is converted | the content digest, which the manifest next to the object records |
//! | a file that is uploaded as it is | the ETag, which is made of the MD5s of the parts |

use cloud::{Class, Failure, ImportHint, Result, StopToken, from_obs};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ::convert::monitor::CountingMonitor;
use ::convert::{CancelToken, ContentDigest, Counter, Levels, Monitor, Plan};
use diskimg::DiskImage;
use ims::ImageUrl;
use journal::Record;
use obs::parts::STANDARD;
use obs::{Client, ErrorKind, Manifest, ObjectInfo, PartRecord, Uploaded};

use super::reading::{PartReader, on_thread};
use super::sent::{Content, Sent};
use crate::ledger::Entry;
use crate::observe::{Activity, Counting, Observer};
use crate::piece::{Disk, Piece};
use crate::watch::Watch;

/// An object, and what tells its content.
#[derive(Clone, Debug)]
pub(crate) struct Existing {
    size: u64,
    etag: String,
    /// When it was stored, in seconds since 1970.
    stored: Option<i64>,
    /// Its content digest. `None` for a file, whose ETag will do.
    digest: Option<ContentDigest>,
}

impl Existing {
    /// What `object` can be compared by with `piece`, or why it cannot or need not be.
    pub(crate) async fn find(
        storage: &Client,
        piece: &Piece,
        object: &ObjectInfo,
    ) -> Result<Result<Self, String>> {
        let digest = match piece.form.disk() {
            None => by_etag(piece, object).map(|()| None),
            Some(disk) => {
                let url = &piece.request.image_url;
                let manifest = match storage.manifest(&url.bucket, &url.key).await {
                    Ok(manifest) => manifest,
                    // Whoever may not read it knows nothing of the object.
                    Err(error) if error.kind() == ErrorKind::AccessDenied => None,
                    Err(error) => return Err(from_obs(&error)),
                };
                by_manifest(manifest, object, &disk.plan).map(Some)
            }
        };
        Ok(digest.map(|digest| Self {
            size: object.size,
            etag: object.etag.clone().unwrap_or_default(),
            stored: object.modified,
            digest,
        }))
    }

    fn is(&self, object: &ObjectInfo) -> bool {
        object.may_be(self.size, &self.etag)
    }
}

fn by_manifest(
    manifest: Option<Manifest>,
    object: &ObjectInfo,
    plan: &Plan,
) -> Result<ContentDigest, String> {
    let Some(manifest) = manifest else {
        return Err("no manifest next to it says what it holds".to_owned());
    };
    if !manifest.describes(object) {
        return Err("the manifest next to it describes another object".to_owned());
    }
    let format = plan.target.name();
    if manifest.format != format {
        return Err(format!(
            "its format is {}, expected {format}",
            manifest.format
        ));
    }
    if manifest.virtual_size != plan.virtual_size {
        return Err(format!(
            "it holds a disk of {} bytes, this disk has {}",
            manifest.virtual_size, plan.virtual_size
        ));
    }
    let digest = manifest.content_digest.parse();
    digest.map_err(|_| "its manifest has no content digest that this version knows".to_owned())
}

fn by_etag(piece: &Piece, object: &ObjectInfo) -> Result<(), String> {
    if object.size != piece.size {
        return Err(format!("the file has {} bytes", piece.size));
    }
    match object.md5_of_parts() {
        Some(_) => Ok(()),
        None => Err("its ETag does not say what it holds".to_owned()),
    }
}

/// Compares an object with what an import reads.
pub(crate) struct Reuse<'a> {
    pub(crate) storage: &'a Client,
    pub(crate) url: &'a ImageUrl,
    pub(crate) observer: &'a dyn Observer,
    pub(crate) stop: &'a StopToken,
    /// Whether an object that differs is replaced instead of rejected.
    pub(crate) may_be_replaced: bool,
}

/// What was read, and how long that took.
struct Read {
    content: Option<Content>,
    started: Instant,
}

impl Reuse<'_> {
    /// Takes the object instead of uploading one, if it holds the disk.
    pub(crate) async fn disk(
        self,
        existing: Existing,
        disk: &Disk,
        entry: &mut Entry,
    ) -> Result<Option<Sent>> {
        let started = Instant::now();
        self.observer.notice(format_args!(
            "object {} exists and its manifest tells its content digest; \
             the disk is read to compare them, nothing is uploaded yet",
            self.url
        ));
        let content = self.digest(&disk.image, &disk.plan, entry.watch()).await?;
        let differs = existing
            .digest
            .filter(|digest| *digest != content.digest)
            .map(|digest| {
                format!(
                    "its content digest is {digest}, that of the source {}",
                    content.digest
                )
            });
        let content = Some(content);
        let read = Read { content, started };
        self.settle(existing, read, differs, entry).await
    }

    /// Takes the object instead of uploading one, if it holds the file.
    pub(crate) async fn file(
        self,
        existing: Existing,
        piece: &Piece,
        entry: &mut Entry,
    ) -> Result<Option<Sent>> {
        let started = Instant::now();
        self.observer.notice(format_args!(
            "object {} exists; the file is read to compare them by the ETag, nothing is uploaded \
             yet",
            self.url
        ));
        let etag = self.etag(&piece.disk.path, piece.size).await?;
        let differs = (!etag.eq_ignore_ascii_case(&existing.etag)).then(|| {
            format!(
                "its ETag is {}, that of an upload of the file would be {etag}",
                existing.etag
            )
        });
        let read = Read {
            content: None,
            started,
        };
        self.settle(existing, read, differs, entry).await
    }

    /// Takes the object, or rejects it because it `differs`.
    async fn settle(
        self,
        existing: Existing,
        read: Read,
        differs: Option<String>,
        entry: &mut Entry,
    ) -> Result<Option<Sent>> {
        let Self { url, observer, .. } = self;
        entry.verify_source()?;
        match differs {
            None => {}
            Some(_) if self.may_be_replaced => {
                observer.notice(format_args!(
                    "object {url} of an earlier owner holds another disk; it is replaced"
                ));
                return Ok(None);
            }
            Some(differs) => {
                return Err(Failure::new(
                    Class::Refused,
                    format!("object {url} already exists and holds another disk: {differs}"),
                )
                .hint(ImportHint::ReplaceObject));
            }
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
            .hint("run the command again"));
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
            copied_bytes: 0,
            retries: 0,
            copies: None,
        };
        // From here on it is as if this import had uploaded it then.
        entry.forget();
        entry.date_back(existing.stored);
        entry.begin(self.storage, observer).await?;
        let digest = read.content.as_ref().map(|content| content.digest);
        entry.record(&Record::Sent {
            size: uploaded.size,
            digest: digest.map_or_else(String::new, |digest| digest.to_string()),
        })?;
        entry.completed(&uploaded)?;
        Ok(Some(Sent {
            content: read.content,
            reused: true,
            converting: read.started.elapsed(),
            ..Sent::new(uploaded)
        }))
    }

    /// Reads the whole disk.
    async fn digest(
        &self,
        image: &Arc<dyn DiskImage>,
        plan: &Plan,
        watch: &Watch,
    ) -> Result<Content> {
        let progress = self.observer.count(Activity::Comparing, plan.virtual_size);
        let counts = Arc::new(Counts {
            sums: CountingMonitor::default(),
            shown: Arc::clone(&progress),
        });
        let (threads, cancel) = (plan.threads, self.stop.token().clone());
        let (image, monitor) = (Arc::clone(image), Arc::clone(&counts));
        let watch = watch.clone();
        let digest = on_thread(self.stop, move || {
            let digest = ::convert::digest(image.as_ref(), threads, monitor.as_ref(), &cancel);
            digest.map_err(|error| watch.cause(error))
        });
        let digest = digest.await;
        progress.end();
        Ok(Content {
            digest: digest?,
            virtual_size: plan.virtual_size,
            read_bytes: counts.sums.get(Counter::ReadBytes),
            skipped_bytes: counts.sums.get(Counter::SkippedBytes),
            kept_bytes: 0,
            zero_bytes: counts.sums.get(Counter::ZeroBytes),
            changed_by: None,
            levels: Levels::default(),
        })
    }

    /// Reads the whole file: the ETag that its upload would have.
    async fn etag(&self, path: &Path, size: u64) -> Result<String> {
        let progress = self.observer.count(Activity::Comparing, size);
        let (path, cancel) = (path.to_owned(), self.stop.token().clone());
        let monitor = Arc::clone(&progress);
        let reading = move || etag_of_file(&path, size, monitor.as_ref(), cancel);
        let etag = on_thread(self.stop, reading).await;
        progress.end();
        etag
    }
}

/// The ETag that the upload of the file at `path` would have, as it begins with `size` bytes.
fn etag_of_file(
    path: &Path,
    size: u64,
    monitor: &dyn Monitor,
    cancel: CancelToken,
) -> Result<String> {
    let mut reader = PartReader::open(path, cancel)?;
    let (mut parts, mut at) = (Vec::new(), 0);
    for number in 1.. {
        // The object has this many bytes, so that the schedule has parts for them.
        let Some(next) = STANDARD.start(number + 1).filter(|_| at < size) else {
            break;
        };
        let end = next.min(size);
        parts.push(PartRecord {
            number,
            size: end - at,
            md5: reader.md5(at, end - at)?,
            etag: None,
        });
        monitor.count(Counter::GuestBytes, end - at);
        at = end;
    }
    Ok(obs::etag_of(&parts).unwrap_or_default())
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
