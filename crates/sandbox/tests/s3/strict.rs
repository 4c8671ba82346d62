//! What OBS refuses, although S3 takes it. `docs/sandbox.md` lists the rules with their sources.

use crate::support::*;
use crate::wire::{Answer, Wire};

async fn refused(wire: &Wire<'_>, sandbox: &Sandbox, status: u16, code: &str) {
    let answer: Answer = wire.send(sandbox).await;
    let found = (answer.0, answer.1.contains(&format!("<Code>{code}</Code>")));
    assert_eq!(
        found,
        (status, true),
        "{} {}: {}",
        wire.method,
        wire.target,
        answer.1
    );
}

#[tokio::test]
async fn a_request_that_stores_something_must_tell_its_length_even_if_it_has_no_body() {
    let (_dir, sandbox) = start().await;
    for (method, target) in [
        ("POST", "/images/a?uploads"),
        ("PUT", "/images/a"),
        ("PUT", "/another"),
    ] {
        let mut wire = Wire::new(method, target, b"");
        wire.no_length = true;
        refused(&wire, &sandbox, 411, "MissingContentLength").await;
        wire.no_length = false;
        let (status, body) = wire.send(&sandbox).await;
        assert_eq!(status, 200, "{body}");
    }
}

#[tokio::test]
async fn query_parameters_that_an_operation_does_not_have_are_refused_where_it_stores() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    put(&client, "a", b"hello".to_vec()).await;
    let id = begin(&client).await;
    let part = format!("/images/{KEY}?partNumber=1&uploadId={id}&x-id=UploadPart");
    for (method, target) in [
        ("PUT", "/images/a?x-id=PutObject"),
        ("PUT", "/images/a?uploads="),
        ("PUT", "/images/a?partNumber=1"),
        ("PUT", "/images/a?partNumber=1&uploadId=x&x-id=UploadPart"),
        ("PUT", part.as_str()),
        ("POST", "/images/a?uploads=&x-id=CreateMultipartUpload"),
        ("PUT", "/another?x-id=CreateBucket"),
    ] {
        let wire = Wire::new(method, target, b"");
        refused(&wire, &sandbox, 404, "NoSuchKey").await;
    }
    let (_, body) = Wire::new("GET", "/images/a?x-id=GetObject", b"")
        .send(&sandbox)
        .await;
    assert_eq!(
        body, "hello",
        "reading ignores them, and nothing was stored"
    );
}

#[tokio::test]
async fn checksums_of_s3_are_refused_and_metadata_is_limited() {
    let (_dir, sandbox) = start().await;
    for (name, value, status, code) in [
        (
            "x-amz-checksum-crc32",
            "AAAAAA==".to_owned(),
            400,
            "XAmzContentSHA256Mismatch",
        ),
        (
            "x-amz-sdk-checksum-algorithm",
            "CRC32".to_owned(),
            400,
            "XAmzContentSHA256Mismatch",
        ),
        (
            "x-amz-checksum-crc64ecma",
            "1".to_owned(),
            501,
            "NotImplemented",
        ),
        ("x-amz-meta-a", "x".repeat(8 * KIB), 400, "MetadataTooLarge"),
    ] {
        let wire = Wire::new("PUT", "/images/a", b"x").header(name, value);
        refused(&wire, &sandbox, status, code).await;
    }
    let wire = Wire::new("PUT", "/images/a", b"x").header("x-amz-meta-a", "x".repeat(8 * KIB - 1));
    assert_eq!(wire.send(&sandbox).await.0, 200);
}

