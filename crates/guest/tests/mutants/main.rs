//! Damage that checksums do not tell: whatever a disk says, its readers end, and none panics.
//!
//! `IMGFERRY_MUTANTS` is the number of mutants for each case. `IMGFERRY_TEST_SEED` repeats a run,
//! `IMGFERRY_FIRST_MUTANT` a part of it. docs/fuzzing.md has the figures of long runs.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests abort the test where a fact does not hold"
)]

mod made;

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use diskimg::RawImage;
use fastrand::Rng;
use guest::Budget;
use guest::survey::{self, Tally};
use testkit::guest::repaired;
use testkit::hostile::Sparse;
use testkit::measure::cpu_time;

use crate::made::{gzip, lz4, seeds, zstd};

/// Nodes of a file system that are looked at.
const NODES: usize = 40;
/// Processor time that a mutant of a small disk may take.
const PATIENCE: Duration = Duration::from_secs(10);

fn look(disk: Sparse) -> Tally {
    let budget = Budget {
        time: Duration::from_secs(60),
        ..Budget::default()
    };
    match RawImage::open(Arc::new(disk)) {
        Ok(image) => survey::look(Arc::new(image), &budget, NODES),
        Err(_) => Tally::default(),
    }
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |number| number.parse().unwrap())
}

/// Lets `mutant` make and look at as many mutants as are wanted. It returns whether the mutant
/// showed something else than the original, and the bytes read.
fn run(name: &str, mut mutant: impl FnMut(&mut Rng) -> (bool, u64) + Send) {
    let count = number("IMGFERRY_MUTANTS", 60);
    let seed = number("IMGFERRY_TEST_SEED", 0x6e57);
    let first = number("IMGFERRY_FIRST_MUTANT", 0);
    let started = Instant::now();
    let (mut differ, mut slowest, mut most_read) = (0, (Duration::ZERO, 0), 0);
    let work = || {
        for number in first..first + count {
            let mut rng = Rng::with_seed(seed.wrapping_add(number.wrapping_mul(0x9e37_79b9)));
            let before = cpu_time();
            let outcome = catch_unwind(AssertUnwindSafe(|| mutant(&mut rng)));
            let took = cpu_time().saturating_sub(before);
            let shown = format!("{name}: mutant {number} of seed {seed}");
            let Ok((differs, read)) = outcome else {
                panic!("{shown}");
            };
            assert!(took < PATIENCE, "{shown} took {took:?}");
            differ += u64::from(differs);
            slowest = slowest.max((took, number));
            most_read = most_read.max(read);
        }
        cpu_time()
    };
    // As much stack as an inspection has.
    let cpu = thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(8 << 20);
        thread.spawn_scoped(scope, work).unwrap().join().unwrap()
    });
    // Not println!: the test harness would keep it from whoever runs the tests.
    let (longest, number) = slowest;
    let _ = writeln!(
        std::io::stderr(),
        "{name}: {count} mutants in {:.0?} ({cpu:.0?} of a processor), {differ} differ, slowest \
         {longest:.1?} (mutant {number}), {} KiB read at most",
        started.elapsed(),
        most_read >> 10,
    );
}

/// A changed byte, word or double word.
fn change(rng: &mut Rng, old: u8) -> Vec<u8> {
    match rng.u8(..7) {
        0 => vec![0],
        1 => vec![0xff],
        2 => vec![old ^ (1 << rng.u8(..8))],
        3 => vec![old.wrapping_add(1)],
        4 => vec![rng.u8(..)],
        5 => vec![0xff; 1 << rng.u8(1..4)],
        _ => {
            let mut bytes = rng.u64(..300).to_le_bytes()[..1 << rng.u8(1..4)].to_vec();
            if rng.bool() {
                bytes.reverse();
            }
            bytes
        }
    }
}

/// Looks at mutants of `disks`, whose changes are before `end`.
fn disks(name: &str, disks: &[Sparse], end: u64) {
    let disks: Vec<(&Sparse, Tally, Vec<u64>)> = disks
        .iter()
        .map(|disk| {
            let whole = look(disk.clone());
            assert!(whole.nodes > 5 && whole.failed == 0, "{name}: {whole:?}");
            let pages = disk.stretches().map(|(at, _)| at);
            (disk, whole, pages.filter(|at| *at < end).collect())
        })
        .collect();
    run(name, |rng| {
        let (disk, whole, pages) = &disks[rng.usize(..disks.len())];
        let mut damaged = (*disk).clone();
        for _ in 0..rng.usize(1..=5) {
            let page = pages[rng.usize(..pages.len())];
            let stored = disk.bytes(page, 4096);
            let used: Vec<usize> = (0..4096).filter(|at| stored[*at] != 0).collect();
            // Mostly something that is there, or its neighbour.
            let near = used[rng.usize(..used.len())];
            let at = match rng.u8(..4) {
                0 => rng.usize(..4096),
                1 => (near & !7) + rng.usize(..8),
                _ => near,
            };
            let bytes = change(rng, stored[at]);
            damaged.write(page + at as u64, &bytes);
        }
        let found = look(repaired(damaged));
        // ext4-view panics where a map of blocks ends before the file; it is caught, file by file.
        assert!(found.panics == 0 || name == "ext", "{found:?}");
        (found != *whole, found.read)
    });
}

