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

mod base;
mod changed;
#[path = "../common/mod.rs"]
mod common;
mod exists;
mod free;
mod guest;
mod preflight;
mod promises;
mod raw;
mod rejected;
mod warm;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use common::cloud::Cloud;
use common::{DEBIAN, DEBIAN_TREE_DIGEST, Run, command, json_of, run, testdata};

/// `imgferry import` of `disk` into a sandbox inside the process.
fn import(disk: &Path) -> Command {
    let mut command = command();
    command.arg("import").arg(disk).args([
        "--sandbox",
        "--name",
        "demo",
        "--bucket",
        "demo",
        "--json",
    ]);
    command
}

fn real_disk() -> std::path::PathBuf {
    testdata("debian-tree.qcow2")
}

#[track_caller]
fn stays_in_its_memory_bound(json: &serde_json::Value) {
    let (peak, bound) = (&json["peak_memory"], &json["memory_bound"]);
    assert!(
        peak.as_u64().unwrap() <= bound.as_u64().unwrap(),
        "{peak} of {bound}"
    );
}

#[test]
fn one_command_takes_a_real_disk_to_an_active_image() {
    let run = run(import(&real_disk()).args(["--os-version", DEBIAN]));
    run.success();
    let json = json_of(&run);
    assert_eq!(json["status"], "active");
    assert_eq!(json["digest"], DEBIAN_TREE_DIGEST);
    assert_eq!(json["image_digest"], DEBIAN_TREE_DIGEST);
    assert_eq!(json["min_disk"], 2);
    assert!(json["uploaded"]["size"].as_u64().unwrap() < 10 << 20);
    assert!(json["skipped_bytes"].as_u64().unwrap() > 1900 << 20);
    stays_in_its_memory_bound(&json);
}

#[test]
fn a_data_disk_needs_no_operating_system() {
    let options = [
        "--type",
        "DataImage",
        "--tag",
        "env=test",
        "--description",
        "a data disk",
    ];
    let run = run(import(&real_disk()).args(options));
    run.success();
    assert_eq!(json_of(&run)["status"], "active");
}

#[test]
fn the_sandbox_ignores_what_the_environment_says_of_a_real_cloud() {
    let run = run(import(&real_disk())
        .env("HW_REGION_NAME", "eu-west-0")
        .env("HW_ACCESS_KEY", "real")
        .env("IMGFERRY_OBS_ENDPOINT", "https://obs.invalid")
        .args(["--os-version", DEBIAN]));
    run.success();
}

/// A sandbox listens on another port in each run, and is the same cloud.
#[test]
fn the_same_command_finds_its_image_again_in_the_directory_of_a_sandbox() {
    let dir = tempfile::tempdir().unwrap();
    let again = || {
        let mut command = command();
        command.arg("import").arg(real_disk());
        command.arg(format!("--sandbox={}", dir.path().display()));
        command.args(["--name", "demo", "--bucket", "demo", "--json"]);
        command.args(["--os-version", DEBIAN]);
        let run = run(&mut command);
        run.success();
        json_of(&run)
    };
    let (first, second) = (again(), again());
    assert!(first["image_id"].is_string(), "{first}");
    assert_eq!(second["image_id"], first["image_id"]);
}

