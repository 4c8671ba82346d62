//! `imgferry batch`: the arguments become a [`fleet::FleetSpec`], and what came of it is shown.

mod board;
mod clean;
mod init;
mod plan;
mod report;
mod run;
mod status;

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::import::JournalSpec;
use cloud::{Result, Session, StopToken};
use fleet::{Context, FleetSpec};

use self::board::Board;
use super::import::{command, journal};
use crate::args::{BatchArgs, BatchCommand, BatchCommonArgs, StateArgs};
use crate::console::Console;

pub(crate) async fn run(args: &BatchArgs, console: Console, stop: &StopToken) -> Result {
    match &args.command {
        // Synchronous; the signal handler runs beside it.
        BatchCommand::Init(args) => {
            tokio::task::block_in_place(|| init::run(args, console, stop.token()))
        }
        BatchCommand::Schema => console.raw(::batch::schema::text().as_bytes()),
        BatchCommand::Plan(args) => {
            let spec = spec(&args.manifest, &args.common)?;
            let (cx, _) = open(&spec, &args.common, console, stop).await?;
            let ended = plan::run(&spec, &cx, console).await;
            cx.close(ended).await
        }
        BatchCommand::Run(args) => {
            report::check(args)?;
            let mut spec = spec(&args.manifest, &args.common)?;
            spec.fail_fast = args.fail_fast;
            spec.lease = args.claim.then_some(args.lease);
            let (cx, board) = open(&spec, &args.common, console, stop).await?;
            let ended = match args.dry_run {
                true => plan::run(&spec, &cx, console).await,
                false => run::run(args, &spec, &cx, console, &board).await,
            };
            cx.close(ended).await
        }
        BatchCommand::Status(args) => status::run(args, console, stop).await,
        BatchCommand::Clean(args) => clean::run(args, console, stop).await,
    }
}

/// What the arguments ask for. Options count more than the manifest.
fn spec(manifest: &Path, args: &BatchCommonArgs) -> Result<FleetSpec> {
    let mut spec = FleetSpec::read(manifest)?;
    spec.cutover = args.cutover;
    let limits = &mut spec.limits;
    let count = |option: Option<NonZeroUsize>| option.map(NonZeroUsize::get);
    limits.converts = count(args.converts).or(limits.converts);
    limits.uploads = count(args.uploads).or(limits.uploads);
    limits.jobs = count(args.jobs).or(limits.jobs);
    limits.memory = args.memory.or(limits.memory);
    limits.limit_rate = args.limit_rate.map(NonZeroU64::get).or(limits.limit_rate);
    let spec = FleetSpec {
        shard: args.shard,
        redo: args.redo.clone(),
        guest_check: args.guest.check(),
        allowed_rules: args.guest.allowed_rules.clone(),
        threads: args.threads,
        concurrency: args.concurrency,
        timeout: Duration::from_secs(args.timeout),
        journal: journal(&args.cloud, &args.state),
        ..spec
    };
    spec.check()?;
    Ok(spec)
}

async fn open(
    spec: &FleetSpec,
    args: &BatchCommonArgs,
    console: Console,
    stop: &StopToken,
) -> Result<(Context, Arc<Board>)> {
    let session = Session::open(&args.cloud.options(), spec.session_options()).await?;
    let board = Board::new(console, &spec.manifest);
    let cx = Context::new(session, Arc::clone(&board) as _, stop);
    Ok((cx, board))
}

/// Where the journals of a batch are.
fn journal_in(state: &StateArgs) -> JournalSpec {
    JournalSpec {
        dir: state.state_dir.clone(),
        command: command(),
    }
}
