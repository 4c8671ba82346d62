//! Tags of images, in both forms that the service knows.
//!
//! Source: Image Management Service API Reference, "Image Tag Data Formats": `tags` holds
//! `key.value` texts, `image_tags` objects; a request has one of them. Newer lists separate by `=`.

use serde::{Deserialize, Serialize};

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tag {
    /// 1 to 36 characters.
    pub key: String,
    /// 0 to 43 characters.
    pub value: String,
}

impl Tag {
    /// A tag.
    #[must_use]
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
        }
    }
}

/// Tags of an image that is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Tags {
    /// As objects. Prefer these: a dot in a key stays one.
    #[serde(rename = "image_tags")]
    Pairs(Vec<Tag>),
    /// As `key.value`, for old regions.
    #[serde(rename = "tags")]
    Texts(Vec<String>),
}

impl Tags {
    /// Objects, or nothing when there is no tag.
    #[must_use]
    pub fn pairs(tags: &[(String, String)]) -> Option<Self> {
        let pairs = || tags.iter().map(|(key, value)| Tag::new(key, value));
        (!tags.is_empty()).then(|| Self::Pairs(pairs().collect()))
    }

    /// Texts `key.value`, or nothing when there is no tag.
    #[must_use]
    pub fn texts(tags: &[(String, String)]) -> Option<Self> {
        let texts = || tags.iter().map(|(key, value)| format!("{key}.{value}"));
        (!tags.is_empty()).then(|| Self::Texts(texts().collect()))
    }
}
