//! Bytes by chance, read as a disk with partitions, volumes and file systems. Each file system has
//! a target of its own, for a corpus of its own; the seeds are what makes the difference.

#![no_main]

use std::sync::Arc;

use diskimg::RawImage;
use guest::Budget;
use guest::survey::look;
use libfuzzer_sys::fuzz_target;
use testkit::guest::repaired;
use testkit::hostile::{PATIENCE, Sparse};
use testkit::measure::cpu_time;

/// Nodes of a file system that are looked at.
const NODES: usize = 12;

fuzz_target!(|input: &[u8]| {
    let Some((flags, rest)) = input.split_first() else {
        return;
    };
    let mut disk = Sparse::parse(rest);
    if flags & 1 == 1 {
        disk = repaired(disk);
    }
    let Ok(image) = RawImage::open(Arc::new(disk)) else {
        return;
    };
    let started = cpu_time();
    look(Arc::new(image), &Budget::default(), NODES);
    let took = cpu_time() - started;
    assert!(took < PATIENCE, "{took:?}");
});
