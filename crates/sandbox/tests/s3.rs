//! The S3 server, driven by the SDK that clients use.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    missing_docs,
    reason = "tests"
)]

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, StorageClass};
use md5::{Digest as _, Md5};
use net::secret::ExposeSecret as _;
use sandbox::faults::Faults;
use sandbox::{Options, Sandbox};
use tempfile::TempDir;

const BUCKET: &str = "images";
const KEY: &str = "path/to/disk.zvhd2";
const KIB: usize = 1024;

fn options(dir: &TempDir) -> Options {
    let mut options = Options::new(dir.path().join("sandbox"));
    options.buckets = vec![BUCKET.to_owned()];
    options
}

async fn start() -> (TempDir, Sandbox) {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(options(&dir)).await.unwrap();
    (dir, sandbox)
}

fn client_with(sandbox: &Sandbox, id: &str, secret: &str, region: &str) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .endpoint_url(sandbox.obs_endpoint().as_str())
        .credentials_provider(Credentials::new(id, secret, None, None, "test"))
        .force_path_style(true)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}

fn client(sandbox: &Sandbox) -> Client {
    let key = sandbox.access_key();
    client_with(
        sandbox,
        &key.id,
        key.secret.expose_secret(),
        sandbox.region(),
    )
}

/// Bytes that differ from part to part.
fn bytes(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| (i / 7) as u8 ^ seed).collect()
}

fn md5_hex(bytes: &[u8]) -> String {
    hex::encode(Md5::digest(bytes))
}

async fn begin(client: &Client) -> String {
    let begun = client
        .create_multipart_upload()
        .bucket(BUCKET)
        .key(KEY)
        .storage_class(StorageClass::Standard)
        .send()
        .await
        .unwrap();
    begun.upload_id.unwrap()
}

async fn upload(client: &Client, id: &str, number: i32, body: Vec<u8>) -> CompletedPart {
    let answer = client
        .upload_part()
        .bucket(BUCKET)
        .key(KEY)
        .upload_id(id)
        .part_number(number)
        .body(ByteStream::from(body))
        .send()
        .await
        .unwrap();
    CompletedPart::builder()
        .part_number(number)
        .e_tag(answer.e_tag.unwrap())
        .build()
}

/// Completes; the ETag, or the code that it was refused with.
async fn complete(client: &Client, id: &str, parts: &[CompletedPart]) -> Result<String, String> {
    let parts = CompletedMultipartUpload::builder()
        .set_parts(Some(parts.to_vec()))
        .build();
    client
        .complete_multipart_upload()
        .bucket(BUCKET)
        .key(KEY)
        .upload_id(id)
        .multipart_upload(parts)
        .send()
        .await
        .map(|answer| answer.e_tag.unwrap())
        .map_err(|error| code(&error))
}

fn code<E: ProvideErrorMetadata>(error: &E) -> String {
    error.code().unwrap_or("none").to_owned()
}

async fn object(client: &Client) -> Vec<u8> {
    let answer = client.get_object().bucket(BUCKET).key(KEY).send().await;
    let body = answer.unwrap().body.collect().await.unwrap();
    body.into_bytes().to_vec()
}

