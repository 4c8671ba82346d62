//! Checking qcow2 files, with `qemu-img check` as the oracle: what it calls clean, leaked or
//! corrupt is clean, a warning or an error here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use diskimg::check_source;
use diskimg::{CheckReport, Format, MemorySource, OpenOptions, ReadAt};
use testkit::qemu;

fn check_bytes(bytes: &[u8]) -> CheckReport {
    let source: Arc<dyn ReadAt> = Arc::new(MemorySource(bytes.to_vec()));
    check_source(&source, &OpenOptions::of(Some(Format::Qcow2)), &[], &|| {
        false
    })
    .unwrap()
}

/// A disk of 1 MiB on which nothing was written, with `value` at `at` of its header.
fn sound_with(at: usize, value: &[u8]) -> Vec<u8> {
    const CLUSTER: usize = 65536;
    let mut bytes = vec![0; 4 * CLUSTER];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"QFI\xfb\0\0\0\x03");
    put(20, &16_u32.to_be_bytes());
    put(24, &(1_u64 << 20).to_be_bytes());
    put(36, &1_u32.to_be_bytes());
    put(40, &(3 * CLUSTER as u64).to_be_bytes());
    put(48, &(CLUSTER as u64).to_be_bytes());
    put(56, &1_u32.to_be_bytes());
    put(96, &4_u32.to_be_bytes());
    put(100, &112_u32.to_be_bytes());
    put(CLUSTER, &(2 * CLUSTER as u64).to_be_bytes());
    put(2 * CLUSTER, &[0, 1, 0, 1, 0, 1, 0, 1]);
    put(at, value);
    bytes
}

#[test]
fn what_opening_refuses_is_an_error_of_the_check() {
    let open = |bytes: &[u8]| {
        let source = Arc::new(MemorySource(bytes.to_vec()));
        let options = OpenOptions::of(Some(Format::Qcow2));
        diskimg::open_source(source, &options, &[]).map(drop)
    };
    let sound = sound_with(0, b"");
    open(&sound).unwrap();
    assert!(check_bytes(&sound).is_sound());
    for (at, value, offset) in [
        // The backing file's name, the compression type, a size of 0.
        (8, &0xaa22_69a7_91a7_a4ad_u64.to_be_bytes()[..], 8),
        (104, &[1], 104),
        (24, &[0; 8], 24),
    ] {
        let bytes = sound_with(at, value);
        let refusal = open(&bytes).unwrap_err();
        let report = check_bytes(&bytes);
        assert_eq!(report.errors, 1, "{:?}", report.findings);
        assert_eq!(report.findings[0].offset, Some(offset));
        assert_eq!(report.findings[0].message, refusal.message());
    }
}

fn check(path: &Path) -> CheckReport {
    check_bytes(&fs::read(path).unwrap())
}

/// Corruptions and leaks that QEMU counts; `None` when it refuses to look.
fn qemu_check(path: &Path) -> Option<(u64, u64)> {
    let output = Command::new("qemu-img")
        .args(["check", "--output=json", "-f", "qcow2"])
        .arg(path)
        .output()
        .unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let count = |name: &str| {
        json.get(name)
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0)
    };
    Some((count("corruptions"), count("leaks")))
}

/// An image that was written to in several places.
fn make(dir: &Path, name: &str, options: &str) -> PathBuf {
    let path = dir.join(name);
    let text = path.to_str().unwrap();
    if options.is_empty() {
        qemu::img(["create", "-q", "-f", "qcow2", text, "40M"]);
    } else {
        qemu::img(["create", "-q", "-f", "qcow2", "-o", options, text, "40M"]);
    }
    qemu::io(
        &path,
        "qcow2",
        &[
            "write -P 1 0 300k",
            "write -P 2 20M 1M",
            "write -z 8M 2M",
            "discard 20M 128k",
        ],
    );
    path
}

