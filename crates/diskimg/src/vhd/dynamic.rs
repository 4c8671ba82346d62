//! The dynamic header and the block allocation table (BAT), checked once and held in memory.

use std::ops::Range;

use zerocopy::big_endian::U32;
use zerocopy::{FromZeros, IntoBytes};

use super::footer::Footer;
use super::layout::{
    self, DYNAMIC_COOKIE, DYNAMIC_HEADER_LEN, ENTRY_SIZE, FOOTER_LEN, MAJOR_VERSION, UNALLOCATED,
    checksum,
};
use crate::chain::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{MAX_VHD_BAT_BYTES, MAX_VHD_BLOCK_SIZE};
use crate::source::ReadAt;
use crate::units::{FileOffset, SECTOR, fits, human};

const HEADER: &str = "dynamic header";
const BAT: &str = "BAT";
const BAT_ENTRY: &str = "BAT entry";

const OVERLAP_HINT: &str = "look for another copy of the disk first; to read this one as it stands, with the damage: qemu-img convert -f vpc -O qcow2 IMAGE disk.qcow2";

/// Smallest block size that is read, in bytes: 8 sectors, whose bitmap is a byte. By the
/// specification the bitmap of a smaller block takes a sector, by QEMU and libvhdi it takes
/// nothing; no program is known that writes such blocks.
const MIN_BLOCK_SIZE: u64 = 8 * SECTOR;

/// Sectors whose state one sector of a block's bitmap gives.
const SECTORS_PER_BITMAP_SECTOR: u64 = SECTOR * 8;

/// Where the blocks of a dynamic disk are. Each of them lies in the file, on no other block and on
/// nothing else that is needed for reading.
pub(super) struct BlockTable {
    /// One entry per block of the disk, as stored.
    entries: Vec<U32>,
    /// log2 of the bytes of the disk in a block.
    block_bits: u32,
    /// Length of the sector bitmap before each block's data in bytes; a multiple of 512.
    bitmap_len: u64,
}

impl BlockTable {
    /// Reads and checks the header that `footer` points at, and the BAT of a disk of `declared`
    /// bytes, more than 0.
    ///
    /// # Errors
    /// `Limit` for sizes beyond our caps, `Unsupported`, `Corrupt`, `Truncated` and `Io` by cause.
    pub(super) fn load(
        source: &dyn ReadAt,
        footer: &Footer,
        declared: u64,
        context: &Context,
    ) -> Result<Self> {
        let at = footer.data_offset;
        let header = read_header(source, at, footer.data_end)?;
        let block_bits = check_block_size(header.block_size.get(), at)?;
        let blocks = declared.div_ceil(1 << block_bits);
        let capacity = u64::from(header.max_table_entries.get());
        if blocks > capacity {
            return Err(Error::corrupt(
                HEADER,
                at,
                format!(
                    "max_table_entries is {capacity}, a disk of {declared} bytes has {blocks} blocks of {} bytes",
                    1_u64 << block_bits
                ),
            ));
        }
        let table = check_table(header.table_offset.get(), blocks, footer)?;
        // And a byte for each block.
        context.keep(BAT, table.start, table.end - table.start + blocks)?;
        // The offsets are sorted in a copy, with the blocks' numbers.
        context.takes_for_a_moment(2 * (table.end - table.start));
        // At most MAX_VHD_BAT_BYTES, and inside the file.
        let mut entries = vec![U32::ZERO; usize::try_from(blocks).unwrap_or_default()];
        source.read_exact_at(FileOffset(table.start), entries.as_mut_bytes())?;
        let table_of_blocks = Self {
            entries,
            block_bits,
            bitmap_len: (1_u64 << block_bits)
                .div_ceil(SECTOR * SECTORS_PER_BITMAP_SECTOR)
                .saturating_mul(SECTOR),
        };
        table_of_blocks.check_places(&table, source.len(), footer, declared)?;
        Ok(table_of_blocks)
    }

    /// log2 of the bytes of the disk in a block.
    pub(super) fn block_bits(&self) -> u32 {
        self.block_bits
    }

    /// Number of blocks of the disk.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Length of a block's sector bitmap in bytes.
    pub(super) fn bitmap_len(&self) -> u64 {
        self.bitmap_len
    }

