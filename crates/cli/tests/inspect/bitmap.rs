//! Bitmaps of raw images, made and checked as a user does.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use crate::common::{DEBIAN_TREE_DIGEST, Run, command, json_of, noise, run, testdata};
use tempfile::TempDir;
use testkit::ova::{Machine, manifest};

const BLOCK: u64 = 2 << 20;

fn imgferry(args: &[&str], dir: &Path) -> Run {
    run(command().args(args).current_dir(dir))
}

/// `disk.raw` of 65 GiB: data in the first block, in block 9 and in the very last one.
fn sparse_disk() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let disk = fs::File::create(dir.path().join("disk.raw")).unwrap();
    let size = 65 << 30;
    disk.set_len(size).unwrap();
    for at in [4096, 9 * BLOCK + 100, size - 512] {
        disk.write_all_at(&noise(512), at).unwrap();
    }
    dir
}

/// The file that [`sparse_disk`] must have.
fn expected() -> Vec<u8> {
    let mut file = vec![0; 8192];
    (file[0], file[1]) = (1, 2);
    // Block 33279 is the last of 65 GiB: bit 7 of byte 4159.
    file[4159] = 0x80;
    file
}

#[test]
fn the_bitmap_of_a_raw_file_appears_beside_it_and_reads_only_its_data() {
    let dir = sparse_disk();
    let made = imgferry(&["bitmap", "disk.raw", "--json"], dir.path());
    made.success();
    assert!(fs::read(dir.path().join("disk.mf")).unwrap() == expected());
    let json = json_of(&made);
    assert_eq!(json["bitmap"]["layout"], "zvhd2-section");
    assert_eq!(json["bitmap"]["marked"], 3);
    assert!(json["scan"]["read_bytes"].as_u64().unwrap() < 1 << 20);
    assert!(made.stderr.contains("not confirmed"), "{}", made.stderr);
    // Once more: it is not replaced unless that is asked for.
    let again = imgferry(&["bitmap", "disk.raw"], dir.path());
    assert_eq!(again.code, Some(2), "{}", again.stderr);
    imgferry(&["bitmap", "disk.raw", "disk.mf", "--force"], dir.path()).success();
}

/// The manifest of an OVF package is called like the bitmap of a raw disk.
#[test]
fn no_output_takes_the_place_of_a_file_of_the_package() {
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::new("web", &[("web-disk1.img", 2 << 20)]);
    let (descriptor, disk) = (machine.descriptor(), noise(2 << 20));
    let files = [
        ("web.ovf", descriptor.as_bytes()),
        ("web-disk1.img", disk.as_slice()),
    ];
    let listed = manifest(&files);
    let files = files.into_iter().chain([("web.mf", listed.as_bytes())]);
    let files: Vec<_> = files.collect();
    for (name, content) in &files {
        fs::write(dir.path().join(name), content).unwrap();
    }
    let own = "is the source image itself, or a file of it";
    let manifests = "is the name of the manifest of web.ovf";
    for (output, told) in [
        (&["web.raw", "--bitmap"][..], manifests),
        (&["web-disk1.img"], own),
        (&["web.ovf"], own),
    ] {
        let convert = ["convert", "--force", "--to", "raw", "web.ovf"];
        let refused = imgferry(&[&convert, output].concat(), dir.path());
        assert_eq!(refused.code, Some(2), "{output:?}: {}", refused.stderr);
        assert!(refused.stderr.contains(told), "{}", refused.stderr);
    }
    // Nor does a bitmap become the manifest of a package that has none.
    fs::remove_file(dir.path().join("web.mf")).unwrap();
    for line in [
        &["convert", "web.ovf", "web.raw", "--bitmap"][..],
        &["bitmap", "web-disk1.img", "web.mf", "--force"],
    ] {
        let refused = imgferry(line, dir.path());
        assert_eq!(refused.code, Some(2), "{line:?}: {}", refused.stderr);
        assert!(!dir.path().join("web.mf").exists(), "{line:?}");
    }
    fs::write(dir.path().join("web.mf"), &listed).unwrap();
    for (name, content) in files {
        assert!(
            fs::read(dir.path().join(name)).unwrap() == content,
            "{name}"
        );
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
}

#[test]
fn a_bitmap_file_with_another_base_name_is_refused() {
    let dir = sparse_disk();
    for name in ["other.mf", "disk.bitmap", "disk.raw.mf"] {
        let refused = imgferry(&["bitmap", "disk.raw", name], dir.path());
        assert_eq!(refused.code, Some(2), "{name}");
        assert!(
            refused.stderr.contains("expected disk.mf"),
            "{}",
            refused.stderr
        );
        assert!(!dir.path().join(name).exists());
    }
}

#[test]
fn show_prints_the_figures_of_a_bitmap_file() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("disk.mf"), expected()).unwrap();
    let shown = imgferry(&["bitmap", "--show", "disk.mf"], dir.path());
    shown.success();
    let text = shown.text();
    for part in [
        "zvhd2-section",
        "8192 bytes in 2 segments",
        "marked 3 blocks in 3 runs",
        "bits for 128 GiB",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    fs::write(dir.path().join("disk.mf"), b"something else").unwrap();
    let refused = imgferry(&["bitmap", "--show", "disk.mf"], dir.path());
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.stderr.contains("zvhd2-section"),
        "{}",
        refused.stderr
    );
}

