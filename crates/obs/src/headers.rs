//! What an answer says in headers, or in the document of an error, that the SDK does not model.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use parking_lot::Mutex;
use time::OffsetDateTime;

use crate::text::{MAX_SCAN, clean_code, element};

/// Longest value that is kept, in bytes.
const MAX_VALUE: usize = 256;

/// Some headers of the last answer.
#[derive(Clone, Debug)]
pub(crate) struct Headers {
    names: &'static [&'static str],
    values: Arc<Mutex<HashMap<&'static str, String>>>,
}

impl Headers {
    /// Will hold the headers `names`, which are in lower case.
    pub(crate) fn of(names: &'static [&'static str]) -> Self {
        Self {
            names,
            values: Arc::default(),
        }
    }

    /// What fills this, to be added to a request.
    pub(crate) fn interceptor(&self) -> impl Intercept + 'static {
        self.clone()
    }

    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let values = self.values.lock();
        values.get(name).cloned()
    }
}

impl Intercept for Headers {
    fn name(&self) -> &'static str {
        "Headers"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let mut values = self.values.lock();
        values.clear();
        for name in self.names {
            if let Some(value) = context.response().headers().get(name) {
                let is_short = value.len() <= MAX_VALUE && !value.chars().any(char::is_control);
                if is_short {
                    values.insert(name, value.to_owned());
                }
            }
        }
        Ok(())
    }
}

/// The pause the server asks for: OBS's own header in milliseconds, or the standard one, in seconds
/// or as a date.
pub(crate) fn retry_after(response: &HttpResponse) -> Option<Duration> {
    let headers = response.headers();
    let number = |name| headers.get(name)?.trim().parse::<u64>().ok();
    number("x-obs-qos-delay-time")
        .map(Duration::from_millis)
        .or_else(|| net::status::pause(headers.get("retry-after")?, OffsetDateTime::now_utc()))
}

/// The region that an answer names, in a header or, where a signature has the wrong one, in its
/// body.
pub(crate) fn bucket_region(response: &HttpResponse) -> Option<String> {
    let headers = response.headers();
    let in_header = || {
        headers
            .get("x-amz-bucket-region")
            .or_else(|| headers.get("x-obs-bucket-location"))
    };
    let body = response.body().bytes().unwrap_or_default();
    let body = String::from_utf8_lossy(body.get(..MAX_SCAN).unwrap_or(body));
    let in_body = || element(&body, "Region");
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    in_header()
        .or_else(in_body)
        .filter(|region| (1..=64).contains(&region.len()) && region.bytes().all(is_name))
        .map(str::to_owned)
}

/// The endpoint that a redirect names, in its body or its `Location`.
pub(crate) fn redirect_endpoint(response: &HttpResponse) -> Option<String> {
    let body = response.body().bytes().unwrap_or_default();
    let body = String::from_utf8_lossy(body.get(..MAX_SCAN).unwrap_or(body));
    let in_body = element(&body, "Endpoint");
    let in_header = || {
        let location = response.headers().get("location")?;
        let (_, rest) = location.split_once("://")?;
        rest.split(['/', '?', '#']).next()
    };
    let is_host = |text: &&str| {
        !text.is_empty()
            && text.len() <= 253
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-:".contains(&byte))
    };
    in_body
        .filter(is_host)
        .or_else(|| in_header().filter(is_host))
        .map(str::to_owned)
}

pub(crate) fn request_id(response: &HttpResponse) -> Option<String> {
    let headers = response.headers();
    headers
        .get("x-obs-request-id")
        .or_else(|| headers.get("x-amz-request-id"))
        .or_else(|| headers.get("x-amzn-requestid"))
        .map(clean_code)
        .filter(|id| !id.is_empty())
}
