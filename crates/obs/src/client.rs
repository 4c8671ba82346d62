//! The client: settings, the SDK set up for OBS, and requests about buckets and objects.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, IdentityCache, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::{ConnectorBuilder, tls};
use net::clock::Clock;
use net::credentials::Keys;
use net::retry::Policy;
use tokio::sync::{Semaphore, SemaphorePermit};
use url::Url;

use crate::classify::from_sdk;
use crate::config::{Config, Limits};
use crate::document::Readable;
use crate::error::{Error, ErrorKind};
use crate::etag::{self, Etags, unquoted};
use crate::foreign::{self, OnlyStorage};
use crate::headers::Headers;
use crate::hint::Hint;
use crate::info::{BucketInfo, ObjectInfo};
use crate::names;
use crate::rate::Rate;
use crate::signing::CurrentKey;
use crate::wire::Plain;

/// How many parts may share a limit on bytes per second, as a bound for time limits.
const SHARERS: u32 = 64;

/// A client of one endpoint. Clones share connections.
///
/// Requests are retried as [`Config::retry`] says, and each attempt gets a fresh signature; the
/// SDK's own retries are off. The client speaks plain S3 with signature version 4, without the
/// checksum headers and trailers that OBS does not know.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    s3: aws_sdk_s3::Client,
    keys: Keys,
    clock: Clock,
    etags: Etags,
    retry: Policy,
    limits: Limits,
    rate: Option<Arc<Rate>>,
    turns: Option<Semaphore>,
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
        let builder = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(http_client(&config.endpoint))
            .endpoint_url(config.endpoint.as_str().trim_end_matches('/'))
            .region(Region::new(config.region.clone()))
            .credentials_provider(CurrentKey(config.keys.clone()))
            // The keys know themselves how long they last.
            .identity_cache(IdentityCache::no_cache())
            .force_path_style(config.path_style)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .retry_config(RetryConfig::disabled())
            // This crate watches parts and ranges itself: it knows what is a wait for a turn.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(config.limits.connect)
                    .operation_attempt_timeout(config.limits.request)
                    .build(),
            )
            .interceptor(Plain {
                signs_bodies: signs_bodies(&config.endpoint),
            })
            .interceptor(Readable)
            .interceptor(OnlyStorage)
            .disable_s3_express_session_auth(true)
            .disable_multi_region_access_points(true);
        Ok(Self(Arc::new(Inner {
            s3: aws_sdk_s3::Client::from_conf(adjust(builder).build()),
            keys: config.keys,
            clock: Clock::new(),
            etags: Etags::default(),
            retry: config.retry,
            limits: config.limits,
            rate: config.rate_limit.map(|limit| Arc::new(Rate::new(limit))),
            turns: config
                .parts_at_once
                .map(|most| Semaphore::new(most.get().min(Semaphore::MAX_PERMITS))),
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

    pub(crate) fn keys(&self) -> &Keys {
        &self.0.keys
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn etags(&self) -> &Etags {
        &self.0.etags
    }

    /// The region that requests are signed for.
    pub(crate) fn region(&self) -> &str {
        &self.0.region
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.0.retry
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Time limit of attempt number `attempt` (from 1) to move `len` bytes, the wait for one's turn
    /// included.
    pub(crate) fn data_limit(&self, len: u64, attempt: u32) -> Duration {
        let turns = self.rate().map_or(Duration::ZERO, |rate| {
            // All others may be served first.
            let takes = Duration::from_secs_f64(len as f64 / rate.per_second() as f64);
            takes.saturating_mul(SHARERS)
        });
        self.limits().attempt(len, attempt).saturating_add(turns)
    }

    pub(crate) fn rate(&self) -> Option<&Arc<Rate>> {
        self.0.rate.as_ref()
    }

    /// Waits for one's turn to send a part, first come, first served. It ends when what is returned
    /// is dropped.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.0.turns.as_ref()?.acquire().await.ok()
    }

    /// Whether signatures cover bodies. Over TLS nothing can change a body on its way, and
    /// `Content-MD5`, which is signed, covers it.
    pub(crate) fn signs_bodies(&self) -> bool {
        signs_bodies(&self.0.endpoint)
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
        self.call(self.policy(), &what, |_| async move {
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
        let found: Result<_, Error> = self
            .call(self.policy(), &what, |_| async move {
                let ids = ["x-amz-request-id", "x-obs-request-id", "x-amzn-requestid"];
                let headers = Headers::of(&[
                    "content-length",
                    "x-amz-request-id",
                    "x-obs-request-id",
                    "x-amzn-requestid",
                ]);
                let answer = self
                    .s3()
                    .head_object()
                    .bucket(bucket)
                    .key(key)
                    .customize()
                    .interceptor(headers.interceptor())
                    .send()
                    .await
                    .map_err(from_sdk)?;
                // Every storage sends at least one of them.
                if answer.e_tag().is_none()
                    && answer.last_modified().is_none()
                    && !ids.iter().any(|id| headers.get(id).is_some())
                {
                    return Err(foreign::with_status(200, ""));
                }
                let size = headers.get("content-length");
                let size = size.and_then(|size| size.trim().parse::<u64>().ok());
                let info = ObjectInfo {
                    size: size.unwrap_or(0),
                    etag: answer.e_tag().map(unquoted).filter(|etag| !etag.is_empty()),
                    weak_etag: answer.e_tag().is_some_and(etag::is_weak),
                    modified: answer.last_modified().map(|time| time.secs()),
                    storage_class: answer
                        .storage_class()
                        .map(|class| class.as_str().to_owned()),
                    encrypted: etag::encrypts(
                        answer.server_side_encryption(),
                        answer.sse_customer_algorithm(),
                        answer.ssekms_key_id(),
                    ),
                };
                Ok((size.is_some(), info))
            })
            .await;
        match found {
            Ok((true, info)) => Ok(Some(info)),
            // Some servers leave the length out here, and report it with a range.
            Ok((false, info)) => {
                let size = self.length(bucket, key).await;
                let size = size.map_err(|error| error.doing(what))?;
                Ok(size.map(|size| ObjectInfo { size, ..info }))
            }
            Err(error)
                if error.kind() == ErrorKind::NotFound && error.code() != Some("NoSuchBucket") =>
            {
                Ok(None)
            }
            Err(error) => Err(error.doing(what)),
        }
    }

    /// Creates `bucket` in the client's region. A bucket that the caller already owns is no error.
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
        let created = self
            .call(self.policy(), &what, |_| {
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
        let better = Error::new(ErrorKind::NotFound, message).with_hint(Hint::CheckBucket);
        return better.with_answer(404, None, error.request_id().map(str::to_owned));
    }
    error
}

fn signs_bodies(endpoint: &Url) -> bool {
    endpoint.scheme() != "https"
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