#[test]
fn what_qemu_wrote_is_clean() {
    if qemu::missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (index, options) in [
        "",
        "compat=0.10",
        "cluster_size=512",
        "cluster_size=2M",
        "refcount_bits=1",
        "refcount_bits=64",
        "extended_l2=on,cluster_size=128k",
        "preallocation=metadata",
        "preallocation=falloc",
        "compression_type=zstd",
        "lazy_refcounts=on",
    ]
    .into_iter()
    .enumerate()
    {
        let path = make(dir.path(), &format!("{index}.qcow2"), options);
        assert_eq!(qemu_check(&path), Some((0, 0)), "{options}");
        let report = check(&path);
        assert_eq!(report.findings, [], "{options}");
        assert!(report.is_sound(), "{options}: {:?}", report.skipped);
    }
    let data = dir.path().join("data.raw");
    for more in ["", ",extended_l2=on"] {
        let options = format!("data_file={}{more}", data.display());
        let path = make(dir.path(), "external.qcow2", &options);
        assert_eq!(check(&path).findings, [], "{more}");
    }
}

#[test]
fn snapshots_bitmaps_and_compressed_clusters_are_counted_as_qemu_counts_them() {
    if qemu::missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = make(dir.path(), "a.qcow2", "");
    let text = path.to_str().unwrap();
    qemu::img(["snapshot", "-c", "one", text]);
    qemu::io(&path, "qcow2", &["write -P 3 0 64k", "write -P 4 30M 64k"]);
    qemu::img(["snapshot", "-c", "two", text]);
    qemu::io(
        &path,
        "qcow2",
        &["write -c -P 5 35M 64k", "write -c -P 6 35904k 64k"],
    );
    qemu::img(["bitmap", "--add", text, "changes"]);
    qemu::io(&path, "qcow2", &["write -P 7 1M 64k"]);
    assert_eq!(qemu_check(&path), Some((0, 0)));
    let report = check(&path);
    assert_eq!(report.findings, []);
    assert!(report.is_sound());
    qemu::img(["snapshot", "-d", "one", text]);
    assert_eq!(check(&path).findings, []);
}

/// Big-endian number of eight bytes at `at`.
fn number(bytes: &[u8], at: usize) -> usize {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap()) as usize
}

fn put(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
}

/// The places of the tables in an image of 64 KiB clusters.
struct Places {
    l1: usize,
    l2: usize,
    refcount_block: usize,
}

fn places(bytes: &[u8]) -> Places {
    const OFFSET: usize = 0x00ff_ffff_ffff_fe00;
    let l1 = number(bytes, 40);
    Places {
        l1,
        l2: number(bytes, l1) & OFFSET,
        refcount_block: number(bytes, number(bytes, 48)),
    }
}

