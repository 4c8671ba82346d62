//! What S3 keeps with the bytes of an object.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// What a client gives with an object, and gets back.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Attributes {
    /// S3 name; the bucket's when none was given.
    pub(super) storage_class: String,
    pub(super) content_type: Option<String>,
    /// The `x-amz-meta-*` headers, without the prefix.
    pub(super) metadata: HashMap<String, String>,
}
