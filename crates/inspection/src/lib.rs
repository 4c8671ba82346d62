//! What is known of a disk image: its format, its partitions, which ways into the cloud it can take,
//! and the system on it. Collected once, shown as text, JSON, a picture or a page.
//!
//! The crate is synchronous and knows no network and no terminal.

mod eligibility;
mod facts;
mod page;
mod picture;
mod table;

pub use eligibility::{CommonImport, QuickImport, Verdict};
pub use facts::Inspection;
