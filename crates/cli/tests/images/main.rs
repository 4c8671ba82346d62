//! Looking after images, as a user does it, against a sandbox in another process.

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
mod others;
mod registering;

use common::cloud::Cloud;
use common::{DEBIAN_TREE_DIGEST, Run, json_of, run};
use serde_json::Value;

/// A sandbox with one image, and the image's id.
fn with_image(name: &str) -> (Cloud, String) {
    let cloud = Cloud::start(&["images"]);
    let id = import(&cloud, &["--name", name])["image_id"]
        .as_str()
        .unwrap()
        .to_owned();
    (cloud, id)
}

#[track_caller]
fn import(cloud: &Cloud, options: &[&str]) -> Value {
    let run = run(cloud.import().args(options).arg("--json"));
    run.success();
    json_of(&run)
}

fn ferry(cloud: &Cloud, args: &[&str]) -> Run {
    run(cloud.command().args(args))
}

#[track_caller]
fn told(cloud: &Cloud, args: &[&str]) -> Value {
    let run = run(cloud.command().args(args).arg("--json"));
    run.success();
    json_of(&run)
}

#[track_caller]
fn refused(cloud: &Cloud, args: &[&str], code: i32, says: &str) -> Run {
    let run = ferry(cloud, args);
    assert_eq!(run.code, Some(code), "{}", run.stderr);
    assert!(run.stderr.contains(says), "{}", run.stderr);
    run
}

#[test]
fn an_image_is_listed_shown_changed_tagged_and_deleted() {
    let (cloud, id) = with_image("web 01");
    let listed = told(&cloud, &["image", "list", "--name", "web 01"]);
    assert_eq!(listed["images"][0]["id"], id.as_str());
    assert_eq!(
        told(&cloud, &["image", "list", "--name", "other"])["images"],
        Value::Array(vec![])
    );
    let text = ferry(&cloud, &["image", "list"]);
    assert!(text.success().text().contains("web 01"), "{}", text.text());
    assert_eq!(told(&cloud, &["image", "show", &id])["status"], "active");

    let set = told(
        &cloud,
        &[
            "image",
            "set",
            &id,
            "--name",
            "web 02",
            "--firmware",
            "uefi",
            "--min-disk",
            "40",
            "--protected",
            "true",
            "--property",
            "owner_team=infra",
        ],
    );
    assert_eq!(set["name"], "web 02");
    assert_eq!(set["hw_firmware_type"], "uefi");
    assert_eq!(set["min_disk"], 40);
    assert_eq!(told(&cloud, &["image", "show", &id])["owner_team"], "infra");

    let tags = told(&cloud, &["image", "tag", &id, "env=prod", "tier=web"]);
    assert_eq!(tags["tags"].as_array().unwrap().len(), 2);
    let found = told(&cloud, &["image", "list", "--tag", "env=prod"]);
    assert_eq!(found["images"][0]["id"], id.as_str());
    let tags = told(&cloud, &["image", "untag", &id, "env"]);
    assert_eq!(tags["tags"][0]["key"], "tier");

    refused(&cloud, &["image", "delete", &id], 2, "--yes");
    refused(&cloud, &["image", "delete", &id, "--yes"], 3, "IMG.0028");
    told(&cloud, &["image", "set", &id, "--protected", "false"]);
    assert_eq!(
        told(&cloud, &["image", "delete", &id, "--yes"])["deleted"][0],
        id.as_str()
    );
    refused(&cloud, &["image", "show", &id], 3, "there is no image");
    refused(
        &cloud,
        &["image", "delete", &id, "--yes"],
        3,
        "there is no image",
    );
}

#[test]
fn a_copy_is_an_image_of_its_own_with_the_same_content() {
    let (cloud, id) = with_image("a");
    let job = told(&cloud, &["image", "copy", &id, "--name", "b"]);
    let copy = job["image_id"].as_str().unwrap();
    assert_ne!(copy, id);
    told(&cloud, &["image", "delete", &id, "--yes"]);
    let shown = told(&cloud, &["image", "show", copy]);
    assert_eq!(shown["status"], "active");
    assert_eq!(shown["__imgferry_content_digest"], DEBIAN_TREE_DIGEST);
    refused(
        &cloud,
        &["image", "copy", copy, "--name", "b"],
        3,
        "IMG.0009",
    );
}

