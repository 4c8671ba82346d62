//! The main job, run as a user runs it: a disk to an active image.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod cloud;
mod common;

use std::fs;

use cloud::Cloud;
use common::{DEBIAN_TREE_DIGEST, Run, command, json_of, testdata};

const DEBIAN: &str = "Debian GNU/Linux 12.0.0 64bit";

/// `imgferry import` of the real disk with these options.
fn import(options: &[&str]) -> Run {
    command()
        .arg("import")
        .arg(testdata("debian-tree.qcow2"))
        .args(options)
        .output()
        .unwrap()
        .into()
}

#[test]
fn one_command_takes_a_real_disk_to_an_active_image() {
    let run = import(&[
        "--sandbox",
        "--name",
        "demo",
        "--bucket",
        "demo",
        "--os-version",
        DEBIAN,
        "--json",
    ]);
    run.success();
    let json = json_of(&run);
    assert_eq!(json["status"], "active");
    assert_eq!(json["digest"], DEBIAN_TREE_DIGEST);
    assert_eq!(json["image_digest"], DEBIAN_TREE_DIGEST);
    assert_eq!(json["min_disk"], 2);
    assert!(json["uploaded"]["size"].as_u64().unwrap() < 10 << 20);
    assert!(json["skipped_bytes"].as_u64().unwrap() > 1900 << 20);
    let (peak, bound) = (&json["peak_memory"], &json["memory_bound"]);
    assert!(peak.as_u64() <= bound.as_u64(), "{peak} of {bound}");
}

#[test]
fn the_sandbox_ignores_what_the_environment_says_of_a_real_cloud() {
    let run: Run = command()
        .env("HW_REGION_NAME", "eu-west-0")
        .env("HW_ACCESS_KEY", "real")
        .env("IMGFERRY_OBS_ENDPOINT", "https://obs.invalid")
        .arg("import")
        .arg(testdata("debian-tree.qcow2"))
        .args([
            "--sandbox",
            "--name",
            "a",
            "--bucket",
            "demo",
            "--os-version",
            DEBIAN,
        ])
        .output()
        .unwrap()
        .into();
    run.success();
}

#[test]
fn a_data_disk_needs_no_operating_system() {
    let run = import(&[
        "--sandbox",
        "--name",
        "data",
        "--bucket",
        "demo",
        "--type",
        "DataImage",
        "--tag",
        "env=test",
        "--description",
        "a data disk",
        "--json",
    ]);
    run.success();
    assert_eq!(json_of(&run)["status"], "active");
}

#[test]
fn a_sandbox_in_another_process_takes_the_documented_environment() {
    let cloud = Cloud::start(&["images"]);
    let run: Run = cloud
        .command()
        .arg("import")
        .arg(testdata("debian-tree.qcow2"))
        .args([
            "--name",
            "web 01",
            "--bucket",
            "images",
            "--os-version",
            DEBIAN,
            "--json",
        ])
        .output()
        .unwrap()
        .into();
    run.success();
    let json = json_of(&run);
    assert_eq!(json["key"], "web-01.zvhd2");
    assert_eq!(json["image_digest"], DEBIAN_TREE_DIGEST);
    // The same again: the object is not replaced unless that is asked for, and the name is taken.
    let again = |more: &[&str]| -> Run {
        cloud
            .command()
            .arg("import")
            .arg(testdata("debian-tree.qcow2"))
            .args([
                "--name",
                "web 01",
                "--bucket",
                "images",
                "--os-version",
                DEBIAN,
            ])
            .args(more)
            .output()
            .unwrap()
            .into()
    };
    let run = again(&[]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("--force"), "{}", run.stderr);
    let run = again(&["--force"]);
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    assert!(run.stderr.contains("IMG.0009"), "{}", run.stderr);
}

#[test]
fn signing_in_by_password_gets_temporary_keys_for_the_upload() {
    let cloud = Cloud::start(&["images"]);
    let (user, password, domain) = cloud.password();
    let run: Run = cloud
        .command()
        .env_remove("HW_ACCESS_KEY")
        .env_remove("HW_SECRET_KEY")
        .env_remove("HW_PROJECT_ID")
        .env("HW_USER_NAME", user)
        .env("HW_USER_PASSWORD", password)
        .env("HW_DOMAIN_NAME", domain)
        .arg("import")
        .arg(testdata("debian-tree.qcow2"))
        .args([
            "--name",
            "by-password",
            "--bucket",
            "images",
            "--os-version",
            DEBIAN,
            "--json",
        ])
        .output()
        .unwrap()
        .into();
    run.success();
    assert_eq!(json_of(&run)["image_digest"], DEBIAN_TREE_DIGEST);
}

