//! Imports a disk image into a cloud: one flow from a file to an active image.
//!
//! ```text
//!  ImportSpec ─ prepare ─▶ pieces {file, object, image, Form}   Form = Stream │ Parts + bitmap │ Bytes
//!     ─ preflight: asks the cloud ─▶ Planned                     a dry run ends here
//!     ─ ledger ─▶ one journal for each piece
//!     ─ send ─▶ each piece that is not complete yet
//!     ─ register ─▶ one Call for all, its job is followed ─▶ Outcome
//! ```
//!
//! [`ImportSpec`] says what to do, [`plan()`] what would happen, and [`run()`] does it. Messages,
//! counters and steps go to an [`Observer`]; an import that is stopped or fails leaves a journal
//! with which the next run of the same spec resumes it.
//!
//! ```no_run
//! # async fn example() -> cloud::Result {
//! use cloud::{Session, SessionOptions, StopToken};
//! use import::{Context, ImportSpec, Silent};
//!
//! let options = SessionOptions {
//!     buckets: vec!["images".into()],
//!     ..SessionOptions::default()
//! };
//! let session = Session::local(None, options).await?;
//! let spec = ImportSpec::new("disk.qcow2", "web01", "images");
//! let stop = StopToken::new();
//! let outcome = import::run(&spec, Context::new(&session, &Silent, &stop)).await?;
//! assert_eq!(outcome.status.as_deref(), Some("active"));
//! session.close(Ok(())).await
//! # }
//! ```

mod bitmap;
mod checks;
mod discard;
mod disk;
mod export;
mod guest;
mod ledger;
mod machine;
mod memory;
mod method;
mod observe;
mod os_name;
mod outcome;
mod piece;
mod plan;
mod preflight;
mod register;
mod run;
mod send;
mod source;
mod spec;
mod stdin;
mod verifying;
mod warm;
mod watch;

pub use bitmap::names::{beside as bitmap_beside, check as check_bitmap_name};
pub use bitmap::{CAUTION, warn_of_holes, with_holes};
pub use discard::without_free;
pub use disk::{Chosen, SourceDisk, open_package};
pub use export::{is_export, public_name};
pub use ledger::{command_line, identity, level_of, upload_of};
pub use memory::{memory_of_parts, plan_stream};
pub use method::{finds_by_manifest, object_key, object_keys};
pub use observe::{Activity, Before, Context, Counting, JobWatch, Observer, Silent, Step};
pub use outcome::{Completion, DataImage, Generation, Outcome, Stages, peak_memory};
pub use plan::{Action, Planned, plan};
pub use register::Renamed;
pub use run::{Prepared, prepare, run};
pub use send::{
    ChangedBy, Content, FileUpload, PlannedBase, RawTransferred, abort, refuse_existing,
    start_upload, upload_file,
};
pub use source::{
    Input, Reading, check_disk, open_disk, open_input, open_named, refuse_standard_input, stopping,
    warn_of_image, warn_of_more,
};
pub use spec::{
    BitmapSpec, Concurrency, GuestCheck, IfExists, ImportSpec, JournalSpec, Register, Warm,
};
pub use stdin::is_standard_input;
pub use watch::Watch;
