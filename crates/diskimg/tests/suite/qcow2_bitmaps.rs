//! Bitmaps of changes: what they mark is what QEMU says, and what cannot be trusted is refused.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use diskimg::{Changes, DiskImage, ErrorKind, OpenOptions, Result};
use tempfile::TempDir;
use testkit::exports::Served;
use testkit::measure::cpu_time;
use testkit::{missing, qemu};

use crate::craft::put;
use crate::open_bytes;

const MIB: u64 = 1 << 20;

/// An image of 64 MiB with the bitmap `b0`, which has noted `writes`.
fn make(dir: &TempDir, options: &str, granularity: &str, writes: &[&str]) -> PathBuf {
    let path = dir.path().join("disk.qcow2");
    let name = path.to_str().unwrap();
    let create = ["create", "-q", "-f", "qcow2", "-o", options, name, "64M"];
    qemu::img(create);
    qemu::io(&path, "qcow2", &["write -P 1 0 64k"]);
    qemu::img(["bitmap", "--add", "-g", granularity, name, "b0"]);
    qemu::io(&path, "qcow2", writes);
    path
}

const WRITES: [&str; 6] = [
    "write -P 2 100k 1",
    "write -P 3 3M 700k",
    "discard 5M 1M",
    "write -z 20M 64k",
    "write -P 4 33M 9M",
    "write -P 5 65535k 1k",
];

fn changes(bytes: &[u8], bitmap: &str, unit: u64) -> Result<Changes> {
    open_bytes(bytes)?.changes(bitmap, unit)
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

/// Where the extension, the directory and the table of the first bitmap are.
fn places(bytes: &[u8]) -> (usize, usize, usize) {
    let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let kind = [0x23, 0x85, 0x28, 0x75];
    let extension = bytes.windows(4).position(|bytes| bytes == kind).unwrap();
    let directory = number(extension + 24);
    (extension, directory, number(directory))
}

#[test]
fn a_bitmap_marks_what_qemu_says() {
    if qemu::missing() || missing("qemu-nbd") {
        return;
    }
    for (options, granularity) in [
        ("cluster_size=65536", "64k"),
        ("cluster_size=512", "512"),
        ("cluster_size=4096", "512"),
        ("cluster_size=2M", "2M"),
        ("extended_l2=on", "4k"),
    ] {
        let dir = TempDir::new().unwrap();
        let path = make(&dir, options, granularity, &WRITES);
        let mut served = Served::new();
        served.qemu_nbd_of_changes("b0", &path);
        let theirs = served.changes("b0");
        let ours = changes(&read(&path), "b0", 512).unwrap();
        assert_eq!(ours.ranges(), theirs, "{options} {granularity}");
        let bytes: u64 = theirs.iter().map(|range| range.end - range.start).sum();
        assert_eq!(ours.marked_bytes(), bytes);
        // In larger units the same changes are in fewer ranges.
        let blocks = changes(&read(&path), "b0", 2 * MIB).unwrap();
        assert!(theirs.iter().all(|range| blocks.touches(range)));
        let untouched = [8 * MIB..18 * MIB, 44 * MIB..62 * MIB];
        assert!(untouched.iter().all(|range| !blocks.touches(range)));

        let looking = OpenOptions {
            metadata_only: true,
            ..OpenOptions::default()
        };
        let listed = diskimg::open(&path, &looking, &[]).unwrap().image.details();
        assert_eq!(listed.bitmaps[0].marked_bytes, Some(bytes), "{options}");
        assert!(listed.bitmaps[0].recording && !listed.bitmaps[0].in_use);
    }
}

#[test]
fn entries_without_bits_mark_all_or_nothing() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    // A cluster of bits stands for 2 MiB.
    let path = make(&dir, "cluster_size=512", "512", &["write -P 2 40M 3M"]);
    let mut bytes = read(&path);
    let (.., table) = places(&bytes);
    let entry = |bytes: &mut [u8], at: usize, value: u64| {
        put(bytes, table + 8 * at, &value.to_be_bytes());
    };
    entry(&mut bytes, 0, 1);
    entry(&mut bytes, 1, 1);
    entry(&mut bytes, 31, 1);
    entry(&mut bytes, 20, 0);
    let ours = changes(&bytes, "b0", 512).unwrap();
    let expected: [Range<u64>; 3] = [0..4 * MIB, 42 * MIB..43 * MIB, 62 * MIB..64 * MIB];
    assert_eq!(ours.ranges(), expected);
}

