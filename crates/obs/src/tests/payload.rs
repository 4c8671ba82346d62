//! Whether a part's payload is signed, and by which hash.

use std::sync::{Arc, Mutex};

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use net::retry::Policy;
use sha2::{Digest, Sha256};
use testkit::http::{Reply, Server};

use super::wire::{config, md5};
use crate::hashing::Hashes;
use crate::multipart::{Target, Traffic};
use crate::{Client, Config};

/// URI and headers of a request.
type Head = (String, Vec<(String, String)>);

/// Keeps what would be sent, and lets nothing out.
#[derive(Clone, Debug, Default)]
struct Hold(Arc<Mutex<Vec<Head>>>);

impl Intercept for Hold {
    fn name(&self) -> &'static str {
        "Hold"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request();
        let headers = request
            .headers()
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut held = self.0.lock().unwrap();
        held.push((request.uri().to_owned(), headers));
        Err("held back".into())
    }
}

#[tokio::test]
async fn over_https_the_bucket_is_in_the_host_and_the_payload_unsigned() {
    let hold = Hold::default();
    let config = Config {
        path_style: false,
        retry: Policy::never(),
        ..config("https://obs.region-1.example.com")
    };
    let client = Client::build(config, |builder| builder.interceptor(hold.clone())).unwrap();
    let target = Target {
        bucket: "images".into(),
        key: "a/b c.zvhd2".into(),
        upload_id: "id".into(),
    };
    let body = Bytes::from(vec![7; 100]);
    let digest: [u8; 16] = md5(&body).try_into().unwrap();
    let hashes = Hashes {
        md5: digest,
        sha256: None,
    };
    client
        .upload_part(&target, 7, body, &hashes, &Traffic::default())
        .await
        .unwrap_err();
    let held = hold.0.lock().unwrap();
    let [(uri, headers)] = held.as_slice() else {
        panic!("{held:?}")
    };
    let host = "https://images.obs.region-1.example.com/a/b%20c.zvhd2?";
    assert!(uri.starts_with(host), "{uri}");
    assert!(uri.contains("partNumber=7") && uri.contains("uploadId=id"));
    let header = |wanted: &str| {
        headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(header("x-amz-content-sha256"), Some("UNSIGNED-PAYLOAD"));
    assert_eq!(header("content-md5"), Some(BASE64.encode(digest).as_str()));
    assert!(header("x-amz-security-token").is_some());
    assert!(header("x-amz-trailer").is_none() && header("content-encoding").is_none());
}

/// Nothing else keeps a proxy from changing a body, and `Content-MD5` with it. In vain where that
/// is signed, but the server is not bound to look.
#[tokio::test]
async fn over_http_the_signature_covers_the_payload_with_the_hash_that_is_known() {
    let server = Server::start().await.unwrap();
    server.route(|_| Some(Reply::status(200)));
    let client = Client::new(config(&server.url())).unwrap();
    let target = Target {
        bucket: "images".into(),
        key: "disk".into(),
        upload_id: "id".into(),
    };
    let body = Bytes::from(vec![7; 100]);
    let right = hex::encode(Sha256::digest(&body));
    // What is known is taken as it is: nobody computes it again.
    let other = "0f".repeat(32);
    let given = [None, Some(right.clone()), Some(other.clone())];
    for sha256 in given {
        let hashes = Hashes {
            md5: md5(&body).try_into().unwrap(),
            sha256,
        };
        // Whatever it answers: what it was asked counts.
        let _ = client
            .upload_part(&target, 7, body.clone(), &hashes, &Traffic::default())
            .await;
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    for (request, expected) in requests.iter().zip([&right, &right, &other]) {
        assert_eq!(
            request.header("x-amz-content-sha256"),
            Some(expected.as_str())
        );
        let signed = request.header("authorization").unwrap();
        assert!(signed.contains("content-md5;"), "{signed}");
    }
}
