//! The S3 server, driven by the SDK that clients use.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    missing_docs,
    reason = "tests"
)]

mod access;
mod assembly;
mod lists;
mod objects;
mod queries;
mod strict;
mod support;
mod uploads;
mod wire;
