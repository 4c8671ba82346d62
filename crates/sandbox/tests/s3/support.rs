//! A sandbox, a client of it, and what both are asked in most tests.

pub(crate) use aws_sdk_s3::Client;
pub(crate) use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
pub(crate) use aws_sdk_s3::error::ProvideErrorMetadata;
pub(crate) use aws_sdk_s3::primitives::ByteStream;
pub(crate) use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, StorageClass};
pub(crate) use md5::{Digest as _, Md5};
pub(crate) use net::secret::ExposeSecret as _;
pub(crate) use sandbox::faults::Faults;
pub(crate) use sandbox::{Options, Sandbox};
pub(crate) use tempfile::TempDir;

pub(crate) const BUCKET: &str = "images";
pub(crate) const KEY: &str = "path/to/disk.zvhd2";
pub(crate) const KIB: usize = 1024;

pub(crate) fn options(dir: &TempDir) -> Options {
    let mut options = Options::new(dir.path().join("sandbox"));
    options.buckets = vec![BUCKET.to_owned()];
    options
}

pub(crate) async fn start() -> (TempDir, Sandbox) {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(options(&dir)).await.unwrap();
    (dir, sandbox)
}

pub(crate) fn client_with(sandbox: &Sandbox, id: &str, secret: &str, region: &str) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .endpoint_url(sandbox.obs_endpoint().as_str())
        .credentials_provider(Credentials::new(id, secret, None, None, "test"))
        .force_path_style(true)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled())
        .interceptor(AsObsWants)
        .build();
    Client::from_conf(config)
}

/// Makes what the SDK sends to S3 what OBS takes: without `x-id`, and with a length.
#[derive(Debug)]
pub(crate) struct AsObsWants;

impl aws_sdk_s3::config::Intercept for AsObsWants {
    fn name(&self) -> &'static str {
        "as OBS wants"
    }

    fn modify_before_signing(
        &self,
        context: &mut aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut<'_>,
        _: &aws_sdk_s3::config::RuntimeComponents,
        _: &mut aws_sdk_s3::config::ConfigBag,
    ) -> Result<(), aws_sdk_s3::error::BoxError> {
        let request = context.request_mut();
        if let Some((path, query)) = request.uri().split_once('?') {
            let pairs = query.split('&').filter(|pair| !pair.starts_with("x-id="));
            let pairs: Vec<_> = pairs.collect();
            let uri = match pairs.is_empty() {
                true => path.to_owned(),
                false => format!("{path}?{}", pairs.join("&")),
            };
            request.set_uri(uri)?;
        }
        if matches!(request.method(), "PUT" | "POST")
            && !request.headers().contains_key("content-length")
        {
            let length = request.body().content_length().unwrap_or_default();
            request
                .headers_mut()
                .insert("content-length", length.to_string());
        }
        Ok(())
    }
}

/// A `Content-MD5` header.
pub(crate) fn base64_md5(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(Md5::digest(bytes))
}

pub(crate) fn client(sandbox: &Sandbox) -> Client {
    let key = sandbox.access_key();
    client_with(
        sandbox,
        &key.id,
        key.secret.expose_secret(),
        sandbox.region(),
    )
}

/// Bytes that differ from part to part.
pub(crate) fn bytes(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| (i / 7) as u8 ^ seed).collect()
}

pub(crate) fn md5_hex(bytes: &[u8]) -> String {
    hex::encode(Md5::digest(bytes))
}

pub(crate) async fn begin(client: &Client) -> String {
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

pub(crate) async fn upload(client: &Client, id: &str, number: i32, body: Vec<u8>) -> CompletedPart {
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
pub(crate) async fn complete(
    client: &Client,
    id: &str,
    parts: &[CompletedPart],
) -> Result<String, String> {
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

pub(crate) fn code<E: ProvideErrorMetadata>(error: &E) -> String {
    error.code().unwrap_or("none").to_owned()
}

pub(crate) async fn object(client: &Client) -> Vec<u8> {
    let answer = client.get_object().bucket(BUCKET).key(KEY).send().await;
    let body = answer.unwrap().body.collect().await.unwrap();
    body.into_bytes().to_vec()
}

pub(crate) async fn put(client: &Client, key: &str, body: Vec<u8>) {
    let put = client.put_object().bucket(BUCKET).key(key);
    put.body(ByteStream::from(body)).send().await.unwrap();
}
