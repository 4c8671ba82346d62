//! Compressed clusters of qcow2 and grains of VMDK: neighbours are read together, and each is
//! unpacked to exactly one cluster.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use libdeflater::{DecompressionError, Decompressor as Inflate};
use zstd::zstd_safe::{DCtx, find_frame_compressed_size, get_error_name};

use crate::error::{Error, ErrorKind, Result};
use crate::hint::CHECK_QCOW2;
use crate::source::ReadAt;
use crate::units::{FileOffset, KIB, MIB};

const CLUSTER: &str = "compressed cluster";
const GRAIN: &str = "compressed grain";

/// Least size in bytes that the buffer for stored bytes may grow to. A cluster of 2 MiB may be
/// stored in up to 4 MiB.
const MIN_STORED_BYTES: u64 = MIB;

/// Most clusters that wait to be read together: a 2 MiB block at 4 KiB clusters.
const MAX_PENDING: usize = 512;

/// What a decompression context costs in bytes. zstd's is the larger one, at about 160 KB; its
/// window is the output buffer itself, so the window size in a frame costs nothing.
const CONTEXT_BYTES: u64 = 256 << 10;

/// How compressed clusters are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Raw deflate, without zlib's header and checksum.
    Zlib,
    /// One or more zstd frames.
    Zstd,
    /// A zlib stream behind a [`Frame`].
    Framed,
}

impl Compression {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Zlib | Self::Framed => "zlib",
            Self::Zstd => "zstd",
        }
    }

    fn structure(self) -> &'static str {
        match self {
            Self::Zlib | Self::Zstd => CLUSTER,
            Self::Framed => GRAIN,
        }
    }
}

/// What is known of the marker before a grain of VMDK: the sector of the disk at which its content
/// begins, in 64 bits, and the length of its stream, in 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The sector that the marker must name.
    pub(crate) lba: u64,
    /// Bytes of the content that are on the disk; the last grain may end there.
    pub(crate) least: u64,
}

impl Frame {
    /// The stream in `stored`, which begins with the marker.
    ///
    /// # Errors
    /// What is wrong with the marker.
    fn stream(self, stored: &[u8]) -> Result<&[u8], String> {
        let short = || "there is no room for its marker".to_owned();
        let (lba, rest) = stored.split_first_chunk().ok_or_else(short)?;
        let (len, stream) = rest.split_first_chunk().ok_or_else(short)?;
        let (lba, len) = (u64::from_le_bytes(*lba), u32::from_le_bytes(*len));
        if lba != self.lba {
            return Err(format!(
                "its marker has the LBA {lba}, the grain table leads to it for {}",
                self.lba
            ));
        }
        usize::try_from(len)
            .ok()
            .filter(|len| *len > 0)
            .and_then(|len| stream.get(..len))
            .ok_or_else(|| {
                format!(
                    "its marker gives it {len} bytes, there is room for 1 to {}",
                    stream.len()
                )
            })
    }
}

/// Where a compressed cluster is: at most this many bytes from this offset. The file may end
/// earlier, because writers count whole sectors and do not fill up the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compressed {
    pub(crate) at: FileOffset,
    pub(crate) len: u64,
}

/// A compressed cluster of one image, and what its marker must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    cluster: Compressed,
    /// With [`Compression::Framed`].
    frame: Option<Frame>,
}

/// How the compressed clusters of an image are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packing {
    compression: Compression,
    cluster_size: usize,
    file_len: u64,
    /// Which of the images that share a pool it is.
    image: u64,
}

/// Decompression contexts with their buffers, used by one thread for one image at a time.
pub(crate) struct Unpacker {
    packing: Packing,
    zlib: Option<Inflate>,
    zstd: Option<DCtx<'static>>,
    /// Clusters to read together, in the order of their place in the file.
    pending: Vec<Pending>,
    /// Stretch of the file that covers what is pending.
    span: Range<u64>,
    /// Stored bytes of a span.
    stored: Vec<u8>,
    /// Content of a cluster of which only a part was asked for, and which one it is.
    content: Vec<u8>,
    content_of: Option<Piece>,
}

