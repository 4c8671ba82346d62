//! `imgferry config`.

use clap::{Args, Subcommand};

use super::CloudArgs;

/// Show and check the cloud settings and credentials
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
    /// Check credentials, project, permissions, bucket and clock against the cloud
    ///
    /// Shows the settings in effect and where each value comes from, with secrets masked. Changes
    /// nothing in the cloud: the permission to write to the bucket is tested with an upload that is
    /// started and aborted. With --write, two small objects are stored and deleted again, which
    /// shows how the storage behaves.
    Check(ConfigCheckArgs),
    /// Show the settings in effect and where each value comes from, without any request
    Show(ConfigShowArgs),
    /// Print the path of the configuration file
    Path(ConfigShowArgs),
    /// Print an example configuration file
    Example,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigCheckArgs {
    /// Also check this bucket
    #[arg(long)]
    pub(crate) bucket: Option<String>,
    /// Store, copy, read and delete two small objects in the bucket, and report how the storage
    /// behaves
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
