//! The journal of an import: what an interrupted run has done, so that the next one goes on from
//! there.
//!
//! ```text
//!  magic │ frame │ frame │ frame │ …          append-only, one file per bucket and key
//!          └─ crc32 (of the frame, and of everything before it) │ length │ kind │ payload
//!
//!  frames ──▶ records ──▶ State: begun ▶ uploading ▶ sent ▶ uploaded ▶ registering ▶ registered
//!  (frame)    (record)    (state)                  finished: kept for a while as NAME.done
//! ```
//!
//! [`frame`] and [`record`] know bytes and no files; [`Journal`] is the file, locked while it is in
//! use; [`StateDir`] is where the files are. The crate knows no network and no image format
//! (`diskimg` opens its files, because it never waits for a pipe): what is true of the object
//! storage is for the caller to ask the storage.
//!
//! A journal is read as far as its checksums go. What is behind that, a torn last record after a
//! power failure or a damaged one, is cut off; the state before it is still a true one, only an
//! earlier one.

mod dir;
mod error;
mod file;
pub mod frame;
mod log;
pub mod record;
pub mod registration;
mod source;
mod state;

pub use dir::{Listed, StateDir, Target};
pub use error::{Error, Result};
pub use file::{Found, Journal};
pub use frame::Ending;
pub use log::{Log, RunLock, read_log};
pub use record::{Begun, Block, Completed, Part, PlanRecord, Record};
pub use source::{Sameness, SourceIdentity};
pub use state::{Stage, State};
