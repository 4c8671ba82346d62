//! Objects as sources of bytes: ranged reads, checked and tried again, for plain threads.

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use diskimg::ReadAt;
use diskimg::units::FileOffset;
use lru::LruCache;
use net::retry::Verdict;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::classify::from_sdk;
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::etag::unquoted;
use crate::info::ObjectInfo;
use crate::moving::Meter;
use crate::multipart::limit;
use crate::text::clean_text;

/// How much of an object is fetched at a time and kept, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Chunking {
    /// Bytes of a chunk.
    bytes: u64,
    /// Chunks that are held in memory.
    kept: NonZeroUsize,
    /// Most chunks that are fetched.
    most: u64,
}

impl Chunking {
    /// For tables and files here and there: 32 MiB in memory, and at most 1 GiB is fetched.
    pub const SCATTERED: Self = Self {
        bytes: 1 << 20,
        kept: NonZeroUsize::new(32).unwrap(),
        most: 1024,
    };

    /// For reading all of an object, from one end to the other: few requests, and each well under a
    /// second on a usual line. One of the chunks `kept` for each thread that reads, and some more,
    /// avoids fetching twice.
    #[must_use]
    pub const fn whole(kept: NonZeroUsize) -> Self {
        Self {
            bytes: 4 << 20,
            kept,
            most: u64::MAX,
        }
    }

    /// The same with at most `requests` of them.
    #[must_use]
    pub const fn within(self, requests: u64) -> Self {
        Self {
            most: requests,
            ..self
        }
    }
}

/// An object of a bucket. Reads fetch whole chunks, keep the last few, and fail when the object is
/// replaced meanwhile.
///
/// Do not read from a thread of the async runtime: reads block on it.
pub struct ObjectSource {
    client: Client,
    bucket: String,
    key: String,
    info: ObjectInfo,
    runtime: Handle,
    chunking: Chunking,
    fetched: AtomicU64,
    /// A chunk's own lock is held while it is fetched, so that threads that want the same one fetch
    /// it once.
    chunks: Mutex<LruCache<u64, Arc<Mutex<Option<Bytes>>>>>,
    name: PathBuf,
}

