//! The server's side: does this request carry a signature by a key that we know?

use ::http::header::AUTHORIZATION;
use hmac::Mac;
use secrecy::{ExposeSecret, SecretString};
use time::{Duration, OffsetDateTime};

use super::canonical::{canonical_request, header_names};
use super::scheme::{ALGORITHM, MAX_SIGNED_BODY, Parts, X_SDK_DATE, keyed, string_to_sign};
use crate::clock::parse_sdk_date;

/// Largest difference between the time of signing and the server's clock. The gateway's.
pub const MAX_CLOCK_SKEW: Duration = Duration::minutes(15);

/// Why a signature is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// There is no `Authorization` header.
    #[error("the request has no Authorization header")]
    Missing,
    /// The header has another form.
    #[error("the Authorization header has no {0}")]
    Malformed(&'static str),
    /// `X-Sdk-Date` is missing, unsigned or unreadable.
    #[error("the signed header X-Sdk-Date is missing or has another form than YYYYMMDDTHHMMSSZ")]
    Date,
    /// The request was signed too long ago, or in the future.
    #[error("the request was signed {0} s from the server's time, at most 900 are accepted")]
    Skew(u64),
    /// A header that SignedHeaders names is not in the request.
    #[error("the signed header {0} is not in the request")]
    HeaderMissing(String),
    /// Nobody has this access key id.
    #[error("the access key id {0} is not known")]
    UnknownKey(String),
    /// The body is beyond [`MAX_SIGNED_BODY`].
    #[error("the body has {0} bytes, signed requests carry at most {MAX_SIGNED_BODY}")]
    BodyTooLarge(usize),
    /// The signature is another one.
    #[error("the signature does not match")]
    Mismatch {
        /// What the server hashed, for comparing; real gateways show it with `|` for line ends.
        canonical_request: String,
    },
}

/// Checks the `Authorization` header of `parts` against the key that `lookup` knows by its id.
/// Returns the access key id. Signatures are compared in constant time.
///
/// # Errors
/// [`SignatureError`]; its text holds no secret, but the canonical request of a mismatch holds the
/// request's headers.
pub fn verify(
    parts: &Parts<'_>,
    lookup: impl Fn(&str) -> Option<SecretString>,
    now: OffsetDateTime,
) -> Result<String, SignatureError> {
    let header = parts
        .headers
        .get(AUTHORIZATION)
        .ok_or(SignatureError::Missing)?
        .to_str()
        .map_err(|_| SignatureError::Malformed("readable text"))?;
    let claim = Claim::parse(header)?;
    if parts.body.len() > MAX_SIGNED_BODY {
        return Err(SignatureError::BodyTooLarge(parts.body.len()));
    }
    let names = header_names(&claim.signed_headers.split(';').collect::<Vec<_>>());
    if let Some(missing) = names
        .iter()
        .find(|name| !parts.headers.contains_key(name.as_str()))
    {
        return Err(SignatureError::HeaderMissing(missing.clone()));
    }
    let date = names
        .iter()
        .any(|name| *name == X_SDK_DATE.as_str())
        .then(|| parts.headers.get(X_SDK_DATE)?.to_str().ok())
        .flatten()
        .ok_or(SignatureError::Date)?;
    let signed_at = parse_sdk_date(date).ok_or(SignatureError::Date)?;
    let skew = (now - signed_at).abs();
    if skew > MAX_CLOCK_SKEW {
        return Err(SignatureError::Skew(skew.whole_seconds().unsigned_abs()));
    }
    let secret = lookup(claim.access_key_id)
        .ok_or_else(|| SignatureError::UnknownKey(claim.access_key_id.to_owned()))?;
    let canonical_request = canonical_request(parts, &names);
    let given = hex::decode(claim.signature)
        .map_err(|_| SignatureError::Malformed("hexadecimal Signature"))?;
    keyed(
        secret.expose_secret(),
        &string_to_sign(&canonical_request, date),
    )
    .verify_slice(&given)
    .map_err(|_| SignatureError::Mismatch { canonical_request })?;
    Ok(claim.access_key_id.to_owned())
}

/// What the header says.
struct Claim<'a> {
    access_key_id: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Claim<'a> {
    fn parse(header: &'a str) -> Result<Self, SignatureError> {
        let fields = header
            .strip_prefix(ALGORITHM)
            .and_then(|rest| rest.strip_prefix(' '))
            .ok_or(SignatureError::Malformed("algorithm SDK-HMAC-SHA256"))?;
        let field = |name: &'static str| {
            fields
                .split(',')
                .filter_map(|field| field.trim().split_once('='))
                .find(|(key, value)| *key == name && !value.is_empty())
                .map(|(_, value)| value)
                .ok_or(SignatureError::Malformed(name))
        };
        Ok(Self {
            access_key_id: field("Access")?,
            signed_headers: field("SignedHeaders")?,
            signature: field("Signature")?,
        })
    }
}
