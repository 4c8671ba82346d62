//! Commands that manage images: `image`, `job`, `export`, `quota`, `os-versions`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::{CloudArgs, WorkArgs, parse_count, parse_tag};

/// List, show, change, copy, share, export and delete images
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imgferry image list --name web01
  imgferry image show 4ca46bf1-5c61-48ff-b4f3-0ad4e5e3ba86
  imgferry image set 4ca46bf1-5c61-48ff-b4f3-0ad4e5e3ba86 --firmware uefi
  imgferry image delete 4ca46bf1-5c61-48ff-b4f3-0ad4e5e3ba86 --yes")]
pub(crate) struct ImageArgs {
    #[command(subcommand)]
    pub(crate) command: ImageCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    List(Box<ImageListArgs>),
    Show(ImageShowArgs),
    Set(Box<ImageSetArgs>),
    Delete(ImageDeleteArgs),
    Tag(ImageTagArgs),
    Untag(ImageUntagArgs),
    Copy(ImageCopyArgs),
    Export(ImageExportArgs),
    /// Share images with other projects of the region
    Share(ImageShareArgs),
    /// Stop sharing images with other projects
    Unshare(ImageShareArgs),
    Accept(ImageAcceptArgs),
    /// Show the projects an image is shared with, and whether they accepted it
    Members(ImageShowArgs),
    Tags(ImageTagsArgs),
    Create(Box<ImageCreateArgs>),
}

/// List images, newest first
#[derive(Debug, Args)]
pub(crate) struct ImageListArgs {
    /// Only images with exactly this name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Only images in this state, such as active
    #[arg(long)]
    pub(crate) status: Option<String>,
    /// Only images of this owner
    #[arg(long, value_enum, default_value_t = Owner::Private)]
    pub(crate) owner: Owner,
    /// Only images of this operating system family, such as Linux
    #[arg(long, value_name = "FAMILY")]
    pub(crate) os_type: Option<String>,
    /// Only images of this platform, such as Debian
    #[arg(long)]
    pub(crate) platform: Option<String>,
    /// Only images with this tag
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) tag: Option<String>,
    /// Maximum number of images to list
    #[arg(long, value_name = "N", default_value = "1000", value_parser = parse_count)]
    pub(crate) limit: NonZeroUsize,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Whose images are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Owner {
    /// Images of the project
    Private,
    /// Public images of the cloud
    Public,
    /// Images shared with the project, and images that it shares with others
    Shared,
    /// Images shared with the project, neither accepted nor rejected yet
    Pending,
    /// Images shared with the project and rejected
    Rejected,
    /// All images
    All,
}

/// Show all attributes of an image
#[derive(Debug, Args)]
pub(crate) struct ImageShowArgs {
    /// Id of the image
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Change the attributes of an active image
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true)
    .args(["name", "description", "min_disk", "min_ram", "max_ram", "firmware", "os_version", "protected", "property", "unset"]))]
