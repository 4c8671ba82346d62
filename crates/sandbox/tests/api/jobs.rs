//! Jobs that fail, and what outlives a sandbox.

use std::time::Duration;

use sandbox::faults::Faults;
use sandbox::{ImageStatus, Options};
use serde_json::{Value, json};
use testkit::vectors;

use crate::cloud::{Cloud, good, with};
use crate::imports::{TINY, debian_tree};

#[tokio::test]
async fn damaged_and_foreign_files_fail_the_job_with_the_reason() {
    let cloud = Cloud::start().await;
    let read = |name: &str| std::fs::read(vectors::vector(name).unwrap().path()).unwrap();
    let good = read("tiny");
    // The length in the header of the first data block.
    let mut header = good.clone();
    header[4096 + 13] ^= 0x40;
    // In the middle of a compressed frame, whose checksum tells.
    let mut flipped = debian_tree().1;
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x40;
    let mut cut = good.clone();
    cut.truncate(good.len() - 4096);
    for (name, bytes, code, says) in [
        ("header", header, "IMG.1075", "at byte 4096 ("),
        ("flipped", flipped, "IMG.1075", "data block"),
        ("cut", cut, "IMG.1075", "truncated"),
        ("version1", read("tiny-v1"), "IMG.0158", "neither ZVHD2"),
        (
            "text",
            b"no disk\n".repeat(999),
            "IMG.0158",
            "neither ZVHD2",
        ),
    ] {
        cloud.put("disk.zvhd2", bytes);
        let job = cloud.import_and_wait(&with("name", name)).await;
        assert_eq!(job["status"], "FAIL", "{name}");
        assert_eq!(job["error_code"], code);
        let reason = job["fail_reason"].as_str().unwrap();
        assert!(reason.contains(says), "{name}: {reason}");
        let place = cloud.dir.path().to_str().unwrap();
        assert!(!reason.contains(place), "{reason}");
        assert_ne!(job["end_time"], "");
        let (_, listed) = cloud.get(&format!("v2/cloudimages?name={name}")).await;
        assert_eq!(listed["images"][0]["status"], "killed");
        let digest = &listed["images"][0]["__imgferry_content_digest"];
        assert_eq!(digest, &Value::Null);
    }
}

#[tokio::test]
async fn an_object_that_is_deleted_before_its_job_fails_the_job() {
    let delay = |options: &mut Options| options.faults.job_delay = Duration::from_millis(300);
    let cloud = Cloud::start_with(delay).await;
    cloud.put_vector("tiny", "disk.zvhd2");
    let (_, answer) = cloud.import(&good()).await;
    std::fs::remove_file(cloud.object_path("images", "disk.zvhd2")).unwrap();
    let job = cloud.wait(answer["job_id"].as_str().unwrap()).await;
    assert_eq!(
        (&job["status"], &job["error_code"]),
        (&json!("FAIL"), &json!("IMG.0057"))
    );
    let reason = job["fail_reason"].as_str().unwrap();
    assert!(reason.contains("images:disk.zvhd2"), "{reason}");
}

#[tokio::test]
async fn a_disk_larger_than_min_disk_fails_the_job() {
    let cloud = Cloud::start().await;
    // Some MiB more than 130 GiB.
    cloud.put_vector("sparse-130g", "disk.zvhd2");
    let job = cloud.import_and_wait(&with("min_disk", 130)).await;
    assert_eq!(job["status"], "FAIL");
    assert_eq!(job["error_code"], "IMG.0055");
    let reason = job["fail_reason"].as_str().unwrap();
    assert!(reason.contains("min_disk (130 GiB)"), "{reason}");
}

#[tokio::test]
async fn images_survive_a_restart_and_unfinished_jobs_are_done_again() {
    let cloud = Cloud::start().await;
    cloud.put_vector("tiny", "disk.zvhd2");
    cloud.import_and_wait(&good()).await;
    let cloud = cloud
        .restart(|options| options.faults.job_delay = Duration::from_secs(3600))
        .await;
    let (_, answer) = cloud.import(&with("name", "second")).await;
    let job_id = answer["job_id"].as_str().unwrap().to_owned();
    let (_, job) = cloud.get(&format!("v1/cloudimages/job/{job_id}")).await;
    assert_eq!(job["status"], "INIT");
    assert_eq!(cloud.sandbox.images()[1].status, ImageStatus::Queued);

    let cloud = cloud.restart(|_| {}).await;
    let job = cloud.wait(&job_id).await;
    assert_eq!(job["status"], "SUCCESS");
    let digests: Vec<_> = cloud
        .sandbox
        .images()
        .into_iter()
        .map(|image| image.content_digest.unwrap())
        .collect();
    assert_eq!(digests, [TINY, TINY]);
}

#[tokio::test]
async fn ordered_faults_refuse_imports_and_fail_jobs() {
    let cloud = Cloud::start_with(|options| {
        options.faults = Faults {
            flow_control: 2,
            fail_jobs: Some("no backend".to_owned()),
            ..Faults::default()
        };
    })
    .await;
    cloud.put_vector("tiny", "disk.zvhd2");
    for _ in 0..2 {
        let (status, answer) = cloud.import(&good()).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (400, &json!("IMG.0060"))
        );
    }
    let job = cloud.import_and_wait(&good()).await;
    assert_eq!(job["status"], "FAIL");
    assert_eq!(job["fail_reason"], "no backend");
}

#[tokio::test]
async fn what_does_not_exist_is_404_and_large_bodies_are_refused() {
    let cloud = Cloud::start().await;
    let (status, body) = cloud.get("v9/nothing").await;
    assert_eq!((status, &body["error_code"]), (404, &json!("APIGW.0101")));
    let project = cloud.sandbox.project_id();
    assert_eq!(cloud.get(&format!("v1/{project}/jobs/none")).await.0, 404);
    assert_eq!(cloud.get("v1/cloudimages/job/none").await.0, 404);
    let (status, body) = cloud.get("v1/elsewhere/jobs/none").await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("IMG.0067")));
    assert_eq!(cloud.import_text(" ".repeat(2 << 20)).await.0, 413);
    // Nested deeper than a parser's stack should follow.
    let (status, _) = cloud.import_text("[".repeat(500_000)).await;
    assert_eq!(status, 400);
    let (_, versions) = cloud.get("v1/cloudimages/os_version").await;
    assert!(!versions.as_array().unwrap().is_empty());
}
