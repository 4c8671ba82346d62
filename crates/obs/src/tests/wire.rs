//! Every request that this crate makes, header by header and parameter by parameter, so that an
//! update of the SDK cannot change what is sent. docs/upload.md lists the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use md5::Md5;
use net::retry::Policy;
use net::secret::AccessKey;
use sha2::{Digest, Sha256};
use testkit::http::{Recorded, Reply, Server};

use crate::confirmed::{Confirmed, Expected};
use crate::hashing::Hashes;
use crate::info::ObjectInfo;
use crate::multipart::{Target, Traffic};
use crate::{Client, Config, Manifest};

const TOKEN: &str = "t0ken-material";

pub(super) fn config(endpoint: &str) -> Config {
    let key = AccessKey {
        id: "AKID".into(),
        secret: "s3cr3t-key-material".into(),
        session_token: Some(TOKEN.into()),
    };
    Config {
        path_style: true,
        retry: Policy::never(),
        ..Config::new(endpoint.parse().unwrap(), "region-1", key)
    }
}

pub(super) fn md5(bytes: &[u8]) -> Vec<u8> {
    Md5::digest(bytes).to_vec()
}

/// Method, target, and headers beside those that every request has.
type Expectation = (&'static str, &'static str, &'static [&'static str]);

/// What is sent, in the order of [`every_call`].
const EXPECTED: &[Expectation] = &[
    ("HEAD", "/bucket/", &[]),
    (
        "PUT",
        "/bucket/",
        &["content-length: BODY", "content-type: application/xml"],
    ),
    ("HEAD", "/bucket/a/b%20c", &[]),
    ("GET", "/bucket/a/b%20c", &["range: bytes=0-0"]),
    (
        "GET",
        "/bucket/a/b%20c",
        &["if-match: \"ab\"", "range: bytes=10-19"],
    ),
    (
        "POST",
        "/bucket/a/b%20c?uploads",
        &[
            "content-length: 0",
            "content-type: text/plain",
            "x-amz-meta-one: 1",
            "x-amz-storage-class: STANDARD",
        ],
    ),
    (
        "PUT",
        "/bucket/a/b%20c?partNumber=7&uploadId=id",
        &[
            "content-length: BODY",
            "content-md5: BODY",
            "content-type: application/octet-stream",
        ],
    ),
    (
        "PUT",
        "/bucket/a/b%20c?partNumber=8&uploadId=id",
        &[
            "content-length: 0",
            "x-amz-copy-source: bucket/zeros%20of",
            "x-amz-copy-source-range: bytes=0-9",
        ],
    ),
    ("GET", "/bucket/a/b%20c?max-parts=1000&uploadId=id", &[]),
    (
        "GET",
        "/bucket/a/b%20c?max-parts=1000&part-number-marker=3&uploadId=id",
        &[],
    ),
    (
        "POST",
        "/bucket/a/b%20c?uploadId=id",
        &["content-length: BODY", "content-type: application/xml"],
    ),
    (
        "DELETE",
        "/bucket/a/b%20c?uploadId=id",
        &["content-length: 0"],
    ),
    ("GET", "/bucket/?uploads&max-uploads=200&prefix=a%2F", &[]),
    (
        "GET",
        "/bucket/?uploads&key-marker=a%2Fb%20c&max-uploads=200&prefix=a%2F&upload-id-marker=id",
        &[],
    ),
    (
        "GET",
        "/bucket/?encoding-type=url&max-keys=200&prefix=a%2F",
        &[],
    ),
    (
        "GET",
        "/bucket/?encoding-type=url&marker=a%2Fb%20c&max-keys=200&prefix=a%2F",
        &[],
    ),
    (
        "PUT",
        "/bucket/a/b%20c",
        &[
            "content-length: BODY",
            "content-md5: BODY",
            "content-type: text/plain",
            "x-amz-storage-class: STANDARD",
        ],
    ),
    (
        "PUT",
        "/bucket/a/b%20c",
        &[
            "content-length: BODY",
            "content-md5: BODY",
            "content-type: application/json",
            "if-none-match: *",
            "x-amz-storage-class: STANDARD",
        ],
    ),
    (
        "PUT",
        "/bucket/a/b%20c.imgferry.json",
        &[
            "content-length: BODY",
            "content-md5: BODY",
            "content-type: application/json",
            "x-amz-storage-class: STANDARD",
        ],
    ),
    ("DELETE", "/bucket/a/b%20c", &["content-length: 0"]),
];