#[test]
fn a_bitmap_that_may_have_missed_changes_is_refused() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let path = make(&dir, "cluster_size=512", "64k", &["write -P 2 40M 3M"]);
    let bytes = read(&path);
    let (extension, directory, table) = places(&bytes);
    let bits = table + 512;
    let entry = u64::from_be_bytes(bytes[table..table + 8].try_into().unwrap());
    assert_ne!(entry, 0);
    let cases: [(&str, usize, &[u8], &str); 14] = [
        ("in use", directory + 15, &[3], "is in use"),
        ("disabled", directory + 15, &[0], "is disabled"),
        ("flags", directory + 15, &[10], "unknown flags 0x8"),
        ("type", directory + 16, &[2], "has type 2"),
        ("finer", directory + 17, &[8], "granularity_bits 8"),
        ("coarser", directory + 17, &[32], "granularity_bits 32"),
        ("another disk", directory + 17, &[9], "is of another disk"),
        ("stale", 95, &[0], "a program that does not know them"),
        ("none", extension, &[1], "nor any other"),
        ("a longer table", directory + 11, &[9], "is of another disk"),
        ("no table", directory, &[0xff; 8], "offset"),
        ("past the end", table, &[0, 0, 1], "the file ends"),
        ("reserved", table, &[1], "reserved bits"),
        ("both", table + 7, &[entry as u8 | 1], "reserved bits"),
    ];
    for (what, at, value, words) in cases {
        let mut damaged = bytes.clone();
        put(&mut damaged, at, value);
        let error = changes(&damaged, "b0", MIB).expect_err(what).to_string();
        assert!(error.contains(words), "{what}: {error}");
        // The disk is what it was.
        open_bytes(&damaged).expect(what);
    }
    let missing = changes(&bytes, "b1", MIB).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::OutOfRange);
    assert!(missing.to_string().contains("it has \"b0\""), "{missing}");
    assert!(bits <= bytes.len());

    let name = path.to_str().unwrap();
    qemu::img(["snapshot", "-c", "s", name]);
    let options = OpenOptions {
        snapshot: Some("s".into()),
        ..OpenOptions::default()
    };
    let snapshot = diskimg::open(&path, &options, &[]).unwrap().image;
    let error = snapshot.changes("b0", MIB).unwrap_err().to_string();
    assert!(error.contains("active disk"), "{error}");
    qemu::img(["bitmap", "--disable", name, "b0"]);
    let error = changes(&read(&path), "b0", MIB).unwrap_err().to_string();
    assert!(error.contains("is disabled"), "{error}");
}

#[test]
fn bits_that_are_used_twice_are_refused() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let path = make(&dir, "cluster_size=512", "512", &["write -P 2 40M 3M"]);
    let mut bytes = read(&path);
    let (.., table) = places(&bytes);
    let entry = bytes[table + 8 * 20..table + 8 * 21].to_vec();
    put(&mut bytes, table, &entry);
    let error = changes(&bytes, "b0", MIB).unwrap_err().to_string();
    assert!(error.contains("two of its entries"), "{error}");
}

#[test]
fn a_damaged_bitmap_is_an_error_or_marks_what_is_on_the_disk() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let writes = [
        "write -P 2 100k 1",
        "write -z 33M 9M",
        "write -P 5 65535k 1k",
    ];
    let path = make(&dir, "cluster_size=512", "4k", &writes);
    let bytes = read(&path);
    let (extension, directory, table) = places(&bytes);
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut good, mut bad) = (0, 0);
    let started = cpu_time();
    for _ in 0..1000 {
        let mut damaged = bytes.clone();
        for _ in 0..random.usize(1..4) {
            let (start, len) = match random.u8(0..4) {
                0 => (extension, 32),
                1 => (directory, 32),
                _ => (table, 64),
            };
            let at = start + random.usize(..len);
            damaged[at] = match random.bool() {
                true => random.u8(..),
                false => damaged[at] ^ 1 << random.u8(..8),
            };
        }
        match changes(&damaged, "b0", 4096) {
            Ok(changes) => {
                good += 1;
                let ranges = changes.ranges();
                assert!(ranges.iter().all(|range| range.end <= 64 * MIB));
                assert!(ranges.is_sorted_by(|a, b| a.end < b.start));
                assert!(changes.marked_bytes() <= 64 * MIB);
            }
            Err(_) => bad += 1,
        }
    }
    assert!(good > 50 && bad > 50, "{good} good, {bad} bad");
    let spent = cpu_time() - started;
    assert!(spent.as_secs() < 60, "{spent:?}");
}

#[test]
fn a_bitmap_of_a_disk_that_was_resized_is_of_the_larger_disk() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let path = make(&dir, "cluster_size=64k", "64k", &["write -P 2 40M 3M"]);
    let resized = Command::new("qemu-img")
        .args(["resize", "-q"])
        .arg(&path)
        .arg("100M")
        .status()
        .unwrap();
    assert!(resized.success());
    let ours = changes(&read(&path), "b0", MIB).unwrap();
    // QEMU marks what was added.
    assert!(ours.touches(&(40 * MIB..43 * MIB)));
    assert!(!ours.touches(&(0..39 * MIB)));
}
