//! The command line as the user types it. Nothing is resolved here.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use ::convert::{Level, Target};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use diskimg::Format;

mod batch;
mod bench;
mod cloud;
mod config;
mod guest;
mod images;
mod inspect;
mod raw;
mod serve;
mod size;
mod source;
mod state;
mod streams;
mod transfer;
mod warm;

pub(crate) use self::batch::{
    BatchArgs, BatchCleanArgs, BatchCommand, BatchCommonArgs, BatchInitArgs, BatchRunArgs,
    BatchStatusArgs,
};
pub(crate) use self::bench::{BenchArgs, Peer};
pub(crate) use self::cloud::CloudArgs;
pub(crate) use self::config::{ConfigArgs, ConfigCheckArgs, ConfigCommand};
pub(crate) use self::guest::GuestArgs;
pub(crate) use self::images::{
    ExportArgs, ExportTo, ImageArgs, ImageCommand, ImageCreateArgs, ImageDeleteArgs, ImageListArgs,
    ImageSetArgs, ImageShowArgs, ImageTagArgs, ImageTagsArgs, ImageUntagArgs, JobArgs, JobCommand,
    OsVersionsArgs, Owner, QuotaArgs, RegisterArgs, RegisterBy, WaitArgs,
};
pub(crate) use self::inspect::InspectArgs;
pub(crate) use self::raw::{BitmapArgs, FreeArgs, HolesArgs, HolesMode, RawImportArgs};
pub(crate) use self::serve::ServeArgs;
use self::size::{parse_min_part, parse_size};
pub(crate) use self::source::{
    BackingArgs, PackageArgs, PipeArgs, ServerArgs, ShareArgs, SourceArgs, VhdArgs,
};
pub(crate) use self::state::{StateArgs, StatusArgs};
use self::transfer::PlaceParser;
pub(crate) use self::transfer::{
    AbortArgs, ListArgs, ObsUrl, PaceArgs, Place, UploadArgs, UploadsArgs, UploadsCommand,
};
pub(crate) use self::warm::WarmArgs;

/// Move virtual machine disks into Huawei-style clouds.
#[derive(Debug, Parser)]
#[command(
    name = "imgferry",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 done, 2 usage or refused input, 3 refused or failed by the cloud, \
                  4 I/O or network failure after retries, 5 verification mismatch, 130 interrupted."
)]
pub(crate) struct Cli {
    /// Log more to standard error; repeat for the details of each request
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print warnings and errors only: no progress, no notices
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Print one JSON object to standard output and everything else to standard error
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Inspect(Box<InspectArgs>),
    Convert(ConvertArgs),
    Bitmap(BitmapArgs),
    Digest(DigestArgs),
    Verify(Box<VerifyArgs>),
    Import(Box<ImportArgs>),
    Batch(Box<BatchArgs>),
    Export(Box<ExportArgs>),
    Upload(Box<UploadArgs>),
    Uploads(UploadsArgs),
    Image(ImageArgs),
    Job(JobArgs),
    Quota(QuotaArgs),
    OsVersions(OsVersionsArgs),
    Config(Box<ConfigArgs>),
    Status(StatusArgs),
    Sandbox(SandboxArgs),
    Serve(Box<ServeArgs>),
    Bench(Box<BenchArgs>),
}

