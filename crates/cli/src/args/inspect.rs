//! Options of `imgferry inspect`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::transfer::PlaceParser;
use super::{CloudArgs, PackageArgs, Place, SourceArgs};

/// Show what a disk image contains and what an import of it needs
///
/// Reads only metadata, the partition table and some files of the installed system, which it holds
/// against the rules for servers of the cloud. Nothing of it is run. Files that the image refers
/// to are listed, and opened only with --allow-backing. Of an object, only the parts that are
/// looked at are fetched, at most 1 GiB.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  imgferry inspect disk.qcow2\n  imgferry inspect --json disk.qcow2 | jq -r .partitions.boot\n  imgferry inspect --map disk.svg disk.qcow2\n  imgferry inspect --html disk.html disk.qcow2\n  imgferry inspect --check disk.vhdx\n  imgferry inspect --guest disk.qcow2\n  imgferry inspect --rules\n  imgferry inspect server.ova\n  imgferry inspect --disk 2 server.ova\n  imgferry inspect obs://my-images/web01.zvhd2\n\nWith --check, the exit code is 2 if there are errors; warnings do not count. With --guest, it\nis 2 if a rule is broken that keeps servers from booting."
)]
pub(crate) struct InspectArgs {
    /// The disk image: a file, the NBD URI of an export (nbd://…), or obs://BUCKET/KEY
    #[arg(required_unless_present = "rules", value_parser = PlaceParser)]
    pub(crate) image: Option<Place>,
    /// Draw a map of the data and partitions of the disk to this SVG file, or - for standard output
    #[arg(long, value_name = "FILE.svg", value_parser = super::streams::output(), group = "drawn")]
    pub(crate) map: Option<PathBuf>,
    /// Write everything that is found to this HTML page, with the map and with commands to copy, or
    /// - for standard output
    #[arg(long, value_name = "FILE.html", value_parser = super::streams::output(), group = "drawn")]
    pub(crate) html: Option<PathBuf>,
    /// Replace the file of --map or --html if it exists
    #[arg(long, requires = "drawn")]
    pub(crate) force: bool,
    /// Check all metadata against the rules of the format, and list each violation with its offset;
    /// works on files that cannot be opened
    #[arg(long, conflicts_with_all = ["drawn", "allow_backing", "snapshot"])]
    pub(crate) check: bool,
    /// Exit with code 2 if the installed system breaks a rule that keeps servers from booting
    #[arg(long, conflicts_with_all = ["map", "check"])]
    pub(crate) guest: bool,
    /// Do not look into the installed system
    #[arg(long, conflicts_with = "guest")]
    pub(crate) no_guest: bool,
    /// List the rules that systems are held against, instead of inspecting a disk
    #[arg(long, conflicts_with = "image")]
    pub(crate) rules: bool,
    #[command(flatten)]
    pub(crate) package: PackageArgs,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

impl InspectArgs {
    /// Where a picture or a page is written to.
    pub(crate) fn output(&self) -> Option<&Path> {
        self.map.as_deref().or(self.html.as_deref())
    }
}
