//! Options about the migration of a running server.

use std::num::NonZeroU32;

use clap::{ArgGroup, Args};

use ::import::Warm;

#[derive(Debug, Args)]
#[command(next_help_heading = "Running servers")]
#[command(group = ArgGroup::new("running").args(["warm", "cutover"]).multiple(true))]
pub(crate) struct WarmArgs {
    /// Upload the disk of a running server without registering an image: a whole generation first,
    /// then in each run what has changed since the one before. Repeat the command until the cutover
    #[arg(long)]
    pub(crate) warm: bool,
    /// Make the image of what --warm has uploaded and what has changed since; the server must be
    /// stopped
    #[arg(long)]
    pub(crate) cutover: bool,
    /// Generations to keep, the new one included; older ones are deleted [default: 2]
    #[arg(long, value_name = "N", value_parser = parse_keep, requires = "running")]
    pub(crate) keep: Option<NonZeroU32>,
}

fn parse_keep(text: &str) -> Result<NonZeroU32, String> {
    text.parse()
        .map_err(|_| "expected a number of at least 1".to_owned())
}

impl WarmArgs {
    /// The run of a migration that is asked for.
    pub(crate) fn run(&self) -> Option<Warm> {
        (self.warm || self.cutover).then(|| Warm {
            cutover: self.cutover,
            keep: self.keep.unwrap_or(Warm::KEEP),
        })
    }
}
