//! What a driver is told besides the bytes: the options, and whether it may open other files.

use std::path::PathBuf;

use crate::open::OpenOptions;

/// What happens with the files that an image names: backing files, parents, data files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackingPolicy {
    /// The image is refused; the error names them. Nothing but the image itself is opened.
    #[default]
    Refuse,
    /// The image is opened for its metadata, and nothing else is: [`crate::Details`] names the files,
    /// and reading what they hold fails.
    Describe,
    /// They are opened when they lie in this directory or below it.
    Inside(PathBuf),
}

/// What a [`crate::Driver`] gets besides the bytes.
#[derive(Clone, Debug, Default)]
pub struct Context {
    options: OpenOptions,
}

impl Context {
    /// For an image that the user named.
    #[must_use]
    pub fn new(options: &OpenOptions) -> Self {
        Self {
            options: options.clone(),
        }
    }

    /// What happens with the files that the image names.
    #[must_use]
    pub fn policy(&self) -> &BackingPolicy {
        &self.options.backing
    }

    /// Name or id of the internal snapshot that is to be read instead of the active disk.
    #[must_use]
    pub fn snapshot(&self) -> Option<&str> {
        self.options.snapshot.as_deref()
    }
}
