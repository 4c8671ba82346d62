//! Which file, and whether it is still the same.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use diskimg::source::open_disk;
use diskimg::{DiskImage, GuestOffset};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Bytes at the beginning that are hashed: the headers of every format, with some of their tables.
const HEAD: u64 = 64 << 10;
/// Bytes at the end that are hashed: VHD and ZVHD2 have a footer there.
const TAIL: u64 = 4 << 10;

/// A disk image as it was at some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceIdentity {
    /// Absolute path, without links.
    pub path: String,
    /// Bytes; of a block device too.
    pub size: u64,
    /// Last modification, seconds since 1970.
    pub modified: i64,
    /// And nanoseconds.
    pub modified_nanos: i64,
    /// Number of the file on its file system.
    pub inode: u64,
    /// SHA-256 of the first 64 KiB and the last 4 KiB, in hexadecimal digits.
    pub header: String,
    /// Last change of the file's status (`ctime`), in seconds and nanoseconds since 1970. Unlike
    /// the time of modification, nobody can set it back. Journals of older versions do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_changed: Option<(i64, i64)>,
    /// Whether it is a block device, whose times say nothing about its content.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub block_device: bool,
    /// Whether it is what a server exports, which has neither times nor a number.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub export: bool,
}

/// What two looks at a source tell about its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sameness {
    /// Nothing has changed that a write would change.
    Same,
    /// The content may have changed, for this reason. Only reading it can tell.
    Unproven(&'static str),
    /// It has changed: this is different.
    Changed(String),
}

