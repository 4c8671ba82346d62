//! Internal snapshots and bitmaps: listed, and snapshots read, as QEMU does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use diskimg::Context;
use diskimg::Qcow2Image;
use diskimg::{DiskImage, ErrorKind, MemorySource, OpenOptions, Result};
use tempfile::TempDir;
use testkit::qemu;

use crate::craft::{Crafted, mixed, put};
use crate::{assert_gaps_are_zero, assert_same, extents, open_bytes, read_all, refused};

fn snapshot(bytes: &[u8], wanted: &str) -> Result<Qcow2Image> {
    let options = OpenOptions {
        snapshot: Some(wanted.to_owned()),
        ..OpenOptions::default()
    };
    let source = Arc::new(MemorySource(bytes.to_vec()));
    Qcow2Image::open_with(source, &Context::new(&options))
}

/// An image in which every snapshot differs: `one`, `two` and `3`, whose ids are 1, 2 and 3.
fn make(dir: &TempDir, options: &str) -> PathBuf {
    let path = dir.path().join("disk.qcow2");
    let name = path.to_str().unwrap();
    qemu::img(["create", "-q", "-f", "qcow2", "-o", options, name, "8M"]);
    qemu::io(&path, "qcow2", &["write -P 1 0 3M", "write -c -P 9 5M 64k"]);
    for (snapshot, command) in [
        ("one", "write -P 2 1M 64k"),
        ("two", "write -z 2M 512k"),
        ("3", "write -P 4 7000k 300k"),
    ] {
        qemu::img(["snapshot", "-c", snapshot, name]);
        qemu::io(&path, "qcow2", &[command, "discard 64k 128k"]);
    }
    path
}

/// The disk of a snapshot as `qemu-img convert -l` writes it.
fn theirs(path: &Path, snapshot: &str) -> Vec<u8> {
    let raw = tempfile::NamedTempFile::new().unwrap();
    let (path, target) = (path.to_str().unwrap(), raw.path().to_str().unwrap());
    qemu::img(["convert", "-l", snapshot, "-O", "raw", path, target]);
    std::fs::read(raw.path()).unwrap()
}

#[test]
fn each_snapshot_reads_as_qemu_reads_it() {
    if qemu::missing() {
        return;
    }
    for options in [
        "compat=1.1",
        "compat=0.10",
        "cluster_size=512",
        "extended_l2=on",
        "compression_type=zstd",
    ] {
        let dir = TempDir::new().unwrap();
        let path = make(&dir, options);
        let bytes = std::fs::read(&path).unwrap();
        for (name, id) in [("one", "1"), ("two", "2"), ("3", "3")] {
            let expected = theirs(&path, name);
            for wanted in [name, id] {
                let image = snapshot(&bytes, wanted).unwrap();
                let what = format!("{options}, {wanted}");
                assert_same(&read_all(&image, 1 << 20).unwrap(), &expected, &what);
                assert_gaps_are_zero(&extents(&image).unwrap(), &expected);
                let details = image.details();
                let variant = details.variant.unwrap();
                assert!(variant.contains(&format!("snapshot {name:?} (id {id:?})")));
                assert_eq!(details.warnings, [""; 0], "{what}");
            }
        }
        let active = read_all(&open_bytes(&bytes).unwrap(), 1 << 20).unwrap();
        assert_same(&active, &qemu::content(&path), "the active disk");
        assert_ne!(active, theirs(&path, "3"));
    }
}

#[test]
fn a_snapshot_has_the_size_that_the_disk_had_then() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("disk.qcow2");
    let name = path.to_str().unwrap();
    qemu::img([
        "create",
        "-q",
        "-f",
        "qcow2",
        "-o",
        "cluster_size=512",
        name,
        "1M",
    ]);
    qemu::io(&path, "qcow2", &["write -P 1 0 1M"]);
    qemu::img(["snapshot", "-c", "small", name]);
    qemu::img(["resize", "-q", name, "40M"]);
    qemu::io(&path, "qcow2", &["write -P 2 39M 1M"]);
    qemu::img(["snapshot", "-c", "large", name]);
    qemu::img(["resize", "-q", "--shrink", name, "2M"]);
    let bytes = std::fs::read(&path).unwrap();
    for (name, size) in [("small", 1_u64), ("large", 40)] {
        // `convert -l` keeps the active disk's size; going back to the snapshot does not.
        let copy = dir.path().join("copy.qcow2");
        std::fs::copy(&path, &copy).unwrap();
        qemu::img(["snapshot", "-a", name, copy.to_str().unwrap()]);
        let image = snapshot(&bytes, name).unwrap();
        assert_eq!(image.virtual_size(), size << 20);
        let read = read_all(&image, 1 << 20).unwrap();
        assert_same(&read, &qemu::content(&copy), name);
    }
    assert_eq!(open_bytes(&bytes).unwrap().virtual_size(), 2 << 20);
}