/// A compressed cluster, and where its content goes.
struct Pending {
    piece: Piece,
    /// First byte of the content that is wanted.
    skip: usize,
    /// Where it goes in the caller's buffer.
    target: Range<usize>,
}

impl Unpacker {
    fn new(packing: Packing) -> Self {
        Self {
            packing,
            zlib: None,
            zstd: None,
            pending: Vec::new(),
            span: 0..0,
            stored: Vec::new(),
            content: Vec::new(),
            content_of: None,
        }
    }

    /// Turns to the clusters of another image.
    fn turn_to(&mut self, packing: Packing) {
        if self.packing != packing {
            self.packing = packing;
            self.content_of = None;
        }
    }

    /// Notes that `buf[target]` is to be filled from `skip` bytes into the content of `cluster`,
    /// which has a marker when `frame` says what is in it. May unpack what has been noted before.
    ///
    /// # Errors
    /// `Truncated` when the cluster begins past the end of the file; those of [`Self::flush`].
    pub(crate) fn push(
        &mut self,
        source: &dyn ReadAt,
        buf: &mut [u8],
        cluster: Compressed,
        frame: Option<Frame>,
        skip: u64,
        target: Range<usize>,
    ) -> Result<()> {
        let start = cluster.at.0;
        if start >= self.packing.file_len {
            return Err(Error::truncated(
                self.packing.compression.structure(),
                start,
                format!(
                    "up to {} bytes expected here, the file ends at {:#x}",
                    cluster.len, self.packing.file_len
                ),
            ));
        }
        let end = start.saturating_add(cluster.len).min(self.packing.file_len);
        let span = self.span.start..self.span.end.max(end);
        let joins = self.span.contains(&start) || self.span.end == start;
        let room = span.end - span.start <= stored_limit(self.packing.cluster_size as u64)
            && self.pending.len() < MAX_PENDING;
        if self.pending.is_empty() || !joins || !room {
            self.flush(source, buf)?;
            self.span = start..end;
        } else {
            self.span = span;
        }
        self.pending.push(Pending {
            piece: Piece { cluster, frame },
            skip: usize::try_from(skip).unwrap_or(usize::MAX),
            target,
        });
        Ok(())
    }

