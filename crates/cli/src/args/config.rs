//! `imgferry config`.

use clap::{Args, Subcommand};

use super::CloudArgs;

/// Show, check and explain which cloud and which credentials are used
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imgferry config check --bucket my-images
  imgferry config check --bucket my-images --write
  imgferry config show --profile work
  imgferry config example > ~/.config/imgferry/config.toml && chmod 600 ~/.config/imgferry/config.toml")]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Ask the cloud: credentials, project, rights, bucket and clock
    ///
    /// Shows what would be used and from where each value comes, with secrets masked. Of the cloud
    /// it only reads, but for the bucket: the right to write is tried by an upload that is begun
    /// and aborted. With --write, two objects of a few bytes are stored and deleted, which shows
    /// how the storage behaves.
    Check(ConfigCheckArgs),
    /// Show what would be used and from where each value comes; nothing is sent
    Show(ConfigShowArgs),
    /// Print the path of the configuration file
    Path(ConfigShowArgs),
    /// Print an example of a configuration file
    Example,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigCheckArgs {
    /// Bucket to look at too
    #[arg(long)]
    pub(crate) bucket: Option<String>,
    /// Store, copy, read and delete two tiny objects in the bucket, and report what the storage
    /// does
    #[arg(long, requires = "bucket")]
    pub(crate) write: bool,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigShowArgs {
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}
