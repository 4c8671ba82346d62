//! `SDK-HMAC-SHA256`, the request signature of API gateways: both sides over one canonical form.
//!
//! Source: the signers of Huawei Cloud's SDKs for Python and Go, and "API Sign Guide: Signing
//! algorithm".
//!
//! ```text
//! METHOD \n path, with a final slash \n sorted query \n name:value\n … \n names;… \n hex(SHA-256(body))
//!    └─ SHA-256 ─▶ SDK-HMAC-SHA256 \n X-Sdk-Date \n hex ── HMAC-SHA256 with the secret key ─▶ signature
//! ```

mod canonical;
mod scheme;
mod verify;

use ::http::header::{
    AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, InvalidHeaderValue,
};
use hmac::Mac;
use secrecy::ExposeSecret;
use time::OffsetDateTime;

pub use canonical::{canonical_request, encode, encode_query};
pub use scheme::{
    ALGORITHM, MAX_SIGNED_BODY, Parts, UNSIGNED_PAYLOAD, X_PROJECT_ID, X_SDK_CONTENT_SHA256,
    X_SDK_DATE, X_SECURITY_TOKEN,
};
pub use verify::{MAX_CLOCK_SKEW, SignatureError, verify};

use self::scheme::{keyed, string_to_sign};
use crate::clock::sdk_date;
use crate::http::Request;
use crate::secret::AccessKey;

/// What signing computes, step by step, so that a refused signature can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// What is hashed; holds the values of signed headers, so of a session token too.
    pub canonical_request: String,
    /// What the key signs.
    pub string_to_sign: String,
    /// Names of the signed headers, joined by semicolons.
    pub signed_headers: String,
    /// The signature in hexadecimal.
    pub signature: String,
    /// Value of the `Authorization` header.
    pub authorization: String,
}

/// Why a request cannot be signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// A value has characters that a header cannot carry.
    #[error("{0} has characters that no HTTP header can carry")]
    Header(&'static str, #[source] InvalidHeaderValue),
    /// The body is beyond [`MAX_SIGNED_BODY`].
    #[error("the body has {0} bytes, signed requests carry at most {MAX_SIGNED_BODY}")]
    BodyTooLarge(usize),
    /// The URL has no host.
    #[error("the URL has no host")]
    NoHost,
}

/// Signs `request` with `key` at `now`: sets `Host`, `X-Sdk-Date`, `X-Security-Token` (temporary
/// keys) and `Authorization`, and brings the query into the form that is signed. A former signature
/// is replaced. `Host`, `Content-Type` and all `X-*` headers that are set by then are signed.
///
/// # Errors
/// When a value cannot stand in a header, or the body is too large.
pub fn sign(
    request: &mut Request,
    key: &AccessKey,
    now: OffsetDateTime,
) -> Result<Signature, SignError> {
    if request.body.len() > MAX_SIGNED_BODY {
        return Err(SignError::BodyTooLarge(request.body.len()));
    }
    let host = match (request.url.host_str(), request.url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => return Err(SignError::NoHost),
    };
    let date = sdk_date(now);
    let headers = &mut request.headers;
    headers.remove(AUTHORIZATION);
    headers.insert(HOST, value("the host", &host)?);
    headers.insert(X_SDK_DATE, value("the date", &date)?);
    if let Some(token) = &key.session_token {
        let mut token = value("the security token", token.expose_secret())?;
        token.set_sensitive(true);
        headers.insert(X_SECURITY_TOKEN, token);
    }
    if headers.get(CONTENT_TYPE).is_some_and(leaves_body_unsigned) {
        let unsigned = HeaderValue::from_static(UNSIGNED_PAYLOAD);
        headers.insert(X_SDK_CONTENT_SHA256, unsigned);
    }
    if let Some(query) = request.url.query() {
        let query = canonical::query(query);
        request.url.set_query(Some(&query));
    }
    let names: Vec<&str> = request
        .headers
        .keys()
        .filter(|name| *name == HOST || *name == CONTENT_TYPE || name.as_str().starts_with("x-"))
        .map(HeaderName::as_str)
        .collect();
    let parts = Parts {
        method: request.method.as_str(),
        path: request.url.path(),
        query: request.url.query().unwrap_or_default(),
        headers: &request.headers,
        body: &request.body,
    };
    let signature = signature(&parts, &names, key, &date);
    let mut authorization = value("the access key id", &signature.authorization)?;
    authorization.set_sensitive(true);
    request.headers.insert(AUTHORIZATION, authorization);
    Ok(signature)
}

/// The signature of `parts` over the headers in `names` (in any case and order), made at `date` in
/// the form of `X-Sdk-Date`.
#[must_use]
pub fn signature(parts: &Parts<'_>, names: &[&str], key: &AccessKey, date: &str) -> Signature {
    let names = canonical::header_names(names);
    let canonical_request = canonical_request(parts, &names);
    let string_to_sign = string_to_sign(&canonical_request, date);
    let signature = hex::encode(
        keyed(key.secret.expose_secret(), &string_to_sign)
            .finalize()
            .into_bytes(),
    );
    let signed_headers = names.join(";");
    Signature {
        authorization: format!(
            "{ALGORITHM} Access={}, SignedHeaders={signed_headers}, Signature={signature}",
            key.id
        ),
        canonical_request,
        string_to_sign,
        signed_headers,
        signature,
    }
}

/// The SDKs sign bodies of JSON and BSON and leave all others out.
fn leaves_body_unsigned(content_type: &HeaderValue) -> bool {
    let text = content_type.as_bytes();
    !text.starts_with(b"application/json") && !text.starts_with(b"application/bson")
}

fn value(what: &'static str, text: &str) -> Result<HeaderValue, SignError> {
    HeaderValue::from_str(text).map_err(|e| SignError::Header(what, e))
}
