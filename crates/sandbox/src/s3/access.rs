//! What is refused before an operation looks at the request.

use std::sync::Arc;

use net::secret::ExposeSecret as _;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::path::S3Path;
use s3s::{S3Result, s3_error};

use super::error::obs_error;
use super::headers::{self, Scheme};
use super::queries;
use crate::credentials::Credentials;

/// Longest key, in bytes: OBS API reference, obs_04_0080.
const MAX_KEY: usize = 1024;

/// Longest name of a file, and so of a part of a key between slashes, in bytes.
const MAX_COMPONENT: usize = 255;

/// Knows the sandbox's keys.
pub(super) struct Auth {
    credentials: Arc<Credentials>,
}

impl Auth {
    pub(super) fn new(credentials: Arc<Credentials>) -> Self {
        Self { credentials }
    }
}

#[async_trait::async_trait]
impl S3Auth for Auth {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        match self.credentials.secret(access_key) {
            Some(secret) => Ok(SecretKey::from(secret.expose_secret())),
            None => Err(s3_error!(
                InvalidAccessKeyId,
                "the access key id you provided does not exist in our records"
            )),
        }
    }
}

/// Refuses anonymous requests, signatures for another region, what OBS refuses, and keys that
/// cannot be files.
pub(super) struct Access {
    credentials: Arc<Credentials>,
    region: String,
    scheme: Scheme,
}

impl Access {
    pub(super) fn new(credentials: Arc<Credentials>, region: String, scheme: Scheme) -> Self {
        Self {
            credentials,
            region,
            scheme,
        }
    }

    fn check_region(&self, authorization: &str) -> S3Result<()> {
        // `AWS4-HMAC-SHA256 Credential=AK/DATE/REGION/s3/aws4_request, ...`
        let Some((_, credential)) = authorization.split_once("Credential=") else {
            return Ok(());
        };
        match credential.split('/').nth(2) {
            Some(region) if region == self.region => Ok(()),
            region => Err(obs_error(
                "AuthorizationHeaderMalformed",
                format_args!(
                    "the region {:?} is wrong; expecting {:?}",
                    region.unwrap_or_default(),
                    self.region
                ),
            )),
        }
    }
}

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let Some(signer) = cx.credentials() else {
            return Err(s3_error!(AccessDenied, "the request is not signed"));
        };
        let header = |name: &str| {
            let value = cx.headers().get(name)?;
            value.to_str().ok()
        };
        let session = header("x-amz-security-token");
        if !self.credentials.is_session(&signer.access_key, session) {
            return Err(s3_error!(
                InvalidToken,
                "the security token is missing or is not the access key's"
            ));
        }
        if let Some(authorization) = header("authorization") {
            self.check_region(authorization)?;
        }
        let (operation, method) = (cx.s3_op().name(), cx.method());
        let query = cx.uri().query().unwrap_or_default();
        queries::check(operation, method, query)?;
        headers::check(operation, method, cx.headers(), self.scheme)?;
        match cx.s3_path() {
            S3Path::Object { key, .. } => check_key(key),
            S3Path::Bucket { .. } | S3Path::Root => Ok(()),
        }
    }
}

/// Whether `key` can be the path of a file below its bucket, and nothing else.
pub(super) fn check_key(key: &str) -> S3Result<()> {
    if key.len() > MAX_KEY {
        return Err(s3_error!(
            KeyTooLongError,
            "the key has {} bytes; {MAX_KEY} are allowed",
            key.len()
        ));
    }
    let reason = key.split('/').find_map(|component| {
        if component.is_empty() {
            Some("an empty part between slashes")
        } else if component == "." || component == ".." {
            Some("a part that is '.' or '..'")
        } else if component.len() > MAX_COMPONENT {
            Some("a part of more than 255 bytes")
        } else if component.contains('\0') {
            Some("a NUL character")
        } else {
            None
        }
    });
    match reason {
        None => Ok(()),
        Some(reason) => Err(s3_error!(
            InvalidArgument,
            "the key has {reason}; the sandbox keeps objects as files and cannot store it"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_lead_out_of_the_bucket_are_refused() {
        for key in [
            "../x",
            "a/../../x",
            "..",
            "a/./b",
            "/a",
            "a//b",
            "a/",
            "a\0b",
        ] {
            assert!(check_key(key).is_err(), "{key:?}");
        }
        for key in ["a", "a/b.zvhd2", "...", "..a/b..", "ä b"] {
            assert!(check_key(key).is_ok(), "{key:?}");
        }
        assert!(check_key(&"x".repeat(256)).is_err());
    }
}
