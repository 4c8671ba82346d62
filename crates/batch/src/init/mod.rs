//! Finds disk images in directories and writes a manifest of them.
//!
//! ```text
//! directories ──find()──▶ Found: disks, files that are refused and why ──Draft::of()──▶ servers, images
//!                                                                             └─▶ YAML, TOML
//! ```
//!
//! Names of files only suggest which disks belong together; what no file tells (the bucket, the
//! operating system) is written as TODO, which reading the manifest refuses.

mod find;
mod group;
mod write;

use std::path::PathBuf;

use diskimg::Format;
use diskimg::partitions::BootMode;
use serde::Serialize;

pub use self::find::{Error, find};
pub use self::group::{Draft, Server};
pub use self::write::{Notation, Settings};

/// What was found.
#[derive(Debug, Default, Serialize)]
pub struct Found {
    /// Disks that can be read, by path.
    pub disks: Vec<Disk>,
    /// Files that look like disks and cannot be taken as they are, by path.
    pub refused: Vec<Refused>,
    /// Files that are no disks, and links.
    pub passed_over: usize,
}

/// A disk.
#[derive(Clone, Debug, Serialize)]
pub struct Disk {
    /// Its absolute path.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// Size that the guest sees, in bytes.
    pub virtual_size: u64,
    /// Bytes that the file takes.
    pub bytes_on_disk: u64,
    /// How it boots; `None` when its partitions cannot be read.
    pub boot: Option<BootMode>,
    /// What the reader wants to be known.
    pub warnings: Vec<String>,
}

/// A file that cannot be taken as it is.
#[derive(Clone, Debug, Serialize)]
pub struct Refused {
    /// Its absolute path.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
    /// What the user can do.
    pub hint: Option<diskimg::Hint>,
}

#[cfg(test)]
mod tests;
