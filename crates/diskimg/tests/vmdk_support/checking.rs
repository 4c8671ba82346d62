//! What `--check` lists.

use std::sync::Arc;

use diskimg::{CheckReport, MemorySource, OpenOptions, ReadAt, check_source};
use testkit::vmdk::{Craft, Made, descriptor};

use crate::{Dir, disk, open, read_all, refused};

fn check(bytes: &[u8]) -> CheckReport {
    let source: Arc<dyn ReadAt> = Arc::new(MemorySource(bytes.to_vec()));
    check_source(&source, &OpenOptions::default(), &[], &|| false).unwrap()
}

fn rules(report: &CheckReport) -> Vec<&'static str> {
    report.findings.iter().map(|finding| finding.rule).collect()
}

fn put(made: &Made, at: usize, value: u32) -> Vec<u8> {
    let mut bytes = made.bytes.clone();
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    bytes
}

#[test]
fn sound_files_have_no_findings() {
    let disk = disk(1000, 1);
    for craft in [Craft::sparse(&disk), Craft::stream(&disk)] {
        let report = check(&craft.make().bytes);
        assert!(
            report.is_sound() && report.findings.is_empty(),
            "{report:?}"
        );
    }
}

#[test]
fn every_broken_rule_is_listed_by_its_id_and_ends_a_read() {
    let disk = disk(8 * 100, 1);
    let sparse = Craft {
        copy: false,
        ..Craft::sparse(&disk)
    }
    .make();
    let stream = Craft::stream(&disk).make();
    let copied = Craft::sparse(&disk).make();
    let sector = |place: usize| (place / 512) as u32;
    let past = sector(sparse.bytes.len()) + 100;
    for (rule, bytes) in [
        ("past-end", put(&sparse, sparse.table, past)),
        ("past-end", put(&sparse, sparse.directory, past)),
        ("entry", put(&sparse, sparse.table, 1)),
        ("entry", put(&sparse, sparse.table, sector(sparse.table))),
        ("overlap", put(&sparse, sparse.directory, 0x1)),
        ("copy", put(&copied, copied.copied_table, 0)),
        ("marker", put(&stream, stream.grains[1], 9)),
        ("marker", put(&stream, stream.grains[1] + 8, 0)),
        ("text-mode", put(&sparse, 73, 0x0a0a_0a0a)),
        ("version", put(&sparse, 4, 9)),
        ("grain-size", put(&sparse, 20, 7)),
        ("table-size", put(&sparse, 44, 100)),
        ("capacity", put(&sparse, 12, 5)),
        ("footer", put(&stream, stream.bytes.len() - 1024 + 20, 16)),
        ("compression", put(&stream, 77, 7)),
    ] {
        let report = check(&bytes);
        assert!(rules(&report).contains(&rule), "{rule}: {report:?}");
        assert!(report.errors > 0, "{rule}");
        refused(open(&bytes).and_then(|image| read_all(&image)));
    }
    // What the copy alone has is listed, with the sector that it is for.
    let report = check(&put(&copied, copied.table + 4, 0));
    let [finding] = report.findings.as_slice() else {
        panic!("{report:?}");
    };
    let said = "differ: 1; grains that the copy alone has: 1, the first of sector 8";
    assert!(finding.message.contains(said), "{}", finding.message);
    let report = check(&put(&copied, copied.copied_table, past));
    assert_eq!(rules(&report), ["copy", "copy"], "{report:?}");
    // Reading is defined where two entries have one grain.
    let shared = put(&sparse, sparse.table, sector(sparse.grains[1]));
    assert_eq!(rules(&check(&shared)), ["overlap"]);
    assert!(read_all(&open(&shared).unwrap()).is_ok());
    let overlapping = put(&sparse, sparse.table, sector(sparse.grains[1]) - 1);
    assert_eq!(rules(&check(&overlapping)), ["overlap"]);
}

#[test]
fn a_check_lists_all_and_goes_through_the_files_beside_the_descriptor() {
    let dir = Dir::new();
    let part = Craft {
        descriptor: String::new(),
        copy: false,
        ..Craft::sparse(&disk(8 * 40, 2))
    }
    .make();
    let mut bytes = put(&part, part.table, 1);
    bytes[part.table + 4..part.table + 8].copy_from_slice(&1_u32.to_le_bytes());
    dir.write("web-s001.vmdk", bytes);
    let text = descriptor(
        "twoGbMaxExtentSparse",
        &["RW 320 SPARSE \"web-s001.vmdk\""],
        1,
        None,
    );
    let path = dir.write("web.vmdk", text);
    let report = diskimg::check(&path, &OpenOptions::default(), &[], &|| false).unwrap();
    assert_eq!(rules(&report), ["entry", "entry"]);
    assert!(report.findings[0].message.starts_with("web-s001.vmdk: "));
    // What was not opened is not called sound.
    std::fs::rename(&path, dir.at("other.vmdk")).unwrap();
    let other = dir.at("other.vmdk");
    let report = diskimg::check(&other, &OpenOptions::default(), &[], &|| false).unwrap();
    assert!(!report.is_sound() && report.errors == 0, "{report:?}");
}
