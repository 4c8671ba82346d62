//! `imgferry batch init`.

use std::path::PathBuf;

use clap::Args;

/// Write a manifest of the disk images found in directories
///
/// Every image is opened; broken, encrypted or incomplete ones are listed at the end of the
/// manifest. Machines are kept together: a package (OVA archive or OVF descriptor) is one item, and
/// the disks that a .vmx file names are a server. Other disks are grouped into a server if their
/// names suggest it (web01.qcow2 and web01-data1.qcow2). Values that cannot be read from the files
/// are written as TODO, which 'batch plan' and 'batch run' refuse. Links and hidden files are
/// ignored.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imgferry batch init /vm/images
  imgferry batch init /vm/images /vm/more --bucket my-images -o fleet.yaml
  imgferry batch init . -o fleet.toml")]
pub(crate) struct BatchInitArgs {
    /// Directories to search, or single files
    #[arg(value_name = "DIR", required = true)]
    pub(crate) places: Vec<PathBuf>,
    /// The manifest to write [default: standard output]
    #[arg(short, long, value_name = "FILE", value_parser = crate::args::streams::output())]
    pub(crate) output: Option<PathBuf>,
    /// Replace FILE if it exists
    #[arg(long, requires = "output")]
    pub(crate) force: bool,
    /// Write TOML [default: YAML, or TOML if FILE ends in .toml]
    #[arg(long)]
    pub(crate) toml: bool,
    /// Bucket of all disks
    #[arg(long, value_name = "NAME", value_parser = parse_bucket_name)]
    pub(crate) bucket: Option<String>,
}

fn parse_bucket_name(text: &str) -> Result<String, String> {
    match ims::rules::is_bucket_name(text) {
        true => Ok(text.to_owned()),
        false => Err("a bucket has 3 to 63 lower-case letters, digits, '-' and '.'".to_owned()),
    }
}
