//! The client against an S3 server in memory and against the sandbox behind a proxy, with small
//! parts and with everything that can go wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

mod around;
mod fake;
mod faults;
mod lifecycle;
mod promises;
mod proxied;
mod raw;
mod requests;
mod resume;
mod storages;
mod wild;
