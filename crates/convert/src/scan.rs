//! The bitmap of an image, and its digest, in one pass over its data.

use diskimg::DiskImage;
use serde::Serialize;

use crate::bitmap::{Bitmap, Layout};
use crate::blocks::{DataBlocks, GroupBuffer, group_of, range_of};
use crate::cancel::CancelToken;
use crate::digest::{ContentDigest, DigestBuilder};
use crate::error::Result;
use crate::monitor::{Counter, Monitor};
use crate::ordered::{self, Width};
use crate::tally::Tally;

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
    let mut blocks = DataBlocks::new(image, cancel);
    let mut sum = DigestBuilder::new(virtual_size);
    let mut tally = Tally::new(virtual_size, monitor);
    let group = group_of(threads);
    ordered::run(
        Width::for_hashes(threads),
        cancel,
        || blocks.next_group(group),
        || Ok(GroupBuffer::new(group)),
        |buffer, group| {
            let found = buffer.read(image, group)?.map(|(block, content)| {
                let start = range_of(block.number, virtual_size).start;
                let granules = match block.hash {
                    Some(_) => layout.granules_with_data(start, content),
                    None => Vec::new(),
                };
                (block, granules)
            });
            Ok(found.collect::<Vec<_>>())
        },
        |group| {
            for (block, granules) in group {
                tally.block(range_of(block.number, virtual_size), block.read);
                let Some(hash) = block.hash else {
                    tally.zero(block.read);
                    continue;
                };
                monitor.count(Counter::DataBlocks, 1);
                sum.block(block.number, &hash);
                for granule in granules {
                    bitmap.mark(granule);
                }
            }
            Ok(())
        },
    )?;
    tally.finish();
    Ok(Scan {
        bitmap,
        digest: sum.finish(),
        virtual_size,
        read_bytes: tally.read_bytes(),
        skipped_bytes: tally.skipped_bytes(),
        zero_bytes: tally.zero_bytes(),
    })
}
