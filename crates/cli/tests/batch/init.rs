//! What of a batch needs no cloud: writing a manifest of what is found, and the schema.

use std::ffi::OsStr;
use std::fs;

use crate::common::{imgferry, json_of, os_str, testdata};

/// A directory with a disk, one beside it that is broken, and one that is none.
fn disks() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let disks = dir.path().join("disks");
    fs::create_dir(&disks).unwrap();
    fs::copy(testdata("debian-tree.qcow2"), disks.join("web01.qcow2")).unwrap();
    fs::copy(
        testdata("debian-tree.qcow2"),
        disks.join("web01-data1.qcow2"),
    )
    .unwrap();
    let half = fs::read(testdata("debian-tree.qcow2")).unwrap();
    fs::write(disks.join("half.qcow2"), &half[..60_000]).unwrap();
    fs::write(disks.join("README"), "no disk").unwrap();
    dir
}

#[test]
fn a_manifest_of_a_directory_is_written_whole_or_not_at_all() {
    let dir = disks();
    let manifest = dir.path().join("fleet.yaml");
    let init = |more: &[&str]| {
        let disks = dir.path().join("disks");
        let mut args = vec!["batch", "init", disks.to_str().unwrap()];
        args.extend(["-o", manifest.to_str().unwrap()]);
        args.extend(more);
        let args: Vec<_> = args.into_iter().map(OsStr::new).collect();
        imgferry(&args)
    };
    let run = init(&["--bucket", "my-images"]);
    run.success();
    assert!(run.stderr.contains("half.qcow2: "), "{}", run.stderr);
    let text = fs::read_to_string(&manifest).unwrap();
    assert!(text.contains("  - name: web01\n    system:\n"), "{text}");
    assert!(text.contains("source: disks/web01-data1.qcow2\n"), "{text}");
    assert!(text.contains("os_version: TODO\n"), "{text}");
    assert!(text.contains("#   disks/half.qcow2: "), "{text}");
    assert!(text.contains("bucket: my-images\n"), "{text}");
    // It is somebody's work by now.
    fs::write(&manifest, "edited").unwrap();
    let run = init(&[]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert_eq!(fs::read_to_string(&manifest).unwrap(), "edited");
    init(&["--force"]).success();
    assert_ne!(fs::read_to_string(&manifest).unwrap(), "edited");
    let left = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 2, "a temporary file was left");
}

#[test]
fn batch_init_tells_what_it_found_as_json() {
    let dir = disks();
    let run = imgferry(&[
        "batch".as_ref(),
        "init".as_ref(),
        os_str(dir.path()),
        "--json".as_ref(),
        "--toml".as_ref(),
    ]);
    let json = json_of(run.success());
    assert_eq!(json["servers"][0]["name"], "web01");
    assert_eq!(json["servers"][0]["data"][0]["disk"]["format"], "qcow2");
    assert_eq!(json["refused"].as_array().unwrap().len(), 1);
    let manifest = json["manifest"].as_str().unwrap();
    assert!(manifest.contains("[[servers.data]]\n"), "{manifest}");
}

#[test]
fn batch_init_refuses_a_name_that_no_bucket_has() {
    let dir = disks();
    let init = ["batch".as_ref(), "init".as_ref(), os_str(dir.path())];
    for (name, code) in [("BAD_", 2), ("ab", 2), ("a.good-1", 0)] {
        let args = [&init[..], &["--bucket".as_ref(), name.as_ref()]].concat();
        let run = imgferry(&args);
        assert_eq!(run.code, Some(code), "{name}: {}", run.stderr);
        assert_eq!(run.stderr.contains("3 to 63"), code == 2, "{}", run.stderr);
    }
}

#[test]
fn batch_init_without_disks_says_so() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.qcow2"), "text").unwrap();
    let run = imgferry(&["batch".as_ref(), "init".as_ref(), os_str(dir.path())]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("note: "), "{}", run.stderr);
    assert!(run.stdout.is_empty());
}

#[test]
fn the_schema_that_is_printed_is_the_published_one() {
    let run = imgferry(&["batch", "schema"].map(OsStr::new));
    let published = fs::read(testdata("../docs/batch.schema.json")).unwrap();
    assert_eq!(run.success().stdout, published);
}

/// Nothing is asked of a cloud before.
#[test]
fn a_disk_to_redo_that_the_manifest_lacks_is_refused_at_once() {
    let dir = disks();
    let manifest = dir.path().join("fleet.yaml");
    fs::write(
        &manifest,
        "images: [{source: disks/web01.qcow2, bucket: b}]",
    )
    .unwrap();
    for what in ["plan", "run"] {
        let args = ["batch", what, manifest.to_str().unwrap(), "--redo", "web02"];
        let run = imgferry(&args.map(OsStr::new));
        assert_eq!(run.code, Some(2));
        assert!(run.stderr.contains("cannot redo web02"), "{}", run.stderr);
    }
}
