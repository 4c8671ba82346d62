//! Parts in flight, and those that the server copies.

use std::sync::Arc;

use bytes::Bytes;

use crate::budget::Permit;
use crate::info::ObjectInfo;

/// A part in flight. Its memory goes back to the budget when it is dropped.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) number: u32,
    pub(crate) body: Bytes,
    pub(crate) permit: Permit,
}

/// An object, while it is this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopySource {
    /// Its bucket.
    pub bucket: String,
    /// Its key.
    pub key: String,
    /// What is known of it.
    pub info: ObjectInfo,
}

/// A part that the server makes of bytes of another object.
#[derive(Debug)]
pub(crate) struct CopyPart {
    pub(crate) number: u32,
    /// First byte in the source.
    pub(crate) start: u64,
    /// Bytes.
    pub(crate) size: u64,
    pub(crate) source: Arc<CopySource>,
}
