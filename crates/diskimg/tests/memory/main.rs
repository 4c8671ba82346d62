//! What an opened image holds in memory, measured. A process of its own, and one test only, so that
//! nothing else allocates meanwhile.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

#[allow(dead_code, reason = "shared with the suite")]
#[path = "../suite/craft.rs"]
mod craft;
#[path = "../suite/vast.rs"]
mod vast;

use std::sync::Arc;
use std::thread;

use diskimg::Qcow2Image;
use diskimg::{DiskImage, DiskImageExt, FileSource, GuestOffset};

use crate::craft::{Cluster, Craft, noise, text};
use crate::vast::Vast;

/// Memory that the process holds now, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// What threads' stacks and an allocator's slack may take.
const SLACK: u64 = 6 << 20;

#[test]
fn memory_stays_inside_the_bound() {
    tables();
    scratch();
}

/// 131072 L2 tables of 512 bytes, 64 MiB in all, of which at most 32 MiB are kept.
fn tables() {
    let l1 = |index: u64| ((64 << 20) + index * 512) | (1 << 63);
    let before = resident();
    let image = Qcow2Image::open(Arc::new(Vast::new(9, 4 << 30, 1 << 30, l1))).unwrap();
    assert_eq!(image.all_extents().count(), 1);
    let used = resident().saturating_sub(before);
    let bound = image.memory_bound(1);
    assert!(bound < 48 << 20, "{bound} bytes are too much to allow");
    assert!(used < bound + SLACK, "{used} bytes held, {bound} allowed");
    // The cache is used, and the measurement sees it.
    assert!(used > 16 << 20, "{used} bytes held");
}

/// Four threads that unpack clusters of 2 MiB, whole and in part.
fn scratch() {
    let clusters = (0..12)
        .map(|index| match index % 2 {
            0 => Cluster::Packed(noise(21, index)),
            _ => Cluster::Packed(text(21, index)),
        })
        .collect();
    let crafted = Craft::new(3, 21, clusters).build();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &crafted.bytes).unwrap();
    let image = Qcow2Image::open(Arc::new(FileSource::open(file.path()).unwrap())).unwrap();
    let before = resident();
    thread::scope(|scope| {
        for worker in 0..4 {
            let (image, guest) = (&image, &crafted.guest);
            scope.spawn(move || {
                let mut buf = vec![0; 1 << 20];
                for round in 0..12 {
                    let at = (((worker + round) % 12) << 21) + (round * 4096);
                    image.read_at(GuestOffset(at as u64), &mut buf).unwrap();
                    assert!(buf == guest[at..at + buf.len()]);
                }
            });
        }
    });
    let used = resident().saturating_sub(before);
    // The caller's buffers are the caller's.
    let bound = image.memory_bound(4) + (4 << 20);
    assert!(used < bound + SLACK, "{used} bytes held, {bound} allowed");
}
