//! Looks into disks, read-only: which system is installed, and whether its server will boot.
//!
//! ```text
//! DiskImage ─▶ media: partitions, LVM, MD ─▶ volumes ─▶ Tree (one per file system)
//!                                                        │
//! collectors (boot, linux, windows) ◀── View: the guest's paths, links, mounts
//!          │
//!          ▼
//!        Facts ─▶ rules (pure functions) ─▶ Report: findings, worst first, and what is unknown
//! ```
//!
//! Everything on the disk is hostile. Parsers of others run on a thread of their own and may panic;
//! reads, time and memory have named caps ([`Budget`]); what could not be decided is reported as
//! unknown and never as passed. The crate is synchronous and knows no network and no terminal.

mod asking;
mod bsd;
mod budget;
mod catalog;
mod disk;
mod facts;
mod finding;
mod inspect;
mod known;
mod layout;
mod linux;
mod media;
mod mending;
mod mount;
mod names;
mod report;
mod rule;
mod start;
#[doc(hidden)]
pub mod survey;
mod text;
mod tree;
mod view;
mod volume;
mod windows;

pub use budget::Budget;
pub use catalog::{rules, rules_page};
pub use facts::{Evidence, Facts, Os, Wanted};
pub use finding::{ADVICE, Finding, Seen, Severity, Unknown, tag};
pub use inspect::inspect;
pub use layout::{Laid, Layout, layout};
pub use media::field;
pub use mending::MendedBy;
pub use names::{Choice, How, choose, documented};
pub use report::{Cost, Held, INCOMPLETE, Kernel, Named, Place, Report, Root, Virtio};
pub use rule::{Family, Judgement, Remedy, Rule, Source};
pub use volume::{Content, FileSystem};