/// Convert a disk image to ZVHD2 or raw
///
/// DST appears complete or not at all. It may be - for standard output; that works for ZVHD2 only,
/// which is written front to back. SRC may be - for standard input: a redirected file in any
/// format, or a pipe that carries a raw disk of exactly --size bytes.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  imgferry convert disk.qcow2 disk.zvhd2\n  imgferry convert --level 3 disk.qcow2 disk.zvhd2\n  imgferry convert export.zvhd2 disk.raw\n  imgferry convert disk.qcow2 disk.raw --bitmap\n  imgferry convert --snapshot before-upgrade disk.qcow2 disk.zvhd2\n  imgferry convert --disk 2 server.ova data.zvhd2\n  imgferry convert disk.qcow2 - | ssh host 'cat > disk.zvhd2'\n  ssh host 'cat /dev/vg/disk' | imgferry convert - disk.zvhd2 --size 40GiB"
)]
pub(crate) struct ConvertArgs {
    /// The disk image to read, the NBD URI of an export (nbd://…), or - for standard input
    #[arg(value_parser = streams::input())]
    pub(crate) src: PathBuf,
    /// The file to write, or - for standard output
    #[arg(value_parser = streams::output())]
    pub(crate) dst: PathBuf,
    /// Format to write [default: from the extension of DST, else zvhd2]
    #[arg(long, value_enum)]
    pub(crate) to: Option<TargetFormat>,
    /// Also write the bitmap file of a raw DST next to it, in the same pass (see imgferry bitmap)
    #[arg(long)]
    pub(crate) bitmap: bool,
    /// Replace DST if it exists
    #[arg(long)]
    pub(crate) force: bool,
    /// Do not flush DST to disk: faster, but a power failure may lose it
    #[arg(long)]
    pub(crate) no_sync: bool,
    #[command(flatten)]
    pub(crate) holes: HolesArgs,
    #[command(flatten)]
    pub(crate) free: FreeArgs,
    #[command(flatten)]
    pub(crate) package: PackageArgs,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TargetFormat {
    /// Compressed blocks with an index; recommended for quick import
    Zvhd2,
    /// The bytes of the disk; a sparse file, with holes left out
    Raw,
}

impl TargetFormat {
    /// The format for the conversion.
    pub(crate) const fn target(self) -> Target {
        match self {
            Self::Zvhd2 => Target::Zvhd2,
            Self::Raw => Target::Raw,
        }
    }
}

/// Print the content digest of a disk image
///
/// A disk has the same digest in every format. Zeros cost nothing.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  imgferry digest disk.qcow2\n  imgferry digest --json disk.raw\n  zstdcat disk.raw.zst | imgferry digest - --size 40GiB"
)]
pub(crate) struct DigestArgs {
    /// The disk image, the NBD URI of an export (nbd://…), or - for standard input
    #[arg(value_parser = streams::input())]
    pub(crate) image: PathBuf,
    #[command(flatten)]
    pub(crate) package: PackageArgs,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
}

