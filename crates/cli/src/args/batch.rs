//! Options of batches: many disks in one manifest.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};

mod init;

pub(crate) use self::init::BatchInitArgs;
use super::transfer::{parse_age, parse_rate};
use super::{CloudArgs, Concurrency, StateArgs, parse_size, parse_threads};

/// Import many disks: what a manifest lists
///
/// A manifest (YAML or TOML) has defaults and one entry for each disk. See docs/batch.md.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imgferry batch init /vm/images -o fleet.yaml
  imgferry batch plan fleet.yaml
  imgferry batch run fleet.yaml --report fleet.html
  imgferry batch status fleet.yaml --watch
  imgferry batch run fleet.yaml --claim        (on every machine that is to help)")]
pub(crate) struct BatchArgs {
    #[command(subcommand)]
    pub(crate) command: BatchCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BatchCommand {
    Init(Box<BatchInitArgs>),
    Plan(Box<BatchPlanArgs>),
    Run(Box<BatchRunArgs>),
    Status(Box<BatchStatusArgs>),
    #[command(visible_alias = "cancel")]
    Clean(Box<BatchCleanArgs>),
    /// Print the JSON schema of manifests, for editors and checks
    Schema,
}

/// Open every disk of the manifest, ask the cloud, and say what would happen; nothing is changed
///
/// Everything that would be refused is told at once; exit code 2 then.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  imgferry batch plan fleet.yaml\n  imgferry batch plan fleet.yaml --sandbox\n  imgferry batch plan fleet.yaml --json | jq '.items[] | select(.action == \"refuse\")'"
)]
pub(crate) struct BatchPlanArgs {
    /// The manifest, YAML or TOML
    pub(crate) manifest: PathBuf,
    #[command(flatten)]
    pub(crate) common: BatchCommonArgs,
}

/// Import every disk of the manifest that is not done
///
/// A disk that fails does not stop the others. The same command again does what is left: it goes on
/// with uploads, follows jobs that were started, and never registers an image twice. Exit code 0
/// when everything is done, 3 when a disk failed or was refused, 130 when it was interrupted.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imgferry batch run fleet.yaml --report fleet.html
  imgferry batch run fleet.yaml --converts 4 --memory 4GiB --limit-rate 200M
  Try it without an account:
    imgferry batch run fleet.yaml --sandbox=/tmp/cloud
  Many machines, each a fixed share:
    imgferry batch run fleet.yaml --shard 3/8
  Many machines, each takes what is left:
    imgferry batch run fleet.yaml --claim")]
pub(crate) struct BatchRunArgs {
    /// The manifest, YAML or TOML
    pub(crate) manifest: PathBuf,
    /// Say what would happen, and change nothing: as batch plan
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Stop everything when the first disk fails
    #[arg(long)]
    pub(crate) fail_fast: bool,
    /// Write the report as one HTML page
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) report_json: Option<PathBuf>,
    /// Share the manifest with other workers through the bucket: each disk is claimed by one of
    /// them
    #[arg(long, conflicts_with = "shard")]
    pub(crate) claim: bool,
    /// How long a worker may be silent before its disks are taken over, such as 60s
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = parse_age, requires = "claim")]
    pub(crate) lease: Duration,
    #[command(flatten)]
    pub(crate) common: BatchCommonArgs,
}

#[derive(Debug, Default, Args)]
pub(crate) struct BatchCommonArgs {
    /// Disks converted at the same time [default: the manifest's, else a quarter of the cores, at
    /// least 2]
    #[arg(long, value_name = "N")]
    pub(crate) converts: Option<NonZeroUsize>,
    /// Disks uploaded at the same time: those that are converted, and those whose last parts are on
    /// their way [default: the manifest's, else twice --converts]
    #[arg(long, value_name = "N")]
    pub(crate) uploads: Option<NonZeroUsize>,
    /// Jobs of the image service at the same time [default: the manifest's, else 10]
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// Worker threads of all conversions together [default: one more than cores]
    #[arg(long, value_parser = parse_threads)]
    pub(crate) threads: Option<usize>,
    /// Most memory that buffers and caches of everything together may take [default: the
    /// manifest's, else 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) memory: Option<u64>,
    /// Parts of one disk sent at the same time: a number, or auto
    #[arg(long, value_name = "N|auto", default_value = "auto")]
    pub(crate) concurrency: Concurrency,
    /// Most bytes per second for everything together, such as 50M [default: the manifest's, else no
    /// limit]
    #[arg(long, value_name = "SIZE", value_parser = parse_rate)]
    pub(crate) limit_rate: Option<std::num::NonZeroU64>,
    /// Longest time to follow a job, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub(crate) timeout: u64,
    /// Only the disks of worker I of N, the same in every run; K+1/N is for schedulers that count
    /// from 0
    #[arg(long, value_name = "I/N")]
    pub(crate) shard: Option<Shard>,
    /// Import this disk again although it is done; its old image must be gone. May be given more
    /// than once
    #[arg(long, value_name = "ID")]
    pub(crate) redo: Vec<String>,
    #[command(flatten)]
    pub(crate) state: StateArgs,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Say how far a batch has come, by the journals on this machine, also while it runs
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  imgferry batch status fleet.yaml --watch")]
pub(crate) struct BatchStatusArgs {
    /// The manifest
    pub(crate) manifest: PathBuf,
    /// Say it again every two seconds until the batch has ended
    #[arg(long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) state: StateArgs,
}

/// Throw away what an abandoned batch has left in the cloud
///
/// Open uploads and helper objects of its disks, images that never became active, its claims, and
/// the journals on this machine that could go on. Objects that are complete and images that are
/// active stay. Shows everything first and asks; elsewhere than on a terminal --yes is needed.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  imgferry batch clean fleet.yaml\n  imgferry batch clean fleet.yaml --yes"
)]
pub(crate) struct BatchCleanArgs {
    /// The manifest
    pub(crate) manifest: PathBuf,
    /// Also the marks of disks that are done: workers that come later would not know
    #[arg(long)]
    pub(crate) claims: bool,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Say what would be thrown away, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) state: StateArgs,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Worker `index` (from 1) of `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) index: usize,
    pub(crate) count: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Schedulers count from 0 and have no arithmetic: 2+1/8 is 3/8.
        let index = |text: &str| -> Option<usize> {
            text.split('+')
                .map(|number| number.parse::<usize>().ok())
                .try_fold(0_usize, |sum, number| sum.checked_add(number?))
        };
        let parsed = text
            .split_once('/')
            .and_then(|(left, count)| Some((index(left)?, count.parse().ok()?)));
        match parsed {
            Some((index, count)) if (1..=count).contains(&index) => Ok(Self { index, count }),
            Some((index, count)) => Err(format!(
                "worker {index} of {count} cannot be; workers are counted from 1, as in 1/{count}"
            )),
            None => Err("expected I/N, such as 3/8".into()),
        }
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_counted_from_one() {
        assert_eq!("3/8".parse(), Ok(Shard { index: 3, count: 8 }));
        assert_eq!("2+1/8".parse(), Ok(Shard { index: 3, count: 8 }));
        assert!("2+/8".parse::<Shard>().is_err());
        assert!("0/8".parse::<Shard>().is_err());
        assert!("9/8".parse::<Shard>().is_err());
        assert!("3".parse::<Shard>().is_err());
    }
}
