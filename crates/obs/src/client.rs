//! The client: settings, the SDK set up for OBS, and requests about buckets and objects.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    AppName, BehaviorVersion, Credentials, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{ConnectorBuilder, tls};
use net::retry::{Policy, retry};
use net::secret::{AccessKey, ExposeSecret};
use serde::Serialize;
use url::Url;

use crate::classify::from_sdk;
use crate::error::{Error, ErrorKind};
use crate::headers::{Headers, LimitBody};
use crate::names;

/// Time limit for a connection to stand, TLS included.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Time limit of one attempt of a request that carries no data.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);

/// Where the storage is and who asks.
#[derive(Clone, Debug)]
pub struct Config {
    /// Scheme, host and port of the region's endpoint, without a bucket.
    pub endpoint: Url,
    /// The region's name as it stands in the endpoint; part of each signature.
    pub region: String,
    /// Puts the bucket into the path instead of the host. OBS refuses this; private servers and
    /// addresses without a name need it.
    pub path_style: bool,
    /// Who asks.
    pub access_key: AccessKey,
    /// How often each request is tried.
    pub retry: Policy,
    /// Allows plain http to other machines. To this machine it is always allowed.
    pub allow_http: bool,
}

/// A client of one endpoint. Clones share connections.
///
/// Every request is tried again as [`Config::retry`] says, signed anew each time; the SDK's own
/// retries are off. It speaks plain S3 with signature version 4, without the checksum headers and
/// trailers that OBS does not know.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    s3: aws_sdk_s3::Client,
    retry: Policy,
    endpoint: Url,
    region: String,
    path_style: bool,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &self.0.endpoint.as_str())
            .field("region", &self.0.region)
            .finish_non_exhaustive()
    }
}

/// What is known of a bucket. What the server does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BucketInfo {
    /// Storage class that new objects get, such as `STANDARD`.
    pub storage_class: Option<String>,
    /// The region that the bucket is in.
    pub region: Option<String>,
    /// Whether this is a parallel file system, which is no plain bucket.
    pub parallel_file_system: bool,
}

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ObjectInfo {
    /// Length in bytes.
    pub size: u64,
    /// ETag without quotes.
    pub etag: Option<String>,
    /// Storage class; not told for the standard one by some servers.
    pub storage_class: Option<String>,
}

impl Client {
    /// A client for `config`. Nothing is sent.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when the endpoint, the region or the key cannot work.
    pub fn new(config: Config) -> Result<Self, Error> {
        Self::build(config, |builder| builder)
    }

