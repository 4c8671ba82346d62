//! Errors of the S3 server, and work that ends with them.

use std::fmt;
use std::io;

use s3s::{S3Error, S3Result, s3_error};

/// Runs file system work away from the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> S3Result<T> + Send + 'static,
) -> S3Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(S3Error::internal_error(error)))
}

/// A failure of the sandbox's own disk, as the client and the log see it.
pub(super) fn disk(doing: &'static str) -> impl FnOnce(io::Error) -> S3Error {
    move |error| s3_error!(error, InternalError, "cannot {doing}")
}

/// An error whose code S3 itself does not have.
pub(super) fn obs_error(code: &str, message: impl fmt::Display) -> S3Error {
    let mut error = match code.parse() {
        Ok(code) => S3Error::with_message(code, message.to_string()),
        Err(never) => match never {},
    };
    error.set_status_code(http::StatusCode::BAD_REQUEST);
    error
}