/// Compare the content of two disk images, whatever their formats
///
/// Either one may be an object, obs://BUCKET/KEY, which is read back without storing a copy. If the
/// contents differ, the command reports the first differing block and exits with code 5. With
/// --discard-free, what A's file systems call free is left out of both.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  imgferry verify disk.qcow2 disk.zvhd2\n  imgferry verify disk.qcow2 obs://my-images/web01.zvhd2\n  imgferry verify --snapshot-a before-upgrade disk.qcow2 disk.zvhd2"
)]
pub(crate) struct VerifyArgs {
    /// First disk image: a file, the NBD URI of an export, - for standard input, or
    /// obs://BUCKET/KEY
    #[arg(value_parser = PlaceParser)]
    pub(crate) a: Place,
    /// Second disk image, given in the same way
    #[arg(value_parser = PlaceParser)]
    pub(crate) b: Place,
    /// Format of A [default: detected from the content]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format_a: Option<Format>,
    /// Format of B [default: detected from the content]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format_b: Option<Format>,
    #[command(flatten)]
    pub(crate) free: FreeArgs,
    /// Compare this internal snapshot of A, given by id or name
    #[arg(long, value_name = "NAME")]
    pub(crate) snapshot_a: Option<String>,
    /// Compare this internal snapshot of B, given by id or name
    #[arg(long, value_name = "NAME")]
    pub(crate) snapshot_b: Option<String>,
    /// The disk of the package A (OVA archive or OVF descriptor): its file or its number
    #[arg(long, value_name = "MEMBER|NUMBER")]
    pub(crate) disk_a: Option<String>,
    /// The disk of the package B
    #[arg(long, value_name = "MEMBER|NUMBER")]
    pub(crate) disk_b: Option<String>,
    /// Read packages without checking the digests in their manifests
    #[arg(long)]
    pub(crate) ignore_manifest: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
    #[command(flatten)]
    pub(crate) backing: BackingArgs,
    #[command(flatten)]
    pub(crate) vhd: VhdArgs,
    #[command(flatten)]
    pub(crate) share: ShareArgs,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Turn a disk into an active cloud image: convert, upload, register, wait
///
/// The disk is converted to ZVHD2 (or, with --to raw, split into parts) during the upload, without
/// a scratch file. All checks run before the first byte is uploaded.
///
/// To resume an interrupted import, run the same command again: stored data is not read, compressed
/// or sent a second time. 'imgferry status' lists the imports that can be resumed.
///
/// Credentials come from the environment (HW_ACCESS_KEY and HW_SECRET_KEY, plus HW_SECURITY_TOKEN
/// for temporary keys, or HW_USER_NAME, HW_USER_PASSWORD and HW_DOMAIN_NAME), from a profile of the
/// configuration file, from clouds.yaml, or from the agency of the server, but never from the
/// command line. See 'imgferry config check'.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("based").args(["base", "warm", "cutover"]).multiple(true))]
#[command(after_help = "Examples:
  Try it without an account:
    imgferry import disk.qcow2 --sandbox --name demo --bucket demo --os-version 'Debian GNU/Linux 12.0.0 64bit'
  Preview the import:
    imgferry import disk.qcow2 --dry-run --name web01 --bucket my-images --os-version 'CentOS 7.0 64bit'
  Import a virtual machine with its data disks:
    imgferry import web01.ova --bucket my-images --os-version 'Ubuntu 22.04 server 64bit'
  Import a data disk:
    imgferry import data.raw --name data01 --bucket my-images --type DataImage
  Import the disk again, reading and sending only what a bitmap of the image marks as changed:
    imgferry import disk.qcow2 --name web01-2 --bucket my-images --base web01.zvhd2 --changed-by bitmap:b0
  Move a running server: upload most of it beforehand, and the rest when it is stopped:
    imgferry import /dev/vg/web01 --name web01 --bucket my-images --warm      (repeat)
    imgferry import /dev/vg/web01 --name web01 --bucket my-images --cutover
  Import a disk of another machine through a pipe (cannot be resumed):
    ssh host 'cat /dev/vg/disk' | imgferry import - --size 40GiB --name data01 --bucket my-images --type DataImage")]
pub(crate) struct ImportArgs {
    /// The disk image or package (OVA archive, OVF descriptor), the NBD URI of an export (nbd://…),
    /// or - for standard input
    #[arg(value_parser = streams::input())]
    pub(crate) disk: PathBuf,
    /// Name of the new image; an import of a package (OVA, OVF) takes the machine's name by default
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Bucket to upload to; IMS requires it in the same region
    #[arg(long)]
    pub(crate) bucket: String,
    /// Object key [default: NAME.zvhd2 or NAME.raw]
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Object of an earlier import of this disk, as a key in the same bucket or as the id of its image:
    /// only what has changed since is sent, the server copies the rest
    #[arg(long, value_name = "KEY|IMAGE_ID")]
    pub(crate) base: Option<String>,
    /// With --base or --warm: smallest part that the storage accepts, from 100KiB (OBS) to 5MiB
    /// (S3); with smaller parts fewer unchanged blocks are sent around each change
    #[arg(
        long,
        value_name = "SIZE",
        value_parser = parse_min_part,
        default_value = "5MiB",
        requires = "based"
    )]
    pub(crate) min_part: u64,
    /// What has changed since the base was made, by a bitmap of the qcow2 image or of the NBD server:
    /// only that is read, everything else is taken to be as in the base
    #[arg(long, value_name = "bitmap:NAME", requires = "base", value_parser = parse_bitmap)]
    pub(crate) changed_by: Option<String>,
    /// Operating system as the service names it, such as 'CentOS 7.0 64bit' [default: the region's
    /// name for the system that is found on the disk]
    #[arg(long, value_name = "TEXT")]
    pub(crate) os_version: Option<String>,
    /// Type of the image
    #[arg(long = "type", value_name = "TYPE", value_enum, default_value_t = ImageType::Ecs, ignore_case = true)]
    pub(crate) kind: ImageType,
    /// Operating system family of a data image
    #[arg(long, value_enum, ignore_case = true)]
    pub(crate) os_type: Option<OsFamily>,
    /// Smallest disk, in GiB, that a server needs for the image [default: from the virtual size]
    #[arg(long, value_name = "GIB")]
    pub(crate) min_disk: Option<u32>,
    /// Processor architecture [default: that of the system on the disk]
    #[arg(long, value_enum)]
    pub(crate) architecture: Option<Arch>,
    /// Boot mode of the image [default: the one that the disk boots with, or bios]
    #[arg(long, value_enum)]
    pub(crate) firmware: Option<Boot>,
    /// Tag of the image; may be repeated up to ten times
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_tag)]
    pub(crate) tags: Vec<(String, String)>,
    /// Description of the image
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// Enterprise project of the image [env: HW_ENTERPRISE_PROJECT_ID]
    #[arg(long, value_name = "ID")]
    pub(crate) enterprise_project_id: Option<String>,
    /// Continue even if this check fails; may be repeated
    #[arg(long, value_name = "CHECK", value_parser = clap::builder::PossibleValuesParser::new(ims::rules::skippable()))]
    pub(crate) skip_check: Vec<String>,
    #[command(flatten)]
    pub(crate) guest: GuestArgs,
    /// What to do when the image or the object exists
    #[arg(long, value_enum, default_value_t = IfExists::Adopt)]
    pub(crate) if_exists: IfExists,
    /// The old name of --if-exists replace
    #[arg(long, hide = true, conflicts_with = "if_exists")]
    pub(crate) force: bool,
    /// Exit once the import job has started, and print its id
    #[arg(long, overrides_with = "wait")]
    pub(crate) no_wait: bool,
    /// Wait until the image is active (the default)
    #[arg(long)]
    pub(crate) wait: bool,
    /// Stop waiting after this time; the job itself continues
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub(crate) timeout: u64,
    /// Run all checks and print the plan, but change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Start over and discard the upload of an interrupted import instead of resuming it
    #[arg(long)]
    pub(crate) restart: bool,
    #[command(flatten)]
    pub(crate) state: StateArgs,
    #[command(flatten)]
    pub(crate) raw: RawImportArgs,
    #[command(flatten)]
    pub(crate) package: PackageArgs,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) pipe: PipeArgs,
    // From here on every group has a heading, and fields that follow one would be shown under it.
    #[command(flatten)]
    pub(crate) registering: RegisterArgs,
    #[command(flatten)]
    pub(crate) running: WarmArgs,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
    #[command(flatten)]
    pub(crate) pace: PaceArgs,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Run a local cloud for testing: object storage, identity service and image service
