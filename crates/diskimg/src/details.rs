//! What an image says of itself.

use serde::Serialize;

use crate::format::Format;

/// What an image says of itself, for people and for `inspect`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Details {
    /// The format it was opened as.
    pub format: Format,
    /// Sub-type or version, such as `version 3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The program that wrote it, when the format says so; escaped, so that it can be printed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creator: Option<String>,
    /// Unit of allocation in bytes: cluster (qcow2) or block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_size: Option<u64>,
    /// Name of the compression of the whole file, or that stored units may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
    /// Whether the disk is read front to back: another order is impossible, on a pipe, or slow, in a
    /// file that is compressed as a whole.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub streamed: bool,
    /// How the content is encrypted, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<String>,
    /// Whether the program that wrote the file closed it: `true` when a log is waiting to be
    /// replayed or reference counts were left to be mended. `None` where the format keeps no record
    /// of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dirty: Option<bool>,
    /// Internal snapshots, in the file's order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<SnapshotInfo>,
    /// Bitmaps of what changed, in the file's order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bitmaps: Vec<BitmapInfo>,
    /// Other files that the disk needs, nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refers_to: Vec<Reference>,
    /// Things the user should know before trusting the content.
    pub warnings: Vec<String>,
}

/// Most warnings about one disk that are kept.
const MAX_WARNINGS: usize = 100;

/// The first of `warnings`, and how many more there are.
pub(crate) fn first_warnings(mut warnings: Vec<String>) -> Vec<String> {
    let more = warnings.len().saturating_sub(MAX_WARNINGS);
    if more > 0 {
        warnings.truncate(MAX_WARNINGS);
        warnings.push(format!("{more} more warnings are not shown"));
    }
    warnings
}

impl Details {
    /// Details with nothing but the format.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self {
            format,
            variant: None,
            creator: None,
            cluster_size: None,
            compression: None,
            streamed: false,
            encryption: None,
            dirty: None,
            snapshots: Vec::new(),
            bitmaps: Vec::new(),
            refers_to: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// An internal snapshot. Texts are escaped by [`crate::text::printable`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnapshotInfo {
    /// Unique in the file.
    pub id: String,
    /// What people call it; need not be unique.
    pub name: String,
    /// When it was taken, in seconds since 1970, UTC.
    pub created: u64,
    /// Bytes of the machine's memory and devices that are stored with it; 0: the disk alone.
    pub vm_state_bytes: u64,
    /// Size of the disk at that time in bytes, when the file says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<u64>,
}

/// A bitmap of what changed on the disk since it was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BitmapInfo {
    /// Its name, escaped by [`crate::text::printable`].
    pub name: String,
    /// Bytes of the disk that one bit stands for.
    pub granularity: u64,
    /// Whether it was not saved properly, and so says nothing.
    pub in_use: bool,
    /// Whether every write is noted in it. Otherwise it may have missed some.
    pub recording: bool,
    /// Bytes of the disk that it marks as changed. `None` where they were not counted: only
    /// looking at metadata does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marked_bytes: Option<u64>,
}

/// Another file that an image names and needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reference {
    /// What it is to the image: `backing file`, `parent`, `data file` or `extent`.
    pub role: &'static str,
    /// Its name as the image gives it, escaped by [`crate::text::printable`].
    pub name: String,
    /// Its format as the image gives it, escaped by [`crate::text::printable`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Its length in bytes, when it holds a part of the disk and was opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_without_end_are_counted() {
        let many = |count: usize| first_warnings((0..count).map(|n| n.to_string()).collect());
        assert_eq!(many(MAX_WARNINGS).len(), MAX_WARNINGS);
        let cut = many(5000);
        assert_eq!(cut.len(), MAX_WARNINGS + 1);
        assert_eq!(cut[MAX_WARNINGS], "4900 more warnings are not shown");
    }
}
