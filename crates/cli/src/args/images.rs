//! Commands that look after images: `image`, `job`, `export`, `quota`, `os-versions`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::{CloudArgs, WorkArgs, parse_tag};

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
    Share(ImageShareArgs),
    Unshare(ImageShareArgs),
    Accept(ImageAcceptArgs),
    /// Show which projects an image is shared with, and what they said
    Members(ImageShowArgs),
    Tags(ImageTagsArgs),
    Create(Box<ImageCreateArgs>),
}

/// List images, the newest first
#[derive(Debug, Args)]
pub(crate) struct ImageListArgs {
    /// Exact name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// State, such as active
    #[arg(long)]
    pub(crate) status: Option<String>,
    /// Whose images
    #[arg(long, value_enum, default_value_t = Owner::Private)]
    pub(crate) owner: Owner,
    /// Operating system family, such as Linux
    #[arg(long, value_name = "FAMILY")]
    pub(crate) os_type: Option<String>,
    /// Platform, such as Debian
    #[arg(long)]
    pub(crate) platform: Option<String>,
    /// Tag that the image has
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) tag: Option<String>,
    /// Most images to list
    #[arg(long, default_value_t = 1000)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Whose images are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Owner {
    /// The project's own
    Private,
    /// The cloud's
    Public,
    /// Those that others share with the project, and the project with others
    Shared,
    /// Shared with the project and not answered yet
    Pending,
    /// Shared with the project and rejected
    Rejected,
    /// Everybody's
    All,
}

/// Show everything about one image
#[derive(Debug, Args)]
pub(crate) struct ImageShowArgs {
    /// Id of the image
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Change an active image
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
    /// Smallest disk in GiB
    #[arg(long, value_name = "GIB")]
    pub(crate) min_disk: Option<u32>,
    /// Least memory in MiB
    #[arg(long, value_name = "MIB")]
    pub(crate) min_ram: Option<u32>,
    /// Most memory in MiB
    #[arg(long, value_name = "MIB")]
    pub(crate) max_ram: Option<u32>,
    /// How the image boots
    #[arg(long, value_enum)]
    pub(crate) firmware: Option<super::Boot>,
    /// Operating system as the service names it
    #[arg(long, value_name = "TEXT")]
    pub(crate) os_version: Option<String>,
    /// Whether it cannot be deleted
    #[arg(long, value_name = "BOOL")]
    pub(crate) protected: Option<bool>,
    /// Any other attribute; may be given more than once
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_tag)]
    pub(crate) property: Vec<(String, String)>,
    /// Attribute to take away; may be given more than once
    #[arg(long, value_name = "KEY")]
    pub(crate) unset: Vec<String>,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Delete images
///
/// Asks on a terminal; elsewhere --yes is needed.
#[derive(Debug, Args)]
pub(crate) struct ImageDeleteArgs {
    /// Ids of the images
    #[arg(required = true)]
    pub(crate) ids: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Also delete the backups that a full-ECS image was made of
    #[arg(long)]
    pub(crate) delete_backup: bool,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Set tags of an image; a key that it has already gets the new value
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

/// Take tags away from an image
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

/// Show the tags of an image, or all tags that images have
#[derive(Debug, Args)]
pub(crate) struct ImageTagsArgs {
    /// Id of the image [default: all images of the project]
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Copy an image inside its region
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
    /// Key that encrypts the copy
    #[arg(long, value_name = "ID")]
    pub(crate) cmk_id: Option<String>,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Write an image into a bucket
///
/// To get it onto this machine use 'imgferry export'.
#[derive(Debug, Args)]
pub(crate) struct ImageExportArgs {
    /// Id of the image
    pub(crate) id: String,
    /// Where to, as obs://BUCKET/KEY
    pub(crate) to: String,
    /// Format; quick is the service's own (ZVHD2), without conversion and at any size
    #[arg(long, value_enum, default_value_t = ExportTo::Quick)]
    pub(crate) file_format: ExportTo,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// What an export writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportTo {
    /// The service's own format, fast
    Quick,
    /// QCOW2, up to 128 GiB like those that follow
    Qcow2,
    /// VHD
    Vhd,
    /// ZVHD
    Zvhd,
    /// VMDK
    Vmdk,
}

/// Share images with other projects of the region, or stop it
#[derive(Debug, Args)]
pub(crate) struct ImageShareArgs {
    /// Ids of the images
    #[arg(required = true)]
    pub(crate) ids: Vec<String>,
    /// Project to share with; may be given more than once
    #[arg(long = "project", value_name = "ID", required = true)]
    pub(crate) projects: Vec<String>,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Accept or reject images that others share with this project
#[derive(Debug, Args)]
pub(crate) struct ImageAcceptArgs {
    /// Ids of the images
    #[arg(required = true)]
    pub(crate) ids: Vec<String>,
    /// Reject them
    #[arg(long)]
    pub(crate) reject: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Make an image of a server, a volume or a backup
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("source").required(true).args(["server", "volume", "data_volume", "whole_server", "backup"]))]
pub(crate) struct ImageCreateArgs {
    /// Name of the image
    #[arg(long)]
    pub(crate) name: String,
    /// System image of this stopped server
    #[arg(long, value_name = "ID")]
    pub(crate) server: Option<String>,
    /// System image of this data disk, which holds a system
    #[arg(long, value_name = "ID", requires = "os_version")]
    pub(crate) volume: Option<String>,
    /// Data image of this data disk
    #[arg(long, value_name = "ID")]
    pub(crate) data_volume: Option<String>,
    /// Full-ECS image of this server: all its disks
    #[arg(long, value_name = "ID")]
    pub(crate) whole_server: Option<String>,
    /// Full-ECS image of this backup
    #[arg(long, value_name = "ID")]
    pub(crate) backup: Option<String>,
    /// With --server: a data image of this data disk of it, too; may be given more than once
    #[arg(long, value_name = "ID", requires = "server")]
    pub(crate) with_volume: Vec<String>,
    /// Operating system as the service names it; volumes need it
    #[arg(long, value_name = "TEXT")]
    pub(crate) os_version: Option<String>,
    /// Text shown with the image
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// Tag of the image; may be given up to ten times
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_tag)]
    pub(crate) tags: Vec<(String, String)>,
    /// Least memory of a server, in MiB
    #[arg(long, value_name = "MIB", conflicts_with = "data_volume")]
    pub(crate) min_ram: Option<u32>,
    /// Most memory of a server, in MiB
    #[arg(long, value_name = "MIB", conflicts_with = "data_volume")]
    pub(crate) max_ram: Option<u32>,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Whether a job is followed.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// End when the job has started, and print its id
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Longest time to follow the job, in seconds; the job itself goes on
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub(crate) timeout: u64,
}