#[test]
fn check_tells_a_bitmap_that_would_lose_data_from_one_that_marks_too_much() {
    let dir = sparse_disk();
    let mf = dir.path().join("disk.mf");
    let check = || imgferry(&["bitmap", "--check", "disk.raw", "disk.mf"], dir.path());
    let mut file = expected();
    fs::write(&mf, &file).unwrap();
    check().success();
    file[1] = 0;
    fs::write(&mf, &file).unwrap();
    let missing = check();
    assert_eq!(missing.code, Some(5), "{}", missing.stderr);
    assert!(
        missing.stderr.contains("1 block with data not marked: their content would be lost, the first at guest offset 0x1200000"),
        "{}",
        missing.stderr
    );
    let mut file = expected();
    file[2000] = 3;
    fs::write(&mf, &file).unwrap();
    let extra = check();
    assert_eq!(extra.code, Some(5));
    assert!(
        extra.stderr.contains("2 blocks marked without data"),
        "{}",
        extra.stderr
    );
    fs::write(&mf, &expected()[..4096]).unwrap();
    let short = check();
    assert!(
        short
            .stderr
            .contains("it has 4096 bytes, the disk's has 8192"),
        "{}",
        short.stderr
    );
}

#[test]
fn a_disk_that_is_not_raw_has_no_bitmap_and_the_hint_says_how_to_get_one() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(testdata("debian-tree.qcow2"), dir.path().join("disk.qcow2")).unwrap();
    let refused = imgferry(&["bitmap", "disk.qcow2"], dir.path());
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("--bitmap"), "{}", refused.stderr);
    assert!(!dir.path().join("disk.mf").exists());
}

#[test]
fn converting_to_raw_writes_the_bitmap_in_the_same_pass() {
    let dir = tempfile::tempdir().unwrap();
    let source = testdata("debian-tree.qcow2");
    let converted = run(command()
        .args(["convert", "--bitmap", "--json"])
        .arg(source)
        .arg(dir.path().join("disk.raw")));
    converted.success();
    let json = json_of(&converted);
    assert_eq!(json["report"]["digest"], DEBIAN_TREE_DIGEST);
    assert_eq!(
        json["bitmap"]["figures"]["marked"],
        json["report"]["stored_blocks"]
    );
    imgferry(&["bitmap", "--check", "disk.raw"], dir.path()).success();
    // Reading everything finds the same, and no hole that was none.
    let verified = imgferry(
        &["bitmap", "--check", "--holes", "verify", "disk.raw"],
        dir.path(),
    );
    verified.success();
    assert!(!verified.stderr.contains("warning"), "{}", verified.stderr);
    let disk = fs::metadata(dir.path().join("disk.raw")).unwrap();
    assert_eq!(disk.len(), 2 << 30);
    assert!(disk.blocks() * 512 < 100 << 20);
}

#[test]
fn a_bitmap_that_exists_stops_the_conversion_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("disk.mf"), b"mine").unwrap();
    let refused = run(command()
        .args(["convert", "--bitmap"])
        .arg(testdata("debian-tree.qcow2"))
        .arg(dir.path().join("disk.raw")));
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_bitmap_is_made_for_raw_only() {
    let dir = tempfile::tempdir().unwrap();
    let refused = run(command()
        .args(["convert", "--bitmap"])
        .arg(testdata("debian-tree.qcow2"))
        .arg(dir.path().join("disk.zvhd2")));
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("--to raw"), "{}", refused.stderr);
}