impl SourceIdentity {
    /// Looks at the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(path: &Path) -> io::Result<Self> {
        let absolute = fs::canonicalize(path)?;
        let mut file = open_disk(&absolute)?;
        let metadata = file.metadata()?;
        // Block devices tell their size by seeking only.
        let size = file.seek(SeekFrom::End(0))?;
        let mut hash = Sha256::new();
        for (start, len) in [(0, HEAD), (size.saturating_sub(TAIL), TAIL)] {
            file.seek(SeekFrom::Start(start))?;
            let mut bytes = Vec::new();
            file.by_ref().take(len).read_to_end(&mut bytes)?;
            hash.update(&bytes);
        }
        Ok(Self {
            path: absolute.to_string_lossy().into_owned(),
            size,
            modified: metadata.mtime(),
            modified_nanos: metadata.mtime_nsec(),
            inode: metadata.ino(),
            header: hex::encode(hash.finalize()),
            status_changed: Some((metadata.ctime(), metadata.ctime_nsec())),
            block_device: metadata.file_type().is_block_device(),
            export: false,
        })
    }

    /// Looks at a disk that a server exports under `name`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_export(name: String, image: &dyn DiskImage) -> diskimg::Result<Self> {
        let size = image.virtual_size();
        let mut hash = Sha256::new();
        for (start, len) in [(0, HEAD), (size.saturating_sub(TAIL), TAIL)] {
            let len = usize::try_from(len.min(size)).unwrap_or_default();
            let mut bytes = vec![0; len];
            image.read_at(GuestOffset(start), &mut bytes)?;
            hash.update(&bytes);
        }
        Ok(Self {
            path: name,
            size,
            modified: 0,
            modified_nanos: 0,
            inode: 0,
            header: hex::encode(hash.finalize()),
            status_changed: None,
            block_device: false,
            export: true,
        })
    }

    /// Why looking at it proves nothing about its content, if so.
    fn timeless(&self) -> Option<&'static str> {
        if self.export {
            return Some("a server does not tell when the disk that it exports was written");
        }
        self.block_device
            .then_some("a block device does not tell when it was written")
    }

    /// One digest for what all of `files` are; `None` when looking at one of them proves nothing
    /// about its content.
    #[must_use]
    pub fn digest_of<'a>(files: impl IntoIterator<Item = &'a Self>) -> Option<String> {
        let mut hash = Sha256::new();
        for file in files {
            if file.timeless().is_some() {
                return None;
            }
            // No record is the beginning of another one.
            hash.update(serde_json::to_vec(file).ok()?);
        }
        Some(hex::encode(hash.finalize()))
    }

    /// Whether the content is still the same `now`. For a later run, which may read it to find out.
    #[must_use]
    pub fn compare(&self, now: &Self) -> Sameness {
        if let Some(difference) = self.plain_difference(now) {
            return Sameness::Changed(difference);
        }
        if let Some(why) = self.timeless().or(now.timeless()) {
            return Sameness::Unproven(why);
        }
        match (self.status_changed, now.status_changed) {
            (Some(then), Some(now)) if then == now => Sameness::Same,
            (Some(_), Some(_)) => {
                Sameness::Unproven("its change time (ctime) moved, its modification time did not")
            }
            _ => Sameness::Unproven("its change time (ctime) was not recorded"),
        }
    }

    /// How `now` differs from this, if it does: the first difference, in words. For two looks by
    /// one run.
    #[must_use]
    pub fn difference(&self, now: &Self) -> Option<String> {
        self.plain_difference(now).or_else(|| {
            let moved = self.timeless().is_none() && self.status_changed != now.status_changed;
            moved.then(|| "its change time (ctime) moved".to_owned())
        })
    }

    fn plain_difference(&self, now: &Self) -> Option<String> {
        if self.path != now.path {
            return Some(format!("it was {}, and is {}", self.path, now.path));
        }
        if self.size != now.size {
            return Some(format!("it had {} bytes, and has {}", self.size, now.size));
        }
        if self.header != now.header {
            return Some("its first or last bytes differ".to_owned());
        }
        if (self.modified, self.modified_nanos) != (now.modified, now.modified_nanos) {
            return Some("it was modified".to_owned());
        }
        (self.inode != now.inode).then(|| "it is another file of the same name".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn one_digest_tells_whether_any_of_several_files_has_changed() {
        let digest = |files: &[SourceIdentity]| SourceIdentity::digest_of(files);
        let mut files = [identity(), identity()];
        let before = digest(&files);
        assert!(before.is_some());
        assert_ne!(digest(&files[..1]), before);
        files[1].status_changed = None;
        assert_ne!(digest(&files), before);
        files[1].block_device = true;
        assert_eq!(digest(&files), None);
    }

    fn identity() -> SourceIdentity {
        SourceIdentity {
            path: "/disks/web.raw".into(),
            size: 1 << 30,
            modified: 1_700_000_000,
            modified_nanos: 5,
            inode: 77,
            header: "ab".repeat(32),
            status_changed: Some((1_700_000_000, 6)),
            block_device: false,
            export: false,
        }
    }

    #[test]
    fn only_an_unchanged_ctime_proves_that_nobody_wrote() {
        let then = identity();
        assert_eq!(then.compare(&then), Sameness::Same);
        let touched = SourceIdentity {
            status_changed: Some((1_700_000_000, 7)),
            ..identity()
        };
        assert!(matches!(then.compare(&touched), Sameness::Unproven(why) if why.contains("ctime")));
        assert!(then.difference(&touched).is_some());
    }

    #[test]
    fn an_identity_of_an_older_journal_is_read_and_proves_nothing() {
        let mut json = serde_json::to_value(identity()).unwrap();
        json.as_object_mut().unwrap().remove("status_changed");
        let then: SourceIdentity = serde_json::from_value(json).unwrap();
        assert_eq!(then.status_changed, None);
        assert!(matches!(
            then.compare(&identity()),
            Sameness::Unproven(why) if why.contains("not recorded")
        ));
    }

    #[test]
    fn a_block_device_proves_nothing_and_its_node_may_change_hands() {
        let then = SourceIdentity {
            block_device: true,
            ..identity()
        };
        assert!(matches!(then.compare(&then), Sameness::Unproven(_)));
        let chowned = SourceIdentity {
            status_changed: Some((1_700_000_009, 0)),
            ..then.clone()
        };
        assert_eq!(then.difference(&chowned), None);
    }

    #[test]
    fn an_export_is_another_one_when_its_size_or_its_ends_differ_and_proves_nothing_else() {
        let of = |bytes: Vec<u8>| {
            let raw = diskimg::RawImage::open(Arc::new(diskimg::MemorySource(bytes))).unwrap();
            SourceIdentity::of_export("nbd://server/disk".into(), &raw).unwrap()
        };
        let then = of(vec![1; 1 << 20]);
        assert!(matches!(then.compare(&then), Sameness::Unproven(why) if why.contains("server")));
        assert_eq!(then.difference(&then), None);
        let mut last = vec![1; 1 << 20];
        last[(1 << 20) - 1] = 2;
        for now in [of(last), of(vec![1; 1024])] {
            assert!(matches!(then.compare(&now), Sameness::Changed(_)));
        }
    }

    #[test]
    fn what_is_plainly_different_has_changed() {
        let then = identity();
        let changes: [fn(&mut SourceIdentity); 5] = [
            |now| now.path.push('2'),
            |now| now.size += 512,
            |now| now.modified_nanos += 1,
            |now| now.inode += 1,
            |now| now.header = "cd".repeat(32),
        ];
        for change in changes {
            let mut now = identity();
            change(&mut now);
            assert!(
                matches!(then.compare(&now), Sameness::Changed(_)),
                "{now:?}"
            );
            assert!(then.difference(&now).is_some());
        }
    }
}