/// Makes each request of this crate, once.
async fn every_call(client: &Client) {
    let (bucket, key) = ("bucket", "a/b c");
    let target = Target {
        bucket: bucket.into(),
        key: key.into(),
        upload_id: "id".into(),
    };
    let body = Bytes::from_static(b"a part of some object");
    let digest: [u8; 16] = md5(&body).try_into().unwrap();
    let hashes = Hashes {
        md5: digest,
        sha256: Some(hex::encode(Sha256::digest(&body))),
    };
    let info = ObjectInfo {
        size: 20,
        etag: Some("ab".into()),
        weak_etag: false,
        modified: None,
        storage_class: None,
        encrypted: false,
    };
    let parts = [Confirmed {
        number: 1,
        size: 20,
        etag: "ab".into(),
        md5: digest,
        etag_is_md5: false,
        etag_may_differ: false,
    }];
    let manifest = Manifest::new("raw", "0f".into(), 20, 1, (20, "ab".into()));
    let metadata = BTreeMap::from([("one".to_owned(), "1".to_owned())]);
    // What is asked counts, whatever the answers are.
    let _ = client.bucket(bucket).await;
    let _ = client.create_bucket(bucket).await;
    let _ = client.object(bucket, key).await;
    let _ = client.length(bucket, key).await;
    let _ = client.range(bucket, key, 10..20, &info).await;
    let _ = client
        .create_upload(bucket, key, "text/plain", &metadata)
        .await;
    let traffic = Traffic::default();
    let _ = client
        .upload_part(&target, 7, body.clone(), &hashes, &traffic)
        .await;
    let _ = client
        .copy_part(&target, 8, "zeros of", 20, 10, digest)
        .await;
    let _ = client.list_parts(bucket, key, "id").await;
    let expected = Expected::of(&parts);
    let _ = client
        .complete_upload(&target, &parts, &expected, false)
        .await;
    let _ = client.abort_upload(bucket, key, "id").await;
    let _ = client.list_uploads(bucket, Some("a/")).await;
    let _ = client.list_objects(bucket, "a/").await;
    let _ = client
        .put_object(bucket, key, body.clone(), "text/plain")
        .await;
    let _ = client.put_if_absent(bucket, key, body).await;
    let _ = client.put_manifest(bucket, key, &manifest).await;
    let _ = client.delete_object(bucket, key).await;
}

/// Lists have a second page; nothing else is answered.
fn answer(method: &str, target: &str) -> (u16, &'static str) {
    let has = |parameter: &str| target.contains(parameter);
    match method {
        "GET" if has("marker=") => (403, ""),
        "GET" if has("max-parts") => (
            200,
            "<ListPartsResult><IsTruncated>true</IsTruncated><NextPartNumberMarker>3</NextPartNumberMarker>\
             <Part><PartNumber>3</PartNumber><Size>1</Size></Part></ListPartsResult>",
        ),
        "GET" if has("max-uploads") => (
            200,
            "<ListMultipartUploadsResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
             <NextKeyMarker>a%2Fb+c</NextKeyMarker><NextUploadIdMarker>id</NextUploadIdMarker>\
             </ListMultipartUploadsResult>",
        ),
        "GET" if has("max-keys") => (
            200,
            "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
             <Contents><Key>a/b%20c</Key></Contents></ListBucketResult>",
        ),
        _ => (403, ""),
    }
}

