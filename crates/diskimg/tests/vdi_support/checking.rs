//! Checking VDI files: every damage is found, with its place, and whole files are clean.

use std::sync::Arc;

use diskimg::{CheckReport, Format, MemorySource, OpenOptions, ReadAt, Severity, check_source};
use testkit::qemu;

use crate::craft::{Block, Craft, MAP, Made, field, put32, put64};

fn check(bytes: &[u8]) -> CheckReport {
    let source: Arc<dyn ReadAt> = Arc::new(MemorySource(bytes.to_vec()));
    let options = OpenOptions::of(Some(Format::Vdi));
    check_source(&source, &options, &[], &|| false).unwrap()
}

/// Rule and offset of each finding of `severity`.
fn found(bytes: &[u8], severity: Severity) -> Vec<(&'static str, u64)> {
    check(bytes)
        .findings
        .iter()
        .filter(|finding| finding.severity == severity)
        .map(|finding| (finding.rule, finding.offset.unwrap()))
        .collect()
}

fn errors(bytes: &[u8]) -> Vec<(&'static str, u64)> {
    found(bytes, Severity::Error)
}

fn warnings(bytes: &[u8]) -> Vec<(&'static str, u64)> {
    assert_eq!(errors(bytes), []);
    found(bytes, Severity::Warning)
}

fn whole() -> Made {
    let blocks = [Block::Noise, Block::Absent, Block::Noise, Block::Noise];
    Craft::new(4096, &blocks).make()
}

#[test]
fn whole_files_are_clean() {
    assert_eq!(warnings(&whole().bytes), []);
    if qemu::missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for options in ["static=on", "static=off"] {
        let path = dir.path().join("disk.vdi");
        let name = path.to_str().unwrap();
        qemu::img(["create", "-q", "-f", "vdi", "-o", options, name, "20M"]);
        qemu::io(&path, "vdi", &["write -P 1 9M 64k", "write -P 2 0 3M"]);
        assert_eq!(warnings(&std::fs::read(&path).unwrap()), [], "{options}");
    }
}

#[test]
fn every_broken_entry_is_listed_with_its_place() {
    let mut bytes = whole().bytes;
    put32(&mut bytes, MAP + 4, 0);
    put32(&mut bytes, MAP + 8, 0);
    put32(&mut bytes, MAP + 12, 7);
    let entry = |index: u64| MAP as u64 + 4 * index;
    let expected = [
        ("overlap", entry(1)),
        ("overlap", entry(2)),
        ("past-end", entry(3)),
    ];
    assert_eq!(errors(&bytes), expected);
}

#[test]
fn every_broken_field_is_an_error() {
    for (at, value, rule) in [
        (field::SIGNATURE, 0, "magic"),
        (field::VERSION, 2, "version"),
        (field::HEADER_SIZE, 1, "header-length"),
        (field::KIND, 3, "disk-type"),
        (field::SECTOR_SIZE, 4096, "sector-size"),
        (field::BLOCK_SIZE, 1000, "block-size"),
        (field::EXTRA, 3, "block-size"),
        (field::BLOCKS, 3, "table-size"),
        (field::ALLOCATED, 9, "allocated"),
        (field::MAP, 72, "overlap"),
        (field::DATA, 512, "overlap"),
        (field::PARENT, 1, "parent"),
        (field::DISK_SIZE, 1, "limit"),
    ] {
        let mut bytes = whole().bytes;
        put32(&mut bytes, at, value);
        let found = errors(&bytes);
        assert!(
            found.iter().any(|found| found.0 == rule),
            "{rule}: {found:?}"
        );
    }
}

#[test]
fn what_wastes_space_or_is_miscounted_is_a_warning() {
    let Made { bytes, data, .. } = whole();
    let rules = |bytes: &[u8]| -> Vec<_> { warnings(bytes).iter().map(|found| found.0).collect() };

    let mut longer = bytes.clone();
    longer.push(1);
    let end = data as u64 + 3 * 4096;
    assert_eq!(warnings(&longer), [("trailing", end)]);

    // The first block of the file is no block of the disk any more.
    let mut leak = bytes.clone();
    put32(&mut leak, MAP, u32::MAX);
    put32(&mut leak, field::ALLOCATED, 2);
    assert_eq!(rules(&leak), ["allocated", "leak"]);

    let mut counted = bytes.clone();
    put32(&mut counted, field::ALLOCATED, 2);
    assert_eq!(rules(&counted), ["allocated", "allocated"]);

    let mut more = bytes.clone();
    put32(&mut more, field::BLOCKS, 5);
    assert_eq!(rules(&more), ["table-size"]);

    let mut anonymous = bytes.clone();
    anonymous[field::UUID..field::UUID + 16].fill(0);
    assert_eq!(rules(&anonymous), ["uuid"]);

    let mut odd = bytes;
    put64(&mut odd, field::DISK_SIZE, 4 * 4096 - 5);
    assert_eq!(rules(&odd), ["size"]);
}
