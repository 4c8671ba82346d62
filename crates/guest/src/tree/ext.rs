//! ext2, ext3 and ext4, by the crate `ext4-view`.

use std::cell::RefCell;

use ext4_view::{Ext4, Ext4Error, FileType, Metadata};

use super::reader::Reader;
use super::{Entry, Kind, Result, Stat, Tree, TreeError};
use crate::budget::{MAX_LISTED, MAX_PATH};
use crate::media::{Slice, le32};

/// Where the superblock says that the journal is to be replayed, and the bits beside that one.
const NEEDS_RECOVERY: (u64, u8) = (1024 + 96, !0x4);

/// Groups of blocks of the largest file system that is opened: 128 TiB with usual blocks. The crate
/// makes room for all that a superblock claims.
const MAX_GROUPS: u64 = 1 << 20;
/// Last byte of a file that is read: the crate walks over all blocks in front of it.
const FARTHEST: u64 = 1 << 32;

/// An ext file system.
pub(crate) struct Ext {
    fs: Ext4,
    free: Option<u64>,
    /// The file that was read last, and where its next byte is.
    open: RefCell<Option<(Vec<u8>, ext4_view::File)>>,
}

impl Ext {
    /// Opens the file system on `slice`. A journal that is to be replayed is applied in memory
    /// when the crate can; `true` when it could not, and files are read as they are.
    ///
    /// # Errors
    /// The file system is damaged, or has features that the crate does not know.
    pub(crate) fn open(
        slice: &Slice,
        free: Option<u64>,
        dirty: bool,
    ) -> std::result::Result<(Self, bool), String> {
        check_groups(slice)?;
        let load = |slice: Slice| Ext4::load(Box::new(Reader(slice)));
        let (fs, without_journal) = match load(slice.clone()) {
            Ok(fs) => (fs, false),
            Err(error) if dirty => {
                let (at, keep) = NEEDS_RECOVERY;
                // Only journals with checksums can be replayed.
                let fs = load(slice.masked(at, keep)).map_err(|_| shown(&error))?;
                (fs, true)
            }
            Err(error) => return Err(shown(&error)),
        };
        let open = RefCell::new(None);
        Ok((Self { fs, free, open }, without_journal))
    }

    fn opened(&self, path: &[u8]) -> std::result::Result<ext4_view::File, Ext4Error> {
        match self.open.take() {
            Some((known, file)) if known == path => Ok(file),
            _ => self.fs.open(path),
        }
    }
}

impl Tree for Ext {
    fn stat(&self, path: &[u8]) -> Result<Option<Stat>> {
        match self.fs.symlink_metadata(path) {
            Ok(metadata) => Ok(Some(stat(&metadata))),
            Err(Ext4Error::NotFound | Ext4Error::NotADirectory) => Ok(None),
            Err(error) => Err(failed(path, &error)),
        }
    }

    fn read_at(&self, path: &[u8], at: u64, buf: &mut [u8]) -> Result<usize> {
        if at > FARTHEST {
            return Err(super::failed(path, "nothing is read behind 4 GiB"));
        }
        let mut read = || {
            let mut file = self.opened(path)?;
            if file.position() != at {
                file.seek_to(at)?;
            }
            let mut filled = 0;
            while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match file.read_bytes(rest)? {
                    0 => break,
                    more => filled += more,
                }
            }
            self.open.replace(Some((path.to_vec(), file)));
            Ok(filled)
        };
        read().map_err(|error| failed(path, &error))
    }

    fn list(&self, path: &[u8]) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in self
            .fs
            .read_dir(path)
            .map_err(|error| failed(path, &error))?
        {
            let entry = entry.map_err(|error| failed(path, &error))?;
            let name = entry.file_name().as_ref().to_vec();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = entry.file_type().map_or(Kind::Other, kind);
            entries.push(Entry { name, kind });
            if entries.len() >= MAX_LISTED {
                break;
            }
        }
        Ok(entries)
    }

    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>> {
        // The crate reads the whole target, however long it claims to be.
        let long = |stat: Stat| stat.size > MAX_PATH as u64;
        if self.stat(path)?.is_some_and(long) {
            return Err(super::long_link(path));
        }
        match self.fs.read_link(path) {
            Ok(target) => Ok(target.as_ref().to_vec()),
            Err(error) => Err(failed(path, &error)),
        }
    }

    fn free(&self) -> Option<u64> {
        self.free
    }
}

/// Whether the superblock claims as many groups of blocks as a file system has.
fn check_groups(slice: &Slice) -> std::result::Result<(), String> {
    const IS_64_BIT: u32 = 0x80;
    let superblock = slice.head(1024, 1024)?;
    let high = match le32(&superblock, 96) & IS_64_BIT {
        0 => 0,
        _ => u64::from(le32(&superblock, 0x150)) << 32,
    };
    let blocks = u64::from(le32(&superblock, 4)) | high;
    let groups = blocks.div_ceil(u64::from(le32(&superblock, 32)).max(1));
    match groups > MAX_GROUPS {
        true => Err(format!(
            "the file system claims {groups} groups of blocks; at most {MAX_GROUPS} are read"
        )),
        false => Ok(()),
    }
}

fn stat(metadata: &Metadata) -> Stat {
    Stat {
        kind: kind(metadata.file_type()),
        size: metadata.len(),
        mode: u32::from(metadata.mode()) & 0o7777,
    }
}

fn kind(file_type: FileType) -> Kind {
    match file_type {
        FileType::Regular => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Link,
        _ => Kind::Other,
    }
}

fn shown(error: &Ext4Error) -> String {
    match error {
        // What the disk said, without the crate's words around it.
        Ext4Error::Io(reason) => reason.to_string(),
        other => other.to_string(),
    }
}

fn failed(path: &[u8], error: &Ext4Error) -> TreeError {
    super::failed(path, &shown(error))
}
