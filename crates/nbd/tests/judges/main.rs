//! The client and the server of NBD, held against each other, against the programs of QEMU, nbdkit
//! and libnbd, and against whoever breaks the protocol.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "a test that fails may panic"
)]

mod clients;
mod hostile;
mod programs;
mod serving;
mod sources;
mod tls;
mod waiting;