#[test]
fn everything_that_can_be_refused_is_refused_before_the_upload() {
    let cloud = Cloud::start(&["images"]);
    let good = ["--name", "a", "--bucket", "images", "--os-version", DEBIAN];
    // Each case replaces or adds options; the text must be in the message.
    let cases: &[(&[&str], &str, i32)] = &[
        (
            &["--name", " a", "--bucket", "images", "--os-version", DEBIAN],
            "--name",
            2,
        ),
        (&["--name", "a", "--bucket", "images"], "--os-version", 2),
        (
            &[
                "--name",
                "a",
                "--bucket",
                "images",
                "--os-version",
                DEBIAN,
                "--key",
                "a b.zvhd2",
            ],
            "--key",
            2,
        ),
        (
            &[
                "--name",
                "a",
                "--bucket",
                "images",
                "--os-version",
                DEBIAN,
                "--min-disk",
                "1",
            ],
            "--min-disk",
            2,
        ),
        (
            &[
                "--name",
                "a",
                "--bucket",
                "images",
                "--os-version",
                DEBIAN,
                "--tag",
                "=x",
            ],
            "--tag",
            2,
        ),
        (
            &[
                "--name",
                "a",
                "--bucket",
                "images",
                "--os-version",
                DEBIAN,
                "--architecture",
                "arm",
                "--firmware",
                "bios",
            ],
            "--firmware",
            2,
        ),
        (
            &[
                "--name",
                "a",
                "--bucket",
                "no-such-bucket",
                "--os-version",
                DEBIAN,
            ],
            "no bucket",
            3,
        ),
        (
            &[
                "--name",
                "a",
                "--bucket",
                "images",
                "--os-version",
                DEBIAN,
                "--memory",
                "20M",
            ],
            "--memory",
            2,
        ),
    ];
    for (options, text, code) in cases {
        let run: Run = cloud
            .command()
            .arg("import")
            .arg(testdata("debian-tree.qcow2"))
            .args(*options)
            .output()
            .unwrap()
            .into();
        assert_eq!(run.code, Some(*code), "{options:?}: {}", run.stderr);
        assert!(run.stderr.contains(text), "{options:?}: {}", run.stderr);
    }
    assert_eq!(cloud.objects("images"), Vec::<String>::new());
    assert_eq!(cloud.uploads(), 0);
    let run: Run = cloud
        .command()
        .arg("import")
        .arg(testdata("debian-tree.qcow2"))
        .args(good)
        .env("HW_SECRET_KEY", "wrong")
        .output()
        .unwrap()
        .into();
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    assert_eq!(cloud.uploads(), 0);
}

#[test]
fn a_dry_run_changes_nothing() {
    let cloud = Cloud::start(&["images"]);
    let run: Run = cloud
        .command()
        .arg("import")
        .arg(testdata("debian-tree.qcow2"))
        .args([
            "--name",
            "a",
            "--bucket",
            "images",
            "--os-version",
            DEBIAN,
            "--dry-run",
            "--json",
        ])
        .output()
        .unwrap()
        .into();
    run.success();
    assert_eq!(json_of(&run)["plan"]["virtual_size"], 2_u64 << 30);
    assert_eq!(cloud.objects("images"), Vec::<String>::new());
    assert_eq!(cloud.uploads(), 0);
}

#[test]
fn missing_credentials_are_told_with_what_to_set() {
    let run = import(&["--name", "a", "--bucket", "images", "--os-version", DEBIAN]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("HW_ACCESS_KEY"), "{}", run.stderr);
    assert!(run.stderr.contains("--region"), "{}", run.stderr);
}

#[test]
fn secrets_never_reach_the_output() {
    let cloud = Cloud::start(&["images"]);
    let run: Run = cloud
        .command()
        .arg("import")
        .arg(testdata("debian-tree.qcow2"))
        .args([
            "--name",
            "a",
            "--bucket",
            "images",
            "--os-version",
            DEBIAN,
            "-vvv",
        ])
        .output()
        .unwrap()
        .into();
    run.success();
    let secret = cloud.variable("HW_SECRET_KEY");
    assert!(!run.stderr.contains(&secret) && !run.text().contains(&secret));
}

#[test]
fn an_interrupted_import_aborts_its_upload_and_names_it() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("noise.raw");
    fs::write(&source, common::noise(96 << 20)).unwrap();
    let child = cloud
        .command()
        .arg("import")
        .arg(&source)
        .args(["--name", "a", "--bucket", "images", "--os-version", DEBIAN])
        .args(["--level", "19", "--threads", "1"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    common::wait_until(|| cloud.uploads() > 0);
    common::signal(&child, "INT");
    let run: Run = child.wait_with_output().unwrap().into();
    assert_eq!(run.code, Some(130), "{}", run.stderr);
    assert!(run.stderr.contains("was aborted"), "{}", run.stderr);
    assert_eq!(cloud.uploads(), 0);
    assert_eq!(cloud.objects("images"), Vec::<String>::new());
}

#[test]
fn a_mostly_empty_disk_costs_its_data_and_stays_in_the_memory_bound() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("empty.raw");
    let file = fs::File::create(&source).unwrap();
    file.set_len(200 << 30).unwrap();
    let noise = common::noise(4 << 20);
    for at in [0_u64, 70 << 30, (200 << 30) - (4 << 20)] {
        std::os::unix::fs::FileExt::write_all_at(&file, &noise, at).unwrap();
    }
    let run: Run = command()
        .arg("import")
        .arg(&source)
        .args([
            "--sandbox",
            "--name",
            "a",
            "--bucket",
            "images",
            "--os-version",
            DEBIAN,
            "--json",
        ])
        .output()
        .unwrap()
        .into();
    run.success();
    let json = json_of(&run);
    assert_eq!(json["read_bytes"], 12 << 20);
    assert_eq!(json["image_digest"], json["digest"]);
    assert_eq!(json["min_disk"], 200);
    let (peak, bound) = (&json["peak_memory"], &json["memory_bound"]);
    assert!(peak.as_u64() <= bound.as_u64(), "{peak} of {bound}");
}