/// Rules that are broken, by name, without repeats.
fn rules(report: &CheckReport) -> Vec<&'static str> {
    let mut rules: Vec<_> = report.findings.iter().map(|finding| finding.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

#[test]
fn damage_is_an_error_or_a_warning_as_qemu_says() {
    if qemu::missing() {
        return;
    }
    type Damage = fn(&mut Vec<u8>, &Places);
    let dir = tempfile::tempdir().unwrap();
    let whole = fs::read(make(dir.path(), "whole.qcow2", "")).unwrap();
    let cases: [(&str, Damage, &[&str]); 9] = [
        (
            "count too low",
            |bytes, p| bytes[p.refcount_block + 1] = 0,
            &["refcount-too-low"],
        ),
        (
            "count too high",
            |bytes, p| bytes[p.refcount_block + 2] = 9,
            &["leak"],
        ),
        (
            "a data cluster used twice",
            |bytes, p| {
                let first = number(bytes, p.l2) as u64;
                put(bytes, p.l2 + 8, first);
            },
            &["leak", "refcount-too-low"],
        ),
        (
            "a data cluster on the L2 table",
            |bytes, p| put(bytes, p.l2, p.l2 as u64 | 1 << 63),
            &["leak", "refcount-too-low"],
        ),
        (
            "a reserved bit",
            |bytes, p| bytes[p.l2 + 7] |= 2,
            &["reserved"],
        ),
        (
            "an entry between clusters",
            |bytes, p| bytes[p.l2 + 6] |= 2,
            &["alignment", "leak"],
        ),
        (
            "a cluster past the end",
            |bytes, p| put(bytes, p.l2, 1 << 40 | 1 << 63),
            &["leak", "past-end"],
        ),
        ("a lost flag", |bytes, p| bytes[p.l2] = 0, &["copied-flag"]),
        (
            "an L1 entry between clusters",
            |bytes, p| bytes[p.l1 + 6] |= 2,
            &["alignment", "leak"],
        ),
    ];
    for (name, damage, expected) in cases {
        let mut bytes = whole.clone();
        damage(&mut bytes, &places(&whole));
        let path = dir.path().join("damaged.qcow2");
        fs::write(&path, &bytes).unwrap();
        let report = check(&path);
        assert_eq!(rules(&report), expected, "{name}: {:#?}", report.findings);
        assert!(
            report
                .findings
                .iter()
                .all(|finding| finding.offset.is_some()),
            "{name}"
        );
        if let Some((corruptions, leaks)) = qemu_check(&path) {
            // A reserved bit and a cluster past the end are looked at by us alone.
            if !matches!(name, "a reserved bit" | "a cluster past the end") {
                assert_eq!(report.errors > 0, corruptions > 0, "{name}");
            }
            assert!(leaks == 0 || report.warnings > 0, "{name}");
        }
    }
}

#[test]
fn an_image_that_does_not_open_is_checked_all_the_same() {
    if qemu::missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = fs::read(make(dir.path(), "a.qcow2", "")).unwrap();
    let places = places(&bytes);
    // Three damages far from each other: a reader stops at the first one.
    bytes[places.l1 + 7] |= 1;
    bytes[places.l2 + 7] |= 2;
    bytes[places.l2 + 15] |= 4;
    let path = dir.path().join("damaged.qcow2");
    fs::write(&path, &bytes).unwrap();
    assert!(diskimg::open(&path, &OpenOptions::default(), &[]).is_err());
    let report = check(&path);
    let found: Vec<_> = report
        .findings
        .iter()
        .map(|finding| (finding.structure, finding.offset.unwrap() as usize))
        .collect();
    assert_eq!(
        found,
        [
            ("L1 entry", places.l1),
            ("L2 entry", places.l2),
            ("L2 entry", places.l2 + 8)
        ]
    );
}

/// The image `name` with these bytes, which opens, and what a check finds.
fn opened_and_checked(dir: &Path, name: &str, bytes: &[u8]) -> Vec<&'static str> {
    let path = dir.join(name);
    fs::write(&path, bytes).unwrap();
    diskimg::open(&path, &OpenOptions::default(), &[]).unwrap();
    rules(&check(&path))
}

#[test]
fn what_only_a_check_needs_does_not_keep_an_image_from_opening() {
    if qemu::missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // A header extension that is longer than the header's cluster.
    let mut bytes = fs::read(make(dir.path(), "a.qcow2", "compat=0.10")).unwrap();
    put(&mut bytes, 72, 0x1234_5678_7fff_ffff);
    assert_eq!(
        opened_and_checked(dir.path(), "extension.qcow2", &bytes),
        ["past-end"]
    );

    // A bitmap directory that ends in what fills its last entry up.
    let path = make(dir.path(), "b.qcow2", "");
    qemu::img(["bitmap", "--add", path.to_str().unwrap(), "bm"]);
    let mut bytes = fs::read(path).unwrap();
    let extension = bytes
        .windows(4)
        .position(|magic| magic == [0x23, 0x85, 0x28, 0x75])
        .unwrap();
    let size = number(&bytes, extension + 16);
    put(&mut bytes, extension + 16, size as u64 - 1);
    assert_eq!(
        opened_and_checked(dir.path(), "bitmaps.qcow2", &bytes),
        ["past-end"]
    );
}

#[test]
fn clusters_too_small_for_subclusters_do_not_end_a_check() {
    if qemu::missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = fs::read(make(dir.path(), "a.qcow2", "cluster_size=4k")).unwrap();
    // Extended L2 entries, and the corrupt bit.
    bytes[79] |= 0b1_0010;
    let report = check_bytes(&bytes);
    let found = rules(&report);
    assert!(found.contains(&"cluster-size"), "{found:?}");
    assert!(found.contains(&"corrupt-bit"), "{found:?}");
}

#[test]
fn compressed_clusters_past_the_end_are_found() {
    if qemu::missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.qcow2");
    qemu::img(["create", "-q", "-f", "qcow2", path.to_str().unwrap(), "8M"]);
    qemu::io(&path, "qcow2", &["write -c -P 1 0 64k"]);
    let whole = fs::read(&path).unwrap();
    assert_eq!(check_bytes(&whole).findings, []);
    let places = places(&whole);
    let mut bytes = whole;
    // Bits 54 to 61 count further sectors: far more than the file has.
    bytes[places.l2] |= 0x3f;
    bytes[places.l2 + 1] |= 0xc0;
    let report = check_bytes(&bytes);
    assert!(
        rules(&report).contains(&"past-end"),
        "{:#?}",
        report.findings
    );
}