impl fmt::Debug for ObjectSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectSource")
            .field("name", &self.name)
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// The object `key` for reading. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none; otherwise what the server says.
    pub async fn open_object(
        &self,
        bucket: &str,
        key: &str,
        chunking: Chunking,
    ) -> Result<ObjectSource, Error> {
        let info = self.object(bucket, key).await?.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                "the bucket or the object does not exist",
            )
            .doing(format!("object {bucket}/{key}"))
            .with_hint("check the names of the bucket and the object")
        })?;
        Ok(ObjectSource {
            client: self.clone(),
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            info,
            runtime: Handle::current(),
            chunking,
            fetched: AtomicU64::new(0),
            chunks: Mutex::new(LruCache::new(chunking.kept)),
            name: PathBuf::from(format!("obs://{bucket}/{key}")),
        })
    }

    /// The bytes `range` of the object `info`, only while it is that one.
    pub(crate) async fn range(
        &self,
        bucket: &str,
        key: &str,
        range: Range<u64>,
        info: &ObjectInfo,
    ) -> Result<Bytes, Error> {
        let Range { start, end } = range;
        let len = end.saturating_sub(start);
        let last = end.saturating_sub(1);
        let what = format!("reading bytes {start} to {last} of {bucket}/{key}");
        let policy = self.data_policy(len);
        let read = self.call(&policy, &what, |attempt| {
            let request = self
                .s3()
                .get_object()
                .bucket(bucket)
                .key(key)
                .range(format!("bytes={start}-{last}"))
                .set_if_match(info.condition())
                .customize()
                .config_override(limit(self.data_limit(len, attempt)));
            let meter = Meter::new(self.limits());
            async move {
                let reading = async {
                    let answer = request.send().await.map_err(from_sdk)?;
                    let told = answer.e_tag().map(unquoted).unwrap_or_default();
                    if !told.is_empty() && !info.may_be(info.size, &told) {
                        return Err(replaced());
                    }
                    let told = answer.content_range().unwrap_or_default();
                    if !told.starts_with(&format!("bytes {start}-{last}/")) {
                        return Err(Error::new(
                            ErrorKind::Server,
                            format!(
                                "the server sent the range {:?}, expected bytes {start}-{last}",
                                clean_text(told)
                            ),
                        ));
                    }
                    self.collect(answer.body, len, &meter).await
                };
                let within = self.data_limit(len, attempt);
                tokio::time::timeout(within, meter.watch(reading))
                    .await
                    .map_err(|_| broken("the answer did not arrive within the time limit"))??
            }
        });
        read.await.map_err(|error| match error.status() {
            Some(412) => replaced().doing(what),
            _ => error.doing(what),
        })
    }

    /// The length of an object by the range of an answer; `None` when there is none.
    pub(crate) async fn length(&self, bucket: &str, key: &str) -> Result<Option<u64>, Error> {
        let what = format!("asking for the length of {bucket}/{key}");
        let asked: Result<_, Error> = self
            .call(self.policy(), &what, |_| async move {
                let request = self.s3().get_object().bucket(bucket).key(key);
                let answer = request.range("bytes=0-0").send().await.map_err(from_sdk)?;
                let told = answer.content_range().unwrap_or_default();
                let size = told
                    .rsplit_once('/')
                    .and_then(|(_, size)| size.parse().ok());
                size.ok_or_else(|| {
                    Error::new(
                        ErrorKind::Server,
                        format!(
                            "neither HEAD nor a range reports the length (Content-Range is {:?})",
                            clean_text(told)
                        ),
                    )
                })
            })
            .await;
        match asked {
            Ok(size) => Ok(Some(size)),
            // There is no first byte.
            Err(error) if error.status() == Some(416) => Ok(Some(0)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Exactly `len` bytes of `body`.
    async fn collect(
        &self,
        mut body: aws_sdk_s3::primitives::ByteStream,
        len: u64,
        meter: &Meter,
    ) -> Result<Bytes, Error> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(len.min(1 << 20));
        while let Some(piece) = body.try_next().await.map_err(|error| {
            broken(&format!(
                "the answer broke off: {}",
                clean_text(&error.to_string())
            ))
        })? {
            if let Some(rate) = self.rate() {
                let wait = rate.take(piece.len() as u64);
                meter.moved(wait);
                tokio::time::sleep(wait).await;
            }
            meter.moved(Duration::ZERO);
            if piece.len() > len.saturating_sub(bytes.len()) {
                return Err(Error::new(
                    ErrorKind::Server,
                    format!("the server sent more than the requested {len} bytes"),
                ));
            }
            bytes.extend_from_slice(&piece);
        }
        if bytes.len() < len {
            return Err(broken(&format!(
                "the answer ended after {} bytes, expected {len}",
                bytes.len()
            )));
        }
        Ok(bytes.into())
    }
}

/// The object is not the one that was checked.
fn replaced() -> Error {
    Error::new(
        ErrorKind::Integrity,
        "the object was replaced during the read",
    )
    .with_hint("try again")
}

/// A failure on the way that may pass.
fn broken(message: &str) -> Error {
    Error::new(ErrorKind::Network, message).with_verdict(Verdict::Retry)
}

impl ObjectSource {
    /// Its address: `obs://bucket/key`.
    #[must_use]
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// What the object is.
    #[must_use]
    pub fn info(&self) -> &ObjectInfo {
        &self.info
    }

    fn chunk(&self, number: u64) -> diskimg::Result<Bytes> {
        let slot = {
            let mut chunks = self.chunks.lock();
            Arc::clone(chunks.get_or_insert(number, Arc::default))
        };
        let mut held = slot.lock();
        if let Some(bytes) = &*held {
            return Ok(bytes.clone());
        }
        let Chunking { bytes, most, .. } = self.chunking;
        if self.fetched.fetch_add(1, Ordering::Relaxed) >= most {
            return Err(diskimg::Error::new(
                diskimg::ErrorKind::Limit,
                format!("looking into it takes more than {most} requests of {bytes} bytes"),
            )
            .in_file(&self.name));
        }
        let start = number.saturating_mul(bytes);
        let len = bytes.min(self.info.size.saturating_sub(start));
        let range = start..start.saturating_add(len);
        let fetching = self
            .client
            .range(&self.bucket, &self.key, range, &self.info);
        let bytes = self.runtime.block_on(fetching).map_err(|error| {
            diskimg::Error::io("cannot be read", std::io::Error::other(error)).in_file(&self.name)
        })?;
        *held = Some(bytes.clone());
        Ok(bytes)
    }
}

impl ReadAt for ObjectSource {
    fn len(&self) -> u64 {
        self.info.size
    }

    fn read_exact_at(&self, at: FileOffset, mut buf: &mut [u8]) -> diskimg::Result<()> {
        let mut at = at.0;
        let end = u64::try_from(buf.len())
            .ok()
            .and_then(|len| at.checked_add(len));
        if end.is_none_or(|end| end > self.info.size) {
            return Err(diskimg::Error::new(
                diskimg::ErrorKind::Truncated,
                format!(
                    "{} bytes are wanted from {at:#x}, and the object has {}",
                    buf.len(),
                    self.info.size
                ),
            )
            .in_file(&self.name));
        }
        while !buf.is_empty() {
            let size = self.chunking.bytes;
            let chunk = self.chunk(at / size)?;
            let inside = usize::try_from(at % size).unwrap_or(usize::MAX);
            let there = chunk.get(inside..).unwrap_or_default();
            let take = there.len().min(buf.len());
            let (now, later) = buf.split_at_mut(take);
            now.copy_from_slice(there.get(..take).unwrap_or_default());
            buf = later;
            at = at.saturating_add(take as u64);
        }
        Ok(())
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.name)
    }
}
