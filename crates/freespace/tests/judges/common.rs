//! Disks that other programs make, and what becomes of them without their free space.

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use diskimg::{DiskImage, FileSource, GuestOffset, RawImage};
use freespace::{Discarded, FreeSpace, Options, find};
use tempfile::TempDir;

/// Bytes of the shortest range that is discarded.
pub(crate) const LEAST: u64 = 16 << 10;

/// A directory for one disk.
pub(crate) struct Lab {
    dir: TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A directory `tree` with files, large and small, and nested directories.
    pub(crate) fn tree(&self, seed: u64) -> PathBuf {
        let mut random = fastrand::Rng::with_seed(seed);
        let tree = self.path("tree");
        for directory in 0..4 {
            let directory = tree.join(format!("directory {directory}")).join("below");
            fs::create_dir_all(&directory).unwrap();
            for file in 0..25 {
                let length = match file {
                    0 => 1 << 20,
                    _ => random.usize(..60_000),
                };
                let bytes: Vec<u8> = (0..length).map(|_| random.u8(1..)).collect();
                fs::write(directory.join(format!("file-{file}")), bytes).unwrap();
            }
        }
        tree
    }

    /// A file `name` of random bytes: a disk that was used before, so that old data is everywhere.
    pub(crate) fn used_disk(&self, name: &str, size: usize) -> PathBuf {
        let path = self.path(name);
        let mut random = fastrand::Rng::with_seed(7);
        let mut bytes = vec![0; size];
        random.fill(&mut bytes);
        fs::write(&path, bytes).unwrap();
        path
    }
}

/// Runs a program and returns what it prints; it must succeed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "{program} {arguments:?}: {}\n{text}\n{errors}",
        done.status
    );
    text
}

pub(crate) fn open(path: &Path) -> RawImage {
    let file = FileSource::new(File::open(path).unwrap(), path).unwrap();
    RawImage::open(Arc::new(file)).unwrap()
}

/// The free space of the disk in a file.
pub(crate) fn look(path: &Path) -> FreeSpace {
    look_with(path, Options::default())
}

pub(crate) fn look_with(path: &Path, options: Options) -> FreeSpace {
    find(&open(path), options, &|| false)
}

/// Writes the disk of `path` without its free space to `to`. Free bytes become 0xa5 in `to` when
/// `poison` says so: nothing that anybody reads may be among them.
pub(crate) fn discard(path: &Path, found: &FreeSpace, to: &Path, poison: bool) {
    let disk = Discarded::new(Box::new(open(path)), Arc::clone(&found.map));
    let mut bytes = vec![0; usize::try_from(disk.virtual_size()).unwrap()];
    disk.read_at(GuestOffset(0), &mut bytes).unwrap();
    if poison {
        for range in found.map.ranges() {
            let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            assert!(bytes[range.clone()].iter().all(|byte| *byte == 0));
            bytes[range].fill(0xa5);
        }
    }
    fs::write(to, bytes).unwrap();
}

/// Asserts that two directories hold the same.
pub(crate) fn same_trees(a: &Path, b: &Path) {
    run("diff", &["-r", "--no-dereference", text(a), text(b)]);
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Ranges in ascending order, joined where they touch, without the short ones.
pub(crate) fn joined(ranges: impl IntoIterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => joined.push(range),
        }
    }
    joined.retain(|range| range.end - range.start >= LEAST);
    joined
}

/// Why the only volume of a disk is copied whole.
pub(crate) fn kept(found: &FreeSpace) -> String {
    assert!(found.map.is_empty(), "{found:?}");
    match (&found.undone, found.volumes.as_slice()) {
        (Some(reason), _) => reason.clone(),
        (None, [volume]) => volume.kept.clone().unwrap(),
        _ => panic!("one volume: {found:?}"),
    }
}

/// The disk in `path` with `change` applied to its bytes, in a file beside it.
pub(crate) fn changed(path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    let other = path.with_extension("changed");
    fs::write(&other, bytes).unwrap();
    other
}
