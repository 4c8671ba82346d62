//! `imgferry batch init`.

use std::path::PathBuf;

use clap::Args;

/// Write a manifest of the disk images in directories
///
/// Every image is opened, so that what is broken, encrypted or not complete is told, at the end of
/// the manifest. Disks are put together as one server when their names say so (web01.qcow2 and
/// web01-data1.qcow2). What no file tells is written as TODO, which 'batch plan' and 'batch run'
/// refuse. Links and hidden files are passed over.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imgferry batch init /vm/images
  imgferry batch init /vm/images /vm/more --bucket my-images -o fleet.yaml
  imgferry batch init . -o fleet.toml")]
pub(crate) struct BatchInitArgs {
    /// Directories to walk; a file is taken too
    #[arg(value_name = "DIR", required = true)]
    pub(crate) places: Vec<PathBuf>,
    /// The manifest to write [default: standard output]
    #[arg(short, long, value_name = "FILE", value_parser = crate::args::streams::output())]
    pub(crate) output: Option<PathBuf>,
    /// Replace FILE if it exists
    #[arg(long, requires = "output")]
    pub(crate) force: bool,
    /// Write TOML [default: YAML, and TOML when FILE ends in .toml]
    #[arg(long)]
    pub(crate) toml: bool,
    /// Bucket of all disks
    #[arg(long, value_name = "NAME")]
    pub(crate) bucket: Option<String>,
}