#[test]
fn snapshots_are_listed_as_qemu_lists_them() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let path = make(&dir, "compat=1.1");
    let info = qemu::img(["info", "--output=json", path.to_str().unwrap()]);
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    let ours = open_bytes(&std::fs::read(&path).unwrap())
        .unwrap()
        .details();
    let theirs = info["snapshots"].as_array().unwrap();
    assert_eq!(ours.snapshots.len(), theirs.len());
    for (ours, theirs) in ours.snapshots.iter().zip(theirs) {
        assert_eq!(ours.id, theirs["id"].as_str().unwrap());
        assert_eq!(ours.name, theirs["name"].as_str().unwrap());
        assert_eq!(ours.created, theirs["date-sec"].as_u64().unwrap());
        assert_eq!(
            ours.vm_state_bytes,
            theirs["vm-state-size"].as_u64().unwrap()
        );
        assert_eq!(ours.virtual_size, Some(8 << 20));
    }
    assert_eq!(ours.warnings.len(), 1);
    assert!(
        ours.warnings[0].contains("--snapshot NAME"),
        "{:?}",
        ours.warnings
    );
}

/// An entry of the snapshot table.
pub(crate) struct Entry<'a> {
    l1: u64,
    l1_entries: u32,
    id: &'a [u8],
    name: &'a [u8],
    vm_state: u32,
    extra: &'a [u64],
}

impl Entry<'_> {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.l1.to_be_bytes());
        bytes.extend(self.l1_entries.to_be_bytes());
        bytes.extend((self.id.len() as u16).to_be_bytes());
        bytes.extend((self.name.len() as u16).to_be_bytes());
        bytes.extend(1_700_000_000_u32.to_be_bytes());
        bytes.extend([0; 12]);
        bytes.extend(self.vm_state.to_be_bytes());
        bytes.extend((self.extra.len() as u32 * 8).to_be_bytes());
        bytes.extend(self.extra.iter().flat_map(|field| field.to_be_bytes()));
        bytes.extend(self.id);
        bytes.extend(self.name);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }
}

/// `image` with a snapshot table at its end; also where that is.
pub(crate) fn with_table(image: &Crafted, entries: &[Entry<'_>]) -> (Vec<u8>, usize) {
    let at = image.bytes.len().next_multiple_of(4096);
    let mut bytes = image.bytes.clone();
    bytes.resize(at, 0);
    bytes.extend(entries.iter().flat_map(Entry::bytes));
    put(&mut bytes, 60, &(entries.len() as u32).to_be_bytes());
    put(&mut bytes, 64, &(at as u64).to_be_bytes());
    (bytes, at)
}

/// A snapshot of the active disk of `image`.
pub(crate) fn of<'a>(image: &Crafted, id: &'a str, name: &'a str, extra: &'a [u64]) -> Entry<'a> {
    Entry {
        l1: image.l1 as u64,
        l1_entries: image.l1_entries as u32,
        id: id.as_bytes(),
        name: name.as_bytes(),
        vm_state: 77,
        extra,
    }
}

