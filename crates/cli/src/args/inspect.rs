//! Options of `imgferry inspect`.

use std::path::PathBuf;

use clap::Args;

use super::SourceArgs;

/// Show what a disk image is, and what an import of it would need
///
/// Reads metadata and the partition table only: a 64 TiB virtual disk takes no longer than its
/// tables. Other files that the image names are listed and not opened, unless --allow-backing says
/// so.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  imgferry inspect disk.qcow2\n  imgferry inspect --json disk.qcow2 | jq -r .partitions.boot\n  imgferry inspect --map disk.svg disk.qcow2\n  imgferry inspect --check disk.vhdx\n\nWith --check the exit code is 0 when no error was found (warnings are no errors), and 2 otherwise."
)]
pub(crate) struct InspectArgs {
    /// The disk image
    pub(crate) image: PathBuf,
    /// Draw where the disk holds data, with its partitions, into this SVG file; - for standard
    /// output
    #[arg(long, value_name = "FILE.svg", value_parser = super::streams::output())]
    pub(crate) map: Option<PathBuf>,
    /// Replace the file of --map if it exists
    #[arg(long, requires = "map")]
    pub(crate) force: bool,
    /// Hold all metadata of the file against the rules of its format, and list every broken one
    /// with its offset; works on files that do not open
    #[arg(long, conflicts_with_all = ["map", "allow_backing"])]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
}
