//! What both sides of the scheme share: names, limits, and what the key signs.

use ::http::HeaderMap;
use ::http::header::HeaderName;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// Name of the algorithm, first word of the `Authorization` header.
pub const ALGORITHM: &str = "SDK-HMAC-SHA256";

/// Time of signing, `YYYYMMDDTHHMMSSZ`.
pub const X_SDK_DATE: HeaderName = HeaderName::from_static("x-sdk-date");
/// What stands in the place of the body's hash.
pub const X_SDK_CONTENT_SHA256: HeaderName = HeaderName::from_static("x-sdk-content-sha256");
/// Session token of temporary keys.
pub const X_SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-security-token");
/// Project that a regional service acts in.
pub const X_PROJECT_ID: HeaderName = HeaderName::from_static("x-project-id");

/// Value of [`X_SDK_CONTENT_SHA256`] for a body that is not signed.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// Largest signed body in bytes. The gateway's: it answers 401 "body too large" beyond.
pub const MAX_SIGNED_BODY: usize = 12 << 20;

/// A request as the signature sees it.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    /// Method in upper case.
    pub method: &'a str,
    /// Path as on the wire, percent-encoded.
    pub path: &'a str,
    /// Query as on the wire, without the question mark.
    pub query: &'a str,
    /// Headers as on the wire.
    pub headers: &'a HeaderMap,
    /// Body.
    pub body: &'a [u8],
}

pub(super) fn string_to_sign(canonical_request: &str, date: &str) -> String {
    let hash = hex::encode(Sha256::digest(canonical_request));
    format!("{ALGORITHM}\n{date}\n{hash}")
}

/// HMAC over `text`, not yet finished so that the verifier can compare in constant time.
pub(super) fn keyed(secret: &str, text: &str) -> Hmac<Sha256> {
    // A key longer than a block is hashed first, as HMAC defines; no length is refused.
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.as_bytes())
        .unwrap_or_else(|_| <Hmac<Sha256> as KeyInit>::new(&Default::default()));
    mac.update(text.as_bytes());
    mac
}
