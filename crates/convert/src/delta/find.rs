//! The blocks of a disk as it is now, by their hashes.

use diskimg::{Changes, DiskImage};

use super::table::BlockTable;
use crate::blocks::{DataBlocks, Group, GroupBuffer, group_of, range_of};
use crate::cancel::CancelToken;
use crate::digest::{ContentDigest, DigestBuilder};
use crate::error::{Error, Result};
use crate::hashes::BlockHash;
use crate::monitor::Monitor;
use crate::ordered::{self, Width};
use crate::tally::Tally;

/// The blocks of a disk that are not all zero, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    pub(super) virtual_size: u64,
    pub(super) list: Vec<(u32, BlockHash)>,
    /// Bytes that were read to find them.
    pub read_bytes: u64,
}

impl Blocks {
    /// Digest of the disk's content.
    #[must_use]
    pub fn digest(&self) -> ContentDigest {
        let mut sum = DigestBuilder::new(self.virtual_size);
        for (number, hash) in &self.list {
            sum.block(u64::from(*number), hash);
        }
        sum.finish()
    }
}

/// Reads and hashes the blocks of `image` with `threads` threads: all that hold data, or those that
/// `changed` names, where the others are believed to be as `base` says, and are not read.
///
/// Holds as much memory as [`crate::digest()`], and 36 bytes for each block.
///
/// # Errors
/// Those of the image; `Refused` when the disk is not as large as that of `base`, which `changed`
/// speaks of; `Cancelled`; `WorkerPanicked`.
pub fn find(
    image: &dyn DiskImage,
    (base, changed): (&BlockTable, Option<&Changes>),
    threads: usize,
    monitor: &dyn Monitor,
    cancel: &CancelToken,
) -> Result<Blocks> {
    let virtual_size = image.virtual_size();
    if changed.is_some() && virtual_size != base.virtual_size {
        return Err(Error::refused(format!(
            "what has changed is told of a disk of {} bytes, this one has {virtual_size}",
            base.virtual_size
        )));
    }
    let is_read = |number: u64| {
        changed.is_none_or(|changed| changed.touches(&range_of(number, virtual_size)))
    };
    let mut data = DataBlocks::new(image, cancel);
    let mut next = || loop {
        match data.next()? {
            Some(number) if !is_read(number) => {}
            next => return Ok(next),
        }
    };
    let (group, mut tally) = (group_of(threads), Tally::new(virtual_size, monitor));
    let mut list = Vec::new();
    ordered::run(
        Width::for_hashes(threads),
        cancel,
        || Group::gather(group, &mut next),
        || Ok(GroupBuffer::new(group)),
        |buffer, group| {
            let found = buffer.read(image, group)?.map(|(block, _)| block);
            Ok(found.collect::<Vec<_>>())
        },
        |group| {
            for block in group {
                tally.block(range_of(block.number, virtual_size), block.read);
                match (block.hash, u32::try_from(block.number)) {
                    (Some(hash), Ok(number)) => list.push((number, hash)),
                    _ => tally.zero(block.read),
                }
            }
            Ok(())
        },
    )?;
    tally.finish();
    if changed.is_some() {
        let kept = base.blocks.iter().filter(|b| !is_read(u64::from(b.number)));
        list.extend(kept.map(|block| (block.number, block.hash)));
        list.sort_unstable_by_key(|(number, _)| *number);
    }
    Ok(Blocks {
        virtual_size,
        list,
        read_bytes: tally.read_bytes(),
    })
}
