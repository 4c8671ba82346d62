//! Finds disk images and machines in directories and writes a manifest of them.
//!
//! ```text
//! directories ──find()──▶ Found: disks, machines, files that are refused and why ──Draft::of()──▶ servers, images
//!                                                                             └─▶ YAML, TOML
//! ```
//!
//! Names of files only suggest which disks belong together; what no file tells (the bucket, the
//! operating system) is written as TODO, which reading the manifest refuses.

mod find;
mod group;
mod machine;
mod open;
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
    /// Machines with their disks, by path.
    pub machines: Vec<Machine>,
    /// Files that look like disks and cannot be taken as they are, by path.
    pub refused: Vec<Refused>,
    /// Files that are no disks, and links.
    pub passed_over: usize,
}

/// A machine whose files tell which disks belong to it.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Absolute path of its package (OVA archive, OVF descriptor) or configuration (`.vmx`).
    pub path: PathBuf,
    /// Whether it is a package, which is imported by its own path.
    pub is_package: bool,
    /// Its name.
    pub name: Option<String>,
    /// The disk that it starts from; of a package it has the package's path.
    pub system: Disk,
    /// Its other disks, in the order in which it sees them.
    pub data: Vec<Disk>,
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
    /// How its machine boots, where that is told: `bios` or `uefi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firmware: Option<&'static str>,
    /// What its machine calls its operating system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// How it is compressed as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
    /// Files that it builds on, nearest first: it is imported only where they may be opened.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub builds_on: Vec<String>,
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