    /// Reads and unpacks what is pending.
    ///
    /// # Errors
    /// `Corrupt`, `Truncated` or `Io`; `buf` is not to be used then.
    pub(crate) fn flush(&mut self, source: &dyn ReadAt, buf: &mut [u8]) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut pending = std::mem::take(&mut self.pending);
        let known = self.content_of;
        let result = match pending.as_slice() {
            // Small reads ask for one cluster again and again.
            [one] if known == Some(one.piece) => self.copy_content(one, buf),
            all => self
                .read_span(source)
                .and_then(|()| all.iter().try_for_each(|one| self.unpack(one, buf))),
        };
        pending.clear();
        self.pending = pending;
        result
    }

    fn read_span(&mut self, source: &dyn ReadAt) -> Result<()> {
        let len = usize::try_from(self.span.end - self.span.start).unwrap_or(usize::MAX);
        if self.stored.len() < len {
            // Growing in place would keep old and new buffer at once.
            self.stored = Vec::new();
            self.stored = vec![0; len];
        }
        match self.stored.get_mut(..len) {
            Some(stored) => source.read_exact_at(FileOffset(self.span.start), stored),
            None => Err(self.outside(self.span.start)),
        }
    }

    /// Unpacks one cluster of the span that was read.
    fn unpack(&mut self, one: &Pending, buf: &mut [u8]) -> Result<()> {
        let outside = || self.outside(one.piece.cluster.at.0);
        let range = self.stored_range(one.piece.cluster).ok_or_else(outside)?;
        let stored = self.stored.get(range).ok_or_else(outside)?;
        let stored = match one.piece.frame {
            Some(frame) => frame
                .stream(stored)
                .map_err(|problem| self.broken(one.piece, &problem))?,
            None => stored,
        };
        let whole = one.skip == 0 && one.target.len() == self.packing.cluster_size;
        let content = if whole {
            buf.get_mut(one.target.clone()).ok_or_else(outside)?
        } else {
            self.content_of = None;
            self.content.resize(self.packing.cluster_size, 0);
            self.content.as_mut_slice()
        };
        let unpacked = match self.packing.compression {
            Compression::Zlib => {
                unpack_zlib(self.zlib.get_or_insert_with(Inflate::new), stored, content)
            }
            Compression::Framed => {
                unpack_stream(self.zlib.get_or_insert_with(Inflate::new), stored, content)
            }
            Compression::Zstd => {
                let context = match &mut self.zstd {
                    Some(context) => context,
                    none => none.insert(new_zstd()?),
                };
                unpack_zstd(context, stored, content)
            }
        };
        let wanted = content.len();
        let least = one.piece.frame.map_or(wanted as u64, |frame| frame.least);
        unpacked
            .and_then(
                |unpacked| match unpacked == wanted || unpacked as u64 == least {
                    true => Ok(()),
                    false => Err(format!("it unpacks to {unpacked} bytes")),
                },
            )
            .map_err(|problem| self.broken(one.piece, &problem))?;
        if whole {
            return Ok(());
        }
        self.content_of = Some(one.piece);
        self.copy_content(one, buf)
    }

    /// Where `cluster` is in what was read of the span.
    fn stored_range(&self, cluster: Compressed) -> Option<Range<usize>> {
        let at = cluster.at.0;
        let end = at.saturating_add(cluster.len).min(self.packing.file_len);
        let start = usize::try_from(at.checked_sub(self.span.start)?).ok()?;
        let end = usize::try_from(end.saturating_sub(self.span.start)).ok()?;
        Some(start..end)
    }

    /// A range that the mapping walk cannot produce.
    fn outside(&self, at: u64) -> Error {
        let structure = self.packing.compression.structure();
        Error::corrupt(structure, at, "its range lies outside the buffers")
    }

    fn copy_content(&self, one: &Pending, buf: &mut [u8]) -> Result<()> {
        let content = one
            .skip
            .checked_add(one.target.len())
            .and_then(|end| self.content.get(one.skip..end));
        match (content, buf.get_mut(one.target.clone())) {
            (Some(content), Some(target)) => {
                target.copy_from_slice(content);
                Ok(())
            }
            _ => Err(self.outside(one.piece.cluster.at.0)),
        }
    }

    fn broken(&self, Piece { cluster, frame }: Piece, problem: &str) -> Error {
        let at = cluster.at.0;
        let (structure, wanted) = (
            self.packing.compression.structure(),
            self.packing.cluster_size,
        );
        if frame.is_some() {
            let message = format!("{problem}; a grain unpacks to {wanted} bytes");
            return Error::corrupt(structure, at, message);
        }
        if at.saturating_add(cluster.len) > self.packing.file_len {
            return Error::truncated(
                structure,
                at,
                format!(
                    "{problem}; up to {} bytes were expected here that unpack to {wanted}, the \
                     file ends at {:#x}",
                    cluster.len, self.packing.file_len
                ),
            );
        }
        Error::corrupt(
            structure,
            at,
            format!(
                "{problem}; {} bytes were expected to unpack to exactly {wanted}",
                cluster.len
            ),
        )
        .with_hint(CHECK_QCOW2)
    }
}

fn new_zstd() -> Result<DCtx<'static>> {
    DCtx::try_create().ok_or_else(|| {
        Error::new(
            ErrorKind::Limit,
            "no memory for a zstd decompression context",
        )
    })
}

/// Unpacks the zlib stream `stored`, whose checksum must be right, and returns the number of bytes
/// of content.
fn unpack_stream(
    context: &mut Inflate,
    stored: &[u8],
    content: &mut [u8],
) -> Result<usize, String> {
    context
        .zlib_decompress(stored, content)
        .map_err(|error| match error {
            DecompressionError::BadData => "the zlib stream is damaged".to_owned(),
            DecompressionError::InsufficientSpace => {
                "the zlib stream unpacks to more than a grain".to_owned()
            }
        })
}

/// Unpacks `stored`, of which the end may be padding, and returns the number of bytes of content.
fn unpack_zlib(context: &mut Inflate, stored: &[u8], content: &mut [u8]) -> Result<usize, String> {
    context
        .deflate_decompress(stored, content)
        .map_err(|error| match error {
            DecompressionError::BadData => "the deflate stream is damaged".to_owned(),
            DecompressionError::InsufficientSpace => {
                "the deflate stream unpacks to more than a cluster".to_owned()
            }
        })
}

