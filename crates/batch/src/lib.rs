//! Batches of disks: what is decided and told about them without a network.
//!
//! ```text
//!  batch.yaml, batch.toml ──Manifest::read()──▶ Vec<Item>   all problems at once, with lines
//!  items ──Shard::select()──▶ the items of worker i of n
//!  an item ──claim::Contest──▶ mine, or another worker's until …   steps for the runner to carry out
//!  Vec<ItemOutcome> ──BatchReport──▶ text, JSON, one HTML page
//! ```
//!
//! The crate is synchronous and knows no network, no clap and no terminal: the runner in the
//! program does what is decided here.

pub mod claim;
mod document;
mod expand;
mod fields;
pub mod init;
pub mod item;
mod keys;
pub mod manifest;
pub mod outcome;
pub mod problem;
mod readiness;
pub mod report;
pub mod schema;
mod shard;
mod size;
#[cfg(test)]
mod testing;
mod vars;

pub use item::{
    Architecture, Firmware, Holes, IfExists, Item, Kind, Level, Limits, OsFamily, Register, Role,
    Target, VhdBitmap,
};
pub use manifest::Manifest;
pub use outcome::{
    BatchReport, ItemOutcome, ItemState, Machine, Stage, StageSpan, ThroughputSample, Totals,
    UnixMillis,
};
pub use problem::Problem;
pub use readiness::{GuestFinding, Readiness, Verdict};
pub use shard::Shard;

use std::path::Path;

impl Manifest {
    /// Reads the manifest at `path`: YAML, or TOML when the name ends in `.toml`.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of its lines. Sources that cannot be read are
    /// part of that only beside other problems; alone they are left to [`Item::unreadable`].
    pub fn read(path: &Path) -> Result<Self, Vec<Problem>> {
        expand::read(path)
    }
}