#[test]
fn a_sandbox_in_another_process_takes_the_documented_environment() {
    let cloud = Cloud::start(&["images"]);
    let again = |options: &[&str]| run(cloud.import().args(["--name", "web 01"]).args(options));
    let first = again(&["--json"]);
    first.success();
    let json = json_of(&first);
    assert_eq!(json["key"], "web-01.zvhd2");
    assert_eq!(json["image_digest"], DEBIAN_TREE_DIGEST);
    // The same again, to fail: the name is taken. Under another name the object is used, and
    // replaced only if that is asked for.
    let refused = again(&["--if-exists", "fail"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("IMG.0009"), "{}", refused.stderr);
    let other = ["--name", "web 02", "--key", "web-01.zvhd2"];
    let used = run(cloud.import().args(other));
    used.success();
    assert!(
        used.stderr.contains("not uploaded again"),
        "{}",
        used.stderr
    );
    let key = ["--key", "web-01.zvhd2", "--if-exists", "replace"];
    let other = [&["--name", "web 03"], &key[..]].concat();
    let replaced = run(cloud.import().args(other));
    replaced.success();
    assert!(
        !replaced.stderr.contains("not uploaded"),
        "{}",
        replaced.stderr
    );
}

#[test]
fn everything_works_over_https_where_storages_are_strict() {
    let cloud = Cloud::start_https(&["images"]);
    let imported = run(cloud.import().args(["--name", "demo", "--json"]));
    imported.success();
    let json = json_of(&imported);
    assert_eq!(json["image_digest"], DEBIAN_TREE_DIGEST);
    let key = json["key"].as_str().unwrap();
    let object = format!("obs://images/{key}");
    let disk = real_disk();
    for arguments in [
        &["verify", disk.to_str().unwrap(), object.as_str()][..],
        &["uploads", "list", "images"],
        &["image", "list"],
        &["config", "check", "--bucket", "images"],
    ] {
        run(cloud.command().args(arguments)).success();
    }
    let file = cloud.state().with_file_name("file");
    fs::write(&file, b"small").unwrap();
    run(cloud
        .command()
        .arg("upload")
        .arg(&file)
        .arg("obs://images/small"))
    .success();
    assert_eq!(cloud.object("images", "small"), b"small");
}

#[test]
fn a_sandbox_started_again_on_its_directory_has_the_same_keys_and_objects() {
    let cloud = Cloud::start(&["images"]);
    run(cloud.import().args(["--name", "a"])).success();
    let (key, dir) = (cloud.variable("HW_SECRET_KEY"), cloud.into_dir());
    let cloud = Cloud::start_in(dir, &["images"]);
    assert_eq!(cloud.variable("HW_SECRET_KEY"), key);
    assert_eq!(cloud.objects("images"), ["a.zvhd2"]);
    let refused = run(cloud.import().args(["--name", "a", "--key", "b.zvhd2"]));
    assert!(refused.stderr.contains("IMG.0009"), "{}", refused.stderr);
}

#[test]
fn signing_in_by_password_gets_temporary_keys_for_the_upload() {
    let cloud = Cloud::start(&["images"]);
    let (user, password, domain) = cloud.password();
    let run = run(cloud
        .import()
        .env_remove("HW_ACCESS_KEY")
        .env_remove("HW_SECRET_KEY")
        .env_remove("HW_PROJECT_ID")
        .env("HW_USER_NAME", user)
        .env("HW_USER_PASSWORD", &password)
        .env("HW_DOMAIN_NAME", domain)
        .args(["--name", "by-password", "--json", "-vvv"]));
    run.success();
    assert_eq!(json_of(&run)["image_digest"], DEBIAN_TREE_DIGEST);
    assert!(!run.stderr.contains(&password));
}

#[test]
fn everything_that_can_be_refused_is_refused_before_the_upload() {
    let cloud = Cloud::start(&["images"]);
    // Options, the text that must be in the message, the exit code.
    let system = ["--os-version", DEBIAN];
    let [name, bucket] = [["--name", "a"], ["--bucket", "images"]];
    let cases: &[(&[&[&str]], &str, i32)] = &[
        (&[&["--name", " a"], &bucket, &system], "--name", 2),
        (&[&name, &bucket], "--os-version", 2),
        (
            &[&name, &bucket, &system, &["--key", "a b.zvhd2"]],
            "--key",
            2,
        ),
        (
            &[&name, &bucket, &system, &["--min-disk", "1"]],
            "--min-disk",
            2,
        ),
        (&[&name, &bucket, &system, &["--tag", "=x"]], "--tag", 2),
        (
            &[&name, &bucket, &system, &["--description", "a <b>"]],
            "--description",
            2,
        ),
        (
            &[
                &name,
                &bucket,
                &system,
                &["--architecture", "arm", "--firmware", "bios"],
            ],
            "--firmware",
            2,
        ),
        (
            &[&name, &["--bucket", "no-such-bucket"], &system],
            "no bucket",
            3,
        ),
        (
            &[&name, &bucket, &system, &["--memory", "20M"]],
            "--memory",
            2,
        ),
    ];
    for (options, text, code) in cases {
        let options: Vec<&str> = options.iter().copied().flatten().copied().collect();
        let run = run(cloud
            .command()
            .arg("import")
            .arg(real_disk())
            .args(&options));
        assert_eq!(run.code, Some(*code), "{options:?}: {}", run.stderr);
        assert!(run.stderr.contains(text), "{options:?}: {}", run.stderr);
    }
    // Wrong settings, with and without --dry-run.
    let wrong = [
        ("HW_SECRET_KEY", "wrong", 3),
        ("HW_PROJECT_ID", "0000", 3),
        ("IMGFERRY_IMS_ENDPOINT", "ftp://x", 2),
        ("IMGFERRY_IMS_ENDPOINT", "http://10.1.2.3", 2),
        ("IMGFERRY_IAM_ENDPOINT", "http://10.1.2.3", 2),
        ("IMGFERRY_OBS_ENDPOINT", "http://10.1.2.3", 2),
    ];
    for (variable, value, code) in wrong {
        for option in ["--dry-run", "--json"] {
            let mut import = cloud.import();
            import.args(["--name", "a", option]).env(variable, value);
            if variable == "IMGFERRY_IAM_ENDPOINT" {
                import.env_remove("HW_PROJECT_ID");
            }
            let run = run(&mut import);
            assert_eq!(run.code, Some(code), "{variable}={value}: {}", run.stderr);
        }
    }
    assert_eq!(cloud.objects("images"), Vec::<String>::new());
    assert_eq!(cloud.uploads(), 0);
}

#[test]
fn a_disk_beyond_the_size_limit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("huge.raw");
    let file = fs::File::create(&source).unwrap();
    file.set_len((1 << 40) + 512).unwrap();
    let run = run(import(&source).args(["--os-version", DEBIAN]));
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("1 TiB"), "{}", run.stderr);
}