#[tokio::test]
async fn multipart_upload_becomes_the_object_with_the_multipart_etag() {
    let (dir, sandbox) = start().await;
    let client = client(&sandbox);
    let id = begin(&client).await;
    assert_eq!(id.len(), 32);
    let bodies = [bytes(1, 300 * KIB), bytes(2, 200 * KIB), bytes(3, 5)];
    // Out of order, and with gaps between the numbers.
    let third = upload(&client, &id, 9, bodies[2].clone()).await;
    let first = upload(&client, &id, 2, bodies[0].clone()).await;
    let second = upload(&client, &id, 5, bodies[1].clone()).await;
    assert_eq!(
        first.e_tag(),
        Some(format!("\"{}\"", md5_hex(&bodies[0])).as_str())
    );
    let head = client.head_object().bucket(BUCKET).key(KEY).send().await;
    assert!(head.is_err(), "an unfinished upload must not be an object");

    let etag = complete(&client, &id, &[first, second, third]).await;
    let digests: Vec<u8> = bodies.iter().flat_map(Md5::digest).collect();
    let expected = format!("\"{}-3\"", md5_hex(&digests));
    assert_eq!(etag.as_deref(), Ok(expected.as_str()));

    let head = client.head_object().bucket(BUCKET).key(KEY).send().await;
    let head = head.unwrap();
    assert_eq!(head.e_tag(), Some(expected.as_str()));
    assert_eq!(head.content_length(), Some((500 * KIB + 5) as i64));
    assert_eq!(head.storage_class(), Some(&StorageClass::Standard));
    assert_eq!(object(&client).await, bodies.concat());
    // The import opens the object by its path.
    let path = dir.path().join("sandbox/obs").join(BUCKET).join(KEY);
    assert_eq!(std::fs::read(path).unwrap(), bodies.concat());
    let left = std::fs::read_dir(dir.path().join("sandbox/uploads")).unwrap();
    assert_eq!(left.count(), 0, "parts of a completed upload must go");
}

#[tokio::test]
async fn wrong_secret_unknown_key_and_wrong_region_are_refused() {
    let (_dir, sandbox) = start().await;
    let key = sandbox.access_key();
    let secret = key.secret.expose_secret();
    for (id, secret, region, expected) in [
        (
            key.id.as_str(),
            "wrong",
            sandbox.region(),
            "SignatureDoesNotMatch",
        ),
        ("NOBODY", secret, sandbox.region(), "InvalidAccessKeyId"),
        (
            key.id.as_str(),
            secret,
            "elsewhere-1",
            "AuthorizationHeaderMalformed",
        ),
    ] {
        let client = client_with(&sandbox, id, secret, region);
        let refused = client.list_buckets().send().await.unwrap_err();
        assert_eq!(code(&refused), expected);
    }
}

#[tokio::test]
async fn anonymous_requests_are_refused_and_answers_carry_a_request_id() {
    let (_dir, sandbox) = start().await;
    let url = sandbox.obs_endpoint().join("images/x").unwrap();
    let answer = reqwest::get(url).await.unwrap();
    assert_eq!(answer.status(), 403);
    assert_eq!(answer.headers()["x-amz-request-id"].len(), 32);
    assert!(answer.text().await.unwrap().contains("AccessDenied"));
}

#[tokio::test]
async fn checksum_trailers_are_refused_as_obs_does() {
    let (dir, sandbox) = start().await;
    let key = sandbox.access_key();
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(sandbox.region().to_owned()))
        .endpoint_url(sandbox.obs_endpoint().as_str())
        .credentials_provider(Credentials::new(
            &key.id,
            key.secret.expose_secret(),
            None,
            None,
            "test",
        ))
        .force_path_style(true)
        .retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled())
        .build();
    let file = dir.path().join("body");
    std::fs::write(&file, b"abc").unwrap();
    let refused = Client::from_conf(config)
        .put_object()
        .bucket(BUCKET)
        .key(KEY)
        .body(ByteStream::from_path(&file).await.unwrap())
        .send()
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "XAmzContentSHA256Mismatch");
}

