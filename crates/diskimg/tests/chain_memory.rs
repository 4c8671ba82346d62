//! What the longest chain holds in memory, measured. A process of its own, and one test only, so
//! that nothing else allocates meanwhile.

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
#[path = "suite/craft.rs"]
mod craft;

use std::fs::File;
use std::path::Path;
use std::thread;

use diskimg::limits::MAX_CHAIN_FILES;
use diskimg::{BackingPolicy, GuestOffset, OpenOptions};

use crate::craft::{Cluster, Craft, noise, over, put, text};

/// Memory that the process holds now, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// What threads' stacks and an allocator's slack may take.
const SLACK: u64 = 8 << 20;
const THREADS: usize = 4;
/// Size of the disk in bytes.
const SIZE: u64 = (MAX_CHAIN_FILES as u64) << LARGE;
/// log2 of the size of clusters in files whose tables are many, and in those whose clusters are
/// large.
const SMALL: u32 = 9;
const LARGE: u32 = 21;

/// A file with an L2 table for each 32 KiB of the disk, none of which maps anything.
fn many_tables(path: &Path, below: &str) {
    let mut bytes = Craft {
        size: Some(SIZE),
        ..Craft::new(3, SMALL, Vec::new())
    }
    .build()
    .bytes;
    let first = (bytes.len() as u64).next_multiple_of(512);
    let tables = SIZE >> (SMALL + SMALL - 3);
    for table in 0..tables {
        let at = 512 + table as usize * 8;
        put(&mut bytes, at, &(first + table * 512).to_be_bytes());
    }
    std::fs::write(path, over(bytes, below)).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    // The tables are a hole of the file.
    file.set_len(first + tables * 512).unwrap();
}

/// A file with one compressed cluster of 2 MiB of its own.
fn large_clusters(path: &Path, number: usize, below: Option<&str>) {
    let mut clusters = vec![Cluster::Hole; number];
    clusters.push(match number % 4 {
        1 => Cluster::Packed(noise(LARGE, number)),
        _ => Cluster::Packed(text(LARGE, number)),
    });
    let made = Craft {
        zstd: number % 4 == 3,
        size: Some(SIZE),
        ..Craft::new(3, LARGE, clusters)
    };
    let bytes = made.build().bytes;
    let bytes = below.map_or(bytes.clone(), |below| over(bytes, below));
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn the_longest_chain_stays_inside_its_bound_and_that_below_256_mib() {
    let dir = tempfile::TempDir::new().unwrap();
    for number in 0..MAX_CHAIN_FILES {
        let path = dir.path().join(format!("{number:02}.qcow2"));
        let below = number
            .checked_sub(1)
            .map(|below| format!("{below:02}.qcow2"));
        match below {
            Some(below) if number % 2 == 0 => many_tables(&path, &below),
            below => large_clusters(&path, number, below.as_deref()),
        }
    }
    let before = resident();
    let options = OpenOptions {
        backing: BackingPolicy::Inside(dir.path().to_owned()),
        ..OpenOptions::default()
    };
    let top = dir.path().join(format!("{:02}.qcow2", MAX_CHAIN_FILES - 1));
    let opened = diskimg::open(&top, &options, &[]).unwrap();
    let image = opened.image.as_ref();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let mut buf = vec![0; 2 << 20];
                let mut wanted = Vec::new();
                for number in (0..MAX_CHAIN_FILES).skip(thread).step_by(THREADS) {
                    image
                        .read_at(GuestOffset((number as u64) << LARGE), &mut buf)
                        .unwrap();
                    wanted.clear();
                    wanted.resize(buf.len(), 0);
                    if number % 2 == 1 || number == 0 {
                        wanted.copy_from_slice(&match number % 4 {
                            1 => noise(LARGE, number),
                            _ => text(LARGE, number),
                        });
                    }
                    assert!(buf == wanted, "cluster {number}");
                    // A part of a cluster is unpacked whole.
                    let at = GuestOffset(((number as u64) << LARGE) + 4096);
                    image.read_at(at, &mut buf[..512]).unwrap();
                    assert!(buf[..512] == wanted[4096..4096 + 512]);
                }
            });
        }
    });
    let used = resident().saturating_sub(before);
    let bound = image.memory_bound(THREADS);
    assert!(bound < 256 << 20, "{bound} bytes are too much to allow");
    // The caller's buffers are the caller's.
    let callers = (THREADS as u64) * (6 << 20);
    assert!(
        used < bound + callers + SLACK,
        "{used} bytes held, {bound} allowed"
    );
    println!("{used} bytes held, {bound} allowed");
}
