//! Free space, held against the programs that file systems come with: what they call free is what
//! is discarded, and after that they find nothing wrong and every file as it was.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    missing_docs,
    reason = "tests"
)]

mod common;
mod ext;
mod others;
mod xfs;