    /// File offset of block `index`, where its sector bitmap begins; `None` when it is not stored.
    pub(super) fn place(&self, index: u64) -> Option<FileOffset> {
        let entry = usize::try_from(index)
            .ok()
            .and_then(|index| self.entries.get(index))?;
        place(*entry).map(FileOffset)
    }

    /// Number of blocks from `index` on, at most `limit`, that are not stored.
    pub(super) fn unallocated(&self, index: u64, limit: u64) -> u64 {
        let from = usize::try_from(index).unwrap_or(usize::MAX);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let rest = self.entries.get(from..).unwrap_or_default();
        rest.iter()
            .take(limit)
            .take_while(|entry| entry.get() == UNALLOCATED)
            .count() as u64
    }

    /// Bytes of the table.
    pub(super) fn memory(&self) -> u64 {
        self.entries.len() as u64 * ENTRY_SIZE
    }

    /// Bytes of the table and of the sector bitmaps of all blocks.
    pub(super) fn metadata_bytes(&self) -> u64 {
        let stored = self
            .entries
            .iter()
            .filter(|entry| entry.get() != UNALLOCATED);
        (stored.count() as u64)
            .saturating_mul(self.bitmap_len)
            .saturating_add(self.memory())
    }

    /// Checks that every block lies in the file and overlaps nothing.
    fn check_places(
        &self,
        table: &Range<u64>,
        file_len: u64,
        footer: &Footer,
        declared: u64,
    ) -> Result<()> {
        let header = footer.data_offset..footer.data_offset + DYNAMIC_HEADER_LEN;
        let others = [
            ("the copy of the footer", &(0..FOOTER_LEN)),
            ("the dynamic header", &header),
            ("the BAT", table),
        ];
        let block_size = 1_u64 << self.block_bits;
        // The disk's last block may be cut off behind the end of the disk.
        let last_len = (declared - 1) % block_size + 1;
        let last = self.entries.len() - 1;
        let entries = || (0_usize..).zip(&self.entries);
        for (index, entry) in entries() {
            let Some(start) = place(*entry) else { continue };
            let len = self.bitmap_len + if index == last { last_len } else { block_size };
            let block = start..start + len;
            let broken = |kind, message: String| {
                Err(Error::new(kind, format!("found {entry:#010x}: {message}"))
                    .at(BAT_ENTRY, table.start + index as u64 * ENTRY_SIZE))
            };
            if block.end > file_len {
                return broken(
                    ErrorKind::Truncated,
                    format!(
                        "block {index} ends at {:#x}, the file ends at {file_len:#x}",
                        block.end
                    ),
                );
            }
            if block.end > footer.data_end {
                return broken(
                    ErrorKind::Corrupt,
                    format!(
                        "block {index} ends at {:#x}, behind the start of the footer at {:#x}",
                        block.end, footer.data_end
                    ),
                );
            }
            if let Some((name, _)) = others.iter().find(|(_, other)| overlap(&block, other)) {
                return broken(
                    ErrorKind::Corrupt,
                    format!("block {index} at {start:#x} overlaps {name}"),
                );
            }
        }
        // Place and, in the lower half, number of each block that is stored.
        let mut stored =
            Vec::with_capacity(entries().filter(|(_, e)| place(**e).is_some()).count());
        stored.extend(
            entries()
                .filter(|(_, entry)| place(**entry).is_some())
                .map(|(index, entry)| u64::from(entry.get()) << 32 | index as u64),
        );
        stored.sort_unstable();
        for pair in stored.windows(2) {
            let [first, second] = pair else { continue };
            let part = |found: &u64| ((found >> 32) * SECTOR, found & u64::from(u32::MAX));
            let ((start, index), (next, next_index)) = (part(first), part(second));
            let whole = if index == last as u64 {
                last_len
            } else {
                block_size
            };
            let end = start + self.bitmap_len + whole;
            if end > next {
                return Err(Error::corrupt(
                    BAT,
                    table.start,
                    format!(
                        "block {index} at {start:#x} overlaps block {next_index} at {next:#x} by {} bytes, and one of them is damaged there",
                        end - next
                    ),
                )
                .with_hint(OVERLAP_HINT));
            }
        }
        Ok(())
    }
}

