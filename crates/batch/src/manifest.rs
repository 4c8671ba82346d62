//! The manifest of a batch: read whole, expanded, and refused with everything that is wrong with
//! it.

use std::path::PathBuf;

use crate::item::{Item, Limits};

/// A manifest that was read and expanded.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Where it was read from.
    pub path: PathBuf,
    /// SHA-256 in hex of the expanded items: the same for a manifest in YAML and in TOML, whatever
    /// its comments, its order of keys and its limits are.
    pub digest: String,
    /// What the batch may use.
    pub limits: Limits,
    /// The disks, in the manifest's order.
    pub items: Vec<Item>,
}
