//! Where image bytes come from: positioned, exact reads of a file, a device or memory.

mod cache;
mod joined;
mod opening;
mod window;

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt as _, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, SeekFrom, fadvise, seek};

use self::cache::is_cached;
pub use self::joined::Joined;
use self::opening::OtherType;
pub use self::opening::{is_disk, open_disk, open_regular, open_regular_with, type_name};
pub use self::window::Window;
use crate::changes::{Changes, no_bitmaps};
use crate::error::{Error, Result};
use crate::holes::{Holes, Stretch};
use crate::packed::Container;
use crate::units::{FileOffset, fits};

/// Whether a stretch of a file holds stored bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceExtent {
    /// Bytes are stored for this many bytes.
    Data(u64),
    /// The file system knows that this many bytes read as zeros.
    Hole(u64),
}

/// Which file it is, however it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    /// Number of the device that the file is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

/// Read-only bytes with positioned access; many threads read at once.
pub trait ReadAt: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Whether there are no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buf` from `at`.
    ///
    /// # Errors
    /// `Truncated` when the source ends before the buffer is full, `Io` when reading fails.
    fn read_exact_at(&self, at: FileOffset, buf: &mut [u8]) -> Result<()>;

    /// What is stored from `at` on, for at most `limit` bytes (more than 0, and inside the file).
    /// Answers `Data` where holes are not known.
    ///
    /// # Errors
    /// `Io` when the file system refuses the question.
    fn extent_at(&self, at: FileOffset, limit: u64) -> Result<SourceExtent> {
        let _ = at;
        Ok(SourceExtent::Data(limit))
    }

    /// What has changed since the bitmap of this name was begun, where somebody keeps it beside the
    /// bytes; in units of `unit` bytes.
    ///
    /// # Errors
    /// As [`crate::DiskImage::changes`].
    fn changes(&self, bitmap: &str, unit: u64) -> Result<Changes> {
        let _ = (bitmap, unit);
        no_bitmaps()
    }

    /// Most bytes that the storage holds for it: less than [`Self::len`] where there are holes.
    fn stored_len(&self) -> u64 {
        self.len()
    }

    /// The file's path, for messages.
    fn path(&self) -> Option<&Path> {
        None
    }

    /// Which file it is, when it is one.
    fn id(&self) -> Option<FileId> {
        None
    }

    /// Most bytes of memory that it keeps.
    fn memory(&self) -> u64 {
        0
    }

    /// What the user should know about reading it, as far as that has shown by now.
    fn note(&self) -> Option<String> {
        None
    }

    /// How the file that it is decoded from is compressed, when it is: such a source is read front
    /// to back, and going back is slow.
    fn packing(&self) -> Option<Container> {
        None
    }
}

/// Reads of at least this many bytes are dropped from the page cache behind the reader; smaller
/// ones are metadata, which is read again.
const DROP_BEHIND_BYTES: usize = 64 << 10;

const SHRUNK_HINT: &str = "the file became shorter while it was read; is it still in use?";

/// A regular file or block device, opened read-only.
///
/// Bulk reads leave the page cache as it was. Of a cold file nothing stays behind: dropping pages
/// behind the cursor recycles the same few pages instead of evicting the user's, and is several
/// times as fast. A file that is in memory already stays there.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    path: PathBuf,
    len: u64,
    block_device: bool,
    id: FileId,
    /// Whether the file was in the page cache when it was opened.
    cached: bool,
    holes: Holes,
}

impl FileSource {
    /// Opens `path` for reading.
    ///
    /// # Errors
    /// `Io` when it cannot be opened, `Unsupported` when it is neither a regular file nor a block
    /// device.
    pub fn open(path: &Path) -> Result<Self> {
        let file = open_disk(path).map_err(|error| match OtherType::of(&error) {
            Some(other) => other.refused().in_file(path),
            None => Error::io("cannot be opened", error).in_file(path),
        })?;
        Self::new(file, path)
    }

    /// Takes over a file that was opened for reading at `path`.
    ///
    /// # Errors
    /// `Unsupported` when it is neither a regular file nor a block device, `Io`.
    pub fn new(file: File, path: &Path) -> Result<Self> {
        let failed = |message: &str, source| Error::io(message, source).in_file(path);
        let metadata = file
            .metadata()
            .map_err(|e| failed("cannot be examined", e))?;
        let kind = metadata.file_type();
        if !is_disk(kind) {
            return Err(OtherType::than_a_disk(kind).refused().in_file(path));
        }
        // A block device's metadata says length 0; its end is where a seek ends.
        let len = if kind.is_block_device() {
            seek(&file, SeekFrom::End(0)).map_err(|e| failed("size is unknown", e.into()))?
        } else {
            metadata.len()
        };
        // Asked before the kernel may read ahead, which would look like a file in memory.
        let cached = is_cached(&file, len);
        // Advice only: a file system that ignores it costs speed, not correctness.
        let _ = fadvise(&file, 0, None, Advice::Sequential);
        Ok(Self {
            file,
            path: path.to_owned(),
            len,
            block_device: kind.is_block_device(),
            id: FileId {
                device: metadata.dev(),
                inode: metadata.ino(),
            },
            cached,
            holes: Holes::default(),
        })
    }

    /// Bytes the file system has allocated for the file; of a block device, all of them.
    ///
    /// # Errors
    /// `Io` when the file system does not answer.
    pub fn bytes_on_disk(&self) -> Result<u64> {
        if self.block_device {
            return Ok(self.len);
        }
        let metadata = self
            .file
            .metadata()
            .map_err(|e| Error::io("cannot be examined", e).in_file(&self.path))?;
        // st_blocks counts units of 512 bytes whatever the file system's block size is.
        Ok(metadata.blocks().saturating_mul(512))
    }

    /// A hole, unless the file became shorter: what it held is missing then, not zero.
    fn hole_to_the_end(&self, at: FileOffset, limit: u64) -> Result<SourceExtent> {
        let metadata = self
            .file
            .metadata()
            .map_err(|e| Error::io("cannot be examined", e).in_file(&self.path))?;
        if metadata.len() >= self.len {
            return Ok(SourceExtent::Hole(limit));
        }
        Err(Error::truncated(
            "file",
            at.0,
            format!(
                "the file had {} bytes when it was opened, {} are left",
                self.len,
                metadata.len()
            ),
        )
        .with_hint(SHRUNK_HINT)
        .in_file(&self.path))
    }

    fn short_read(&self, at: FileOffset, wanted: usize) -> Error {
        Error::truncated(
            "file",
            at.0,
            format!(
                "{wanted} bytes expected here, the file ends at {:#x}",
                self.len
            ),
        )
        .in_file(&self.path)
    }
}

/// Whether most of the file at `path` is in the page cache, so that reading it does not wait for
/// its disk.
///
/// # Errors
/// When it cannot be opened for reading.
pub fn is_in_page_cache(path: &Path) -> Result<bool> {
    Ok(FileSource::open(path)?.cached)
}

impl ReadAt for FileSource {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, at: FileOffset, buf: &mut [u8]) -> Result<()> {
        if !fits(at.0, buf.len() as u64, self.len) {
            return Err(self.short_read(at, buf.len()));
        }
        self.file.read_exact_at(buf, at.0).map_err(|e| {
            if e.kind() == io::ErrorKind::UnexpectedEof {
                // The length was checked against what it was at open.
                return self.short_read(at, buf.len()).with_hint(SHRUNK_HINT);
            }
            Error::io(format!("reading {} bytes at {at} failed", buf.len()), e).in_file(&self.path)
        })?;
        if buf.len() >= DROP_BEHIND_BYTES && !self.cached {
            let len = std::num::NonZeroU64::new(buf.len() as u64);
            let _ = fadvise(&self.file, at.0, len, Advice::DontNeed);
        }
        Ok(())
    }

    fn extent_at(&self, at: FileOffset, limit: u64) -> Result<SourceExtent> {
        if self.block_device {
            return Ok(SourceExtent::Data(limit));
        }
        let stretch = self.holes.at(&self.file, at.0, self.len).map_err(|e| {
            Error::io(format!("asking for holes at {at} failed"), e.into()).in_file(&self.path)
        })?;
        let up_to = |end: u64| end.saturating_sub(at.0).min(limit);
        match stretch {
            Stretch::Data(end) => Ok(SourceExtent::Data(up_to(end))),
            Stretch::Hole(end) => Ok(SourceExtent::Hole(up_to(end))),
            Stretch::HoleToTheEnd => self.hole_to_the_end(at, limit),
            Stretch::Unknown => Ok(SourceExtent::Data(limit)),
        }
    }

    fn note(&self) -> Option<String> {
        self.holes.senseless().then(|| {
            "the file system's answers about holes in this file make no sense; what follows the \
             first of them is read as data"
                .to_owned()
        })
    }

    fn stored_len(&self) -> u64 {
        match self.bytes_on_disk() {
            // Some network file systems say 0 of every file.
            Ok(0) | Err(_) => self.len,
            Ok(stored) => stored.min(self.len),
        }
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn id(&self) -> Option<FileId> {
        Some(self.id)
    }
}

/// Bytes in memory.
#[derive(Clone, Debug, Default)]
pub struct MemorySource(pub Vec<u8>);

impl ReadAt for MemorySource {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, at: FileOffset, buf: &mut [u8]) -> Result<()> {
        let stored = usize::try_from(at.0)
            .ok()
            .and_then(|start| self.0.get(start..start.checked_add(buf.len())?));
        match stored {
            Some(stored) => {
                buf.copy_from_slice(stored);
                Ok(())
            }
            None => Err(Error::truncated(
                "file",
                at.0,
                format!(
                    "{} bytes expected here, the file ends at {:#x}",
                    buf.len(),
                    self.0.len()
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::*;

    /// A file of 2 MiB that the disk has; `None` where the system does not let the cache be
    /// emptied.
    fn file_that_can_be_cold() -> Option<tempfile::NamedTempFile> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&vec![7; 2 << 20]).unwrap();
        file.as_file().sync_all().unwrap();
        let warm = is_cached(file.as_file(), 2 << 20);
        forget(&file);
        let told_apart = warm && !is_cached(file.as_file(), 2 << 20);
        if !told_apart {
            eprintln!("skipped: this file system's page cache cannot be told or emptied");
        }
        told_apart.then_some(file)
    }

    fn forget(file: &tempfile::NamedTempFile) {
        fadvise(file.as_file(), 0, None, Advice::DontNeed).unwrap();
    }

    fn read_all(file: &tempfile::NamedTempFile) {
        let source = FileSource::open(file.path()).unwrap();
        let mut bytes = vec![0; 2 << 20];
        source.read_exact_at(FileOffset(0), &mut bytes).unwrap();
        assert!(bytes.iter().all(|b| *b == 7));
    }

    /// Whether `holds` is true of one of many cold files: when memory or the disk is busy, the
    /// kernel may keep pages that it was asked to drop, or fetch others.
    fn holds_in_a_quiet_moment(holds: fn(&tempfile::NamedTempFile) -> bool) -> bool {
        for attempt in 0..30 {
            match file_that_can_be_cold() {
                Some(file) if holds(&file) => return true,
                // It cannot be told here.
                None if attempt == 0 => return true,
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        false
    }

    #[test]
    fn sampling_the_page_cache_does_not_make_a_cold_file_seem_cached() {
        assert!(holds_in_a_quiet_moment(|file| {
            // What the samples before made the kernel fetch is there by now.
            std::thread::sleep(Duration::from_millis(20));
            !is_cached(file.as_file(), 2 << 20)
        }));
    }

    #[test]
    fn bulk_reads_leave_a_cold_file_cold() {
        assert!(holds_in_a_quiet_moment(|file| {
            read_all(file);
            !is_cached(file.as_file(), 2 << 20)
        }));
    }

    #[test]
    fn bulk_reads_leave_a_warm_file_warm() {
        assert!(holds_in_a_quiet_moment(|file| {
            std::fs::read(file.path()).unwrap();
            read_all(file);
            is_cached(file.as_file(), 2 << 20)
        }));
    }
}