/// Unpacks frame by frame until `content` is full: a cluster may hold more than one frame, and
/// padding after the last one. One-shot, so that no window buffer is allocated.
fn unpack_zstd(
    context: &mut DCtx<'static>,
    mut stored: &[u8],
    content: &mut [u8],
) -> Result<usize, String> {
    let damaged = |code| format!("the zstd frame is damaged ({})", get_error_name(code));
    let mut unpacked = 0;
    while let Some(rest) = content.get_mut(unpacked..).filter(|rest| !rest.is_empty()) {
        // A frame has at least 5 bytes, so this loop ends.
        let len = find_frame_compressed_size(stored).map_err(damaged)?;
        let (frame, after) = stored
            .split_at_checked(len)
            .filter(|(frame, _)| !frame.is_empty())
            .ok_or("the zstd frame is longer than what is stored")?;
        unpacked += context.decompress(rest, frame).map_err(damaged)?;
        stored = after;
    }
    Ok(unpacked)
}

/// Most bytes that are read at once. A single cluster is always less: it is at most twice as large
/// as its content, and a grain has a marker and padding beside that.
fn stored_limit(cluster_size: u64) -> u64 {
    (2 * cluster_size + KIB).max(MIN_STORED_BYTES)
}

/// Unpackers that are not in use, for all images of a chain. There are never more than threads that
/// read at one time, if each gives its own back before it reads from another image.
#[derive(Default)]
pub(crate) struct Pool {
    images: AtomicU64,
    largest_cluster: AtomicU64,
    zlib: AtomicBool,
    zstd: AtomicBool,
    idle: Mutex<Vec<Unpacker>>,
}

impl Pool {
    /// Registers an image: how its clusters are packed.
    pub(crate) fn join(
        &self,
        compression: Compression,
        cluster_size: usize,
        file_len: u64,
    ) -> Packing {
        let used = match compression {
            Compression::Zlib | Compression::Framed => &self.zlib,
            Compression::Zstd => &self.zstd,
        };
        used.store(true, Ordering::Relaxed);
        self.largest_cluster
            .fetch_max(cluster_size as u64, Ordering::Relaxed);
        Packing {
            compression,
            cluster_size,
            file_len,
            image: self.images.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// An unpacker with nothing pending; give it back with [`Self::put`] unless it failed.
    pub(crate) fn take(&self, packing: Packing) -> Unpacker {
        let idle = self.idle.lock().pop();
        match idle {
            Some(mut unpacker) => {
                unpacker.turn_to(packing);
                unpacker
            }
            None => Unpacker::new(packing),
        }
    }

    pub(crate) fn put(&self, unpacker: Unpacker) {
        self.idle.lock().push(unpacker);
    }

    /// Most bytes that `readers` threads make the pool hold.
    pub(crate) fn memory_bound(&self, readers: u64) -> u64 {
        let cluster_size = self.largest_cluster.load(Ordering::Relaxed);
        let used = [&self.zlib, &self.zstd].map(|used| u64::from(used.load(Ordering::Relaxed)));
        let contexts = used.iter().sum::<u64>() * CONTEXT_BYTES;
        let pending = (MAX_PENDING * size_of::<Pending>()) as u64;
        readers.saturating_mul(stored_limit(cluster_size) + cluster_size + contexts + 2 * pending)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_decompression_context_costs_no_more_than_is_planned_whatever_the_window() {
        let content = vec![7; 2 << 20];
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 19).unwrap();
        encoder.window_log(27).unwrap();
        encoder.include_contentsize(false).unwrap();
        for piece in content.chunks(1000) {
            encoder.write_all(piece).unwrap();
            encoder.flush().unwrap();
        }
        let stored = encoder.finish().unwrap();
        let mut context = DCtx::try_create().unwrap();
        let mut unpacked = vec![0; content.len()];
        unpack_zstd(&mut context, &stored, &mut unpacked).unwrap();
        assert!(unpacked == content);
        assert!(
            context.sizeof() as u64 <= CONTEXT_BYTES,
            "{}",
            context.sizeof()
        );
    }
}
