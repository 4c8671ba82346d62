//! Objects and buckets: reading, listing, conditions, copies.

use crate::support::*;

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
