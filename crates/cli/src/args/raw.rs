//! Options of raw images, their bitmaps, and their way into the cloud.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{SourceArgs, TargetFormat, ThreadArgs};

/// Make, show or check the bitmap file that a raw quick import needs
///
/// The bitmap marks the blocks of 2 MiB that hold data, in the layout zvhd2-section: the bitmap of
/// the published ZVHD2 format, standing alone. What the vendor's own tool writes is not published,
/// and that the service accepts this layout is not confirmed. ZVHD2 needs no bitmap and is the
/// recommended way.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  imgferry bitmap disk.raw\n  imgferry bitmap disk.raw /data/disk.mf\n  imgferry bitmap --show disk.mf\n  imgferry bitmap --check disk.raw disk.mf"
)]
pub(crate) struct BitmapArgs {
    /// The raw file; with --show, the bitmap file
    #[arg(value_name = "RAW")]
    pub(crate) file: PathBuf,
    /// The bitmap file, with the base name of RAW [default: RAW with the extension .mf]
    #[arg(value_name = "FILE.mf")]
    pub(crate) mf: Option<PathBuf>,
    /// Print the figures of a bitmap file
    #[arg(long, conflicts_with_all = ["check", "mf", "force", "holes", "format", "threads"])]
    pub(crate) show: bool,
    /// Compare the bitmap file with the raw file; exit code 5 when they differ
    #[arg(long, conflicts_with = "force")]
    pub(crate) check: bool,
    /// Replace the bitmap file if it exists
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) holes: HolesArgs,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
}

#[derive(Debug, Args)]
pub(crate) struct HolesArgs {
    /// Whether to believe what the file system and the image say to be a hole
    #[arg(long, value_enum, default_value_t = HolesMode::Trust)]
    pub(crate) holes: HolesMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HolesMode {
    /// Skip holes
    Trust,
    /// Read everything, holes too: some file systems have reported holes wrongly
    Verify,
}

/// How the disk goes into the bucket.
#[derive(Debug, Args)]
pub(crate) struct RawImportArgs {
    /// Format of the object: zvhd2 (recommended), or raw with its bitmap file beside it. The
    /// bitmap's layout is zvhd2-section; that the service accepts it is not confirmed
    #[arg(long, value_enum, default_value_t = TargetFormat::Zvhd2)]
    pub(crate) to: TargetFormat,
    /// Ready bitmap file for --to raw, uploaded as it is; it must be called like the disk or the
    /// key
    #[arg(long, value_name = "FILE.mf", conflicts_with = "bitmap_command")]
    pub(crate) bitmap: Option<PathBuf>,
    /// Program that makes the bitmap file for --to raw of a raw disk, run without a shell, such as
    /// 'java -jar CreateMF.jar {raw} {mf}'
    #[arg(long, value_name = "COMMAND")]
    pub(crate) bitmap_command: Option<String>,
    #[command(flatten)]
    pub(crate) holes: HolesArgs,
}