#[tokio::test]
async fn parts_are_listed_by_number_in_pages_with_size_and_etag() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    let id = begin(&client).await;
    for number in [7, 1, 10_000, 3, 2] {
        upload(&client, &id, number, bytes(number as u8, number as usize)).await;
    }
    // The same number again: the last one counts.
    upload(&client, &id, 3, bytes(33, 33)).await;

    let mut seen = Vec::new();
    let mut marker = None;
    let mut pages = 0;
    loop {
        let page = client
            .list_parts()
            .bucket(BUCKET)
            .key(KEY)
            .upload_id(&id)
            .max_parts(2)
            .set_part_number_marker(marker)
            .send()
            .await
            .unwrap();
        pages += 1;
        for part in page.parts() {
            assert!(part.last_modified().is_some());
            let etag = part.e_tag().unwrap().trim_matches('"').to_owned();
            seen.push((part.part_number().unwrap(), part.size().unwrap(), etag));
        }
        if page.is_truncated() != Some(true) {
            break;
        }
        marker = page.next_part_number_marker().map(str::to_owned);
    }
    assert_eq!(pages, 3);
    let expected: Vec<_> = [
        (1, bytes(1, 1)),
        (2, bytes(2, 2)),
        (3, bytes(33, 33)),
        (7, bytes(7, 7)),
        (10_000, bytes(16, 10_000)),
    ]
    .into_iter()
    .map(|(number, body)| (number, body.len() as i64, md5_hex(&body)))
    .collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn aborted_and_completed_uploads_are_unknown() {
    let (dir, sandbox) = start().await;
    let client = client(&sandbox);
    let list = |id: String| client.list_parts().bucket(BUCKET).key(KEY).upload_id(id);

    let id = begin(&client).await;
    upload(&client, &id, 1, bytes(1, 10)).await;
    let abort = client.abort_multipart_upload().bucket(BUCKET).key(KEY);
    abort.clone().upload_id(&id).send().await.unwrap();
    let error = list(id.clone()).send().await.unwrap_err();
    assert_eq!(code(&error), "NoSuchUpload");
    let error = abort.upload_id(&id).send().await.unwrap_err();
    assert_eq!(code(&error), "NoSuchUpload");
    let error = client
        .upload_part()
        .bucket(BUCKET)
        .key(KEY)
        .upload_id(&id)
        .part_number(1)
        .body(ByteStream::from_static(b"x"))
        .send()
        .await
        .unwrap_err();
    assert_eq!(code(&error), "NoSuchUpload");
    for place in ["uploads", "tmp"] {
        let left = std::fs::read_dir(dir.path().join("sandbox").join(place)).unwrap();
        assert_eq!(left.count(), 0, "{place} must be empty after abort");
    }

    let id = begin(&client).await;
    let part = upload(&client, &id, 1, bytes(1, 10)).await;
    complete(&client, &id, &[part]).await.unwrap();
    let error = list(id).send().await.unwrap_err();
    assert_eq!(code(&error), "NoSuchUpload");
    for hostile in ["../../keys.json", "", &"0".repeat(32), &"x".repeat(9000)] {
        let answer = list(hostile.to_owned()).send().await;
        assert!(answer.is_err(), "{hostile:.40}");
    }
}

#[tokio::test]
async fn complete_refuses_wrong_order_wrong_etag_missing_and_small_parts() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    let id = begin(&client).await;
    let small = upload(&client, &id, 1, bytes(1, 100 * KIB - 1)).await;
    let big = upload(&client, &id, 2, bytes(2, 100 * KIB)).await;
    let last = upload(&client, &id, 3, bytes(3, 1)).await;
    let part = |number: i32, etag: &str| {
        CompletedPart::builder()
            .part_number(number)
            .e_tag(etag)
            .build()
    };
    let wrong = part(2, small.e_tag().unwrap());
    let missing = part(4, last.e_tag().unwrap());
    for (parts, expected) in [
        (vec![last.clone(), big.clone()], "InvalidPartOrder"),
        (vec![big.clone(), big.clone()], "InvalidPartOrder"),
        (vec![wrong, last.clone()], "InvalidPart"),
        (vec![big.clone(), missing], "InvalidPart"),
        (
            vec![small.clone(), big.clone(), last.clone()],
            "EntityTooSmall",
        ),
    ] {
        let refused = complete(&client, &id, &parts).await.unwrap_err();
        assert_eq!(refused, expected);
    }
    // None of this has hurt the upload; what is not listed is dropped.
    complete(&client, &id, &[big, last]).await.unwrap();
    assert_eq!(
        object(&client).await,
        [bytes(2, 100 * KIB), bytes(3, 1)].concat()
    );
}