#[test]
fn backing_files_are_not_needed_for_a_check() {
    if qemu::missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let base = make(dir.path(), "base.qcow2", "");
    let overlay = dir.path().join("overlay.qcow2");
    qemu::img([
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        base.to_str().unwrap(),
        overlay.to_str().unwrap(),
    ]);
    qemu::io(&overlay, "qcow2", &["write -P 9 0 64k"]);
    fs::remove_file(base).unwrap();
    assert!(check(&overlay).is_sound());
}

#[test]
fn no_damage_of_header_and_tables_makes_a_check_fail_or_hang() {
    if qemu::missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = make(dir.path(), "a.qcow2", "");
    qemu::img(["snapshot", "-c", "one", path.to_str().unwrap()]);
    qemu::img(["bitmap", "--add", path.to_str().unwrap(), "changes"]);
    let whole = fs::read(&path).unwrap();
    let places = places(&whole);
    let snapshots = number(&whole, 64);
    let started = testkit::measure::cpu_time();
    let mut rng = fastrand::Rng::with_seed(3);
    for round in 0..400 {
        let mut bytes = whole.clone();
        let (from, len) = match round % 4 {
            0 => (4, 400),
            1 => (places.l1, 16),
            2 => (places.l2, 64),
            _ => (snapshots, 60),
        };
        for _ in 0..rng.usize(1..4) {
            let at = from + rng.usize(..len);
            bytes[at] = *rng.choice(&[0, 1, 0x7f, 0x80, 0xff]).unwrap();
        }
        let _ = check_bytes(&bytes);
    }
    let took = testkit::measure::cpu_time() - started;
    assert!(took < std::time::Duration::from_secs(60), "{took:?}");
}

#[test]
fn what_is_not_counted_is_told() {
    if qemu::missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = make(dir.path(), "small-clusters.qcow2", "cluster_size=512");
    // 40 million clusters, almost all of them a hole of the file.
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(20 << 30).unwrap();
    let report = diskimg::check(&path, &OpenOptions::default(), &[], &|| false).unwrap();
    assert!(!report.is_sound());
    assert!(report.skipped[0].contains("at most 33554432 are counted"));
}

#[test]
fn a_check_can_be_stopped() {
    if qemu::missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = make(dir.path(), "a.qcow2", "");
    let report = diskimg::check(&path, &OpenOptions::default(), &[], &|| true).unwrap();
    assert!(report.cancelled && !report.is_sound());
    assert_eq!(report.findings, []);
}

/// Clusters of the crafted files below, in bytes.
const CLUSTER: u64 = 64 << 10;

/// A disk of 64 TiB whose L1 table, in cluster 3, gives the L2 table at `table` for every entry;
/// refcount table and block in clusters 1 and 2; `snapshots` snapshots with the same L1 table,
/// listed in cluster 60; 80 clusters in all.
fn aliased(snapshots: u32, table: u64) -> Vec<u8> {
    let entries: u64 = (64 << 40) / (CLUSTER * CLUSTER / 8);
    let mut bytes = vec![0; 80 * CLUSTER as usize];
    let put = |bytes: &mut Vec<u8>, at: u64, value: &[u8]| {
        bytes[at as usize..at as usize + value.len()].copy_from_slice(value);
    };
    put(&mut bytes, 0, b"QFI\xfb\0\0\0\x03");
    put(&mut bytes, 20, &16_u32.to_be_bytes());
    put(&mut bytes, 24, &(64_u64 << 40).to_be_bytes());
    put(&mut bytes, 36, &(entries as u32).to_be_bytes());
    put(&mut bytes, 40, &(3 * CLUSTER).to_be_bytes());
    put(&mut bytes, 48, &CLUSTER.to_be_bytes());
    put(&mut bytes, 56, &1_u32.to_be_bytes());
    put(&mut bytes, 60, &snapshots.to_be_bytes());
    put(&mut bytes, 64, &(60 * CLUSTER).to_be_bytes());
    put(&mut bytes, 96, &4_u32.to_be_bytes());
    put(&mut bytes, 100, &104_u32.to_be_bytes());
    put(&mut bytes, CLUSTER, &(2 * CLUSTER).to_be_bytes());
    for index in 0..entries {
        let entry = 1 << 63 | table;
        put(&mut bytes, 3 * CLUSTER + index * 8, &entry.to_be_bytes());
    }
    // Data and nothing, in turn: no two entries are one run.
    for index in (0..CLUSTER / 8).step_by(2) {
        let entry = 1 << 63 | (70 * CLUSTER);
        put(&mut bytes, table + index * 8, &entry.to_be_bytes());
    }
    for number in 0..u64::from(snapshots) {
        let at = 60 * CLUSTER + number * 48;
        put(&mut bytes, at, &(3 * CLUSTER).to_be_bytes());
        put(&mut bytes, at + 8, &(entries as u32).to_be_bytes());
        put(&mut bytes, at + 12, &[0, 1, 0, 1]);
        put(&mut bytes, at + 40, b"1n");
    }
    bytes
}

