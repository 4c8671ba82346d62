//! Objects that an import has made: verified where they are, and not made twice.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

#[path = "../common/mod.rs"]
mod common;
mod uploads;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::cloud::Cloud;
use common::{DEBIAN, DEBIAN_TREE_DIGEST, command, json_of, noise, run, testdata};

const OBJECT: &str = "obs://images/a.zvhd2";

fn verify(cloud: &Cloud, a: impl AsRef<Path>, b: impl AsRef<Path>) -> Command {
    let mut command = cloud.command();
    command
        .arg("verify")
        .arg(a.as_ref())
        .arg(b.as_ref())
        .arg("--json");
    command
}

#[test]
fn an_object_is_read_back_and_compared_with_its_source_in_either_order() {
    let cloud = Cloud::start(&["images"]);
    run(cloud.import().args(["--name", "a"])).success();
    let source = testdata("debian-tree.qcow2");
    let source = source.as_path();
    let object = Path::new(OBJECT);
    for (a, b) in [(source, object), (object, source), (object, object)] {
        let same = run(&mut verify(&cloud, a, b));
        same.success();
        assert_eq!(json_of(&same)["digest_b"], DEBIAN_TREE_DIGEST);
    }
}

#[test]
fn an_object_that_differs_is_exit_code_5_and_one_that_cannot_be_read_is_the_clouds_error() {
    let cloud = Cloud::start(&["images"]);
    run(cloud.import().args(["--name", "a"])).success();
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("other.raw");
    fs::write(&other, noise(4 << 20)).unwrap();
    let differs = run(&mut verify(&cloud, &other, OBJECT));
    assert_eq!(differs.code, Some(5), "{}", differs.stderr);
    assert!(differs.stderr.contains(OBJECT), "{}", differs.stderr);
    assert_eq!(json_of(&differs)["comparison"]["equal"], false);

    let missing = run(&mut verify(&cloud, &other, "obs://images/nothing"));
    assert_eq!(missing.code, Some(3), "{}", missing.stderr);
    assert!(
        missing.stderr.contains("does not exist"),
        "{}",
        missing.stderr
    );
    let stranger = run(verify(&cloud, &other, OBJECT).env("HW_SECRET_KEY", "wrong"));
    assert_eq!(stranger.code, Some(3), "{}", stranger.stderr);
    assert!(stranger.stderr.contains("hint: "), "{}", stranger.stderr);

    // Bytes that the storage has changed are found by whoever reads them.
    let path = cloud.object_path("images", "a.zvhd2");
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(bytes.len() / 2);
    fs::write(&path, bytes).unwrap();
    let torn = run(&mut verify(&cloud, testdata("debian-tree.qcow2"), OBJECT));
    assert!(matches!(torn.code, Some(2 | 5)), "{}", torn.stderr);
}

#[test]
fn an_object_of_a_sandbox_directory_is_verified_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = format!("--sandbox={}", dir.path().join("cloud").display());
    let source = testdata("debian-tree.qcow2");
    run(command()
        .arg("import")
        .arg(&source)
        .args(["--name", "a", "--bucket", "images", "--os-version", DEBIAN])
        .arg("--state-dir")
        .arg(dir.path().join("state"))
        .arg(&sandbox))
    .success();
    run(command()
        .arg("verify")
        .arg(&source)
        .args([OBJECT, &sandbox]))
    .success();
}

#[test]
fn more_parts_at_the_same_time_are_paid_for_from_the_memory_budget_and_never_beyond_it() {
    let cloud = Cloud::start(&["images"]);
    let sink = |more: &[&str]| {
        let plan = run(cloud
            .import()
            .args(["--name", "a", "--dry-run", "--json", "--threads", "1"])
            .args(more));
        plan.success();
        let memory = json_of(&plan)["plan"]["memory"].clone();
        let get = |name: &str| memory[name].as_u64().unwrap();
        let parts = [
            "image", "workers", "window", "index", "sink", "reserved", "program",
        ];
        assert!(parts.iter().map(|part| get(part)).sum::<u64>() <= get("budget"));
        get("sink")
    };
    let part = 8 << 20;
    assert_eq!(sink(&["--concurrency", "1"]), 3 * part);
    assert_eq!(sink(&["--concurrency", "8"]), 10 * part);
    assert!((12 * part..34 * part).contains(&sink(&[])));
    assert_eq!(sink(&["--memory", "512MiB"]), 34 * part);
    assert!(sink(&["--memory", "128MiB"]) < 12 * part);
}

#[test]
fn an_import_keeps_to_the_rate_that_it_is_given() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("noise.raw");
    fs::write(&disk, noise(12 << 20)).unwrap();
    let began = Instant::now();
    run(cloud
        .command()
        .arg("import")
        .arg(&disk)
        .args(["--name", "a", "--bucket", "images", "--os-version", DEBIAN])
        .args(["--level", "1", "--limit-rate", "4M"]))
    .success();
    assert!(
        began.elapsed() > Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}

/// Imports the real disk as `a.zvhd2` without registering it.
fn import(cloud: &Cloud, more: &[&str]) -> common::Run {
    run(cloud
        .import()
        .args(["--name", "a", "--register", "none", "--json"])
        .args(more))
}

