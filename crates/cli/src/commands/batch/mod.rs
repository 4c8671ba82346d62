//! `imgferry batch`: many imports in one process, or in many.
//!
//! ```text
//!  manifest ──setup──▶ items, limits, cloud ──check──▶ what is to be done ──plan──▶ a table
//!                                                            │
//!                                                            └─run──▶ lanes ──import::one──▶ outcomes ──▶ report
//!  state: the batch's journal      claims: who has what, in the bucket      board: what is shown
//! ```

mod board;
mod book;
mod budget;
mod check;
mod claims;
mod clean;
mod driving;
mod estimate;
mod init;
mod outcome;
mod plan;
mod report;
mod request;
mod run;
mod runner;
mod setup;
mod state;
mod status;
mod steps;

use self::setup::Setup;
use crate::args::{BatchArgs, BatchCommand};
use crate::console::Console;
use crate::exit::Outcome;
use crate::interrupt::Interrupt;

pub(crate) async fn run(args: &BatchArgs, console: Console, interrupt: &Interrupt) -> Outcome {
    match &args.command {
        // Synchronous; the signal handler runs beside it.
        BatchCommand::Init(args) => {
            tokio::task::block_in_place(|| init::run(args, console, interrupt.token()))
        }
        BatchCommand::Schema => console.raw(batch::schema::text().as_bytes()),
        BatchCommand::Plan(args) => {
            let setup = Setup::open(&args.manifest, &args.common).await?;
            let ended = plan::run(&setup, &args.common, console, interrupt).await;
            setup.session.close(ended).await
        }
        BatchCommand::Run(args) => run::run(args, console, interrupt).await,
        BatchCommand::Status(args) => status::run(args, console, interrupt).await,
        BatchCommand::Clean(args) => clean::run(args, console, interrupt).await,
    }
}