#[tokio::test]
async fn content_md5_that_does_not_match_stores_nothing() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    let wrong = "1B2M2Y8AsgTpgAmY7PhCfg=="; // of no bytes
    let id = begin(&client).await;
    let part = client.upload_part().bucket(BUCKET).key(KEY).upload_id(&id);
    let refused = part
        .part_number(1)
        .content_md5(wrong)
        .body(ByteStream::from_static(b"abc"))
        .send()
        .await
        .unwrap_err();
    assert_eq!(code(&refused), "BadDigest");
    let parts = client.list_parts().bucket(BUCKET).key(KEY).upload_id(&id);
    assert!(parts.send().await.unwrap().parts().is_empty());

    let put = |body: &'static [u8]| {
        let put = client.put_object().bucket(BUCKET).key(KEY);
        put.body(ByteStream::from_static(body))
    };
    put(b"good").send().await.unwrap();
    let refused = put(b"bad").content_md5(wrong).send().await.unwrap_err();
    assert_eq!(code(&refused), "BadDigest");
    assert_eq!(object(&client).await, b"good");
}

/// Exchanges the body after it was signed.
#[derive(Debug)]
struct Forger;

impl aws_sdk_s3::config::Intercept for Forger {
    fn name(&self) -> &'static str {
        "forger"
    }

    fn modify_before_transmit(
        &self,
        context: &mut aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut<'_>,
        _: &aws_sdk_s3::config::RuntimeComponents,
        _: &mut aws_sdk_s3::config::ConfigBag,
    ) -> Result<(), aws_sdk_s3::error::BoxError> {
        *context.request_mut().body_mut() = aws_sdk_s3::primitives::SdkBody::from("evil");
        Ok(())
    }
}

#[tokio::test]
async fn a_body_that_is_not_the_signed_one_is_refused() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    let put = client.put_object().bucket(BUCKET).key(KEY);
    let put = put.body(ByteStream::from_static(b"good")).customize();
    let refused = put.interceptor(Forger).send().await.unwrap_err();
    assert_eq!(code(&refused), "XAmzContentSHA256Mismatch");
    let head = client.head_object().bucket(BUCKET).key(KEY).send().await;
    assert!(head.is_err(), "nothing may be stored");
}

#[tokio::test]
async fn unfinished_uploads_are_listed_by_key_in_pages() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    for key in ["b", "a/2", "a/1", "c"] {
        let create = client.create_multipart_upload().bucket(BUCKET).key(key);
        create.send().await.unwrap();
    }
    let list = client
        .list_multipart_uploads()
        .bucket(BUCKET)
        .max_uploads(3);
    let first = list.clone().send().await.unwrap();
    let keys = |uploads: &[aws_sdk_s3::types::MultipartUpload]| -> Vec<String> {
        uploads
            .iter()
            .map(|u| u.key().unwrap().to_owned())
            .collect()
    };
    assert_eq!(keys(first.uploads()), ["a/1", "a/2", "b"]);
    assert_eq!(first.is_truncated(), Some(true));
    let second = list
        .clone()
        .set_key_marker(first.next_key_marker)
        .set_upload_id_marker(first.next_upload_id_marker)
        .send()
        .await
        .unwrap();
    assert_eq!(keys(second.uploads()), ["c"]);
    let some = list.prefix("a/").send().await.unwrap();
    assert_eq!(keys(some.uploads()), ["a/1", "a/2"]);
}

#[tokio::test]
async fn buckets_tell_class_and_region_and_missing_ones_are_404() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(&dir);
    options
        .storage_classes
        .insert("cold-bucket".to_owned(), "GLACIER".to_owned());
    let sandbox = Sandbox::start(options).await.unwrap();
    let client = client(&sandbox);
    let class = |bucket: &'static str| {
        let client = client.clone();
        async move {
            let seen = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
            let head = client.head_bucket().bucket(bucket).customize();
            let answer = head.interceptor(Spy(seen.clone())).send().await.unwrap();
            assert_eq!(answer.bucket_region(), Some("sandbox-1"));
            seen.lock().unwrap().clone()
        }
    };
    assert_eq!(class(BUCKET).await, "STANDARD");
    assert_eq!(class("cold-bucket").await, "GLACIER");
    // An object inherits the class of its bucket.
    let put = client.put_object().bucket("cold-bucket").key("x");
    put.send().await.unwrap();
    let head = client.head_object().bucket("cold-bucket").key("x");
    let head = head.send().await.unwrap();
    assert_eq!(head.storage_class(), Some(&StorageClass::Glacier));

    let error = client.head_bucket().bucket("nothing").send().await;
    let error = error.unwrap_err();
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 404);
    let create = client.create_multipart_upload().bucket("nothing").key("x");
    let error = create.send().await.unwrap_err();
    assert_eq!(code(&error), "NoSuchBucket");
}