#[test]
fn a_disk_that_an_object_holds_already_is_registered_without_being_uploaded_again() {
    let cloud = Cloud::start(&["images"]);
    let none = json_of(import(&cloud, &[]).success());
    assert!(none.get("raw").is_some_and(|raw| raw.is_null()), "{none}");
    // Who says replace means it.
    let first = import(&cloud, &["--if-exists", "replace"]);
    first.success();
    assert_eq!(json_of(&first)["reused"], false);
    let manifest = cloud.object("images", "a.zvhd2.imgferry.json");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let first = json_of(&first);
    assert_eq!(manifest["content_digest"], DEBIAN_TREE_DIGEST);
    assert_eq!(manifest["object_size"], first["uploaded"]["size"]);
    assert_eq!(manifest["object_etag"], first["uploaded"]["etag"]);

    let again = run(cloud.import().args(["--name", "a", "--json"]));
    again.success();
    assert!(
        again.stderr.contains("the disk is read to compare"),
        "{}",
        again.stderr
    );
    assert!(
        again.stderr.contains("not uploaded again"),
        "{}",
        again.stderr
    );
    let json = json_of(&again);
    assert_eq!(json["status"], "active");
    assert_eq!(json["image_digest"], DEBIAN_TREE_DIGEST);
    assert_eq!(json["reused"], true);
    assert_eq!(json["uploaded"]["sent_bytes"], 0);
    assert_eq!(json["uploaded"]["etag"], first["uploaded"]["etag"]);
    assert!(json["read_bytes"].as_u64().unwrap() > 0);

    assert_eq!(cloud.uploads(), 0);
}

#[test]
fn an_object_that_holds_another_disk_or_is_not_what_its_manifest_describes_is_refused() {
    let cloud = Cloud::start(&["images"]);
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("noise.raw");
    let mut bytes = noise(6 << 20);
    fs::write(&disk, &bytes).unwrap();
    let import = |more: &[&str]| {
        run(cloud
            .command()
            .arg("import")
            .arg(&disk)
            .args(["--name", "a", "--bucket", "images", "--os-version", DEBIAN])
            .args(["--register", "none", "--json"])
            .args(more))
    };
    import(&[]).success();
    let before = cloud.object("images", "a.zvhd2");
    let tried = import(&["--dry-run"]);
    tried.success();
    assert!(
        tried.stderr.contains("if it holds the same disk"),
        "{}",
        tried.stderr
    );
    bytes[5 << 20] ^= 1;
    fs::write(&disk, &bytes).unwrap();
    let other = import(&[]);
    assert_eq!(other.code, Some(2), "{}", other.stderr);
    assert!(
        other.stderr.contains("holds another disk"),
        "{}",
        other.stderr
    );
    assert!(
        other.stderr.contains("--if-exists replace"),
        "{}",
        other.stderr
    );
    assert!(cloud.object("images", "a.zvhd2") == before);

    // The object was replaced by somebody else: its manifest says nothing of it.
    let small = dir.path().join("small");
    fs::write(&small, "something else").unwrap();
    run(cloud
        .command()
        .arg("upload")
        .arg(&small)
        .args([OBJECT, "--force"]))
    .success();
    let replaced = import(&[]);
    assert_eq!(replaced.code, Some(2), "{}", replaced.stderr);
    assert!(
        replaced.stderr.contains("already exists, with 14 bytes"),
        "{}",
        replaced.stderr
    );
    assert_eq!(cloud.object("images", "a.zvhd2"), b"something else");
}

/// A storage alone, as somebody has it who has no image service.
fn without_image_service(cloud: &Cloud) -> Command {
    let mut command = cloud.command();
    command
        .env("IMGFERRY_IMS_ENDPOINT", "http://127.0.0.1:1")
        .env("IMGFERRY_IAM_ENDPOINT", "http://127.0.0.1:1")
        .env_remove("HW_USER_NAME")
        .env_remove("HW_USER_PASSWORD")
        .env_remove("HW_DOMAIN_NAME")
        .env_remove("HW_PROJECT_ID");
    command
}

#[test]
fn what_is_not_registered_needs_neither_image_service_nor_operating_system() {
    let cloud = Cloud::start(&["images"]);
    let disk = testdata("debian-tree.qcow2");
    for dry in [true, false] {
        let mut command = without_image_service(&cloud);
        command.arg("import").arg(&disk);
        command.args(["--name", "a", "--bucket", "images", "--register", "none"]);
        command.args(dry.then_some("--dry-run"));
        run(&mut command).success();
    }
    let manifest = cloud.state().join("fleet.yaml");
    fs::create_dir_all(cloud.state()).unwrap();
    let text = format!(
        "version: 1\ndefaults:\n  bucket: images\n  register: none\nimages:\n  - {{source: {}, name: b}}\n",
        disk.display()
    );
    fs::write(&manifest, text).unwrap();
    for what in ["plan", "run", "clean"] {
        let mut command = without_image_service(&cloud);
        let done = run(command.arg("batch").arg(what).arg(&manifest));
        done.success();
    }
    let stored = cloud.objects("images");
    for key in ["a.zvhd2", "b.zvhd2"] {
        assert!(stored.iter().any(|stored| stored == key), "{stored:?}");
    }
}
