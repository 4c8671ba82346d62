//! Files that images name, as a user meets them: refused with the option to type, and read with it.

use std::path::PathBuf;

use crate::common::{imgferry, json_of, os_str};
use tempfile::TempDir;
use testkit::qemu;

/// An overlay over a raw disk beside it, and what QEMU reads from it.
fn overlay(dir: &TempDir) -> (PathBuf, Vec<u8>) {
    let base = dir.path().join("base.raw");
    std::fs::write(&base, vec![7; 4 << 20]).unwrap();
    let top = dir.path().join("top.qcow2");
    let name = top.to_str().unwrap();
    qemu::img([
        "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", name,
    ]);
    qemu::io(&top, "qcow2", &["write -P 9 1M 1M", "write -z 3M 512k"]);
    let content = qemu::content(&top);
    (top, content)
}

#[test]
fn an_overlay_is_refused_with_an_option_that_makes_it_work() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let (top, content) = overlay(&dir);
    let raw = dir.path().join("out.raw");
    let refused = imgferry(&["convert".as_ref(), os_str(&top), os_str(&raw)]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    let told = &refused.stderr;
    let option = format!("--allow-backing {}", dir.path().display());
    assert!(
        told.contains("\"base.raw\" (raw)") && told.contains(&option),
        "{told}"
    );
    assert!(!raw.exists());

    for command in ["convert", "digest", "verify"] {
        let mut args = vec![
            command.as_ref(),
            "--allow-backing".as_ref(),
            os_str(dir.path()),
            os_str(&top),
        ];
        if command != "digest" {
            args.push(os_str(&raw));
        }
        imgferry(&args).success();
    }
    assert!(std::fs::read(&raw).unwrap() == content);
}

#[test]
fn what_lies_outside_the_directory_is_refused_by_a_real_run_too() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let (top, _) = overlay(&dir);
    let elsewhere = TempDir::new().unwrap();
    let refused = imgferry(&[
        "digest".as_ref(),
        "--allow-backing".as_ref(),
        os_str(elsewhere.path()),
        os_str(&top),
    ]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    let told = &refused.stderr;
    assert!(told.contains("outside"), "{told}");
}

#[test]
fn inspect_tells_the_backing_file_without_opening_it() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let (top, _) = overlay(&dir);
    std::fs::remove_file(dir.path().join("base.raw")).unwrap();
    let told = json_of(&imgferry(&[
        "inspect".as_ref(),
        "--json".as_ref(),
        os_str(&top),
    ]));
    assert_eq!(told["refers_to"][0]["name"], "base.raw", "{told}");
    assert_eq!(told["refers_to"][0]["format"], "raw", "{told}");
}

#[test]
fn an_overlay_is_imported_when_its_backing_file_may_be_opened() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let (top, _) = overlay(&dir);
    let digest = json_of(&imgferry(&[
        "digest".as_ref(),
        "--json".as_ref(),
        "--allow-backing".as_ref(),
        os_str(dir.path()),
        os_str(&top),
    ]));
    let mut args: Vec<&std::ffi::OsStr> = vec![
        "import".as_ref(),
        os_str(&top),
        "--json".as_ref(),
        "--sandbox".as_ref(),
        "--allow-backing".as_ref(),
        os_str(dir.path()),
    ];
    let rest = "--name demo --bucket demo --type DataImage --os-type Linux";
    args.extend(rest.split(' ').map(std::ffi::OsStr::new));
    let imported = json_of(&imgferry(&args));
    assert_eq!(imported["digest"], digest["digest"], "{imported}");
}