#[tokio::test]
async fn numbers_out_of_range_are_refused() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    let id = begin(&client).await;
    for number in [0, -1, 10_001, i32::MIN] {
        let part = client.upload_part().bucket(BUCKET).key(KEY).upload_id(&id);
        let part = part.part_number(number).body(ByteStream::from_static(b"x"));
        assert_eq!(code(&part.send().await.unwrap_err()), "InvalidArgument");
    }
    let list = client.list_parts().bucket(BUCKET).key(KEY).upload_id(&id);
    let refused = list.clone().max_parts(-1).send().await.unwrap_err();
    assert_eq!(code(&refused), "InvalidArgument");
    let none = list.max_parts(0).part_number_marker("-5").send().await;
    assert!(none.unwrap().parts().is_empty());
    let list = client.list_multipart_uploads().bucket(BUCKET);
    let refused = list.max_uploads(-1).send().await.unwrap_err();
    assert_eq!(code(&refused), "InvalidArgument");
    let objects = client.list_objects_v2().bucket(BUCKET).max_keys(-1);
    let _ = objects.send().await;
    client.head_bucket().bucket(BUCKET).send().await.unwrap();
}

#[tokio::test]
async fn a_large_part_that_is_refused_gets_its_answer() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    let part = client.upload_part().bucket(BUCKET).key(KEY);
    let part = part.upload_id("0".repeat(32)).part_number(1);
    let part = part.body(ByteStream::from(vec![0; 20 << 20]));
    assert_eq!(code(&part.send().await.unwrap_err()), "NoSuchUpload");
}

#[tokio::test]
async fn of_two_completes_at_a_time_one_makes_the_object() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    let id = begin(&client).await;
    let parts = futures::future::join_all(
        (1..=8).map(|number| upload(&client, &id, number, bytes(number as u8, 200 * KIB))),
    )
    .await;
    let (one, two) = tokio::join!(
        complete(&client, &id, &parts),
        complete(&client, &id, &parts)
    );
    let mut outcomes = [one.is_ok(), two.is_ok()];
    outcomes.sort_unstable();
    assert_eq!(outcomes, [false, true]);
    let expected: Vec<u8> = (1..=8)
        .flat_map(|number| bytes(number, 200 * KIB))
        .collect();
    assert_eq!(object(&client).await, expected);
}

#[tokio::test]
async fn a_key_cannot_be_file_and_directory() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    let put = |key: &'static str| client.put_object().bucket(BUCKET).key(key).send();
    put("a").await.unwrap();
    assert_eq!(code(&put("a/b").await.unwrap_err()), "InvalidArgument");
    put("c/d").await.unwrap();
    assert_eq!(code(&put("c").await.unwrap_err()), "InvalidArgument");
    let head = client.head_object().bucket(BUCKET).key("c").send().await;
    assert_eq!(
        head.unwrap_err().raw_response().unwrap().status().as_u16(),
        404
    );
}

#[tokio::test]
async fn a_file_put_there_by_hand_is_an_object() {
    let (dir, sandbox) = start().await;
    let client = client(&sandbox);
    let put = client.put_object().bucket(BUCKET).key("x");
    put.body(ByteStream::from_static(b"old"))
        .send()
        .await
        .unwrap();
    let path = dir.path().join("sandbox/obs").join(BUCKET).join("x");
    std::fs::write(path, b"newer").unwrap();
    let head = client.head_object().bucket(BUCKET).key("x");
    let head = head.send().await.unwrap();
    assert_eq!(head.content_length(), Some(5));
    assert_eq!(
        head.e_tag(),
        Some(format!("\"{}\"", md5_hex(b"newer")).as_str())
    );
}