///
/// The services check what they receive. The command prints the endpoints, keys and environment
/// variables to use, and serves requests until it is interrupted.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  imgferry sandbox --dir /tmp/cloud --bucket images")]
pub(crate) struct SandboxArgs {
    /// Directory for objects, images and keys [default: a temporary directory, removed on exit]
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Listen address of the object storage; the other services use the next port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Bucket to create; may be repeated
    #[arg(long = "bucket", value_name = "NAME", default_value = "images")]
    pub(crate) buckets: Vec<String>,
    /// Serve https with a certificate generated for this run, and accept only the request bodies
    /// that OBS accepts over https
    #[arg(long)]
    pub(crate) https: bool,
    /// Image quota of the account
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) image_quota: usize,
}

#[derive(Debug, Args)]
pub(crate) struct ThreadArgs {
    /// Worker threads [default: one per core to compress, otherwise one more]
    #[arg(long, value_name = "N", value_parser = parse_threads)]
    pub(crate) threads: Option<usize>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Work")]
pub(crate) struct WorkArgs {
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
    /// zstd level, from -7 (fast) to 19 (small), or auto: raises the level, up to 6, while the
    /// network is the bottleneck, and lowers it while compression is
    #[arg(long, value_name = "LEVEL|auto", default_value_t = Level::default(), allow_hyphen_values = true)]
    pub(crate) level: Level,
    /// Memory limit of buffers and caches [default: 256MiB, or 512MiB for disks too large for that]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) memory: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImageType {
    /// System disk of an elastic cloud server
    #[value(name = "ECS")]
    Ecs,
    /// System disk of a bare metal server
    #[value(name = "BMS")]
    Bms,
    /// Data disk
    #[value(name = "DataImage")]
    DataImage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OsFamily {
    #[value(name = "Linux")]
    Linux,
    #[value(name = "Windows")]
    Windows,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arch {
    X86,
    Arm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Boot {
    Bios,
    Uefi,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum IfExists {
    /// Use it if it is proven to hold this disk: the disk is read and compared with the record next
    /// to the object. Otherwise fail
    Adopt,
    /// Fail
    Fail,
    /// Leave the image as it is, whatever it holds, and exit with 0 (with --register none, the
    /// object)
    Skip,
    /// Replace the object; rename the image to NAME-replaced-ID and keep it
    Replace,
}

/// A number of things, of which there must be one.
fn parse_count(text: &str) -> Result<NonZeroUsize, String> {
    text.parse()
        .map_err(|_| "expected a whole number of at least 1".to_owned())
}

fn parse_threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least one thread is needed".into()),
        Ok(threads @ 1..=1024) => Ok(threads),
        Ok(_) => Err("at most 1024 threads are used".into()),
        Err(_) => Err("expected a number, such as 8".into()),
    }
}

fn parse_bitmap(text: &str) -> Result<String, String> {
    match text.strip_prefix("bitmap:") {
        Some(name) if !name.is_empty() => Ok(name.to_owned()),
        _ => Err("expected bitmap:NAME, such as bitmap:backup0".into()),
    }
}

fn parse_tag(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "expected KEY=VALUE, such as env=test".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parse_size("512MiB"), Ok(512 << 20));
        assert_eq!(parse_size("2G"), Ok(2 << 30));
        assert_eq!(parse_size("4096"), Ok(4096));
        assert!(parse_size("99999999T").is_err());
        assert!(parse_size("many").is_err());
        assert!(parse_size("").is_err());
    }

    #[test]
    fn negative_levels_need_no_equals_sign() {
        let cli = Cli::try_parse_from(["imgferry", "convert", "--level", "-5", "a", "b"]).unwrap();
        let Command::Convert(args) = cli.command else {
            panic!("not convert");
        };
        assert_eq!(args.work.level, Level::Fixed(-5));
        assert!(Cli::try_parse_from(["imgferry", "convert", "--level", "20", "a", "b"]).is_err());
    }

    #[test]
    fn the_sandbox_option_does_not_swallow_the_disk() {
        let cli = Cli::try_parse_from([
            "imgferry",
            "import",
            "--sandbox",
            "disk.raw",
            "--name",
            "n",
            "--bucket",
            "b",
        ])
        .unwrap();
        let Command::Import(args) = cli.command else {
            panic!("not import");
        };
        assert_eq!(args.disk, PathBuf::from("disk.raw"));
        assert_eq!(args.cloud.sandbox, Some(None));
    }
}
