//! The bitmap of an image, and its digest, in one pass over its data.

use diskimg::DiskImage;
use serde::Serialize;

use crate::bitmap::{Bitmap, Layout};
use crate::cancel::CancelToken;
use crate::digest::{ContentDigest, pass};
use crate::error::Result;
use crate::monitor::Monitor;

/// What a pass over an image found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Scan {
    /// Where the disk holds something other than zero.
    #[serde(skip)]
    pub bitmap: Bitmap,
    /// Digest of the disk's content.
    pub digest: ContentDigest,
    /// Size the guest sees, in bytes.
    pub virtual_size: u64,
    /// Bytes read as guest data.
    pub read_bytes: u64,
    /// Bytes never read, because the metadata says that they are zero.
    pub skipped_bytes: u64,
    /// Bytes read in blocks of 2 MiB that turned out to be all zero.
    pub zero_bytes: u64,
}

/// Reads the data of `image` with `threads` threads: its bitmap in `layout`, and its digest.
///
/// Holds 8 MiB for each of up to 8 threads, 2 MiB for each of very many and the bitmap, besides
/// what the image holds. Holes are not read.
///
/// # Errors
/// Those of the image and of [`Bitmap::new`]; `Cancelled`; `WorkerPanicked`.
pub fn scan(
    image: &dyn DiskImage,
    layout: Layout,
    threads: usize,
    monitor: &dyn Monitor,
    cancel: &CancelToken,
) -> Result<Scan> {
    let virtual_size = image.virtual_size();
    let mut bitmap = Bitmap::new(layout, virtual_size)?;
    let pass = pass(
        image,
        threads,
        monitor,
        cancel,
        |start, content| layout.granules_with_data(start, content),
        |granules| {
            granules
                .into_iter()
                .for_each(|granule| bitmap.mark(granule))
        },
    )?;
    Ok(Scan {
        bitmap,
        digest: pass.digest,
        virtual_size,
        read_bytes: pass.read_bytes,
        skipped_bytes: pass.skipped_bytes,
        zero_bytes: pass.zero_bytes,
    })
}
