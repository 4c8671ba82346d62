//! The S3 server: `s3s` speaks the protocol and checks signatures; what OBS does behind it is done
//! here.
//!
//! [`access`] holds requests against the rules of OBS, [`objects`] and [`uploads`] keep the data,
//! [`listing`] finds it again, [`operations`] ties these to the protocol.

mod access;
mod assembly;
mod attributes;
mod checks;
mod conditions;
mod copy;
mod date;
mod error;
mod headers;
mod lent;
mod listing;
mod multipart;
mod objects;
mod operations;
mod queries;
mod receive;
mod uploads;
mod xml;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use futures::FutureExt as _;
use http::HeaderValue;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use s3s::service::S3ServiceBuilder;
use s3s::{Body, S3Error, s3_error};

use crate::credentials::Credentials;
use crate::keys::hex_id;

pub(crate) use headers::Scheme;
pub(crate) use objects::{Found, ObjectStore, STANDARD};

/// The response future of [`service`].
type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// The S3 server as a hyper service. Takes the sandbox's keys only, signed for `region`.
pub(crate) fn service(
    store: ObjectStore,
    credentials: Arc<Credentials>,
    region: &str,
    scheme: Scheme,
) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future = Answer>
+ Clone
+ Send
+ 'static {
    let mut builder = S3ServiceBuilder::new(store);
    builder.set_auth(access::Auth::new(Arc::clone(&credentials)));
    builder.set_access(access::Access::new(credentials, region.to_owned(), scheme));
    let s3 = builder.build();
    service_fn(move |request: Request<Incoming>| -> Answer {
        let s3 = s3.clone();
        async move {
            let (mut parts, body) = request.into_parts();
            let dated = date::complete(&mut parts.headers);
            let (body, lender) = lent::lend(body);
            let request = Request::from_parts(parts, Body::http_body_unsync(body));
            let answer = match dated {
                Ok(()) => s3.call(request).await.map_err(|error| {
                    tracing::warn!("request could not be answered: {error:?}");
                    s3_error!(InternalError)
                }),
                Err(refused) => {
                    drop(request);
                    Err(refused)
                }
            };
            let mut response = answer.unwrap_or_else(refusal);
            if !response.status().is_success() {
                lender.drain().await;
            }
            xml::escape(&mut response);
            let headers = response.headers_mut();
            for name in ["x-amz-request-id", "x-obs-request-id"] {
                if let Ok(id) = HeaderValue::try_from(hex_id()) {
                    headers.entry(name).or_insert(id);
                }
            }
            Ok(response)
        }
        .boxed()
    })
}

/// An error as an answer.
fn refusal(error: S3Error) -> Response<Body> {
    error.to_http_response().unwrap_or_else(|error| {
        tracing::warn!("request could not be answered: {error:?}");
        let mut response = Response::new(Body::empty());
        *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}