#[tokio::test]
async fn conditions_on_etags_are_kept() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    let put = || {
        let put = client.put_object().bucket(BUCKET).key("x");
        put.body(ByteStream::from_static(b"x"))
    };
    let etag = put()
        .if_none_match("*")
        .send()
        .await
        .unwrap()
        .e_tag
        .unwrap();
    let refused = put().if_none_match("*").send().await.unwrap_err();
    assert_eq!(code(&refused), "PreconditionFailed");
    put().if_match(&etag).send().await.unwrap();
    let refused = put().if_match("\"00\"").send().await.unwrap_err();
    assert_eq!(code(&refused), "PreconditionFailed");
    let get = client.get_object().bucket(BUCKET).key("x");
    let refused = get.if_match("\"00\"").send().await.unwrap_err();
    assert_eq!(code(&refused), "PreconditionFailed");
}

/// Keeps the header of an answer that the SDK has no field for.
#[derive(Debug)]
struct Spy(std::sync::Arc<std::sync::Mutex<String>>);

impl aws_sdk_s3::config::Intercept for Spy {
    fn name(&self) -> &'static str {
        "spy"
    }

    fn read_after_transmit(
        &self,
        context: &aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef<'_>,
        _: &aws_sdk_s3::config::RuntimeComponents,
        _: &mut aws_sdk_s3::config::ConfigBag,
    ) -> Result<(), aws_sdk_s3::error::BoxError> {
        let class = context.response().headers().get("x-default-storage-class");
        *self.0.lock().unwrap() = class.unwrap_or("none").to_owned();
        Ok(())
    }
}

#[tokio::test]
async fn ranges_listings_and_deletes_work() {
    let (dir, sandbox) = start().await;
    let client = client(&sandbox);
    for key in ["a/x", "a/y", "b"] {
        let put = client.put_object().bucket(BUCKET).key(key);
        let put = put.body(ByteStream::from_static(b"0123456789"));
        put.send().await.unwrap();
    }
    let get = client.get_object().bucket(BUCKET).key("b");
    let part = get.clone().range("bytes=2-4").send().await.unwrap();
    assert_eq!(part.content_range(), Some("bytes 2-4/10"));
    assert_eq!(part.body.collect().await.unwrap().into_bytes(), "234");
    let refused = get.range("bytes=10-").send().await.unwrap_err();
    assert_eq!(code(&refused), "InvalidRange");

    let list = client.list_objects_v2().bucket(BUCKET).prefix("a/");
    let listed = list.send().await.unwrap();
    let keys: Vec<_> = listed.contents().iter().map(|o| o.key().unwrap()).collect();
    assert_eq!(keys, ["a/x", "a/y"]);

    let refused = client.delete_bucket().bucket(BUCKET).send().await;
    assert_eq!(code(&refused.unwrap_err()), "BucketNotEmpty");
    for key in ["a/x", "a/y", "b", "b"] {
        let delete = client.delete_object().bucket(BUCKET).key(key);
        delete.send().await.unwrap();
    }
    let bucket = dir.path().join("sandbox/obs").join(BUCKET);
    assert_eq!(std::fs::read_dir(bucket).unwrap().count(), 0);
    client.delete_bucket().bucket(BUCKET).send().await.unwrap();
}

#[tokio::test]
async fn keys_cannot_leave_the_bucket() {
    let (dir, sandbox) = start().await;
    let client = client(&sandbox);
    for key in ["../escaped", "a/../../escaped", "./x", "a//b"] {
        let put = client.put_object().bucket(BUCKET).key(key);
        let put = put.body(ByteStream::from_static(b"x"));
        assert!(put.send().await.is_err(), "{key}");
        let delete = aws_sdk_s3::types::ObjectIdentifier::builder().key(key);
        let delete = aws_sdk_s3::types::Delete::builder()
            .objects(delete.build().unwrap())
            .build()
            .unwrap();
        let answer = client.delete_objects().bucket(BUCKET).delete(delete);
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.errors().len(), 1, "{key}");
    }
    assert!(!dir.path().join("sandbox/obs/escaped").exists());
    assert!(!dir.path().join("sandbox/escaped").exists());
}

