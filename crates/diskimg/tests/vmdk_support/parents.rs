//! Snapshots and what they were taken of.

use std::fs;

use diskimg::BackingPolicy;
use testkit::conformance;
use testkit::vmdk::{Craft, cowd, descriptor, embedded};

use crate::{Dir, disk, open_with, refused};

const SECTORS: usize = 500;

/// A snapshot of `parent`, whose every third sector is `above`'s.
fn snapshot(
    dir: &Dir,
    stem: &str,
    cid: u32,
    parent: (u32, &str),
    above: &[u8],
) -> std::path::PathBuf {
    let numbers: Vec<usize> = (0..SECTORS).filter(|number| number % 3 == 0).collect();
    dir.write(&format!("{stem}-delta.vmdk"), cowd(above, &numbers));
    let line = format!("RW {SECTORS} VMFSSPARSE \"{stem}-delta.vmdk\"");
    let text = descriptor("vmfsSparse", &[&line], cid, Some(parent));
    dir.write(&format!("{stem}.vmdk"), text)
}

fn base(dir: &Dir, disk: &[u8]) {
    dir.write("web-flat.vmdk", disk);
    let line = format!("RW {SECTORS} VMFS \"web-flat.vmdk\"");
    dir.write("web.vmdk", descriptor("vmfs", &[&line], 0xa1, None));
}

fn merged(below: &[u8], above: &[u8]) -> Vec<u8> {
    let mut disk = below.to_vec();
    for (number, sector) in disk.chunks_mut(512).enumerate() {
        if number % 3 == 0 {
            sector.copy_from_slice(&above[number * 512..(number + 1) * 512]);
        }
    }
    disk
}

#[test]
fn a_snapshot_reads_its_parent_below_it_when_that_is_allowed() {
    let dir = Dir::new();
    let (below, above) = (disk(SECTORS, 1), disk(SECTORS, 2));
    base(&dir, &below);
    let path = snapshot(&dir, "web-000001", 0xa2, (0xa1, "web.vmdk"), &above);
    let error = refused(open_with(&path, BackingPolicy::Refuse));
    assert!(
        error.contains("snapshot") && error.contains("web.vmdk"),
        "{error}"
    );
    let opened = open_with(&path, dir.inside()).unwrap();
    let expected = merged(&below, &above);
    conformance(opened.image.as_ref(), &expected);
    assert_eq!(opened.files.len(), 3);
    let details = opened.image.details();
    let roles: Vec<_> = details.refers_to.iter().map(|file| file.role).collect();
    assert_eq!(roles, ["extent", "parent", "extent"]);
    // By the path of another machine it is found by its name, and that is told.
    for written in ["/vmfs/volumes/x/web.vmdk", "C:\\VMs\\web.vmdk"] {
        let path = snapshot(&dir, "web-000001", 0xa2, (0xa1, written), &above);
        let opened = open_with(&path, dir.inside()).unwrap();
        conformance(opened.image.as_ref(), &expected);
        let warnings = opened.image.details().warnings;
        assert!(
            warnings.iter().any(|text| text.contains("same name")),
            "{warnings:?}"
        );
    }
}

#[test]
fn a_hole_of_a_part_is_the_same_range_of_the_parents_disk() {
    let dir = Dir::new();
    let below = disk(SECTORS, 3);
    base(&dir, &below);
    let mut above = vec![0; SECTORS * 512];
    above[260 * 512..270 * 512].fill(7);
    for (name, range) in [("c-s001.vmdk", 0..250), ("c-s002.vmdk", 250..SECTORS)] {
        let part = Craft {
            descriptor: String::new(),
            grain: 1,
            ..Craft::sparse(&above[range.start * 512..range.end * 512])
        };
        dir.write(name, part.make().bytes);
    }
    let lines = [
        "RW 250 SPARSE \"c-s001.vmdk\"",
        "RW 250 SPARSE \"c-s002.vmdk\"",
    ];
    let text = descriptor("twoGbMaxExtentSparse", &lines, 5, Some((0xa1, "web.vmdk")));
    let path = dir.write("c.vmdk", text);
    let mut expected = below;
    expected[260 * 512..270 * 512].fill(7);
    let opened = open_with(&path, dir.inside()).unwrap();
    conformance(opened.image.as_ref(), &expected);
}

#[test]
fn a_parent_that_does_not_fit_is_refused_with_both_values() {
    let dir = Dir::new();
    base(&dir, &disk(SECTORS, 1));
    let above = disk(SECTORS, 2);
    let path = snapshot(&dir, "a", 2, (0xbad, "web.vmdk"), &above);
    let error = refused(open_with(&path, dir.inside()));
    assert!(
        error.contains("00000bad") && error.contains("000000a1"),
        "{error}"
    );
    let other = Craft {
        descriptor: embedded("monolithicSparse", 16),
        ..Craft::sparse(&disk(16, 1))
    };
    dir.write("small.vmdk", other.make().bytes);
    let path = snapshot(&dir, "a", 2, (0x1234_5678, "small.vmdk"), &above);
    let error = refused(open_with(&path, dir.inside()));
    assert!(error.contains("8192"), "{error}");
}

#[test]
fn loops_gaps_and_long_chains_are_refused() {
    let dir = Dir::new();
    let above = disk(SECTORS, 2);
    base(&dir, &disk(SECTORS, 1));
    let path = snapshot(&dir, "a", 1, (2, "b.vmdk"), &above);
    snapshot(&dir, "b", 2, (1, "a.vmdk"), &above);
    assert!(refused(open_with(&path, dir.inside())).contains("loop"));
    fs::remove_file(dir.at("b.vmdk")).unwrap();
    let error = refused(open_with(&path, dir.inside()));
    assert!(error.contains("b.vmdk"), "{error}");
    let name = |number: u32| format!("s{number}.vmdk");
    snapshot(&dir, "s0", 0, (0xa1, "web.vmdk"), &above);
    for number in 1..40 {
        let parent = (number - 1, &*name(number - 1));
        snapshot(&dir, &format!("s{number}"), number, parent, &above);
    }
    assert!(open_with(&dir.at("s30.vmdk"), dir.inside()).is_ok());
    let error = refused(open_with(&dir.at("s39.vmdk"), dir.inside()));
    assert!(error.contains("32 files"), "{error}");
}