#[test]
fn ids_go_before_names_and_doubles_are_told() {
    let image = mixed(3, 12, false);
    let entries = [
        of(&image, "1", "2", &[0, 4096]),
        of(&image, "2", "same", &[0, 8192]),
        of(&image, "7", "same", &[0, 512]),
    ];
    let (bytes, _) = with_table(&image, &entries);
    let open = |wanted: &str| {
        let image = snapshot(&bytes, wanted).unwrap();
        (image.virtual_size(), image.details().warnings)
    };
    assert_eq!(open("1"), (4096, vec![]));
    let (size, warnings) = open("2");
    assert_eq!(size, 8192);
    assert!(
        warnings[0].contains(r#"1 more snapshots are called "2""#),
        "{warnings:?}"
    );
    let (size, warnings) = open("same");
    assert_eq!(size, 8192);
    assert!(warnings[0].contains(r#"id "2" is read"#), "{warnings:?}");
    assert_eq!(open("7"), (512, vec![]));
}

#[test]
fn a_snapshot_that_is_not_there_is_refused_with_those_that_are() {
    let image = mixed(3, 12, false);
    let entries = [of(&image, "1", "before \x1b[2J update", &[0, 4096])];
    let (bytes, _) = with_table(&image, &entries);
    let error = refused(snapshot(&bytes, "after"));
    assert_eq!(error.kind(), ErrorKind::OutOfRange);
    assert!(
        error.to_string().contains(r#"no snapshot "after""#),
        "{error}"
    );
    let hint = error.hint().unwrap().to_string();
    assert!(hint.contains("before") && !hint.contains('\x1b'), "{hint}");
    let error = refused(snapshot(&image.bytes, "1"));
    assert_eq!(error.hint(), Some(&"it has no snapshots at all".into()));
}

#[test]
fn extra_data_gives_sizes_and_may_be_missing() {
    let image = mixed(2, 12, false);
    let entries = [
        of(&image, "1", "none", &[]),
        of(&image, "2", "state", &[5 << 32]),
        of(&image, "3", "size", &[0, 1024]),
        of(&image, "4", "more", &[0, 2048, u64::MAX, 1]),
    ];
    let (bytes, _) = with_table(&image, &entries);
    let listed = open_bytes(&bytes).unwrap().details().snapshots;
    let found: Vec<_> = listed
        .iter()
        .map(|snapshot| (snapshot.vm_state_bytes, snapshot.virtual_size))
        .collect();
    assert_eq!(
        found,
        [
            (77, None),
            (5 << 32, None),
            (0, Some(1024)),
            (0, Some(2048))
        ]
    );
    let none = snapshot(&bytes, "none").unwrap();
    assert_eq!(none.virtual_size() as usize, image.guest.len());
    assert_same(&read_all(&none, 1 << 20).unwrap(), &image.guest, "none");
    assert_eq!(snapshot(&bytes, "more").unwrap().virtual_size(), 2048);
}

#[test]
fn a_snapshots_l1_table_is_checked_like_the_active_one() {
    let image = mixed(3, 12, false);
    let good = || of(&image, "1", "one", &[0, 4096]);
    for (entry, kind, words) in [
        (Entry { l1: 0, ..good() }, ErrorKind::Corrupt, "L1 table"),
        (Entry { l1: 8, ..good() }, ErrorKind::Corrupt, "multiple of"),
        (
            Entry {
                l1: 1 << 50,
                ..good()
            },
            ErrorKind::Truncated,
            "L1 table",
        ),
        (
            Entry {
                l1_entries: 0,
                ..good()
            },
            ErrorKind::Corrupt,
            "needs 1",
        ),
        (
            Entry {
                l1_entries: u32::MAX,
                ..good()
            },
            ErrorKind::Limit,
            "32 MiB",
        ),
        (
            Entry {
                extra: &[0, 0],
                ..good()
            },
            ErrorKind::Unsupported,
            "size 0",
        ),
        (
            Entry {
                extra: &[0, u64::MAX],
                ..good()
            },
            ErrorKind::Limit,
            "64 TiB",
        ),
        (
            Entry {
                extra: &[0, 1 << 40],
                ..good()
            },
            ErrorKind::Corrupt,
            "needs",
        ),
    ] {
        let (bytes, _) = with_table(&image, &[entry]);
        let error = refused(snapshot(&bytes, "one"));
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        open_bytes(&bytes).expect("the active disk is as good as before");
    }
}

#[test]
fn a_damaged_snapshot_table_keeps_nobody_from_the_active_disk() {
    let image = mixed(3, 12, false);
    let entries = [
        of(&image, "1", "one", &[0, 4096]),
        of(&image, "2", "two", &[0, 4096]),
    ];
    let (good, table) = with_table(&image, &entries);
    let offset = |at: u64| {
        let mut bytes = good.clone();
        put(&mut bytes, 64, &at.to_be_bytes());
        bytes
    };
    let with = |at: usize, value: &[u8]| {
        let mut bytes = good.clone();
        put(&mut bytes, at, value);
        bytes
    };
    for (bytes, words) in [
        (offset(0), "expected a multiple"),
        (offset(table as u64 + 8), "expected a multiple"),
        (offset(1 << 60), "the file ends"),
        (offset(!0xfff), "the file ends"),
        (with(60, &65_537_u32.to_be_bytes()), "at most 65536"),
        (with(60, &3_u32.to_be_bytes()), "the file ends"),
        (with(table + 36, &1025_u32.to_be_bytes()), "at most 1024"),
        (with(table + 36, &u32::MAX.to_be_bytes()), "at most 1024"),
        (with(table + 12, &[0xff; 4]), "the file ends"),
    ] {
        let opened = open_bytes(&bytes).unwrap();
        let read = read_all(&opened, 1 << 20).unwrap();
        assert_same(&read, &image.guest, words);
        let warnings = opened.details().warnings.join("\n");
        assert!(
            warnings.contains("not all snapshots can be listed"),
            "{warnings}"
        );
        assert!(warnings.contains(words), "{warnings} lacks {words}");
        // Whoever asks for one gets the error, never another disk.
        refused(snapshot(&bytes, "two"));
    }
}

#[test]
fn every_damaged_field_of_a_snapshot_gives_an_error_or_its_disk() {
    let image = mixed(3, 12, false);
    let entries = [
        of(&image, "1", "one", &[0, 40_960]),
        of(&image, "2", "two", &[0, 40_960]),
    ];
    let (good, table) = with_table(&image, &entries);
    for at in table..table + 64 {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << bit;
            let active = open_bytes(&bytes).unwrap();
            assert!(active.details().snapshots.len() <= 2);
            for wanted in ["one", "two", "1"] {
                let Ok(opened) = snapshot(&bytes, wanted) else {
                    continue;
                };
                if let Ok(read) = read_all(&opened, 1 << 20) {
                    // A larger size shows more of the disk, and zeros in its last sector.
                    let len = read.len().min(40_960);
                    // Another place for the table may map other clusters, or none.
                    if at >= table + 8 {
                        assert_same(&read[..len], &image.guest[..len], wanted);
                    }
                }
            }
        }
    }
}

#[test]
fn a_long_table_is_cut_in_the_list_and_searched_to_its_end() {
    let image = mixed(3, 12, false);
    let ids: Vec<_> = (0..2000).map(|id| id.to_string()).collect();
    let entries: Vec<_> = ids
        .iter()
        .map(|id| of(&image, id, "n", &[0, 512]))
        .collect();
    let (bytes, _) = with_table(&image, &entries);
    let details = open_bytes(&bytes).unwrap().details();
    assert_eq!(details.snapshots.len(), 256);
    assert!(
        details.warnings[0].contains("256 of 2000"),
        "{:?}",
        details.warnings
    );
    assert_eq!(snapshot(&bytes, "1999").unwrap().virtual_size(), 512);
}

/// An image with three bitmaps, of which the second is marked as in use.
fn with_bitmaps(dir: &TempDir) -> (Vec<u8>, usize) {
    let path = dir.path().join("disk.qcow2");
    let name = path.to_str().unwrap();
    qemu::img(["create", "-q", "-f", "qcow2", name, "8M"]);
    qemu::io(&path, "qcow2", &["write -P 1 0 3M"]);
    for (bitmap, granularity) in [("nightly", "64k"), ("weekly", "2M"), ("x", "512")] {
        qemu::img(["bitmap", "--add", "-g", granularity, name, bitmap]);
    }
    let mut bytes = std::fs::read(&path).unwrap();
    let extension = bytes
        .windows(4)
        .position(|window| window == [0x23, 0x85, 0x28, 0x75])
        .unwrap();
    let directory = &bytes[extension + 24..extension + 32];
    let directory = u64::from_be_bytes(directory.try_into().unwrap()) as usize;
    let second = directory + (24 + "nightly".len()).next_multiple_of(8);
    bytes[second + 15] |= 1;
    (bytes, extension)
}

#[test]
fn bitmaps_are_listed_and_not_needed() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let (bytes, extension) = with_bitmaps(&dir);
    let image = open_bytes(&bytes).unwrap();
    let found: Vec<_> = image
        .details()
        .bitmaps
        .iter()
        .map(|bitmap| (bitmap.name.clone(), bitmap.granularity, bitmap.in_use))
        .collect();
    assert_eq!(
        found,
        [
            ("nightly".to_owned(), 64 << 10, false),
            ("weekly".to_owned(), 2 << 20, true),
            ("x".to_owned(), 512, false)
        ]
    );
    let expected = read_all(&image, 1 << 20).unwrap();

    // Without the autoclear bit somebody wrote to the image who does not know bitmaps.
    let mut stale = bytes.clone();
    stale[95] &= !1;
    assert_eq!(open_bytes(&stale).unwrap().details().bitmaps, []);

    for (at, value, words) in [
        (
            extension + 8,
            &u32::MAX.to_be_bytes()[..],
            "longer than the directory",
        ),
        (extension + 16, &u64::MAX.to_be_bytes(), "at most 64 MiB"),
        (
            extension + 16,
            &30_u64.to_be_bytes(),
            "longer than the directory",
        ),
        (extension + 24, &u64::MAX.to_be_bytes(), "the file ends"),
        (
            extension + 24,
            &(1_u64 << 40).to_be_bytes(),
            "the file ends",
        ),
    ] {
        let mut damaged = bytes.clone();
        put(&mut damaged, at, value);
        let image = open_bytes(&damaged).unwrap();
        let warnings = image.details().warnings.join("\n");
        assert!(
            warnings.contains("not all bitmaps can be listed"),
            "{warnings}"
        );
        assert!(warnings.contains(words), "{warnings} lacks {words}");
        assert_same(&read_all(&image, 1 << 20).unwrap(), &expected, words);
    }
}
