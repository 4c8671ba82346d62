//! Imports many disks into a cloud: what a manifest lists, in one process or in many.
//!
//! ```text
//!  FleetSpec ─ check: every disk, against the cloud ─▶ ready │ done │ refused     plan() ends here
//!     ─ lanes: largest ─┐ claim, memory   ┌─ convert ─┬─ complete ─┬─ register ─▶ end of a disk
//!              smallest ┼────────────────▶│  (lane)   │ (parts)    │ (job)          │
//!              …        ┘                 └───────────┴────────────┴──              ▼
//!     ─ state: the batch's journal      claims: who has what, in the bucket      Outcome
//! ```
//!
//! [`FleetSpec`] says what to do, [`plan()`] what would happen, and [`run()`] does it; each disk is
//! one `import::run`. An [`Observer`] receives what happens meanwhile. A run that is stopped, fails
//! or is killed leaves a journal, with which the next run of the same manifest does what is left.

mod book;
mod budget;
mod check;
mod claims;
mod clean;
mod driving;
mod estimate;
mod held;
mod observe;
mod outcome;
mod plan;
mod report;
mod request;
mod run;
mod runner;
mod setup;
mod spec;
mod state;
mod status;
mod steps;
mod track;

pub use clean::{CleanOptions, Cleaning, LeftoverImage, LeftoverObject, LeftoverUpload, Leftovers};
pub use estimate::Estimate;
pub use observe::{Context, Disk, DiskEvent, Event, Observer, Overview, Progress, Silent, Tally};
pub use plan::{DiskPlan, MemoryPlan, Plan, PlanTotals, Quota, plan};
pub use run::{Outcome, run};
pub use spec::FleetSpec;
pub use state::now;
pub use status::{DiskStatus, Status, status};
