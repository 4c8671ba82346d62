//! Who may do what, and bodies that are refused.

use crate::support::*;
use crate::wire::Wire;

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
        .interceptor(AsObsWants)
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
async fn a_large_part_that_is_refused_gets_its_answer() {
    let (_dir, sandbox) = start().await;
    let client = client(&sandbox);
    let part = client.upload_part().bucket(BUCKET).key(KEY);
    let part = part.upload_id("0".repeat(32)).part_number(1);
    let part = part.body(ByteStream::from(vec![0; 20 << 20]));
    assert_eq!(code(&part.send().await.unwrap_err()), "NoSuchUpload");
}

#[tokio::test]
async fn keys_cannot_leave_the_bucket() {
    let (dir, sandbox) = start().await;
    let client = client(&sandbox);
    for key in ["../escaped", "a/../../escaped", "./x", "a//b"] {
        let put = client.put_object().bucket(BUCKET).key(key);
        let put = put.body(ByteStream::from_static(b"x"));
        assert!(put.send().await.is_err(), "{key}");
        let body = format!("<Delete><Object><Key>{key}</Key></Object></Delete>");
        let delete = Wire::new("POST", "/images?delete", body.as_bytes());
        let delete = delete.header("content-md5", base64_md5(body.as_bytes()));
        let (status, answer) = delete.send(&sandbox).await;
        assert_eq!(status, 200, "{key}");
        assert!(answer.contains("<Error>"), "{key}: {answer}");
    }
    assert!(!dir.path().join("sandbox/obs/escaped").exists());
    assert!(!dir.path().join("sandbox/escaped").exists());
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
