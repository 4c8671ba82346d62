//! Damaged and hostile files: refused, or read rightly; never a panic, never wrong data.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    missing_docs,
    reason = "tests"
)]

mod bytes;
mod checker;
#[path = "../common/mod.rs"]
mod common;
mod numbers;
mod support;
mod version1;
