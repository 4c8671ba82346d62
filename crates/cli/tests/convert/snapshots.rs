//! Internal snapshots of qcow2 images, as a user gets at them.

use std::ffi::OsStr;
use std::path::PathBuf;

use crate::common::{imgferry, json_of, os_str};
use tempfile::TempDir;
use testkit::qemu;

/// An image with the snapshots `clean` and `before upgrade`, and what QEMU reads from each and from
/// the active disk.
fn image(dir: &TempDir) -> (PathBuf, [Vec<u8>; 3]) {
    let path = dir.path().join("disk.qcow2");
    let name = path.to_str().unwrap();
    qemu::img(["create", "-q", "-f", "qcow2", name, "4M"]);
    for (snapshot, command) in [
        ("clean", "write -P 1 0 1M"),
        ("before upgrade", "write -P 2 1M 1M"),
    ] {
        qemu::io(&path, "qcow2", &[command]);
        qemu::img(["snapshot", "-c", snapshot, name]);
    }
    qemu::io(&path, "qcow2", &["write -P 3 0 3M"]);
    let read = |snapshot: &str| {
        let raw = dir.path().join("theirs.raw");
        let target = raw.to_str().unwrap();
        qemu::img(["convert", "-l", snapshot, "-O", "raw", name, target]);
        std::fs::read(raw).unwrap()
    };
    let contents = [read("clean"), read("before upgrade"), qemu::content(&path)];
    (path, contents)
}

#[test]
fn a_snapshot_is_converted_digested_and_verified_by_name_and_by_id() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let (disk, contents) = image(&dir);
    let disk = os_str(&disk);
    for (wanted, index) in [("clean", 0), ("1", 0), ("before upgrade", 1), ("2", 1)] {
        let [raw, zvhd2] = ["ours.raw", "ours.zvhd2"].map(|name| dir.path().join(name));
        for target in [&raw, &zvhd2] {
            imgferry(&[
                "convert".as_ref(),
                "--force".as_ref(),
                "--snapshot".as_ref(),
                wanted.as_ref(),
                disk,
                os_str(target),
            ])
            .success();
        }
        assert!(std::fs::read(&raw).unwrap() == contents[index], "{wanted}");
        imgferry(&[
            "verify".as_ref(),
            "--snapshot-a".as_ref(),
            wanted.as_ref(),
            disk,
            os_str(&zvhd2),
        ])
        .success();
        let active = imgferry(&["verify".as_ref(), disk, os_str(&zvhd2)]);
        assert_eq!(active.code, Some(5), "the active disk differs");
        let digest = |args: &[&OsStr]| json_of(&imgferry(args))["digest"].clone();
        let of_raw = digest(&["--json".as_ref(), "digest".as_ref(), os_str(&raw)]);
        let of_snapshot = digest(&[
            "--json".as_ref(),
            "digest".as_ref(),
            "--snapshot".as_ref(),
            wanted.as_ref(),
            disk,
        ]);
        assert_eq!(of_raw, of_snapshot);
    }
}

#[test]
fn inspect_lists_snapshots_and_a_wrong_name_is_answered_with_the_right_ones() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let (disk, contents) = image(&dir);
    let disk = os_str(&disk);
    let listed = json_of(&imgferry(&["--json".as_ref(), "inspect".as_ref(), disk]));
    let text = listed.to_string();
    assert!(text.contains(r#""name":"before upgrade""#), "{text}");
    assert!(text.contains(r#""id":"1""#), "{text}");
    assert!(contents[0] != contents[1] && contents[1] != contents[2]);

    let wrong = imgferry(&[
        "digest".as_ref(),
        "--snapshot".as_ref(),
        "after".as_ref(),
        disk,
    ]);
    assert_eq!(wrong.code, Some(2));
    assert!(
        wrong.stderr.contains(r#"no snapshot "after""#),
        "{}",
        wrong.stderr
    );
    assert!(
        wrong.stderr.contains(r#""before upgrade" (id "2")"#),
        "{}",
        wrong.stderr
    );

    let raw = dir.path().join("theirs.raw");
    let raw = imgferry(&[
        "digest".as_ref(),
        "--snapshot".as_ref(),
        "1".as_ref(),
        os_str(&raw),
    ]);
    assert_eq!(raw.code, Some(2));
    assert!(
        raw.stderr.contains("only qcow2 images hold snapshots"),
        "{}",
        raw.stderr
    );
}