#[test]
fn an_export_closes_the_circle() {
    let (cloud, id) = with_image("circle");
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("out.raw");
    let path = raw.to_str().unwrap();
    let export = ["export", &id, path, "--bucket", "images"];
    let told_of = told(&cloud, &export);
    assert_eq!(told_of["digest"], DEBIAN_TREE_DIGEST);
    assert_eq!(told_of["object_deleted"], true);
    assert_eq!(
        told(&cloud, &["digest", path])["digest"],
        DEBIAN_TREE_DIGEST
    );
    // Nothing but the import's own object and the one file is left.
    assert_eq!(cloud.objects("images"), ["circle.zvhd2"]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    refused(&cloud, &export, 2, "exists");

    let zvhd2 = dir.path().join("out.zvhd2");
    let path = zvhd2.to_str().unwrap();
    let object = ["--bucket", "images", "--key", "kept.zvhd2"];
    let mut args = vec!["export", &id, path, "--keep-object"];
    args.extend(object);
    assert_eq!(told(&cloud, &args)["object_deleted"], false);
    assert_eq!(
        told(&cloud, &["digest", path])["digest"],
        DEBIAN_TREE_DIGEST
    );
    // The object is there: exporting again is refused by the service, taking it is not.
    args.push("--force");
    refused(&cloud, &args, 3, "IMG.0070");
    args.push("--reuse-object");
    told(&cloud, &args);
    assert_eq!(cloud.objects("images").len(), 2);
}

#[test]
fn a_damaged_export_is_never_taken_for_the_image() {
    let (cloud, id) = with_image("circle");
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("out.raw");
    let to = "obs://images/export.zvhd2";
    told(&cloud, &["image", "export", &id, to]);
    let file = cloud.object_path("images", "export.zvhd2");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&file, bytes).unwrap();
    let export = [
        "export",
        &id,
        raw.to_str().unwrap(),
        "--bucket",
        "images",
        "--key",
        "export.zvhd2",
        "--reuse-object",
    ];
    let run = ferry(&cloud, &export);
    assert!(
        matches!(run.code, Some(2 | 5)),
        "{:?} {}",
        run.code,
        run.stderr
    );
    assert!(run.stderr.contains("stays in the bucket"), "{}", run.stderr);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_download_that_is_not_what_the_etag_says_is_a_mismatch() {
    let (cloud, id) = with_image("circle");
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("out.raw");
    let key = ["--bucket", "images", "--key", "export.zvhd2"];
    let export = [
        &[
            "export",
            &id,
            raw.to_str().unwrap(),
            "--keep-object",
            "--force",
        ],
        &key[..],
    ]
    .concat();
    assert_eq!(told(&cloud, &export)["md5_compared"], true);
    // Damage that the storage does not know of: it compares size and time.
    let path = cloud.object_path("images", "export.zvhd2");
    let time = std::fs::metadata(&path).unwrap().modified().unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let at = file.metadata().unwrap().len() / 2;
    let mut byte = [0];
    std::os::unix::fs::FileExt::read_exact_at(&std::fs::File::open(&path).unwrap(), &mut byte, at)
        .unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[byte[0] ^ 0xff], at).unwrap();
    file.set_modified(time).unwrap();
    let before = std::fs::read(&raw).unwrap();
    let again = [&export[..], &["--reuse-object"]].concat();
    let run = refused(&cloud, &again, 5, "the object's ETag is");
    assert!(run.stderr.contains("stays in the bucket"), "{}", run.stderr);
    assert_eq!(std::fs::read(&raw).unwrap(), before);
}

#[test]
fn images_are_shared_accepted_and_no_longer_shared() {
    let (cloud, id) = with_image("shared");
    let other = "9c61004714024f9586705d090530f9fa";
    told(&cloud, &["image", "share", &id, "--project", other]);
    assert_eq!(
        told(&cloud, &["image", "list", "--owner", "shared"])["images"][0]["id"],
        id.as_str()
    );
    let own = cloud.variable("HW_PROJECT_ID");
    refused(
        &cloud,
        &["image", "share", &id, "--project", &own],
        3,
        "IMG.0076",
    );
    refused(&cloud, &["image", "accept", &id], 3, "IMG.0086");
    told(&cloud, &["image", "unshare", &id, "--project", other]);
    assert_eq!(
        told(&cloud, &["image", "list", "--owner", "shared"])["images"],
        Value::Array(vec![])
    );
}

#[test]
fn a_job_that_another_run_started_can_be_shown_and_followed() {
    let (cloud, id) = with_image("a");
    let started = told(&cloud, &["image", "copy", &id, "--name", "b", "--no-wait"]);
    let job = started["job_id"].as_str().unwrap();
    let ended = told(&cloud, &["job", "wait", job]);
    assert_eq!(ended["status"], "SUCCESS");
    assert_eq!(
        told(&cloud, &["job", "show", job])["image_id"],
        ended["image_id"]
    );
    refused(&cloud, &["job", "show", "no-such-job"], 3, "IMG.0023");
    refused(&cloud, &["job", "show", "../x"], 2, "an id has");
}

#[test]
fn quota_and_operating_systems_are_listed() {
    let (cloud, _) = with_image("a");
    assert_eq!(told(&cloud, &["quota"])["quotas"][0]["used"], 1);
    let text = ferry(&cloud, &["os-versions", "debian"]).success().text();
    assert!(text.contains("Debian GNU/Linux 12"), "{text}");
    assert!(!text.contains("Ubuntu"), "{text}");
}

#[test]
fn servers_and_volumes_that_do_not_exist_are_refused_in_the_services_words() {
    let cloud = Cloud::start(&["images"]);
    let create = |source: &[&str], says: &str| {
        let args = [&["image", "create", "--name", "n"], source].concat();
        refused(&cloud, &args, 3, says);
    };
    create(&["--server", "877a2cda"], "IMG.0005");
    create(&["--data-volume", "877a2cda"], "IMG.0120");
    create(&["--volume", "877a2cda", "--os-version", "x"], "IMG.0120");
    create(&["--whole-server", "877a2cda"], "IMG.0005");
    create(&["--backup", "877a2cda"], "IMG.0127");
    refused(&cloud, &["image", "create", "--name", "n"], 2, "--server");
}
