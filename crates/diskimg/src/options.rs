//! How to open an image, and what happens with other files that it names.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::format::Format;

/// How to open an image.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// The format, when the user named it. `None`: recognised by content.
    pub format: Option<Format>,
    /// Name or id of an internal snapshot to read instead of the active disk.
    pub snapshot: Option<String>,
    /// Name of the bitmap by which [`crate::DiskImage::changes`] will be asked: servers want to be
    /// told when they are connected to.
    pub bitmap: Option<String>,
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
    /// Exact number of bytes of the raw disk in a compressed file. `None`: what the file tells; all
    /// of it is decoded once where it tells nothing.
    pub packed_size: Option<u64>,
    /// Asked while a compressed file is decoded.
    pub stop: Stop,
}

impl OpenOptions {
    /// The defaults, for an image of `format`, or of what its content says.
    #[must_use]
    pub const fn of(format: Option<Format>) -> Self {
        Self {
            format,
            snapshot: None,
            bitmap: None,
            backing: BackingPolicy::Refuse,
            backing_format: None,
            metadata_only: false,
            ignore_vhd_bitmaps: false,
            packed_size: None,
            stop: Stop::never(),
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
    /// The image is a disk of a package, which lists its files: it is refused, whatever the user
    /// allows.
    Sealed,
}

impl BackingPolicy {
    /// Whether an image that names another file is refused.
    #[must_use]
    pub const fn opens_nothing(&self) -> bool {
        matches!(self, Self::Refuse | Self::Sealed)
    }
}

/// Whether to stop: asked again and again by what may take long.
#[derive(Clone, Default)]
pub struct Stop(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Stop {
    /// When `asked` says so.
    pub fn when(asked: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(asked)))
    }

    /// At no time.
    #[must_use]
    pub const fn never() -> Self {
        Self(None)
    }

    /// Whether to stop now.
    #[must_use]
    pub fn asked(&self) -> bool {
        self.0.as_ref().is_some_and(|asked| asked())
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stop")
    }
}
