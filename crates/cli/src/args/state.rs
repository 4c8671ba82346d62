//! Options about journals of imports.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Default, Args)]
pub(crate) struct StateArgs {
    /// Directory of the import journals [default: $XDG_STATE_HOME/imgferry or
    /// ~/.local/state/imgferry]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

/// List resumable imports, and the results of finished ones
///
/// Reads only the journals on this machine; no request is sent.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  imgferry status\n  imgferry status --json | jq '.imports[] | select(.stage != \"done\") | .command'"
)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) state: StateArgs,
}
