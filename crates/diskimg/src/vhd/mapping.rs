//! Walks the guest's address range and says, run by run, where its bytes are.
//!
//! The sector bitmap before each block counts. In a differencing disk its clear bits are the
//! sectors that the parent holds. In a dynamic disk they are, by the specification, those that have
//! never been written, and they read as zeros. VirtualBox and libvhdi read it that way; QEMU sets
//! all bits in what it writes and ignores them when it reads. They differ only where a sector was
//! never written but its place in the file is not zero: that is what the storage held before, maybe
//! of somebody else, and does not belong into a cloud; or the writer forgot the bit. [`Map::audit`]
//! counts such sectors, so that nothing is left out without a word.
//!
//! A block of a dynamic disk in whose bitmap no bit is set is read whole: no program stores a block
//! without writing to it, so the bitmap was forgotten.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;

use super::left_out::{AUDIT_LEN, LeftOut, known_at};
use super::table::BlockTable;
use crate::chain::Context;
use crate::error::Result;
use crate::extent::ExtentKind;
use crate::layer::{Mix, Piece, Place, Run};
use crate::limits::VHD_BITMAP_CACHE_BYTES;
use crate::sectors::{BitOrder, Held, SectorBitmaps};
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::units::{FileOffset, SECTOR};

/// Where the bytes of a disk are.
#[allow(clippy::large_enum_variant, reason = "there is one for each image")]
pub(super) enum Map {
    /// At the offset in the file at which they are on the disk.
    Fixed,
    /// In blocks.
    Blocks {
        table: BlockTable,
        bitmaps: SectorBitmaps,
        /// What sectors are whose bit is clear.
        unwritten: Unwritten,
        /// What is known of each block's bitmap: a [`Marked`].
        marked: Vec<AtomicU8>,
        left_out: Mutex<LeftOut>,
    },
}

/// What sectors are whose bit is clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unwritten {
    /// The parent's.
    Below,
    /// Zeros, unless no bit of the block is set.
    Zeros,
    /// As good as others.
    Stored,
}

/// What a bitmap marks as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Marked {
    /// Not examined yet.
    Unknown,
    Something,
    Nothing,
}

impl Map {
    /// For a dynamic or a differencing disk.
    pub(super) fn blocks(
        table: BlockTable,
        differencing: bool,
        holes: Arc<StoredMap>,
        context: &Context,
    ) -> Self {
        context.takes_for_a_moment(AUDIT_LEN as u64);
        Self::Blocks {
            marked: (0..table.len())
                .map(|_| AtomicU8::new(Marked::Unknown as u8))
                .collect(),
            table,
            bitmaps: SectorBitmaps::new(
                BitOrder::HighFirst,
                // Bitmaps are in whole sectors; that of a block of 2 MiB is one.
                SECTOR,
                VHD_BITMAP_CACHE_BYTES,
                holes,
                context,
            ),
            unwritten: match (differencing, context.ignores_vhd_bitmaps()) {
                (true, _) => Unwritten::Below,
                (false, true) => Unwritten::Stored,
                (false, false) => Unwritten::Zeros,
            },
            left_out: Mutex::default(),
        }
    }

    /// Bytes of the disk in a block; `None` in a fixed disk.
    pub(super) fn block_size(&self) -> Option<u64> {
        match self {
            Self::Fixed => None,
            Self::Blocks { table, .. } => Some(1 << table.block_bits()),
        }
    }

    /// Iterator over the runs from `at` to `end`, both inside the declared size, in order and
    /// without gaps. Every step goes at least one byte on or fails, and a failed walk is over: so
    /// it ends, whatever the tables say.
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

