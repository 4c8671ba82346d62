//! How a disk image is opened for reading.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use diskimg::{BackingPolicy, Format, OpenOptions};

use ::import::SourceDisk;

#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    /// Format of the source [default: detected from the content]
    #[arg(long)]
    pub(crate) format: Option<Format>,
    /// Read this internal snapshot of a qcow2 image, given by id or name, instead of the active
    /// disk; inspect lists the snapshots
    #[arg(long, value_name = "NAME")]
    pub(crate) snapshot: Option<String>,
    #[command(flatten)]
    pub(crate) backing: BackingArgs,
    #[command(flatten)]
    pub(crate) vhd: VhdArgs,
    #[command(flatten)]
    pub(crate) share: ShareArgs,
}

/// Which disk of a package is read, and whether its manifest counts.
#[derive(Debug, Args)]
pub(crate) struct PackageArgs {
    /// The disk of a package (OVA archive or OVF descriptor): its file or its number, as inspect
    /// lists them [default: the only disk]
    #[arg(long = "disk", value_name = "MEMBER|NUMBER")]
    pub(crate) member: Option<String>,
    /// Read a package without checking the digests in its manifest
    #[arg(long)]
    pub(crate) ignore_manifest: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// How servers that export disks are trusted.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// Certificates (PEM) that may sign the one of an nbds:// server [default: those that this
    /// machine trusts]
    #[arg(long, value_name = "FILE", env = "IMGFERRY_TLS_CA")]
    pub(crate) tls_ca: Option<PathBuf>,
}

impl PackageArgs {
    /// The disk at `path`, in the package there, or that a server exports.
    pub(crate) fn disk(&self, path: &Path) -> SourceDisk {
        SourceDisk {
            tls_ca: self.server.tls_ca.clone(),
            ..SourceDisk::in_package(path, self.member.clone())
        }
    }
}

/// How VHD files are read.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct VhdArgs {
    /// How to read sectors of a dynamic VHD that are stored but marked as never written: honor
    /// reads zeros, ignore reads the stored bytes
    #[arg(long, value_enum, value_name = "MODE", default_value_t)]
    pub(crate) vhd_bitmap: VhdBitmap,
}

/// Whether sector bitmaps are honoured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum VhdBitmap {
    #[default]
    Honor,
    Ignore,
}

impl VhdArgs {
    /// Whether sectors are read regardless of the bitmaps.
    pub(crate) fn ignores_bitmaps(self) -> bool {
        self.vhd_bitmap == VhdBitmap::Ignore
    }
}

/// Whether to read a disk in use.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct ShareArgs {
    /// Read a disk that a running QEMU has open for writing, for example of a paused machine. The
    /// command still fails if the disk changes while it is read
    #[arg(long)]
    pub(crate) force_share: bool,
}

/// What is needed to read a disk from standard input.
#[derive(Debug, Args)]
pub(crate) struct PipeArgs {
    /// Exact size of a raw disk that comes through a pipe (-) or is compressed, in bytes or with a
    /// unit, such as 40GiB
    #[arg(long, value_name = "SIZE", value_parser = super::parse_size)]
    pub(crate) size: Option<u64>,
}

/// Which files an image may refer to.
#[derive(Debug, Args)]
pub(crate) struct BackingArgs {
    /// Open files that the image refers to (backing files, parents, data files) if they are in DIR
    /// or below [default: refuse such images]
    #[arg(long, value_name = "DIR")]
    pub(crate) allow_backing: Option<PathBuf>,
    /// Format of backing files whose format the image does not declare; it is never guessed
    #[arg(long, value_name = "FORMAT", requires = "allow_backing")]
    pub(crate) backing_format: Option<Format>,
}

impl SourceArgs {
    /// The options for opening the image.
    pub(crate) fn options(&self) -> OpenOptions {
        OpenOptions {
            snapshot: self.snapshot.clone(),
            ignore_vhd_bitmaps: self.vhd.ignores_bitmaps(),
            ..self.backing.options(self.format)
        }
    }
}

impl BackingArgs {
    /// The options for opening an image of `format`, or of the detected format.
    pub(crate) fn options(&self, format: Option<Format>) -> OpenOptions {
        let mut options = OpenOptions::of(format);
        if let Some(dir) = &self.allow_backing {
            options.backing = BackingPolicy::Inside(dir.clone());
        }
        options.backing_format = self.backing_format;
        options
    }
}
