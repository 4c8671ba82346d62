//! A part that is on its way to the server.

use bytes::Bytes;

use crate::budget::Permit;

/// A part on its way. Its memory goes back to the budget when it is dropped.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) number: u32,
    pub(crate) body: Bytes,
    pub(crate) permit: Permit,
}
