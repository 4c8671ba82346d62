//! Reads packages of virtual machines: OVA archives and OVF folders.
//!
//! ```text
//!  app.ova ──index──▶ members (offset, length) ──descriptor──▶ machine: disks in order, hints
//!                                      │                             │
//!                                      └──manifest──▶ Verification   └──▶ Disk::source(): ReadAt
//! ```
//!
//! Nothing is unpacked: a disk is a window on the archive, and opens like any other source of
//! bytes. So names in a package are names only, and lead nowhere. Files beside a descriptor are
//! opened when they are called after it, or as [`diskimg::BackingPolicy`] allows.
//!
//! Everything in a package is hostile; [`limits`] says what it may make us read and hold. The crate
//! is synchronous and knows no network and no terminal.

mod descriptor;
mod disks;
mod hardware;
mod hints;
pub mod limits;
mod manifest;
mod names;
mod package;
mod store;
mod tar;
mod verify;
mod xml;

pub use disks::Disk;
pub use hints::{Architecture, Firmware, Hints};
pub use manifest::Algorithm;
pub use package::{Member, Package, Role};
pub use verify::{Manifest, Verification};
