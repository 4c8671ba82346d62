//! What the VMDK reader promises, against files of other programs, by hand, and by chance.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

#[path = "vmdk_support/vectors.rs"]
mod vectors;