/// `request` with what differs from run to run replaced by what it must be; the headers, sorted.
fn normal(request: &Recorded) -> (String, String, Vec<String>) {
    let mut headers: Vec<String> = request
        .headers
        .iter()
        .map(|(name, value)| {
            let value = match name.as_str() {
                "content-length" if *value == request.body.len().to_string() && value != "0" => {
                    "BODY"
                }
                "content-md5" if *value == BASE64.encode(md5(&request.body)) => "BODY",
                "x-amz-content-sha256" if *value == hex::encode(Sha256::digest(&request.body)) => {
                    "BODY"
                }
                "x-amz-date" if value.len() == "20260101T000000Z".len() => "NOW",
                "authorization" => {
                    let (_, signed) = value.split_once("SignedHeaders=").unwrap();
                    let (signed, _) = signed.split_once(", Signature=").unwrap();
                    assert!(
                        value.starts_with("AWS4-HMAC-SHA256 Credential=AKID/"),
                        "{value}"
                    );
                    assert!(value.contains("/region-1/s3/aws4_request, "), "{value}");
                    return format!("{name}: {signed}");
                }
                _ => value,
            };
            format!("{name}: {value}")
        })
        .collect();
    headers.sort();
    (request.method.clone(), request.target.clone(), headers)
}

/// Holds all requests against [`EXPECTED`]; `place` is the host, and what stands in front of the
/// bucket's path.
fn check(requests: &[Recorded], (host, in_path): (&str, bool), payload: &str) {
    for (request, (method, target, more)) in requests.iter().zip(EXPECTED) {
        let target = match in_path {
            true => (*target).to_owned(),
            // The bucket is in the host.
            false => target.strip_prefix("/bucket").unwrap().to_owned(),
        };
        let mut headers: Vec<String> = more.iter().map(|line| (*line).to_owned()).collect();
        headers.extend([
            format!("host: {host}"),
            format!("x-amz-content-sha256: {payload}"),
            "x-amz-date: NOW".to_owned(),
            format!("x-amz-security-token: {TOKEN}"),
        ]);
        // The signature covers everything but the name of the program.
        let names = headers.iter().map(|line| line.split(':').next().unwrap());
        let mut signed: Vec<&str> = names.collect();
        signed.sort_unstable();
        let signed = format!("authorization: {}", signed.join(";"));
        headers.push(signed);
        headers.push(concat!("user-agent: imgferry/", env!("CARGO_PKG_VERSION")).to_owned());
        headers.sort();
        assert_eq!(normal(request), ((*method).to_owned(), target, headers));
    }
    assert_eq!(requests.len(), EXPECTED.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_each_request_is_exactly_what_is_documented_with_a_signed_payload() {
    let server = Server::start().await.unwrap();
    server.route(|request| {
        let (status, body) = answer(&request.method, &request.target);
        Some(Reply::text(status, body))
    });
    let client = Client::new(Config {
        retry: Policy::never(),
        ..config(&server.url())
    })
    .unwrap();
    every_call(&client).await;
    check(
        &server.requests(),
        (&server.address().to_string(), true),
        "BODY",
    );
}

/// In the place of the connection: keeps what would be sent, and answers.
#[derive(Clone, Debug, Default)]
struct Recorder(Arc<Mutex<Vec<Recorded>>>);

impl HttpConnector for Recorder {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let url: url::Url = request.uri().parse().unwrap();
        assert_eq!(url.scheme(), "https");
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let (status, body) = answer(request.method(), &target);
        let method = request.method().to_owned();
        let mut headers: Vec<(String, String)> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        headers.push(("host".into(), url.host_str().unwrap().to_owned()));
        let requests = Arc::clone(&self.0);
        HttpConnectorFuture::new(async move {
            use http_body_util::BodyExt as _;
            let sent = request.into_body().collect().await;
            let body_sent = sent
                .map(|body| body.to_bytes().to_vec())
                .unwrap_or_default();
            requests.lock().unwrap().push(Recorded {
                method,
                target,
                headers,
                body: body_sent,
            });
            let status = status.try_into().unwrap();
            Ok(HttpResponse::new(status, SdkBody::from(body)))
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_https_each_request_is_the_same_and_no_payload_is_signed() {
    let recorder = Recorder::default();
    let config = Config {
        path_style: false,
        retry: Policy::never(),
        ..config("https://obs.region-1.example.com")
    };
    let connector = SharedHttpConnector::new(recorder.clone());
    let client = Client::build(config, |builder| {
        builder.http_client(http_client_fn(move |_, _| connector.clone()))
    })
    .unwrap();
    every_call(&client).await;
    let requests = recorder.0.lock().unwrap();
    check(
        &requests,
        ("bucket.obs.region-1.example.com", false),
        "UNSIGNED-PAYLOAD",
    );
}