/// File offset of the block that `entry` gives; at most 2^41.
fn place(entry: U32) -> Option<u64> {
    match entry.get() {
        UNALLOCATED => None,
        sector => Some(u64::from(sector) * SECTOR),
    }
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

/// Reads and checks the header at `at` of a file whose data ends at `data_end`.
///
/// # Errors
/// `Corrupt`, `Unsupported` for other versions, `Truncated` and `Io` by cause.
pub(super) fn read_header(
    source: &dyn ReadAt,
    at: u64,
    data_end: u64,
) -> Result<layout::DynamicHeader> {
    if at < FOOTER_LEN {
        return Err(Error::corrupt(
            HEADER,
            at,
            "it overlaps the copy of the footer",
        ));
    }
    if !fits(at, DYNAMIC_HEADER_LEN, data_end) {
        return Err(Error::truncated(
            HEADER,
            at,
            format!(
                "{DYNAMIC_HEADER_LEN} bytes were expected here, the file's data ends at {data_end:#x}"
            ),
        ));
    }
    let mut header = layout::DynamicHeader::new_zeroed();
    source.read_exact_at(FileOffset(at), header.as_mut_bytes())?;
    if header.cookie != DYNAMIC_COOKIE {
        return Err(Error::corrupt(
            HEADER,
            at,
            format!(
                "found {:02x?}, expected {DYNAMIC_COOKIE:02x?} (cxsparse)",
                header.cookie
            ),
        ));
    }
    let expected = checksum(header.as_bytes(), header.checksum);
    if header.checksum.get() != expected {
        return Err(Error::corrupt(
            HEADER,
            at,
            format!(
                "checksum is {:#010x}, expected {expected:#010x}",
                header.checksum
            ),
        ));
    }
    let version = header.version.get();
    if version >> 16 != MAJOR_VERSION {
        return Err(Error::unsupported(format!(
            "the header's version is {version:#010x}; version 1 is read"
        ))
        .at(HEADER, at));
    }
    Ok(header)
}

/// log2 of the block size.
fn check_block_size(block_size: u32, at: u64) -> Result<u32> {
    if u64::from(block_size) > MAX_VHD_BLOCK_SIZE && block_size.is_power_of_two() {
        return Err(Error::new(
            ErrorKind::Limit,
            format!(
                "the block size is {}, at most {} are read",
                human(u64::from(block_size)),
                human(MAX_VHD_BLOCK_SIZE)
            ),
        )
        .at(HEADER, at));
    }
    if !block_size.is_power_of_two() || u64::from(block_size) < SECTOR {
        return Err(Error::corrupt(
            HEADER,
            at,
            format!("the block size is {block_size}, expected a power of two from {SECTOR}"),
        ));
    }
    if u64::from(block_size) < MIN_BLOCK_SIZE {
        return Err(Error::unsupported(format!(
            "the block size is {block_size}, at least {MIN_BLOCK_SIZE} are read"
        ))
        .at(HEADER, at));
    }
    Ok(block_size.trailing_zeros())
}

/// Where the entries for `blocks` blocks are in the file.
fn check_table(at: u64, blocks: u64, footer: &Footer) -> Result<Range<u64>> {
    let len = blocks.saturating_mul(ENTRY_SIZE);
    if len > MAX_VHD_BAT_BYTES {
        return Err(Error::new(
            ErrorKind::Limit,
            format!(
                "the disk has {blocks} blocks, whose table takes {}; at most {} are read",
                human(len),
                human(MAX_VHD_BAT_BYTES)
            ),
        )
        .at(BAT, at)
        .with_hint("give it larger blocks: qemu-img convert -O vpc IMAGE disk.vhd"));
    }
    if !fits(at, len, footer.data_end) {
        return Err(Error::truncated(
            BAT,
            at,
            format!(
                "{len} bytes were expected here, the file's data ends at {:#x}",
                footer.data_end
            ),
        ));
    }
    let table = at..at + len;
    let header = footer.data_offset..footer.data_offset + DYNAMIC_HEADER_LEN;
    if overlap(&table, &header) || at < FOOTER_LEN {
        return Err(Error::corrupt(
            BAT,
            at,
            "it overlaps the dynamic header or the copy of the footer",
        ));
    }
    Ok(table)
}
