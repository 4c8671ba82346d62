//! Options of `imgferry bench`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use diskimg::units::{MIB, human};

use super::transfer::parse_bucket_or_object;
use super::{CloudArgs, ObsUrl, PaceArgs, SourceArgs, parse_size, parse_threads};

/// Measure this machine: find the bottleneck of conversions and imports, and suitable settings
///
/// Measures reading, zero detection, compression, hashing, writing and uploading, first separately
/// and then together. Reports medians and spread, the bottleneck, and the recommended level and
/// number of threads. Without IMAGE, a disk that resembles an operating system is generated. IMAGE
/// is only read. Output goes to a directory that is removed at the end, and uploaded objects are
/// deleted.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imgferry bench
  imgferry bench disk.qcow2 --against qemu-img --html bench.html
  imgferry bench --levels 1,3,6,9 --threads 1,2,4,8 --repeat 5 --size 2GiB
  imgferry bench disk.qcow2 --upload obs://my-images --json > bench.json")]
pub(crate) struct BenchArgs {
    /// The disk image to use [default: a generated one]
    pub(crate) image: Option<PathBuf>,
    /// The disk of a package (OVA archive or OVF descriptor): its file or its number, as inspect
    /// lists them [default: the only disk]
    #[arg(long, value_name = "MEMBER|NUMBER", requires = "image")]
    pub(crate) disk: Option<String>,
    /// Also convert with this program, if it is installed, alternating with imgferry
    #[arg(long, value_enum, value_name = "PROGRAM")]
    pub(crate) against: Option<Peer>,
    /// zstd levels to measure, from -7 (fast) to 19 (small)
    #[arg(long, value_name = "L,L,…", value_delimiter = ',', default_value = "-5,-1,1,3,6", allow_hyphen_values = true,
          value_parser = clap::value_parser!(i32).range(i64::from(zvhd2::MIN_LEVEL)..=i64::from(zvhd2::MAX_LEVEL)))]
    pub(crate) levels: Vec<i32>,
    /// Numbers of worker threads to measure [default: powers of two up to the number of cores, the
    /// cores, and one more]
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', value_parser = parse_threads)]
    pub(crate) threads: Vec<usize>,
    /// Rounds of measurements; the median is reported
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=40))]
    pub(crate) repeat: u32,
    /// Size of the generated disk, and the maximum number of bytes of IMAGE to use
    #[arg(long, value_name = "SIZE", default_value = "512MiB", value_parser = parse_bench_size)]
    pub(crate) size: u64,
    /// Directory for output, which selects the disk to measure [default: the working directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Upload to this bucket or object. The object must not exist and is deleted at the end
    /// [default: a sandbox on this machine, which does not measure the network]
    #[arg(long, value_name = "OBJECT", value_parser = parse_bucket_or_object, conflicts_with = "sandbox")]
    pub(crate) upload: Option<ObsUrl>,
    /// Write a self-contained HTML page with plots
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Replace the file of --html if it exists
    #[arg(long, requires = "html")]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) pace: PaceArgs,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// A program that does what imgferry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// QEMU's converter
    QemuImg,
}

/// Minimum size; smaller ones give no meaningful results.
const LEAST_SIZE: u64 = 4 * MIB;

fn parse_bench_size(text: &str) -> Result<u64, String> {
    let size = parse_size(text)?;
    if size < LEAST_SIZE {
        return Err(format!("at least {} are needed", human(LEAST_SIZE)));
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_say_nothing_are_refused() {
        assert_eq!(parse_bench_size("4MiB"), Ok(LEAST_SIZE));
        assert!(parse_bench_size("4194303").is_err());
        assert!(parse_bench_size("much").is_err());
    }
}