    pub(crate) fn build(
        config: Config,
        adjust: impl FnOnce(aws_sdk_s3::config::Builder) -> aws_sdk_s3::config::Builder,
    ) -> Result<Self, Error> {
        names::check_endpoint(&config.endpoint, config.path_style, config.allow_http)?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if config.region.is_empty() || !config.region.bytes().all(is_name) {
            return Err(Error::refused(format!(
                "the region {:?} is not a region's name",
                config.region
            )));
        }
        let key = &config.access_key;
        if key.id.is_empty() || key.secret.expose_secret().is_empty() {
            return Err(Error::refused("the access key is empty")
                .with_hint("set HW_ACCESS_KEY and HW_SECRET_KEY"));
        }
        let credentials = Credentials::new(
            key.id.clone(),
            key.secret.expose_secret(),
            key.session_token
                .as_ref()
                .map(|token| token.expose_secret().to_owned()),
            None,
            "imgferry",
        );
        let mut builder = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(http_client(&config.endpoint))
            .endpoint_url(config.endpoint.as_str().trim_end_matches('/'))
            .region(Region::new(config.region.clone()))
            .credentials_provider(credentials)
            .force_path_style(config.path_style)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .retry_config(RetryConfig::disabled())
            // A body that lies in memory is handed to the socket at once: there is no stream whose
            // pace could be watched. The limit of each attempt does that job.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT_LIMIT)
                    .operation_attempt_timeout(REQUEST_LIMIT)
                    .build(),
            )
            .interceptor(LimitBody)
            .disable_s3_express_session_auth(true)
            .disable_multi_region_access_points(true);
        if let Ok(name) = AppName::new("imgferry") {
            builder = builder.app_name(name);
        }
        Ok(Self(Arc::new(Inner {
            s3: aws_sdk_s3::Client::from_conf(adjust(builder).build()),
            retry: config.retry,
            endpoint: config.endpoint,
            region: config.region,
            path_style: config.path_style,
        })))
    }

    pub(crate) fn s3(&self) -> &aws_sdk_s3::Client {
        &self.0.s3
    }

    /// The endpoint that was given.
    #[must_use]
    pub fn endpoint(&self) -> &Url {
        &self.0.endpoint
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.0.retry
    }

    /// Whether what is sent is encrypted on the way.
    pub(crate) fn is_https(&self) -> bool {
        self.0.endpoint.scheme() == "https"
    }

    /// Whether `bucket` can exist and be reached.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`].
    pub fn check_bucket_name(&self, bucket: &str) -> Result<(), Error> {
        names::check_bucket(bucket, &self.0.endpoint, self.0.path_style)
    }

    /// What `bucket` is.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none of this name, [`ErrorKind::WrongRegion`] when
    /// another endpoint serves it, [`ErrorKind::AccessDenied`] when the key may not ask, which is
    /// normal for keys that may only write objects.
    pub async fn bucket(&self, bucket: &str) -> Result<BucketInfo, Error> {
        self.check_bucket_name(bucket)?;
        let what = format!("bucket {bucket}");
        retry(self.policy(), &what, |_| async move {
            let headers = Headers::of(&[
                "x-default-storage-class",
                "x-obs-storage-class",
                "x-obs-fs-file-interface",
                "x-obs-bucket-location",
            ]);
            let answer = self
                .s3()
                .head_bucket()
                .bucket(bucket)
                .customize()
                .interceptor(headers.interceptor())
                .send()
                .await
                .map_err(|error| not_found(from_sdk(error), "there is no bucket of this name"))?;
            let native_class = || headers.get("x-obs-storage-class");
            Ok(BucketInfo {
                storage_class: headers.get("x-default-storage-class").or_else(native_class),
                region: answer
                    .bucket_region()
                    .map(str::to_owned)
                    .or_else(|| headers.get("x-obs-bucket-location")),
                parallel_file_system: headers
                    .get("x-obs-fs-file-interface")
                    .is_some_and(|value| value.eq_ignore_ascii_case("enabled")),
            })
        })
        .await
        .map_err(|error: Error| error.doing(what))
    }

    /// What the object `key` is, or `None` when there is none.
    ///
    /// # Errors
    /// As for [`Client::bucket`].
    pub async fn object(&self, bucket: &str, key: &str) -> Result<Option<ObjectInfo>, Error> {
        self.check_bucket_name(bucket)?;
        names::check_key(key)?;
        let what = format!("object {bucket}/{key}");
        let found: Result<_, Error> = retry(self.policy(), &what, |_| async move {
            let answer = self.s3().head_object().bucket(bucket).key(key).send();
            let answer = answer.await.map_err(from_sdk)?;
            let size = answer.content_length().unwrap_or(-1);
            Ok(ObjectInfo {
                size: u64::try_from(size).map_err(|_| {
                    Error::new(ErrorKind::Server, "the answer does not tell the length")
                })?,
                etag: answer.e_tag().map(unquoted),
                storage_class: answer
                    .storage_class()
                    .map(|class| class.as_str().to_owned()),
            })
        })
        .await;
        match found {
            Ok(info) => Ok(Some(info)),
            Err(error)
                if error.kind() == ErrorKind::NotFound && error.code() != Some("NoSuchBucket") =>
            {
                Ok(None)
            }
            Err(error) => Err(error.doing(what)),
        }
    }

    /// Creates `bucket` in the client's region. One that exists already and is the caller's own is
    /// no error.
    ///
    /// # Errors
    /// What the server says.
    pub async fn create_bucket(&self, bucket: &str) -> Result<(), Error> {
        self.check_bucket_name(bucket)?;
        let what = format!("creating bucket {bucket}");
        let location = BucketLocationConstraint::from(self.0.region.as_str());
        let place = CreateBucketConfiguration::builder()
            .location_constraint(location)
            .build();
        let created = retry(self.policy(), &what, |_| {
            let request = self
                .s3()
                .create_bucket()
                .bucket(bucket)
                .create_bucket_configuration(place.clone());
            async move { request.send().await.map_err(from_sdk) }
        })
        .await;
        match created {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("BucketAlreadyOwnedByYou") => Ok(()),
            Err(error) => Err(error.doing(what)),
        }
    }
}

/// Names what was not found, where the server's answer to HEAD cannot.
fn not_found(error: Error, message: &str) -> Error {
    if error.kind() == ErrorKind::NotFound && error.code().is_none_or(|code| code == "NotFound") {
        let better = Error::new(ErrorKind::NotFound, message)
            .with_hint("check the bucket's name, and that --region is the bucket's region");
        return better.with_answer(404, None, error.request_id().map(str::to_owned));
    }
    error
}

/// An ETag without its quotes.
pub(crate) fn unquoted(etag: &str) -> String {
    etag.trim().trim_matches('"').to_owned()
}

/// The transport: TLS with the system's certificates, and the proxy that the environment names,
/// except to this machine.
fn http_client(endpoint: &Url) -> SharedHttpClient {
    let direct = net::http::is_loopback(endpoint);
    aws_smithy_http_client::Builder::new().build_with_connector_fn(move |settings, components| {
        let mut builder = ConnectorBuilder::default().tls_provider(tls::Provider::Rustls(
            tls::rustls_provider::CryptoMode::AwsLc,
        ));
        builder.set_connector_settings(settings.cloned());
        builder.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        builder.set_proxy_config(Some(if direct {
            ProxyConfig::disabled()
        } else {
            ProxyConfig::from_env()
        }));
        builder.build()
    })
}
