//! Options of batches: many disks in one manifest.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

mod init;

pub(crate) use self::init::BatchInitArgs;
use super::transfer::{parse_age, parse_rate};
use super::{CloudArgs, GuestArgs, StateArgs, parse_count, parse_size, parse_threads};
use ::import::Concurrency;
use batch::Shard;

/// Import the disks that a manifest lists
///
/// A manifest (YAML, TOML or JSON) holds defaults and one entry per disk. See docs/batch.md.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imgferry batch init /vm/images -o fleet.yaml
  imgferry batch plan fleet.yaml
  imgferry batch run fleet.yaml --report fleet.html
  imgferry batch status fleet.yaml --watch
  imgferry batch run fleet.yaml --claim        (on each worker machine)")]
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
    /// Print the JSON schema of manifests, for editors and validators
    Schema,
}

/// Check every disk of the manifest and show what a run would do, without changing anything
///
/// Opens all disks and queries the cloud. All refusals are reported together, with exit code 2.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  imgferry batch plan fleet.yaml\n  imgferry batch plan fleet.yaml --sandbox\n  imgferry batch plan fleet.yaml --json | jq '.items[] | select(.action == \"refuse\")'"
)]
pub(crate) struct BatchPlanArgs {
    /// The manifest: YAML, TOML or JSON
    pub(crate) manifest: PathBuf,
    #[command(flatten)]
    pub(crate) common: BatchCommonArgs,
}

/// Import all unfinished disks of the manifest
///
/// One failure does not stop the rest. To finish the remaining disks, run the same command again:
/// it resumes uploads, follows jobs already started, and never registers an image twice. The exit
/// code is 0 if all disks are done, 3 if a disk failed or was refused, and 130 if the run was
/// interrupted.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imgferry batch run fleet.yaml --report fleet.html
  imgferry batch run fleet.yaml --converts 4 --memory 4GiB --limit-rate 200M
  Try it without an account:
    imgferry batch run fleet.yaml --sandbox=/tmp/cloud
  Make the images of running servers (warm: true), once they are stopped:
    imgferry batch run fleet.yaml --cutover
  Split the disks into fixed shares, one per machine:
    imgferry batch run fleet.yaml --shard 3/8
  Let each machine take the next unclaimed disk:
    imgferry batch run fleet.yaml --claim")]
pub(crate) struct BatchRunArgs {
    /// The manifest: YAML, TOML or JSON
    pub(crate) manifest: PathBuf,
    /// Show what would happen without changing anything, like batch plan
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Stop the run as soon as a disk fails
    #[arg(long)]
    pub(crate) fail_fast: bool,
    /// Write the report as one HTML page
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) report_json: Option<PathBuf>,
    /// Share the disks with other workers through the bucket; each disk is claimed by one worker
    #[arg(long, conflicts_with = "shard")]
    pub(crate) claim: bool,
    /// How long a worker may be silent before others take over its disks
    #[arg(long, value_name = "SPAN", default_value = "60s", value_parser = parse_age, requires = "claim")]
    pub(crate) lease: Duration,
    #[command(flatten)]
    pub(crate) common: BatchCommonArgs,
}

#[derive(Debug, Default, Args)]
pub(crate) struct BatchCommonArgs {
    /// Disks to convert at the same time [default: from the manifest, else a quarter of the cores,
    /// 2 to 8]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(crate) converts: Option<NonZeroUsize>,
    /// Disks with an upload in progress, including those still being converted [default: from the
    /// manifest, else twice --converts]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(crate) uploads: Option<NonZeroUsize>,
    /// Image service jobs to run at the same time [default: from the manifest, else 10; at most 2
    /// with --sandbox]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// Worker threads of all conversions together [default: one more than the number of cores]
    #[arg(long, value_name = "N", value_parser = parse_threads)]
    pub(crate) threads: Option<usize>,
    /// Memory limit of all buffers and caches together [default: from the manifest, else 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) memory: Option<u64>,
    /// Parts of one disk to send at the same time: a number, or auto
    #[arg(long, value_name = "N|auto", default_value = "auto")]
    pub(crate) concurrency: Concurrency,
    /// Limit of all uploads together in bytes per second, such as 50M [default: from the manifest,
    /// else no limit]
    #[arg(long, value_name = "SIZE", value_parser = parse_rate)]
    pub(crate) limit_rate: Option<std::num::NonZeroU64>,
    /// Stop waiting for a job after this time; the job itself continues
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub(crate) timeout: u64,
    /// Import only the share of worker I of N, which is the same in every run. Schedulers that
    /// count from 0 may pass K+1/N
    #[arg(long, value_name = "I/N")]
    pub(crate) shard: Option<Shard>,
    /// Import this disk again although it is done, and discard what an interrupted run has stored
    /// of it; its old image must have been deleted. May be repeated
    #[arg(long, value_name = "ID")]
    pub(crate) redo: Vec<String>,
    /// Make the images of disks with warm: true; their servers must be stopped
    #[arg(long)]
    pub(crate) cutover: bool,
    #[command(flatten)]
    pub(crate) guest: GuestArgs,
    #[command(flatten)]
    pub(crate) state: StateArgs,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Show the progress of a batch from the journals on this machine, even while it runs
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  imgferry batch status fleet.yaml --watch")]
pub(crate) struct BatchStatusArgs {
    /// The manifest
    pub(crate) manifest: PathBuf,
    /// Refresh every two seconds until the batch has ended
    #[arg(long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) state: StateArgs,
}

/// Delete what an abandoned batch left behind in the cloud
///
/// Deletes open uploads and helper objects of its disks, images that never became active, its
/// claims, and the resumable journals on this machine. Complete objects and active images are kept.
/// The command lists everything and asks for confirmation first; without a terminal it requires
/// --yes.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  imgferry batch clean fleet.yaml\n  imgferry batch clean fleet.yaml --yes"
)]
pub(crate) struct BatchCleanArgs {
    /// The manifest
    pub(crate) manifest: PathBuf,
    /// Also delete the markers of finished disks, which later workers rely on
    #[arg(long)]
    pub(crate) claims: bool,
    /// Do not ask for confirmation
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Show what would be deleted without changing anything
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) state: StateArgs,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}