#[tokio::test]
async fn restart_keeps_keys_objects_and_uploads() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(options(&dir)).await.unwrap();
    let before = client(&sandbox);
    let put = before.put_object().bucket(BUCKET).key("kept");
    put.body(ByteStream::from_static(b"kept"))
        .send()
        .await
        .unwrap();
    let id = begin(&before).await;
    let first = upload(&before, &id, 1, bytes(1, 100 * KIB)).await;
    let key = sandbox.access_key().clone();

    let busy = Sandbox::start(options(&dir)).await;
    assert!(matches!(busy, Err(sandbox::Error::InUse { .. })));
    sandbox.shutdown().await;

    let sandbox = Sandbox::start(options(&dir)).await.unwrap();
    assert_eq!(sandbox.access_key().id, key.id);
    let after = client_with(
        &sandbox,
        &key.id,
        key.secret.expose_secret(),
        sandbox.region(),
    );
    let kept = after.get_object().bucket(BUCKET).key("kept").send().await;
    let kept = kept.unwrap().body.collect().await.unwrap();
    assert_eq!(kept.into_bytes(), "kept");
    let second = upload(&after, &id, 2, bytes(2, 9)).await;
    complete(&after, &id, &[first, second]).await.unwrap();
    assert_eq!(
        object(&after).await,
        [bytes(1, 100 * KIB), bytes(2, 9)].concat()
    );
}

#[tokio::test]
async fn keys_are_readable_by_their_owner_only_and_differ_between_directories() {
    use std::os::unix::fs::PermissionsExt as _;
    let (one, first) = start().await;
    let (_two, second) = start().await;
    assert_ne!(first.access_key().id, second.access_key().id);
    let keys = std::fs::metadata(one.path().join("sandbox/keys.json")).unwrap();
    assert_eq!(keys.permissions().mode() & 0o777, 0o600);
    let secret = first.access_key().secret.expose_secret().to_owned();
    assert!(!format!("{first:?}").contains(&secret));
}

#[tokio::test]
async fn ordered_faults_happen_once_each() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(&dir);
    options.faults = Faults {
        upload_part_unavailable: vec![1],
        complete_answer_lost: vec![1],
        ..Faults::default()
    };
    let sandbox = Sandbox::start(options).await.unwrap();
    let client = client(&sandbox);
    let id = begin(&client).await;
    let part = client.upload_part().bucket(BUCKET).key(KEY).upload_id(&id);
    let part = part.part_number(1).body(ByteStream::from_static(b"x"));
    let refused = part.send().await.unwrap_err();
    assert_eq!(code(&refused), "SlowDown");
    assert_eq!(refused.raw_response().unwrap().status().as_u16(), 503);
    let part = upload(&client, &id, 1, b"x".to_vec()).await;
    let lost = complete(&client, &id, std::slice::from_ref(&part)).await;
    assert_eq!(lost, Err("InternalError".to_owned()));
    assert_eq!(object(&client).await, b"x");
    let again = complete(&client, &id, &[part]).await;
    assert_eq!(again, Err("NoSuchUpload".to_owned()));
}

/// Copies `range` of the object `source` as part `number` of upload `id`; the ETag or the code.
async fn copy_part(
    client: &Client,
    id: &str,
    number: i32,
    source: &str,
    range: Option<&str>,
) -> Result<CompletedPart, String> {
    let answer = client
        .upload_part_copy()
        .bucket(BUCKET)
        .key(KEY)
        .upload_id(id)
        .part_number(number)
        .copy_source(format!("{BUCKET}/{source}"))
        .set_copy_source_range(range.map(str::to_owned))
        .send()
        .await
        .map_err(|error| code(&error))?;
    let etag = answer.copy_part_result.unwrap().e_tag.unwrap();
    Ok(CompletedPart::builder()
        .part_number(number)
        .e_tag(etag)
        .build())
}