#[test]
fn a_job_that_is_not_waited_for_needs_a_cloud_that_stays() {
    let refused = run(import(&real_disk()).args(["--os-version", DEBIAN, "--no-wait"]));
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    let cloud = Cloud::start(&["images"]);
    let started = run(cloud.import().args(["--name", "a", "--no-wait", "--json"]));
    started.success();
    let json = json_of(&started);
    assert!(json["job_id"].is_string() && json["image_id"].is_null());
}

#[test]
fn a_dry_run_changes_nothing() {
    let cloud = Cloud::start(&["images"]);
    let run = run(cloud.import().args(["--name", "a", "--dry-run", "--json"]));
    run.success();
    assert_eq!(json_of(&run)["plan"]["virtual_size"], 2_u64 << 30);
    assert_eq!(cloud.objects("images"), Vec::<String>::new());
    assert_eq!(cloud.uploads(), 0);
}

#[test]
fn missing_credentials_are_told_with_what_to_set() {
    let run = run(command().arg("import").arg(real_disk()).args([
        "--name",
        "a",
        "--bucket",
        "images",
        "--os-version",
        DEBIAN,
    ]));
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("HW_ACCESS_KEY"), "{}", run.stderr);
    assert!(run.stderr.contains("--region"), "{}", run.stderr);
}

#[test]
fn secrets_never_reach_the_output() {
    let cloud = Cloud::start(&["images"]);
    let run = run(cloud.import().args(["--name", "a", "-vvv"]));
    run.success();
    let secret = cloud.variable("HW_SECRET_KEY");
    assert!(!run.stderr.contains(&secret) && !run.text().contains(&secret));
}

fn interrupted_by(signal: &str) {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("noise.raw");
    fs::write(&source, common::noise(96 << 20)).unwrap();
    let child = cloud
        .command()
        .arg("import")
        .arg(&source)
        .args(["--name", "a", "--bucket", "images", "--os-version", DEBIAN])
        .arg("--json")
        .args(["--level", "19", "--threads", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    common::wait_until(|| cloud.uploads() > 0);
    // Twice at once, as `timeout` does to a process group: that is one request.
    for _ in 0..2 {
        common::signal(&child, signal);
    }
    let run: Run = child.wait_with_output().unwrap().into();
    assert_eq!(run.code, Some(130), "{signal}: {}", run.stderr);
    assert!(run.stderr.contains("is kept"), "{signal}: {}", run.stderr);
    let json = json_of(&run);
    assert_eq!(json["error"]["exit_code"], 130);
    assert!(run.stderr.contains(json["upload_id"].as_str().unwrap()));
    assert!(run.stderr.contains(json["command"].as_str().unwrap()));
    assert_eq!(cloud.uploads(), 1);
    assert_eq!(cloud.objects("images"), Vec::<String>::new());
}

#[test]
fn an_interrupted_import_keeps_its_upload_and_says_how_to_go_on() {
    interrupted_by("INT");
}

#[test]
fn a_terminal_that_goes_away_is_an_interruption() {
    interrupted_by("HUP");
}

#[test]
fn a_mostly_empty_disk_costs_its_data_and_stays_in_the_memory_bound() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("empty.raw");
    let file = fs::File::create(&source).unwrap();
    file.set_len(200 << 30).unwrap();
    let noise = common::noise(32 << 20);
    for at in [0_u64, 70 << 30, (200 << 30) - (32 << 20)] {
        file.write_all_at(&noise, at).unwrap();
    }
    let run = run(import(&source).args(["--os-version", DEBIAN]));
    run.success();
    let json = json_of(&run);
    assert_eq!(json["read_bytes"], 96 << 20);
    assert_eq!(json["image_digest"], json["digest"]);
    assert_eq!(json["min_disk"], 200);
    stays_in_its_memory_bound(&json);
}
