//! What the user gets when the cloud fails: retries that succeed, or a clear end with its exit
//! code.

use std::fs;
use std::process::Stdio;

use crate::common::cloud::Cloud;
use crate::common::{self, DEBIAN, DEBIAN_TREE_DIGEST, Run, command, json_of, testdata};
use sandbox::faults::Faults;
use sandbox::{Options, Sandbox};

/// Imports the real disk into a sandbox that has these faults.
fn import_with(faults: Faults, more: &[&str]) -> Run {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sandbox = runtime.block_on(async {
        let mut options = Options::new(dir.path());
        options.buckets = vec!["images".into()];
        options.storage_classes = [("cold".to_owned(), "GLACIER".to_owned())].into();
        options.bucket_regions = [("far".to_owned(), "elsewhere-1".to_owned())].into();
        options.faults = faults;
        Sandbox::start(options).await.unwrap()
    });
    let run = command()
        .envs(sandbox.environment())
        .env("IMGFERRY_PATH_STYLE", "true")
        .arg("import")
        .arg(testdata("debian-tree.qcow2"))
        .args(["--name", "a", "--os-version", DEBIAN, "--json"])
        .args(more)
        .output()
        .unwrap()
        .into();
    runtime.block_on(sandbox.shutdown());
    run
}

#[test]
fn a_server_that_is_busy_now_and_then_costs_retries_and_nothing_else() {
    let run = import_with(
        Faults {
            upload_part_unavailable: vec![1, 2],
            complete_answer_lost: vec![1],
            flow_control: 2,
            ..Faults::default()
        },
        &["--bucket", "images"],
    );
    run.success();
    let json = json_of(&run);
    assert_eq!(json["image_digest"], DEBIAN_TREE_DIGEST);
    assert_eq!(json["uploaded"]["retries"], 2);
    // Each retry is told.
    assert!(
        run.stderr.contains("attempt 2 of 6 failed"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("IMG.0060"), "{}", run.stderr);
}

#[test]
fn a_failed_job_is_exit_code_3_with_its_reason_and_its_id() {
    let run = import_with(
        Faults {
            fail_jobs: Some("the disk array is on fire".into()),
            ..Faults::default()
        },
        &["--bucket", "images"],
    );
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    assert!(
        run.stderr.contains("the disk array is on fire"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("the import job is"), "{}", run.stderr);
    assert_eq!(json_of(&run)["error"]["exit_code"], 3);
}

#[test]
fn a_bucket_of_another_storage_class_is_refused_before_the_upload() {
    let run = import_with(Faults::default(), &["--bucket", "cold"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("STANDARD"), "{}", run.stderr);
}

#[test]
fn a_bucket_of_another_region_is_refused_before_the_upload() {
    let run = import_with(Faults::default(), &["--bucket", "far"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("IMG.0058"), "{}", run.stderr);
    assert!(run.stderr.contains("elsewhere-1"), "{}", run.stderr);
}

#[test]
fn a_cloud_without_the_call_for_data_files_takes_zvhd2_by_quick_import_and_refuses_the_rest_early()
{
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sandbox = runtime.block_on(async {
        let mut options = Options::new(dir.path());
        options.buckets = vec!["images".into()];
        options.faults.without_data_files = true;
        Sandbox::start(options).await.unwrap()
    });
    let import = |disk: &str| -> Run {
        command()
            .envs(sandbox.environment())
            .env("IMGFERRY_PATH_STYLE", "true")
            .arg("import")
            .arg(testdata(disk))
            .args(["--name", "a", "--bucket", "images", "--type", "DataImage"])
            .args(["--register", "common", "--json"])
            .output()
            .unwrap()
            .into()
    };
    let refused = import("debian-tree.qcow2");
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("--register quick"),
        "{}",
        refused.stderr
    );
    let objects = dir.path().join("obs/images");
    assert_eq!(
        fs::read_dir(&objects).unwrap().count(),
        0,
        "nothing was uploaded"
    );
    let taken = import("zvhd2/tiny.zvhd2");
    taken.success();
    let json = json_of(&taken);
    assert_eq!(json["register"], "quick");
    assert!(
        json["register_reason"]
            .as_str()
            .unwrap()
            .contains("quick import only")
    );
    assert_eq!(json["status"], "active");
    runtime.block_on(sandbox.shutdown());
}

#[test]
fn a_minimum_disk_that_is_not_the_one_asked_for_is_told() {
    let run = import_with(
        Faults {
            other_min_disk: Some(80),
            ..Faults::default()
        },
        &["--bucket", "images"],
    );
    run.success();
    let told = "has min_disk 80 GiB, 2 GiB was requested";
    assert!(run.stderr.contains(told), "{}", run.stderr);
}

#[test]
fn a_user_without_the_right_is_told_which_one_is_missing() {
    let run = import_with(
        Faults {
            may_only_look: true,
            ..Faults::default()
        },
        &["--bucket", "images"],
    );
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    assert!(run.stderr.contains("IMG.0026"), "{}", run.stderr);
    assert!(
        run.stderr.contains("ims:serverImages:create"),
        "{}",
        run.stderr
    );
    // What is uploaded is not lost: the next run registers it.
    assert!(run.stderr.contains("stays in the bucket"), "{}", run.stderr);
}

#[test]
fn a_server_that_is_gone_is_exit_code_4_and_the_upload_is_named() {
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
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A part has arrived: the program knows its upload.
    let has_part =
        |dir: &std::path::PathBuf| fs::read_dir(dir).is_ok_and(|files| files.count() > 1);
    common::wait_until(|| cloud.upload_dirs().iter().any(has_part));
    drop(cloud);
    let run: Run = child.wait_with_output().unwrap().into();
    assert_eq!(run.code, Some(4), "{}", run.stderr);
    assert!(run.stderr.contains("is kept"), "{}", run.stderr);
    assert!(run.stderr.contains("to resume, run: "), "{}", run.stderr);
    assert!(
        run.stderr.contains("attempt 5 of 6 failed"),
        "{}",
        run.stderr
    );
}
