//! Options of `imgferry serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::transfer::PlaceParser;
use super::{CloudArgs, PackageArgs, Place, SourceArgs};

/// Serve a disk to NBD clients, read-only
///
/// Any image that imgferry reads becomes a network block device, so that programs that do not know
/// its format can read it: qemu-img, nbdcopy, guestfish, qemu-system. Holes are told to clients.
/// The connection is neither encrypted nor protected by a password: listen on this machine only, or
/// on a network that you trust.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imgferry serve disk.zvhd2
    qemu-img convert nbd://localhost disk.qcow2
  imgferry serve obs://images/web01.zvhd2 --socket /tmp/web01.sock
    guestfish --ro --format=raw -a 'nbd+unix:///?socket=/tmp/web01.sock'")]
pub(crate) struct ServeArgs {
    /// The disk image: a file, a package (OVA archive, OVF descriptor), the NBD URI of an export, or
    /// obs://BUCKET/KEY
    #[arg(value_name = "DISK", value_parser = PlaceParser)]
    pub(crate) disk: Place,
    /// Listen address; port 0 is any free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:10809")]
    pub(crate) listen: SocketAddr,
    /// Listen on a new Unix socket instead, which only you can connect to
    #[arg(long, value_name = "PATH", conflicts_with = "listen")]
    pub(crate) socket: Option<PathBuf>,
    /// Name of the export; the default export, without a name, is the same disk
    #[arg(long, value_name = "NAME", default_value = "")]
    pub(crate) export: String,
    /// Most clients at a time
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) clients: u16,
    #[command(flatten)]
    pub(crate) package: PackageArgs,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}