#[tokio::test]
async fn objects_are_deleted_in_a_batch_only_with_content_md5() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    put(&client, "a", b"hello".to_vec()).await;
    let body = b"<Delete><Object><Key>a</Key></Object></Delete>";
    let wire = Wire::new("POST", "/images?delete", body);
    refused(&wire, &sandbox, 400, "MissingRequiredHeader").await;
    let wire = wire.header("content-md5", "eA==");
    refused(&wire, &sandbox, 400, "InvalidDigest").await;
    let (_, found) = Wire::new("GET", "/images/a", b"").send(&sandbox).await;
    assert_eq!(found, "hello");
    let wire = Wire::new("POST", "/images?delete", body).header("content-md5", base64_md5(body));
    assert_eq!(wire.send(&sandbox).await.0, 200);
    let (status, _) = Wire::new("GET", "/images/a", b"").send(&sandbox).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_batch_deletes_up_to_1000_objects_and_tells_only_failures_when_it_is_quiet() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    put(&client, "a", Vec::new()).await;
    let ask = async |count: usize| {
        let objects = "<Object><Key>a</Key></Object>".repeat(count - 1);
        let bad = "<Object><Key>a//b</Key></Object>";
        let body = format!("<Delete><Quiet>true</Quiet>{objects}{bad}</Delete>");
        let wire = Wire::new("POST", "/images?delete", body.as_bytes());
        let wire = wire.header("content-md5", base64_md5(body.as_bytes()));
        wire.send(&sandbox).await
    };
    let (status, answer) = ask(1001).await;
    assert_eq!(status, 400);
    assert!(answer.contains("<Code>MalformedXML</Code>"), "{answer}");
    client
        .head_object()
        .bucket(BUCKET)
        .key("a")
        .send()
        .await
        .unwrap();
    let (status, answer) = ask(1000).await;
    assert_eq!(status, 200, "{answer}");
    assert!(!answer.contains("<Deleted>"), "{answer}");
    assert!(answer.contains("<Key>a//b</Key>"), "{answer}");
}

#[tokio::test]
async fn keys_have_1_to_1024_bytes() {
    let (_dir, sandbox) = start().await;
    let part = "x".repeat(204);
    let longest = [part.as_str(); 5].join("/");
    assert_eq!(longest.len(), 1024);
    let target = format!("/images/{longest}");
    let (status, body) = Wire::new("PUT", &target, b"x").send(&sandbox).await;
    assert_eq!(status, 200, "{body}");
    let target = format!("/images/{longest}x");
    let wire = Wire::new("PUT", &target, b"x");
    refused(&wire, &sandbox, 400, "KeyTooLongError").await;
    let body = format!("<Delete><Object><Key>{longest}x</Key></Object></Delete>");
    let wire = Wire::new("POST", "/images?delete", body.as_bytes());
    let wire = wire.header("content-md5", base64_md5(body.as_bytes()));
    let (_, answer) = wire.send(&sandbox).await;
    assert!(answer.contains("<Code>KeyTooLongError</Code>"), "{answer}");
}

#[tokio::test]
async fn a_signature_without_any_date_is_refused() {
    let (_dir, sandbox) = start().await;
    let mut wire = Wire::new("GET", "/images", b"");
    wire.dated = true;
    wire.strip_date = true;
    refused(&wire, &sandbox, 403, "AccessDenied").await;
}

#[tokio::test]
async fn https_takes_only_unsigned_payloads_and_http_takes_hashes_too() {
    const OF_X: &str = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
    for https in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options(&dir);
        options.https = https;
        let sandbox = Sandbox::start(options).await.unwrap();
        let scheme = sandbox.obs_endpoint().scheme();
        assert_eq!(scheme == "https", https);
        assert_eq!(sandbox.ims_endpoint().scheme(), scheme);
        let trusted = sandbox.environment().into_iter();
        let mut trusted = trusted.filter(|(name, _)| name == "SSL_CERT_FILE");
        assert_eq!(trusted.next().is_some(), https);

        let plain = Wire::new("PUT", "/images/a", b"x");
        assert_eq!(plain.send(&sandbox).await.0, 200);
        let hashed = Wire::new("PUT", "/images/a", b"x").header("x-amz-content-sha256", OF_X);
        match https {
            false => assert_eq!(hashed.send(&sandbox).await.0, 200),
            true => refused(&hashed, &sandbox, 400, "XAmzContentSHA256Mismatch").await,
        }
    }
}
