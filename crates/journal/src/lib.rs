//! The journal of an import: what an interrupted run has done, so that the next one can resume.
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
//! (`diskimg` opens its files, because it never waits for a pipe): the caller asks the object storage
//! for its state.
//!
//! A journal is read up to the first bad checksum. The rest, a torn last record after a power failure
//! or a damaged one, is cut off; the state before it is still correct, only earlier.

mod dir;
mod error;
mod file;
pub mod frame;
mod history;
mod log;
pub mod record;
pub mod registration;
mod source;
mod state;

pub use dir::{Listed, StateDir, Target};
pub use error::{Error, Hint, Result};
pub use file::{Found, Journal};
pub use frame::Ending;
pub use history::{Generation, History};
pub use log::{Log, RunLock, read_log};
pub use record::{Begun, Block, Completed, Part, PlanRecord, Record};
pub use source::{Sameness, SourceIdentity};
pub use state::{Stage, State};
