//! Options of raw images, their bitmaps, and raw imports.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{SourceArgs, TargetFormat, ThreadArgs};

/// Create, show or check the bitmap file for a raw quick import
///
/// The bitmap marks the 2 MiB blocks that hold data. Its layout, zvhd2-section, is the bitmap
/// section of the published ZVHD2 format as a separate file. The layout that the vendor's own tool
/// writes is not published, and it is not confirmed that the service accepts this one. Prefer
/// ZVHD2, which needs no bitmap.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  imgferry bitmap disk.raw\n  imgferry bitmap disk.raw /data/disk.mf\n  imgferry bitmap --show disk.mf\n  imgferry bitmap --check disk.raw disk.mf"
)]
pub(crate) struct BitmapArgs {
    /// The raw file, or the bitmap file with --show
    #[arg(value_name = "RAW")]
    pub(crate) file: PathBuf,
    /// The bitmap file; it must have the base name of RAW [default: RAW with the extension .mf]
    #[arg(value_name = "FILE.mf")]
    pub(crate) mf: Option<PathBuf>,
    /// Print a summary of a bitmap file
    #[arg(long, conflicts_with_all = ["check", "mf", "force", "holes", "format", "threads"])]
    pub(crate) show: bool,
    /// Compare the bitmap file with the raw file; exit with code 5 if they differ
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
    /// Whether to trust the holes that the file system and the image report
    #[arg(long, value_enum, default_value_t = HolesMode::Trust)]
    pub(crate) holes: HolesMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HolesMode {
    /// Skip holes
    Trust,
    /// Read holes too: some file systems have reported holes wrongly
    Verify,
}

#[derive(Debug, Args)]
pub(crate) struct FreeArgs {
    /// Leave out the space that the disk's file systems call free: it is not read, and reads as
    /// zeros in the result. A file system that is not clean, or not known, is copied whole
    #[arg(long)]
    pub(crate) discard_free: bool,
    /// With --discard-free: leave out swap space too, except its header
    #[arg(long, requires = "discard_free")]
    pub(crate) discard_swap: bool,
}

impl FreeArgs {
    /// What is left out, if anything.
    pub(crate) fn options(&self) -> Option<freespace::Options> {
        self.discard_free.then_some(freespace::Options {
            swap: self.discard_swap,
        })
    }
}

/// How the disk goes into the bucket.
#[derive(Debug, Args)]
pub(crate) struct RawImportArgs {
    /// Format of the object: zvhd2 (recommended), or raw with a bitmap file next to it. The bitmap
    /// has the layout zvhd2-section; it is not confirmed that the service accepts it
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = TargetFormat::Zvhd2)]
    pub(crate) to: TargetFormat,
    /// Existing bitmap file for --to raw, uploaded unchanged; it must have the base name of the
    /// disk or the key
    #[arg(long, value_name = "FILE.mf", conflicts_with = "bitmap_command")]
    pub(crate) bitmap: Option<PathBuf>,
    /// Command that creates the bitmap file of a raw disk for --to raw, run without a shell, such
    /// as 'java -jar CreateMF.jar {raw} {mf}'
    #[arg(long, value_name = "COMMAND")]
    pub(crate) bitmap_command: Option<String>,
    #[command(flatten)]
    pub(crate) holes: HolesArgs,
    #[command(flatten)]
    pub(crate) free: FreeArgs,
}