/// Ask for a job of the image service, or follow it to its end
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
    /// Show the state of a job, with its sub-jobs
    Show(JobShowArgs),
    /// Follow a job to its end, also one that another run started
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
    /// Longest time to follow it, in seconds; the job itself goes on
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Bring an image from the cloud onto this machine: export, download, convert
///
/// The image is exported into a bucket, downloaded, compared with what the storage tells of it, and
/// written as raw (or as the ZVHD2 that it is, when FILE ends in .zvhd2). The object is deleted at
/// the end.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  imgferry export 4ca46bf1-5c61-48ff-b4f3-0ad4e5e3ba86 web01.raw --bucket my-images"
)]
pub(crate) struct ExportArgs {
    /// Id of the image
    pub(crate) id: String,
    /// The file to write
    pub(crate) file: PathBuf,
    /// Bucket to export to; it must be in the image's region
    #[arg(long)]
    pub(crate) bucket: String,
    /// Object key [default: the image's id with .zvhd2]
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Take an object that exists already, from an earlier export, instead of exporting
    #[arg(long)]
    pub(crate) reuse_object: bool,
    /// Leave the object in the bucket
    #[arg(long)]
    pub(crate) keep_object: bool,
    /// Replace FILE if it exists
    #[arg(long)]
    pub(crate) force: bool,
    /// Longest time to follow the export, in seconds; the job itself goes on
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) work: WorkArgs,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Show how many images there may be
#[derive(Debug, Args)]
pub(crate) struct QuotaArgs {
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// List the operating systems that the region has names for
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  imgferry os-versions debian")]
pub(crate) struct OsVersionsArgs {
    /// Only names with this text, in any case
    pub(crate) text: Option<String>,
    /// Only those that fit, such as uefi, arm or x86
    #[arg(long)]
    pub(crate) tag: Option<String>,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// How an uploaded disk becomes an image.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registering")]
pub(crate) struct RegisterArgs {
    /// Way to register
    #[arg(long, value_enum, default_value_t = RegisterBy::Auto)]
    pub(crate) register: RegisterBy,
    /// Let the service prepare the system (drivers, boot by UUID); common import only
    #[arg(long)]
    pub(crate) prepare: bool,
    /// Key that encrypts the image; common import only
    #[arg(long, value_name = "ID")]
    pub(crate) cmk_id: Option<String>,
    /// Data disk to upload and register together with the system disk; up to three; common import
    /// only
    #[arg(long = "data-disk", value_name = "FILE")]
    pub(crate) data_disks: Vec<PathBuf>,
}

/// The ways to register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RegisterBy {
    /// Quick import of what imgferry reads, common import of the rest
    Auto,
    /// Convert to ZVHD2, up to 1 TiB; the disk is taken as it is
    Quick,
    /// Upload the file as it is, up to 128 GiB; the service converts it
    Common,
    /// As common, in two OpenStack-style steps
    Glance,
    /// Convert and upload only
    None,
}
