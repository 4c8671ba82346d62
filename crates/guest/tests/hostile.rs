//! Damaged disks: whatever is wrong, the inspection ends, and its own code does not panic.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests abort the test where a fact does not hold"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use diskimg::{Details, DiskImage, Extent, Format, GuestOffset, OpenOptions, Result, open};
use fastrand::Rng;
use guest::{Budget, Report, Wanted, inspect};

/// Bytes that are read at once.
const BLOCK: u64 = 64 << 10;

/// A disk of which some bytes are others.
struct Damaged<'a> {
    disk: &'a dyn DiskImage,
    bytes: BTreeMap<u64, u8>,
    /// Places that were read.
    read: Mutex<BTreeSet<u64>>,
}

impl<'a> Damaged<'a> {
    fn new(disk: &'a dyn DiskImage, bytes: BTreeMap<u64, u8>) -> Self {
        Self {
            disk,
            bytes,
            read: Mutex::default(),
        }
    }
}

impl DiskImage for Damaged<'_> {
    fn virtual_size(&self) -> u64 {
        self.disk.virtual_size()
    }

    fn extent_at(&self, at: GuestOffset, limit: u64) -> Result<Extent> {
        self.disk.extent_at(at, limit)
    }

    fn read_at(&self, at: GuestOffset, buf: &mut [u8]) -> Result<()> {
        self.disk.read_at(at, buf)?;
        self.read.lock().unwrap().insert(at.0);
        for (place, byte) in self.bytes.range(at.0..at.0 + buf.len() as u64) {
            buf[(place - at.0) as usize] = *byte;
        }
        Ok(())
    }

    fn details(&self) -> Details {
        self.disk.details()
    }
}

/// The bytes that an inspection of `disk` reads and that are not zero.
fn targets(disk: &dyn DiskImage) -> Vec<(u64, u8)> {
    let whole = Damaged::new(disk, BTreeMap::new());
    look(&whole, &Budget::default());
    let mut found = Vec::new();
    for at in whole.read.into_inner().unwrap() {
        let mut block = vec![0; BLOCK.min(disk.virtual_size() - at) as usize];
        disk.read_at(GuestOffset(at), &mut block).unwrap();
        found.extend((at..).zip(block).filter(|(_, byte)| *byte != 0));
    }
    found
}

fn look(disk: &dyn DiskImage, budget: &Budget) -> Report {
    inspect(disk, Wanted::default(), budget)
}

/// One to six changes near each other or apart.
fn damage(rng: &mut Rng, targets: &[(u64, u8)]) -> BTreeMap<u64, u8> {
    let mut bytes = BTreeMap::new();
    for _ in 0..rng.usize(1..=6) {
        let (at, byte) = targets[rng.usize(..targets.len())];
        let value = match rng.u8(..5) {
            0 => 0,
            1 => 0xff,
            2 => byte ^ (1 << rng.u8(..8)),
            3 => byte.wrapping_add(1),
            _ => rng.u8(..),
        };
        for place in at..at + rng.u64(1..=4) {
            bytes.insert(place, value);
        }
    }
    bytes
}

#[test]
fn damaged_disks_are_inspected_to_an_end() {
    let count = std::env::var("IMGFERRY_MUTANTS").map_or(6, |count| count.parse().unwrap());
    let seed = std::env::var("IMGFERRY_TEST_SEED").map_or(0x6e57, |seed| seed.parse().unwrap());
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let budget = Budget {
        time: Duration::from_secs(60),
        ..Budget::default()
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/guest");
    let mut disks: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "qcow2"))
        .collect();
    disks.sort();
    for path in disks {
        let opened = open(&path, &OpenOptions::of(None), &[]).unwrap();
        let targets = targets(&*opened.image);
        for number in 0..count {
            let bytes = damage(&mut rng, &targets);
            let shown = format!("{} {number} {bytes:x?}", path.display());
            let report = look(&Damaged::new(&*opened.image, bytes), &budget);
            for unknown in &report.unknown {
                // What the inspection says of panics, and of a reader without an end.
                for sign in ["error of its own", "error of the reader", "come to an end"] {
                    assert!(
                        !unknown.reason.contains(sign),
                        "{shown}: {}",
                        unknown.reason
                    );
                }
            }
        }
    }
}

#[test]
fn a_budget_that_is_used_up_is_reported_and_nothing_is_taken_for_kept() {
    let path = "../../testdata/guest/ubuntu2204-netplan.qcow2";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let opened = open(&path, &OpenOptions::of(None), &[]).unwrap();
    let whole = look(&*opened.image, &Budget::default());
    for blocks in [0, 1, 2, 5, 10] {
        let budget = Budget {
            read: blocks * BLOCK,
            ..Budget::default()
        };
        let report = look(&*opened.image, &budget);
        assert!(report.cost.bytes_read <= budget.read);
        if budget.read < whole.cost.bytes_read {
            // What could not be read is not missing.
            for absent in [
                "inspect-no-os",
                "boot-none",
                "linux-no-kernel",
                "linux-sshd",
            ] {
                let found = report.findings.iter().find(|finding| finding.id == absent);
                assert!(found.is_none(), "{blocks}: {found:?}");
            }
            let incomplete = |reason: &str| reason.contains("which is the limit");
            assert!(
                report
                    .unknown
                    .iter()
                    .any(|unknown| incomplete(&unknown.reason))
            );
        }
    }
}

/// A disk in an image that can be read front to back only.
struct OneWay(Box<dyn DiskImage>);

impl DiskImage for OneWay {
    fn virtual_size(&self) -> u64 {
        self.0.virtual_size()
    }

    fn extent_at(&self, at: GuestOffset, limit: u64) -> Result<Extent> {
        self.0.extent_at(at, limit)
    }

    fn read_at(&self, at: GuestOffset, _: &mut [u8]) -> Result<()> {
        panic!("a read at {at:?}")
    }

    fn details(&self) -> Details {
        Details {
            format: Format::Zvhd,
            ..self.0.details()
        }
    }
}

#[test]
fn an_image_that_is_read_front_to_back_is_left_alone() {
    let path = "../../testdata/guest/debian12-ready.qcow2";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let opened = open(&path, &OpenOptions::of(None), &[]).unwrap();
    let report = look(&OneWay(opened.image), &Budget::default());
    assert_eq!(report.unknown.len(), 1);
    assert_eq!(report.unknown[0].id, "inspect-incomplete");
}