pub(crate) struct ImageSetArgs {
    /// Id of the image
    pub(crate) id: String,
    /// New name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// New description
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// Minimum disk size in GiB
    #[arg(long, value_name = "GIB")]
    pub(crate) min_disk: Option<u32>,
    /// Minimum memory in MiB
    #[arg(long, value_name = "MIB")]
    pub(crate) min_ram: Option<u32>,
    /// Maximum memory in MiB
    #[arg(long, value_name = "MIB")]
    pub(crate) max_ram: Option<u32>,
    /// Boot mode of the image
    #[arg(long, value_enum)]
    pub(crate) firmware: Option<super::Boot>,
    /// Operating system as the service names it
    #[arg(long, value_name = "TEXT")]
    pub(crate) os_version: Option<String>,
    /// Protect the image against deletion
    #[arg(long, value_name = "BOOL")]
    pub(crate) protected: Option<bool>,
    /// Set any other attribute; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_tag)]
    pub(crate) property: Vec<(String, String)>,
    /// Remove this attribute; may be repeated
    #[arg(long, value_name = "KEY")]
    pub(crate) unset: Vec<String>,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Delete images
///
/// Asks for confirmation; without a terminal, --yes is required.
#[derive(Debug, Args)]
pub(crate) struct ImageDeleteArgs {
    /// Ids of the images
    #[arg(required = true)]
    pub(crate) ids: Vec<String>,
    /// Do not ask for confirmation
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Also delete the backups that a full-ECS image was created from
    #[arg(long)]
    pub(crate) delete_backup: bool,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Set tags of an image, replacing the values of existing keys
#[derive(Debug, Args)]
pub(crate) struct ImageTagArgs {
    /// Id of the image
    pub(crate) id: String,
    /// Tags
    #[arg(required = true, value_name = "KEY=VALUE", value_parser = parse_tag)]
    pub(crate) tags: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Remove tags from an image
#[derive(Debug, Args)]
pub(crate) struct ImageUntagArgs {
    /// Id of the image
    pub(crate) id: String,
    /// Keys of the tags
    #[arg(required = true, value_name = "KEY")]
    pub(crate) keys: Vec<String>,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Show the tags of an image, or all tags of the project's images
#[derive(Debug, Args)]
pub(crate) struct ImageTagsArgs {
    /// Id of the image [default: all images of the project]
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Copy an image within its region
#[derive(Debug, Args)]
pub(crate) struct ImageCopyArgs {
    /// Id of the image
    pub(crate) id: String,
    /// Name of the copy
    #[arg(long)]
    pub(crate) name: String,
    /// Description of the copy
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// Id of the key that encrypts the copy
    #[arg(long, value_name = "ID")]
    pub(crate) cmk_id: Option<String>,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Export an image to a bucket
///
/// To download it to this machine, use 'imgferry export'.
#[derive(Debug, Args)]
pub(crate) struct ImageExportArgs {
    /// Id of the image
    pub(crate) id: String,
    /// Target object, as obs://BUCKET/KEY
    pub(crate) to: String,
    /// Format of the object; quick keeps the service's own format (ZVHD2), at any size
    #[arg(long, value_enum, default_value_t = ExportTo::Quick)]
    pub(crate) file_format: ExportTo,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// The format that an export writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportTo {
    /// The service's own format, without conversion
    Quick,
    /// QCOW2, up to 128 GiB
    Qcow2,
    /// VHD, up to 128 GiB
    Vhd,
    /// ZVHD, up to 128 GiB
    Zvhd,
    /// VMDK, up to 128 GiB
    Vmdk,
}

#[derive(Debug, Args)]
pub(crate) struct ImageShareArgs {
    /// Ids of the images
    #[arg(required = true)]
    pub(crate) ids: Vec<String>,
    /// Id of the other project; may be repeated
    #[arg(long = "project", value_name = "ID", required = true)]
    pub(crate) projects: Vec<String>,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Accept or reject images shared with this project
#[derive(Debug, Args)]
pub(crate) struct ImageAcceptArgs {
    /// Ids of the images
    #[arg(required = true)]
    pub(crate) ids: Vec<String>,
    /// Reject the images instead of accepting them
    #[arg(long)]
    pub(crate) reject: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Create an image from a server, a volume or a backup
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("source").required(true).args(["server", "volume", "data_volume", "whole_server", "backup"]))]
pub(crate) struct ImageCreateArgs {
    /// Name of the image
    #[arg(long)]
    pub(crate) name: String,
    /// Create a system image of this stopped server
    #[arg(long, value_name = "ID")]
    pub(crate) server: Option<String>,
    /// Create a system image of this data disk, which must hold an operating system
    #[arg(long, value_name = "ID", requires = "os_version")]
    pub(crate) volume: Option<String>,
    /// Create a data image of this data disk
    #[arg(long, value_name = "ID")]
    pub(crate) data_volume: Option<String>,
    /// Create a full-ECS image of all disks of this server
    #[arg(long, value_name = "ID")]
    pub(crate) whole_server: Option<String>,
    /// Create a full-ECS image of this backup
    #[arg(long, value_name = "ID")]
    pub(crate) backup: Option<String>,
    /// With --server, also create a data image of this data disk of the server; may be repeated
    #[arg(long, value_name = "ID", requires = "server")]
    pub(crate) with_volume: Vec<String>,
    /// Operating system as the service names it; required for volumes
    #[arg(long, value_name = "TEXT")]
    pub(crate) os_version: Option<String>,
    /// Description of the image
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// Tag of the image; may be repeated up to ten times
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_tag)]
    pub(crate) tags: Vec<(String, String)>,
    /// Minimum memory of a server, in MiB
    #[arg(long, value_name = "MIB", conflicts_with = "data_volume")]
    pub(crate) min_ram: Option<u32>,
    /// Maximum memory of a server, in MiB
    #[arg(long, value_name = "MIB", conflicts_with = "data_volume")]
    pub(crate) max_ram: Option<u32>,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Whether to wait for a job.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// Exit once the job has started, and print its id
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Stop waiting after this time; the job itself continues
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub(crate) timeout: u64,
}

/// Show an image service job, or wait for it
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  imgferry job show ff8080814dbd65d7014dbe0d84db0013\n  imgferry job wait ff8080814dbd65d7014dbe0d84db0013"
)]
pub(crate) struct JobArgs {
    #[command(subcommand)]
    pub(crate) command: JobCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// Show the state of a job and its sub-jobs
    Show(JobShowArgs),
    /// Wait until a job ends, even one started by another run
    Wait(JobWaitArgs),
}

#[derive(Debug, Args)]
pub(crate) struct JobShowArgs {
    /// Id of the job
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

#[derive(Debug, Args)]
pub(crate) struct JobWaitArgs {
    /// Id of the job
    pub(crate) id: String,
    /// Stop waiting after this time; the job itself continues
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Export an image from the cloud, download it and convert it
///
/// The image is exported to a bucket, downloaded, and verified against the length and ETag that the
/// storage reports. It is written as raw, or kept as ZVHD2 if FILE ends in .zvhd2. The object is
/// deleted at the end.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  imgferry export 4ca46bf1-5c61-48ff-b4f3-0ad4e5e3ba86 web01.raw --bucket my-images"
)]
pub(crate) struct ExportArgs {
    /// Id of the image
    pub(crate) id: String,
    /// The file to write
    pub(crate) file: PathBuf,
    /// Bucket to export to; it must be in the region of the image
    #[arg(long)]
    pub(crate) bucket: String,
    /// Object key [default: ID.zvhd2]
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Use an existing object of an earlier export instead of exporting again
    #[arg(long)]
    pub(crate) reuse_object: bool,
    /// Keep the object in the bucket
    #[arg(long)]
    pub(crate) keep_object: bool,
    /// Replace FILE if it exists
    #[arg(long)]
    pub(crate) force: bool,
    /// Stop waiting after this time; the job itself continues
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Show the image quota
#[derive(Debug, Args)]
pub(crate) struct QuotaArgs {
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// List the operating system names that the region knows
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  imgferry os-versions debian")]
pub(crate) struct OsVersionsArgs {
    /// Only names that contain this text, ignoring case
    pub(crate) text: Option<String>,
    /// Only names with this tag, such as uefi, arm or x86
    #[arg(long)]
    pub(crate) tag: Option<String>,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// How an uploaded disk becomes an image.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registration")]
pub(crate) struct RegisterArgs {
    /// How to register the image
    #[arg(long, value_enum, default_value_t = RegisterBy::Auto)]
    pub(crate) register: RegisterBy,
    /// Let the service prepare the system (drivers, boot by UUID); requires common import
    #[arg(long)]
    pub(crate) prepare: bool,
    /// Id of the key that encrypts the image; requires common import
    #[arg(long, value_name = "ID")]
    pub(crate) cmk_id: Option<String>,
    /// Data disk to upload and register together with the system disk, by common or quick import;
    /// may be repeated up to three times
    #[arg(long = "data-disk", value_name = "FILE")]
    pub(crate) data_disks: Vec<PathBuf>,
}

/// The ways to register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RegisterBy {
    /// Quick import for formats that imgferry reads, common import for the rest
    Auto,
    /// Quick import: convert to ZVHD2, up to 1 TiB; the service does not modify the disk
    Quick,
    /// Common import: upload the file unchanged, up to 128 GiB; the service converts it
    Common,
    /// Like common, in two OpenStack-style steps
    Glance,
    /// Convert and upload only; do not register an image
    None,
}
