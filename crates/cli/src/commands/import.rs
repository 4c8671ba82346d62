//! `imgferry import`: a local disk to an active image, in one pass.
//!
//! ```text
//! open, plan ─▶ check everything ─▶ convert │ upload ─▶ complete, compare ─▶ register ─▶ follow the job
//!               nothing is sent before       both at once
//! ```

mod errors;
mod report;
mod upload;

use crate::args::ImportArgs;
use crate::console::Console;
use crate::exit::Outcome;
use crate::interrupt::Interrupt;
pub(crate) use errors::from_obs;

pub(crate) async fn run(_args: &ImportArgs, _console: Console, _interrupt: &Interrupt) -> Outcome {
    Ok(())
}