    /// The same walk in sums: sectors of a block that differ are one piece inside one unit of
    /// `unit` bytes.
    pub(super) fn walk_in_sums<'a>(
        &'a self,
        source: &'a dyn ReadAt,
        at: u64,
        end: u64,
        unit: u64,
    ) -> impl Iterator<Item = Result<Piece>> + 'a {
        let mut at = at;
        let mut held = Held::default();
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let piece = self.piece(source, at, end - at, unit, &mut held);
            at = match &piece {
                Ok(piece) => piece.end(),
                Err(_) => end,
            };
            Some(piece)
        })
    }

    /// The piece at `start`, of at most `wanted` bytes, which is more than 0.
    fn piece(
        &self,
        source: &dyn ReadAt,
        start: u64,
        wanted: u64,
        unit: u64,
        held: &mut Held,
    ) -> Result<Piece> {
        let run = self.run(source, start, wanted, held)?;
        let Self::Blocks {
            table,
            bitmaps,
            unwritten,
            ..
        } = self
        else {
            return Ok(Piece::Run(run));
        };
        let block_size = 1_u64 << table.block_bits();
        let (block, within) = (start >> table.block_bits(), start & (block_size - 1));
        // Sectors up to where the block or the unit ends.
        let len = (block_size - within).min(unit - start % unit).min(wanted);
        let whole = start.is_multiple_of(SECTOR) && len.is_multiple_of(SECTOR);
        let Some(stored) = table.place(block).filter(|_| whole && run.len < len) else {
            return Ok(Piece::Run(run));
        };
        let (written, sectors) =
            bitmaps.count(source, stored, within / SECTOR, len / SECTOR, held)?;
        let len = sectors * SECTOR;
        Ok(Piece::Mix(Mix {
            start,
            len,
            stored: written * SECTOR,
            host: FileOffset(stored.0 + table.bitmap_len() + within),
            zeros: match unwritten {
                Unwritten::Zeros => len - written * SECTOR,
                _ => 0,
            },
        }))
    }

    /// Bytes of the BAT, and most bytes of sector bitmaps that are held with `readers` threads.
    pub(super) fn memory_bound(&self, readers: u64) -> (u64, u64) {
        match self {
            Self::Fixed => (0, 0),
            Self::Blocks {
                table,
                bitmaps,
                marked,
                ..
            } => (
                table.memory().saturating_add(marked.len() as u64),
                bitmaps.memory_bound(readers),
            ),
        }
    }

    /// The run at `start`, of at most `wanted` bytes, which is more than 0.
    fn run(&self, source: &dyn ReadAt, start: u64, wanted: u64, held: &mut Held) -> Result<Run> {
        let Self::Blocks {
            table,
            bitmaps,
            unwritten,
            ..
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
        let data = Place::Stored(FileOffset(stored.0 + table.bitmap_len() + within));
        let rest = (block_size - within).min(wanted);
        let whole = Run {
            start,
            len: rest,
            place: data,
        };
        if *unwritten == Unwritten::Stored {
            return Ok(whole);
        }
        let sector = within / SECTOR;
        let (written, sectors) = bitmaps.equal(source, stored, sector, held)?;
        if !written && *unwritten == Unwritten::Zeros && self.is_blank(source, block, held)? {
            return Ok(whole);
        }
        // Bits behind the block's last sector are padding.
        let end = ((sector + sectors) * SECTOR).min(block_size);
        Ok(Run {
            start,
            len: (end - within).min(wanted),
            place: match (written, unwritten) {
                (true, _) => data,
                (false, Unwritten::Below) => Place::Below,
                (false, _) => Place::Zeros,
            },
        })
    }

    /// Whether no bit is set in the bitmap of `block`, which is stored. Read once for each block.
    fn is_blank(&self, source: &dyn ReadAt, block: u64, held: &mut Held) -> Result<bool> {
        let Self::Blocks {
            table,
            bitmaps,
            marked,
            ..
        } = self
        else {
            return Ok(false);
        };
        let known = usize::try_from(block)
            .ok()
            .and_then(|block| marked.get(block));
        let (Some(known), Some(stored)) = (known, table.place(block)) else {
            return Ok(false);
        };
        let found = known.load(Ordering::Relaxed);
        if found != Marked::Unknown as u8 {
            return Ok(found == Marked::Nothing as u8);
        }
        let all = (1_u64 << table.block_bits()) / SECTOR;
        let mut clear = 0;
        while clear < all {
            let (written, sectors) = bitmaps.equal(source, stored, clear, held)?;
            if written {
                break;
            }
            clear += sectors;
        }
        let found = match clear < all {
            true => Marked::Something,
            false => Marked::Nothing,
        };
        known.store(found as u8, Ordering::Relaxed);
        Ok(found == Marked::Nothing)
    }

    /// Looks for sectors of the first `size` bytes that hold bytes and whose bit is clear.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn audit(
        &self,
        source: &dyn ReadAt,
        holes: &StoredMap,
        size: u64,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<()> {
        let Self::Blocks {
            table, left_out, ..
        } = self
        else {
            return Ok(());
        };
        let (mut found, mut buf) = (LeftOut::default(), vec![0; AUDIT_LEN]);
        let block_size = 1_u64 << table.block_bits();
        for (block, stored) in (0..table.len() as u64).filter_map(|block| {
            let stored = table.place(block)?;
            Some((block, stored.0 + table.bitmap_len()))
        }) {
            let start = block * block_size;
            let end = stored + size.saturating_sub(start).min(block_size);
            let mut at = stored;
            // Only where the file stores something: bits are many, and cost nothing to clear.
            while at < end {
                if cancelled() {
                    return Ok(());
                }
                let (kind, known) = known_at(holes, at, end)?;
                if kind == ExtentKind::Data {
                    let guest = start + (at - stored);
                    for run in self.walk(source, guest, guest + known) {
                        let run = run?;
                        if !matches!(run.place, Place::Stored(_)) {
                            let place = stored + (run.start - start);
                            found.count(source, place..place + run.len, &mut buf)?;
                        }
                    }
                }
                at += known;
            }
        }
        *left_out.lock() = found;
        Ok(())
    }

    /// What the sector bitmaps leave in doubt, as far as they were examined, and where that begins
    /// in the file.
    pub(super) fn doubts(&self) -> Vec<(FileOffset, String)> {
        let Self::Blocks {
            table,
            unwritten,
            marked,
            left_out,
            ..
        } = self
        else {
            return Vec::new();
        };
        let is_blank = |marked: &AtomicU8| marked.load(Ordering::Relaxed) == Marked::Nothing as u8;
        let mut blank = (0_u64..).zip(marked).filter(|(_, marked)| is_blank(marked));
        let mut doubts = Vec::new();
        if let Some((first, _)) = blank.next() {
            let blocks = match blank.count() {
                0 => "1 stored block has".to_owned(),
                more => format!("{} stored blocks have", more + 1),
            };
            let text = format!(
                "{blocks} a sector bitmap that marks nothing as written; nobody stores a block \
                 without writing to it, so all its sectors are read"
            );
            doubts.push((table.place(first).unwrap_or_default(), text));
        }
        let found = *left_out.lock();
        if found.sectors > 0 {
            let what = match unwritten {
                Unwritten::Below => {
                    "not written to this file; the parent's sectors are read in their place"
                }
                _ => "never written; they are read as zeros, unless the bitmaps are ignored",
            };
            let text = format!(
                "{} stored sectors hold bytes, but the sector bitmaps mark them as {what}",
                found.sectors
            );
            doubts.push((FileOffset(found.first), text));
        }
        doubts
    }
}