#[test]
fn disks_that_fuzzers_found_are_read_in_time() {
    let mut count = 0;
    for target in ["ext", "xfs", "btrfs", "ntfs", "fat", "volumes"] {
        for (name, disk) in made::found(&format!("guest-{target}")) {
            let before = cpu_time();
            look(disk);
            let took = cpu_time().saturating_sub(before);
            assert!(took < PATIENCE, "{name} took {took:?}");
            count += 1;
        }
    }
    assert!(count > 0);
}

#[test]
fn ext_which_is_read_without_checksums() {
    disks("ext", &seeds("guest-ext"), u64::MAX);
}

#[test]
fn xfs_with_its_checksums_repaired() {
    disks("XFS", &seeds("guest-xfs"), u64::MAX);
}

#[test]
fn btrfs_with_its_checksums_repaired() {
    disks("Btrfs", &seeds("guest-btrfs"), u64::MAX);
}

#[test]
fn ntfs_which_has_no_checksums() {
    disks("NTFS", &seeds("guest-ntfs"), u64::MAX);
}

#[test]
fn fat_which_has_no_checksums() {
    disks("FAT", &seeds("guest-fat"), u64::MAX);
}

#[test]
fn lvm_with_its_checksums_repaired() {
    disks("LVM", &made::lvm(), 64 << 10);
}

#[test]
fn arrays_with_their_checksums_repaired() {
    disks("MD", &[made::array()], 8192);
}

#[test]
fn gpt_with_its_checksums_repaired() {
    disks("GPT", &[made::gpt()], 34 * 512);
}

#[test]
fn mbr_with_logical_partitions() {
    disks("MBR", &[made::mbr()], 1 << 20);
}

/// `bytes` with some changes, or cut off.
fn damaged(rng: &mut Rng, bytes: &[u8]) -> Vec<u8> {
    let mut damaged = bytes.to_vec();
    for _ in 0..rng.usize(1..=5) {
        let at = rng.usize(..bytes.len());
        let new = change(rng, bytes[at]);
        let end = bytes.len().min(at + new.len());
        damaged[at..end].copy_from_slice(&new[..end - at]);
    }
    if rng.u8(..8) == 0 {
        damaged.truncate(rng.usize(..=bytes.len()));
    }
    damaged
}

#[test]
fn hives_whose_cells_have_no_checksums() {
    let hives = made::hives();
    let whole = hives
        .clone()
        .map(|hive| survey::hive(hive, 10_000).unwrap());
    assert!(whole[0] > 25);
    run("hive", |rng| {
        let index = rng.usize(..hives.len());
        let hive = &hives[index];
        // Keys are behind the large value and in front of it.
        let mut bytes = hive.clone();
        let large = hive.iter().rposition(|byte| *byte == 7).unwrap();
        let first = hive.iter().position(|byte| *byte == b'h').unwrap();
        let (front, back) = (first..first + 2500, large..bytes.len());
        for range in [front, back] {
            let part = damaged(rng, &hive[range.clone()]);
            bytes[range.start..][..part.len()].copy_from_slice(&part);
        }
        if rng.u8(..8) == 0 {
            bytes = damaged(rng, &bytes);
        }
        (survey::hive(bytes, 10_000) != Ok(whole[index]), 0)
    });
}

#[test]
fn initramfs_before_and_behind_its_packing() {
    let (early, main) = made::archives();
    let whole = survey::initramfs([early.clone(), main.clone()].concat()).unwrap();
    assert_eq!(whole, 5);
    run("initramfs", |rng| {
        let (plain, packed) = match rng.u8(..6) {
            0 => (Vec::new(), damaged(rng, &[&early[..], &main].concat())),
            1 => (early.clone(), gzip(&damaged(rng, &main))),
            2 => (early.clone(), damaged(rng, &gzip(&main))),
            3 => (early.clone(), damaged(rng, &lz4(&main))),
            4 => (Vec::new(), damaged(rng, &zstd(&main))),
            _ => (early.clone(), zstd(&damaged(rng, &main))),
        };
        let found = survey::initramfs([plain, packed].concat());
        (found != Ok(whole), 0)
    });
}
