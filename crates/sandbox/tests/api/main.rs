//! IAM and IMS, asked over HTTP with tokens and with signatures.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

mod cloud;
mod identity;
mod imports;
mod jobs;
mod lists;
mod raw;
