//! What a request looks like on the wire: exactly what docs/upload.md lists, whatever the SDK adds.
//!
//! | changed | why |
//! |---|---|
//! | `x-id` leaves the query | OBS answers 404 NoSuchKey to a PUT that has it |
//! | headers that are not listed leave | a server owes nothing to a header that it does not know |
//! | `Content-Length: 0` where a request could have a body and has none | OBS and Ceph answer 411 without it |
//! | over https every payload is `UNSIGNED-PAYLOAD` | with signature version 4, OBS documents no other |

use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::config::http::HttpRequest;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

/// What the program calls itself.
const USER_AGENT: &str = concat!("imgferry/", env!("CARGO_PKG_VERSION"));

/// Headers that may be sent, in lower case.
const HEADERS: [&str; 15] = [
    "authorization",
    "content-length",
    "content-md5",
    "content-type",
    "host",
    "if-match",
    "if-none-match",
    "range",
    "user-agent",
    "x-amz-content-sha256",
    "x-amz-copy-source",
    "x-amz-copy-source-range",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-storage-class",
];

/// The object's own metadata.
const METADATA: &str = "x-amz-meta-";

/// Query parameter with which newer SDKs repeat the operation's name.
const OPERATION: &str = "x-id";

/// Makes each request what it must be. Runs after the SDK's own interceptors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain {
    /// Whether signatures cover bodies.
    pub(crate) signs_bodies: bool,
}

impl Intercept for Plain {
    fn name(&self) -> &'static str {
        "Plain"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        if let Some(uri) = without_operation(request.uri()) {
            request.set_uri(uri)?;
        }
        drop_unlisted(request);
        let headers = request.headers_mut();
        headers.insert("user-agent", USER_AGENT);
        let can_have_body = matches!(request.method(), "PUT" | "POST" | "DELETE");
        if can_have_body && request.body().content_length() == Some(0) {
            request.headers_mut().insert("content-length", "0");
        }
        if !self.signs_bodies {
            config
                .interceptor_state()
                .store_put(PayloadSigningOverride::unsigned_payload());
        }
        Ok(())
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // The SDK adds some after the signature.
        drop_unlisted(context.request_mut());
        Ok(())
    }
}

fn drop_unlisted(request: &mut HttpRequest) {
    let unlisted: Vec<String> = request
        .headers()
        .iter()
        .map(|(name, _)| name)
        .filter(|name| !HEADERS.contains(name) && !name.starts_with(METADATA))
        .map(str::to_owned)
        .collect();
    for name in unlisted {
        request.headers_mut().remove(name);
    }
}

/// `uri` without the operation's name; `None` when it has none.
fn without_operation(uri: &str) -> Option<String> {
    let (path, query) = uri.split_once('?')?;
    let names_operation = |pair: &&str| pair.split('=').next() == Some(OPERATION);
    if !query.split('&').any(|pair| names_operation(&pair)) {
        return None;
    }
    let rest: Vec<&str> = query
        .split('&')
        .filter(|pair| !names_operation(pair))
        .collect();
    Some(match rest.as_slice() {
        [] => path.to_owned(),
        rest => format!("{path}?{}", rest.join("&")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_operations_name_leaves_the_query() {
        for (uri, expected) in [
            (
                "https://b.example/k?x-id=GetObject",
                Some("https://b.example/k"),
            ),
            ("/k?x-id=UploadPart&partNumber=1", Some("/k?partNumber=1")),
            (
                "/k?partNumber=1&x-id=A&uploadId=u",
                Some("/k?partNumber=1&uploadId=u"),
            ),
            ("/k?prefix=x-id&x-idle=1", None),
            ("/x-id=1", None),
        ] {
            assert_eq!(without_operation(uri).as_deref(), expected, "{uri}");
        }
    }
}
