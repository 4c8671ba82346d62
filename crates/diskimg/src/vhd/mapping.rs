//! Walks the guest's address range and says, run by run, where its bytes are.
//!
//! The sector bitmap before each block counts. In a differencing disk its clear bits are the sectors
//! that the parent holds. In a dynamic disk they are, by the specification, those that have never been
//! written, and they read as zeros. VirtualBox and libvhdi read it that way; QEMU sets all bits in what
//! it writes and looks at none when it reads. They differ only where a sector was never written but its
//! place in the file is not zero: that is what the storage held before, maybe of somebody else, and
//! does not belong into a cloud.

use super::dynamic::BlockTable;
use crate::chain::Context;
use crate::error::Result;
use crate::layer::{Place, Run};
use crate::limits::VHD_BITMAP_CACHE_BYTES;
use crate::sectors::{BitOrder, Held, SectorBitmaps};
use crate::source::ReadAt;
use crate::units::{FileOffset, SECTOR};

/// Where the bytes of a disk are.
pub(super) enum Map {
    /// At the offset in the file at which they are on the disk.
    Fixed,
    /// In blocks.
    Blocks {
        table: BlockTable,
        bitmaps: SectorBitmaps,
        /// What sectors are whose bit is clear.
        unwritten: Place,
    },
}

impl Map {
    /// For a dynamic or a differencing disk.
    pub(super) fn blocks(table: BlockTable, differencing: bool, context: &Context) -> Self {
        let cache = context.cache(VHD_BITMAP_CACHE_BYTES);
        Self::Blocks {
            table,
            bitmaps: SectorBitmaps::new(BitOrder::HighFirst, cache),
            unwritten: if differencing {
                Place::Below
            } else {
                Place::Zeros
            },
        }
    }

    /// Bytes of the disk in a block; `None` in a fixed disk.
    pub(super) fn block_size(&self) -> Option<u64> {
        match self {
            Self::Fixed => None,
            Self::Blocks { table, .. } => Some(1 << table.block_bits()),
        }
    }

    /// Iterator over the runs from `at` to `end`, both inside the declared size, in order and without
    /// gaps. Every step goes at least one byte on or fails, and a failed walk is over: so it ends,
    /// whatever the tables say.
    pub(super) fn walk<'a>(
        &'a self,
        source: &'a dyn ReadAt,
        at: u64,
        end: u64,
    ) -> impl Iterator<Item = Result<Run>> + 'a {
        let mut at = at;
        let mut held = Held::default();
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let run = self.run(source, at, end - at, &mut held);
            at = match &run {
                Ok(run) => run.start + run.len,
                Err(_) => end,
            };
            Some(run)
        })
    }

    /// Bytes of the BAT, and most bytes of sector bitmaps that are held with `readers` threads.
    pub(super) fn memory_bound(&self, readers: u64) -> (u64, u64) {
        match self {
            Self::Fixed => (0, 0),
            Self::Blocks { table, bitmaps, .. } => (table.memory(), bitmaps.memory_bound(readers)),
        }
    }

    /// The run at `start`, of at most `wanted` bytes, which is more than 0.
    fn run(&self, source: &dyn ReadAt, start: u64, wanted: u64, held: &mut Held) -> Result<Run> {
        let Self::Blocks {
            table,
            bitmaps,
            unwritten,
        } = self
        else {
            let place = Place::Stored(FileOffset(start));
            return Ok(Run {
                start,
                len: wanted,
                place,
            });
        };
        let block_size = 1_u64 << table.block_bits();
        let (block, within) = (start >> table.block_bits(), start & (block_size - 1));
        let Some(stored) = table.place(block) else {
            let blocks = (within + wanted).div_ceil(block_size);
            // The first block is one of them, so this ends behind `start`.
            let end = table.unallocated(block, blocks).max(1) * block_size - within;
            return Ok(Run {
                start,
                len: end.min(wanted),
                place: Place::Below,
            });
        };
        let sector = within / SECTOR;
        let (written, sectors) = bitmaps.equal(source, stored, sector, held)?;
        // Bits behind the block's last sector are padding.
        let end = ((sector + sectors) * SECTOR).min(block_size);
        Ok(Run {
            start,
            len: (end - within).min(wanted),
            place: if written {
                Place::Stored(FileOffset(stored.0 + table.bitmap_len() + within))
            } else {
                *unwritten
            },
        })
    }
}
