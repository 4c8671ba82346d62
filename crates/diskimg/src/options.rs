//! How to open an image, and what happens with other files that it names.

use std::path::PathBuf;

use crate::format::Format;

/// How to open an image.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// The format, when the user named it. `None`: recognised by content.
    pub format: Option<Format>,
    /// Name or id of an internal snapshot to read instead of the active disk.
    pub snapshot: Option<String>,
    /// What happens with other files that the image names.
    pub backing: BackingPolicy,
    /// Format of backing files whose format is not declared. `None`: they are refused.
    pub backing_format: Option<Format>,
    /// Whether only metadata are wanted: an encrypted image opens too, and reading it fails.
    /// `false`: it is refused.
    pub metadata_only: bool,
    /// Whether all sectors of a dynamic VHD's stored blocks are read, also those that its sector
    /// bitmaps mark as never written. Without effect on differencing disks, in which the bitmaps
    /// tell child and parent apart.
    pub ignore_vhd_bitmaps: bool,
}

impl OpenOptions {
    /// The defaults, for an image of `format`, or of what its content says.
    #[must_use]
    pub const fn of(format: Option<Format>) -> Self {
        Self {
            format,
            snapshot: None,
            backing: BackingPolicy::Refuse,
            backing_format: None,
            metadata_only: false,
            ignore_vhd_bitmaps: false,
        }
    }
}

/// What happens with the files that an image names: backing files, parents, data files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackingPolicy {
    /// The image is refused; the error names them. Nothing but the image itself is opened.
    #[default]
    Refuse,
    /// The image is opened for its metadata, and nothing else is: [`crate::Details`] names the
    /// files, and reading what they hold fails.
    Describe,
    /// They are opened when they lie in this directory or below it.
    Inside(PathBuf),
    /// The image is a member of an archive, which has no directory: it is refused, whatever the
    /// user allows.
    Sealed,
}

impl BackingPolicy {
    /// Whether an image that names another file is refused.
    #[must_use]
    pub const fn opens_nothing(&self) -> bool {
        matches!(self, Self::Refuse | Self::Sealed)
    }
}
