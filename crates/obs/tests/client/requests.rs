//! What goes over the wire, and what is read from the answers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use obs::{BucketInfo, ErrorKind};
use testkit::http::{Recorded, Reply};

use super::fake::{Fake, Op, md5};
use super::lifecycle::upload;

async fn requests(wanted: fn(Op) -> bool) -> Vec<Recorded> {
    let fake = Fake::start().await;
    upload(&fake, 1500).await.unwrap();
    let mut requests = fake.server.requests();
    requests.retain(|request| wanted(Op::of(request)));
    assert!(!requests.is_empty());
    requests
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_carries_checksums_or_trailers_that_obs_does_not_know() {
    for request in requests(|_| true).await {
        for (name, value) in &request.headers {
            let name = name.to_ascii_lowercase();
            assert!(!name.starts_with("x-amz-checksum"), "{name}");
            assert!(!name.starts_with("x-amz-sdk-checksum"), "{name}");
            assert!(
                name != "x-amz-trailer" && name != "transfer-encoding",
                "{name}"
            );
            assert!(!value.contains("aws-chunked"), "{name}: {value}");
            assert!(!value.contains("STREAMING-"), "{name}: {value}");
        }
        let authorization = request.header("authorization").unwrap();
        assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKID/"));
        assert!(authorization.contains("/region-1/s3/aws4_request"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_part_carries_its_md5_and_over_http_a_signed_payload() {
    let parts = requests(|op| matches!(op, Op::Part(_))).await;
    let mut payloads = Vec::new();
    for part in parts {
        let length = part.header("content-length").unwrap();
        assert_eq!(length, part.body.len().to_string());
        assert_eq!(
            part.header("content-md5"),
            Some(BASE64.encode(md5(&part.body)).as_str())
        );
        let signed = part.header("authorization").unwrap();
        assert!(signed.contains("content-md5"), "Content-MD5 is signed");
        payloads.push(part.header("x-amz-content-sha256").unwrap().to_owned());
    }
    assert!(payloads.iter().all(|hash| hash.len() == 64), "{payloads:?}");
    assert_ne!(payloads.first(), payloads.last());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upload_begins_in_storage_class_standard() {
    for request in requests(|op| op == Op::Create).await {
        assert_eq!(request.header("x-amz-storage-class"), Some("STANDARD"));
        assert_eq!(
            request.header("content-type"),
            Some("application/octet-stream")
        );
        assert_eq!(request.target, "/bucket/key?uploads");
    }
}

async fn bucket_answer(reply: Reply) -> Result<BucketInfo, obs::Error> {
    let fake = Fake::with(move |_, _| reply.clone()).await;
    let answer = fake.client.bucket("bucket").await;
    assert_eq!(
        fake.server.requests().len(),
        1,
        "no answer here is worth a second try"
    );
    answer
}

#[tokio::test]
async fn bucket_tells_class_region_and_kind() {
    let info = bucket_answer(
        Reply::status(200)
            .header("x-default-storage-class", "STANDARD_IA")
            .header("x-amz-bucket-region", "eu-west-101"),
    )
    .await
    .unwrap();
    assert_eq!(info.storage_class.as_deref(), Some("STANDARD_IA"));
    assert_eq!(info.region.as_deref(), Some("eu-west-101"));
    assert!(!info.parallel_file_system);

    let info = bucket_answer(
        Reply::status(200)
            .header("x-obs-storage-class", "STANDARD")
            .header("x-obs-bucket-location", "cn-north-4")
            .header("x-obs-fs-file-interface", "Enabled"),
    )
    .await
    .unwrap();
    assert_eq!(info.storage_class.as_deref(), Some("STANDARD"));
    assert_eq!(info.region.as_deref(), Some("cn-north-4"));
    assert!(info.parallel_file_system);

    assert_eq!(
        bucket_answer(Reply::status(200)).await.unwrap(),
        BucketInfo::default()
    );
}

#[tokio::test]
async fn bucket_that_is_missing_elsewhere_or_closed_says_so() {
    let error = bucket_answer(Reply::status(404)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        error.to_string(),
        "bucket bucket: there is no bucket of this name"
    );
    assert!(error.hint().is_some());

    let error = bucket_answer(Reply::status(403)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied);

    let elsewhere = Reply::status(301)
        .header("x-obs-error-code", "PermanentRedirect")
        .header("Location", "https://bucket.obs.eu-west-0.example.com/");
    let error = bucket_answer(elsewhere).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongRegion);
    assert!(
        error
            .hint()
            .unwrap()
            .to_string()
            .contains("obs.eu-west-0.example.com")
    );
}

#[tokio::test]
async fn missing_object_is_none_and_missing_bucket_an_error() {
    let fake = Fake::start().await;
    assert_eq!(fake.client.object("bucket", "none").await.unwrap(), None);

    let fake =
        Fake::with(|_, _| Reply::status(404).header("x-obs-error-code", "NoSuchBucket")).await;
    let error = fake.client.object("bucket", "none").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn each_attempt_is_a_request_of_its_own() {
    let fake = Fake::with(|_, _| super::fake::error(503, "SlowDown")).await;
    fake.client.bucket("bucket").await.unwrap_err();
    assert_eq!(fake.server.requests().len(), 4);
}
