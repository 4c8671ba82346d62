//! A part in flight.

use bytes::Bytes;

use crate::budget::Permit;

/// A part in flight. Its memory goes back to the budget when it is dropped.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) number: u32,
    pub(crate) body: Bytes,
    pub(crate) permit: Permit,
}
