//! Options about journals of imports.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Default, Args)]
pub(crate) struct StateArgs {
    /// Where journals of imports are kept [default: $XDG_STATE_HOME/imgferry or
    /// ~/.local/state/imgferry]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

/// List imports that can go on, and how those that are done ended
///
/// Reads the journals on this machine only: nothing is asked of the cloud.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  imgferry status\n  imgferry status --json | jq '.imports[] | select(.stage != \"done\") | .command'"
)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) state: StateArgs,
}
