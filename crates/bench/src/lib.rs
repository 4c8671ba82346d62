//! Measures what a machine, its disks and its line can do, and says which settings suit them.
//!
//! ```text
//!  view ──▶ work ───▶ ┐
//!  (image)  upload ─▶ ├─ figures ──▶ advice ──▶ report
//!           peer ───▶ ┘  (stats)     (a rule)
//! ```
//!
//! Each round measures everything once, so that whatever else the machine does affects all stages
//! alike. Stages call the functions that conversions and uploads call. Nothing here prints: a
//! [`Report`] is data, and an observer hears how far a run is.

mod advice;
mod charts;
mod figures;
mod machine;
mod options;
mod peer;
mod report;
mod rounds;
mod run;
mod sections;
mod source;
mod stats;
mod upload;
mod view;
mod work;

pub use advice::{Advice, CpuShares, Limit, LimitRate, Line, Setting, Threads};
pub use charts::megabytes;
pub use figures::{Figure, Stage, find};
pub use machine::Machine;
pub use options::{Event, Image, Observer, Options};
pub use peer::{Against, Comparison, Ours, QemuImg, Side, Task};
pub use report::{Report, Settings};
pub use run::Bench;
pub use sections::{against, charts, facts, table};
pub use source::Source;
pub use stats::Spread;
pub use upload::Place;
