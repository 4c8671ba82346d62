//! Checking VHDX files: every damage is found, with its place, and whole files are clean.

use std::sync::Arc;

use diskimg::check_source;
use diskimg::{CheckReport, DiskImage, Format, MemorySource, OpenOptions, ReadAt};
use testkit::qemu;

use crate::craft::{
    BAT, Craft, FULLY_PRESENT, HEADERS, METADATA, MIB, NOT_PRESENT, PARTIALLY_PRESENT, PAYLOAD,
    REGIONS, UNMAPPED, ZERO, put64,
};

fn check(bytes: &[u8]) -> CheckReport {
    let source: Arc<dyn ReadAt> = Arc::new(MemorySource(bytes.to_vec()));
    check_source(&source, &OpenOptions::of(Some(Format::Vhdx)), &[], &|| {
        false
    })
    .unwrap()
}

/// Rule and offset of each finding.
fn found(bytes: &[u8]) -> Vec<(&'static str, u64)> {
    check(bytes)
        .findings
        .iter()
        .map(|finding| (finding.rule, finding.offset.unwrap()))
        .collect()
}

fn whole() -> Vec<u8> {
    let states = [
        FULLY_PRESENT,
        NOT_PRESENT,
        ZERO,
        UNMAPPED,
        FULLY_PRESENT,
        FULLY_PRESENT,
    ];
    Craft::new(&states).make().bytes
}

#[test]
fn whole_files_are_clean() {
    assert_eq!(found(&whole()), []);
    if qemu::missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for subformat in ["dynamic", "fixed"] {
        let path = dir.path().join("disk.vhdx");
        let options = format!("subformat={subformat},block_size=1M");
        qemu::img([
            "create",
            "-q",
            "-f",
            "vhdx",
            "-o",
            &options,
            path.to_str().unwrap(),
            "20M",
        ]);
        qemu::io(&path, "vhdx", &["write -P 1 0 64k", "write -P 2 9M 3M"]);
        assert_eq!(found(&std::fs::read(&path).unwrap()), [], "{subformat}");
    }
}

#[test]
fn a_damaged_header_or_region_table_is_a_warning_while_the_other_one_is_whole() {
    let mut bytes = whole();
    bytes[HEADERS[0] + 100] ^= 1;
    bytes[REGIONS[1] + 100] ^= 1;
    let report = check(&bytes);
    assert_eq!((report.errors, report.warnings), (0, 2));
    let said = format!("{:?}", report.findings);
    assert!(
        said.contains("0x10000") && said.contains("0x40000"),
        "{said}"
    );

    bytes[HEADERS[1] + 100] ^= 1;
    let report = check(&bytes);
    assert_eq!(report.errors, 1);
    assert_eq!(report.findings[0].structure, "VHDX header");

    let mut bytes = whole();
    bytes[METADATA] ^= 1;
    let report = check(&bytes);
    assert_eq!(report.findings[0].offset, Some(METADATA as u64));
}

#[test]
fn two_intact_region_tables_that_differ_are_a_warning() {
    let mut bytes = whole();
    // The copy has the BAT as a region that it does not need.
    bytes[REGIONS[1] + 16 + 28] ^= 1;
    crate::craft::seal_regions(&mut bytes, 1);
    let report = check(&bytes);
    assert_eq!((report.errors, report.warnings), (0, 1), "{report:?}");
    let said = &report.findings[0];
    assert_eq!((said.rule, said.offset), ("region-copy", Some(0)));
    for at in REGIONS {
        assert!(said.message.contains(&format!("{at:#x}")), "{said:?}");
    }
    let image = crate::open(&bytes).unwrap();
    assert!(image.details().warnings[0].contains("differ"));
}

#[test]
fn every_broken_entry_of_the_bat_is_listed_with_its_offset() {
    let mut bytes = whole();
    let len = bytes.len() as u64;
    let at = |block: u64| BAT as u64 + block * 8;
    let entries = [
        // The place of block 0, which comes first.
        (1, PAYLOAD as u64 | FULLY_PRESENT),
        (2, 5),
        (3, METADATA as u64 | FULLY_PRESENT),
        (4, (len + MIB as u64) | FULLY_PRESENT),
        (5, PARTIALLY_PRESENT | 8),
    ];
    for (block, entry) in entries {
        put64(&mut bytes, at(block) as usize, entry);
    }
    assert_eq!(
        found(&bytes),
        [
            ("overlap", at(1)),
            ("state", at(2)),
            ("overlap", at(3)),
            ("past-end", at(4)),
            ("reserved", at(5)),
            ("state", at(5)),
        ]
    );
}

#[test]
fn no_damage_makes_a_check_of_a_vhdx_fail() {
    let whole = whole();
    let mut rng = fastrand::Rng::with_seed(5);
    for round in 0..150 {
        let mut bytes = whole.clone();
        let from = [HEADERS[0], REGIONS[0], METADATA, METADATA + (64 << 10), BAT][round % 5];
        for _ in 0..rng.usize(1..5) {
            let at = from + rng.usize(..160);
            bytes[at] = *rng.choice(&[0, 1, 0x7f, 0x80, 0xff]).unwrap();
        }
        crate::craft::seal_header(&mut bytes, 0);
        crate::craft::seal_regions(&mut bytes, 0);
        let _ = check(&bytes);
    }
}
