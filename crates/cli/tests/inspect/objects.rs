//! `inspect obs://BUCKET/KEY`: the same report, read by ranges.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::common::cloud::Cloud;
use crate::common::{json_of, run, testdata};

const DISK: &str = "obs://images/disk.qcow2";

/// A cloud with one disk in it, as it is in a file.
fn cloud_with(image: &str) -> Cloud {
    let cloud = Cloud::start(&["images"]);
    let mut upload = cloud.command();
    upload.arg("upload").arg(testdata(image)).arg(DISK);
    run(&mut upload).success();
    cloud
}

fn inspect(cloud: &Cloud, args: &[&str]) -> Command {
    let mut command = cloud.command();
    command.arg("inspect").args(args);
    command
}

/// What is not the same for an object and a file.
fn without_place(mut report: Value) -> Value {
    let object = report.as_object_mut().unwrap();
    for name in ["path", "bytes_on_disk"] {
        assert!(object.remove(name).is_some(), "{name}");
    }
    // Nobody converts an object, so its free space is not looked for.
    report.as_object_mut().unwrap().remove("free_space");
    report["guest"].as_object_mut().unwrap().remove("cost");
    report
}

#[test]
fn an_object_is_told_like_the_file_that_it_was() {
    let cloud = cloud_with("guest/centos7-lvm.qcow2");
    let found = json_of(run(&mut inspect(&cloud, &["--json", DISK])).success());
    assert_eq!(found["path"], DISK);
    let file = testdata("guest/centos7-lvm.qcow2");
    let file = json_of(crate::inspect(&["--json"], &file).success());
    assert_eq!(without_place(found), without_place(file));

    let strict = run(&mut inspect(&cloud, &["--guest", DISK]));
    assert_eq!(strict.code, Some(2));
    assert!(
        strict
            .text()
            .contains("root          centos 7.9 on /dev/vg-sys/lv-root\n"),
        "{}",
        strict.text()
    );
    let dir = tempfile::tempdir().unwrap();
    for (option, name) in [("--map", "disk.svg"), ("--html", "disk.html")] {
        let path = dir.path().join(name);
        run(&mut inspect(
            &cloud,
            &[option, path.to_str().unwrap(), DISK],
        ))
        .success();
        assert!(fs::read_to_string(path).unwrap().contains(DISK));
    }
    let checked = run(&mut inspect(&cloud, &["--check", "--json", DISK]));
    assert_eq!(json_of(checked.success())["sound"], true);
}

#[test]
fn what_an_object_cannot_have_is_refused_by_name() {
    let cloud = cloud_with("guest/debian12-ready.qcow2");
    for (args, told) in [
        (&["--disk", "1"][..], "--disk is for files"),
        (&["--allow-backing", "."], "--allow-backing is for files"),
    ] {
        let refused = run(&mut inspect(&cloud, &[args, &[DISK]].concat()));
        assert_eq!(refused.code, Some(2), "{args:?}");
        assert!(refused.stderr.contains(told), "{}", refused.stderr);
    }
    let missing = run(&mut inspect(&cloud, &["obs://images/none.qcow2"]));
    assert_eq!(missing.code, Some(3));
    assert!(
        missing.stderr.contains("object images/none.qcow2"),
        "{}",
        missing.stderr
    );
}

#[test]
fn what_an_import_made_is_looked_into_in_its_sandbox() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = format!("--sandbox={}", dir.path().join("cloud").display());
    let mut import = crate::common::command();
    import
        .arg("import")
        .arg(testdata("guest/debian12-ready.qcow2"))
        .args(["--name", "demo", "--bucket", "demo", &sandbox])
        .args(["--guest-check", "default"])
        .env("XDG_STATE_HOME", dir.path());
    run(&mut import).success();
    let mut look = crate::common::command();
    look.args(["inspect", "--json", &sandbox, "obs://demo/demo.zvhd2"]);
    let report = json_of(run(&mut look).success());
    assert_eq!(report["format"], "zvhd2");
    assert_eq!(report["guest"]["os"]["version"], "12.5");
}