fn told(report: &CheckReport) -> Vec<(&str, &str)> {
    let mut found: Vec<_> = report
        .findings
        .iter()
        .map(|finding| (finding.rule, finding.structure))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn tables_that_lie_on_each_other_are_walked_once_and_told() {
    let started = testkit::measure::cpu_time();
    let bytes = aliased(10_000, 50 * CLUSTER);
    let report = check_bytes(&bytes);
    assert!(told(&report).contains(&("overlap", "L1 entry")));
    assert!(report.errors > 131_071 + 10_000, "{}", report.errors);
    // The findings that are listed are those of the L1 table, unless that has one entry.
    let mut few = bytes.clone();
    few[3 * CLUSTER as usize + 8..19 * CLUSTER as usize].fill(0);
    let snapshots = ("overlap", "L1 table of a snapshot");
    assert!(told(&check_bytes(&few)).contains(&snapshots));
    // Nobody walks such a disk either: it would take hours.
    let source: Arc<dyn ReadAt> = Arc::new(MemorySource(bytes));
    for snapshot in [None, Some("1".to_owned())] {
        let options = OpenOptions {
            snapshot,
            ..OpenOptions::default()
        };
        let opened = diskimg::open_source(Arc::clone(&source), &options, &[]);
        let error = opened.err().unwrap();
        assert_eq!(error.kind(), diskimg::ErrorKind::Corrupt);
        assert!(error.to_string().contains("0x320000"), "{error}");
    }

    // A refcount table of 8 MiB, each entry of which names the one block there is.
    let mut bytes = aliased(0, 50 * CLUSTER);
    let table = bytes.len() as u64;
    bytes[48..56].copy_from_slice(&table.to_be_bytes());
    bytes[56..60].copy_from_slice(&128_u32.to_be_bytes());
    bytes.extend((2 * CLUSTER).to_be_bytes().repeat(1 << 20));
    let report = check_bytes(&bytes);
    assert!(told(&report).contains(&("overlap", "refcount table")));

    // Extensions that name all of the file, again and again, as the place of a LUKS header.
    let mut bytes = aliased(0, 50 * CLUSTER);
    bytes[32..36].copy_from_slice(&2_u32.to_be_bytes());
    let end = bytes.len() as u64;
    for at in (104..CLUSTER as usize - 24).step_by(24) {
        bytes[at..at + 8].copy_from_slice(&[0x05, 0x37, 0xbe, 0x77, 0, 0, 0, 16]);
        bytes[at + 8..at + 16].copy_from_slice(&CLUSTER.to_be_bytes());
        bytes[at + 16..at + 24].copy_from_slice(&(end - CLUSTER).to_be_bytes());
    }
    check_bytes(&bytes);
    let took = testkit::measure::cpu_time() - started;
    assert!(took < std::time::Duration::from_secs(2), "{took:?}");
}

#[test]
fn l2_tables_that_snapshots_share_count_for_each_of_them() {
    if qemu::missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = make(dir.path(), "shared.qcow2", "cluster_size=4k");
    for name in ["one", "two", "three", "four"] {
        qemu::img(["snapshot", "-c", name, path.to_str().unwrap()]);
    }
    qemu::io(&path, "qcow2", &["write -P 8 1M 64k"]);
    assert_eq!(qemu_check(&path), Some((0, 0)));
    assert_eq!(check(&path).findings, []);
}
