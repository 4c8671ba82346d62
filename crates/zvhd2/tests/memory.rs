//! What an image promises to hold at most, against what the process holds. One test, because the
//! figure is the whole process's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{BLOCK, encode, noise};
use diskimg::{DiskImage, FileSource, GuestOffset};
use zvhd2::{BLOCK_SIZE, Zvhd2Image};

/// A figure of `/proc/self/status`, in bytes.
fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        << 10
}

#[test]
fn many_readers_stay_inside_the_promised_memory() {
    const BLOCKS: u32 = 48;
    const READERS: usize = 6;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("noise.zvhd2");
    // Incompressible blocks: the longest data blocks there are.
    let file = {
        let blocks: BTreeMap<_, _> = (0..BLOCKS)
            .map(|number| (number, noise(number.into(), BLOCK_SIZE)))
            .collect();
        encode(u64::from(BLOCKS) * BLOCK, &blocks, -7)
    };
    std::fs::write(&path, &file).unwrap();
    drop(file);
    // What was freed until here may not hide what is taken from here on.
    if std::fs::write("/proc/self/clear_refs", "5").is_err() {
        println!("skipped: the peak of this process cannot be reset here");
        return;
    }
    let before = status("VmRSS");
    let image = Zvhd2Image::open(Arc::new(FileSource::open(&path).unwrap())).unwrap();
    let bound = image.memory_bound(READERS);
    std::thread::scope(|scope| {
        for reader in 0..READERS as u64 {
            let image = &image;
            scope.spawn(move || {
                let mut part = vec![0; 64 << 10];
                for number in 0..u64::from(BLOCKS) {
                    let block = (number * 5 + reader * 7) % u64::from(BLOCKS);
                    image
                        .read_at(GuestOffset(block * BLOCK + 4096), &mut part)
                        .unwrap();
                }
            });
        }
    });
    let taken = status("VmHWM").saturating_sub(before);
    // Thread stacks, the readers' own buffers, and what the allocator keeps back.
    let slack = 8 << 20;
    assert!(
        taken <= bound + slack,
        "{taken} bytes taken, {bound} promised"
    );
    assert!(
        bound <= 64 << 20,
        "{bound} bytes for {READERS} readers is too careful"
    );
}