async fn put(client: &Client, key: &str, body: Vec<u8>) {
    let put = client.put_object().bucket(BUCKET).key(key);
    put.body(ByteStream::from(body)).send().await.unwrap();
}

#[tokio::test]
async fn parts_are_copied_from_objects_and_ranges_of_them() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    let source = bytes(7, 300 * KIB);
    put(&client, "a source/ü", source.clone()).await;
    let id = begin(&client).await;
    let name = "a%20source/%C3%BC";
    let whole = copy_part(&client, &id, 1, name, None).await.unwrap();
    let range = Some("bytes=100-250099");
    let piece = copy_part(&client, &id, 2, name, range).await.unwrap();
    assert_eq!(
        piece.e_tag(),
        Some(format!("\"{}\"", md5_hex(&source[100..250_100])).as_str())
    );
    let sent = upload(&client, &id, 3, bytes(9, 10)).await;
    complete(&client, &id, &[whole, piece, sent]).await.unwrap();
    let expected = [&source, &source[100..250_100], &bytes(9, 10)].concat();
    assert!(object(&client).await == expected);
}

#[tokio::test]
async fn copies_of_what_is_not_there_are_refused() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    put(&client, "source", bytes(7, 1000)).await;
    let id = begin(&client).await;
    let gone = "0".repeat(32);
    for (id, number, source, range, expected) in [
        (&id, 1, "nothing", None, "NoSuchKey"),
        (&id, 1, "source", Some("bytes=0-1000"), "InvalidArgument"),
        (&id, 1, "source", Some("bytes=9-8"), "InvalidArgument"),
        (&id, 1, "source", Some("bytes=9-"), "InvalidArgument"),
        (&id, 10_001, "source", None, "InvalidArgument"),
        (&gone, 1, "source", None, "NoSuchUpload"),
    ] {
        let refused = copy_part(&client, id, number, source, range).await;
        assert_eq!(refused.unwrap_err(), expected, "{source} {range:?}");
    }
}

#[tokio::test]
async fn an_object_is_copied_with_its_attributes() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    let body = bytes(1, 5000);
    let put = client.put_object().bucket(BUCKET).key("one");
    put.body(ByteStream::from(body.clone()))
        .metadata("digest", "abc")
        .send()
        .await
        .unwrap();
    let copy = client.copy_object().bucket(BUCKET).key(KEY);
    copy.copy_source(format!("{BUCKET}/one"))
        .send()
        .await
        .unwrap();
    assert!(object(&client).await == body);
    let head = client.head_object().bucket(BUCKET).key(KEY).send().await;
    assert_eq!(head.unwrap().metadata().unwrap()["digest"], "abc");
}

#[tokio::test]
async fn zeros_of_bodies_and_of_copied_parts_take_no_room_on_the_disk() {
    use std::os::unix::fs::MetadataExt as _;
    let (dir, sandbox) = start().await;
    let client = client(&sandbox);
    let zeros = vec![0; 8 << 20];
    put(&client, "zeros", zeros.clone()).await;
    let id = begin(&client).await;
    let mut parts = Vec::new();
    for number in 1..=20 {
        let range = (number == 20).then_some("bytes=0-4999");
        let part = copy_part(&client, &id, number, "zeros", range).await;
        parts.push(part.unwrap());
    }
    complete(&client, &id, &parts).await.unwrap();
    let path = dir.path().join("sandbox/obs").join(BUCKET).join(KEY);
    let metadata = std::fs::metadata(path).unwrap();
    assert_eq!(metadata.len(), 19 * (8 << 20) + 5000);
    assert!(metadata.blocks() * 512 < 1 << 20);
    let source = std::fs::metadata(dir.path().join("sandbox/obs/images/zeros")).unwrap();
    assert!(source.blocks() * 512 < 1 << 20);
}
