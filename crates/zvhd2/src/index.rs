//! The rules on index and bitmap: every entry a block of this disk that lies where blocks lie, in
//! order; the bitmap the same blocks once more.

use diskimg::units::{FileOffset, fits, round_up};
use diskimg::{ReadAt, Result};
use zerocopy::FromBytes;

use crate::finding::{Finding, Report, Severity};
use crate::footer::{Footer, Tables};
use crate::layout::{
    BITMAP_SEGMENT, BLOCKS_PER_SEGMENT, DATA_START, INDEX_SEGMENT, PAGE, WireIndexEntry,
    max_padded_len,
};
use crate::tables::{StoredBlock, bitmap_segments, segments};

/// Reads the index, segment by segment; blocks that break a rule are left out.
pub(crate) fn read_index(
    source: &dyn ReadAt,
    footer: &Footer,
    tables: &Tables,
    data_end: u64,
    report: &mut dyn Report,
) -> Result<Vec<StoredBlock>> {
    let stored = u64::from(footer.stored_blocks);
    let mut rules = IndexRules {
        footer,
        data_end,
        blocks: Vec::new(),
        free: DATA_START,
    };
    // The index was held against the file's length, and has at least one entry per stored block.
    rules
        .blocks
        .reserve_exact(usize::try_from(stored).unwrap_or_default());
    let entries = if footer.dense_index {
        stored
    } else {
        footer.max_blocks.into()
    };
    let mut segment = vec![0; usize::try_from(INDEX_SEGMENT).unwrap_or_default()];
    let mut at = tables.index_lba;
    let mut number = 0_u64;
    for _ in 0..segments(entries) {
        source.read_exact_at(FileOffset(at), &mut segment)?;
        let Ok(wires) = <[WireIndexEntry]>::ref_from_bytes(&segment) else {
            break;
        };
        let mut entry_at = at;
        for wire in wires {
            if number < entries {
                rules.take(wire, number, entry_at, report)?;
            } else if wire.offset.get() != 0 || wire.number.get() != 0 || wire.len.get() != 0 {
                report.warning(Finding::corrupt(
                    "index-padding",
                    "index entry",
                    entry_at,
                    report.message(Severity::Warning, &|| {
                        format!("entry {number} is not zero, the index has {entries}")
                    }),
                ));
            }
            number += 1;
            entry_at = entry_at.saturating_add(size_of::<WireIndexEntry>() as u64);
        }
        at = entry_at;
    }
    let found = rules.blocks.len() as u64;
    if !footer.dense_index && found != stored {
        report.error(Finding::corrupt(
            "stored-count",
            "index",
            tables.index_lba,
            format!("index has {found} stored blocks, non_zero_blk_num is {stored}"),
        ))?;
    }
    let free = rules.free;
    if free != data_end {
        report.warning(Finding::corrupt(
            "block-gap",
            "footer copy",
            data_end,
            format!("blocks end at {free:#x}, expected no gap before the footer copy"),
        ));
    }
    Ok(rules.blocks)
}

/// The rules for index entries, which depend on the entries before.
struct IndexRules<'a> {
    footer: &'a Footer,
    data_end: u64,
    blocks: Vec<StoredBlock>,
    /// Where the last block ends, and the next one should begin.
    free: u64,
}

impl IndexRules<'_> {
    /// Entry `position` of the index, at file offset `at`.
    fn take(
        &mut self,
        wire: &WireIndexEntry,
        position: u64,
        at: u64,
        report: &mut dyn Report,
    ) -> Result<()> {
        let (offset, number, len) = (wire.offset.get(), wire.number.get(), wire.len.get());
        if !self.footer.dense_index && offset == 0 {
            return Ok(());
        }
        if let Err((rule, message)) = self.judge(offset, number, len, position, report) {
            return report.error(Finding::corrupt(rule, "index entry", at, message));
        }
        if offset != self.free {
            report.warning(Finding::corrupt(
                "block-gap",
                "index entry",
                at,
                report.message(Severity::Warning, &|| format!("block {number} is at {offset:#x}, expected it right after the one before, at {:#x}", self.free)),
            ));
        }
        if self.blocks.len() as u64 >= u64::from(self.footer.stored_blocks) {
            let stored = self.footer.stored_blocks;
            let message = report.message(Severity::Error, &|| {
                format!("block {number} is one more than the {stored} of non_zero_blk_num")
            });
            return report.error(Finding::corrupt("stored-count", "index entry", at, message));
        }
        self.free = offset.saturating_add(len.into());
        self.blocks.push(StoredBlock {
            offset,
            number,
            len,
        });
        Ok(())
    }

    fn judge(
        &self,
        offset: u64,
        number: u32,
        len: u32,
        position: u64,
        report: &dyn Report,
    ) -> std::result::Result<(), (&'static str, String)> {
        let say = |message: &dyn Fn() -> String| report.message(Severity::Error, message);
        if number >= self.footer.max_blocks {
            let last = self.footer.max_blocks.saturating_sub(1);
            return Err((
                "index-number",
                say(&|| format!("block number is {number}, the last block is {last}")),
            ));
        }
        if !self.footer.dense_index && u64::from(number) != position {
            let message = say(&|| format!("block number is {number}, expected {position}"));
            return Err(("index-number", message));
        }
        if let Some(last) = self.blocks.last().filter(|last| last.number >= number) {
            let message = say(&|| format!("block {number} comes after block {}", last.number));
            return Err(("index-order", message));
        }
        let longest = max_padded_len(self.footer.block_size);
        let whole = len > 0 && round_up(len.into(), PAGE) == Some(len.into());
        if !whole || u64::from(len) > longest {
            let message = say(&|| {
                format!(
                    "block {number} has {len} bytes, expected a multiple of {PAGE} up to {longest}"
                )
            });
            return Err(("index-len", message));
        }
        if offset < DATA_START || !fits(offset, len.into(), self.data_end) {
            return Err((
                "index-place",
                say(&|| {
                    format!(
                        "block {number} has {len} bytes at {offset:#x}, expected between {DATA_START:#x} and {:#x}",
                        self.data_end
                    )
                }),
            ));
        }
        if !offset.is_multiple_of(PAGE) {
            let message =
                say(&|| format!("block {number} is at {offset:#x}, expected a multiple of {PAGE}"));
            return Err(("index-place", message));
        }
        if offset < self.free {
            let message = say(&|| {
                format!(
                    "block {number} is at {offset:#x}, before the end of the block before it at {:#x}",
                    self.free
                )
            });
            return Err(("index-overlap", message));
        }
        Ok(())
    }
}

/// Holds the bitmap against the blocks that the index has.
pub(crate) fn check_bitmap(
    source: &dyn ReadAt,
    footer: &Footer,
    tables: &Tables,
    blocks: &[StoredBlock],
    report: &mut dyn Report,
) -> Result<()> {
    let mut at = tables.bitmap_lba;
    let mut found = vec![0; usize::try_from(BITMAP_SEGMENT).unwrap_or_default()];
    for segment in 0..segments(footer.max_blocks.into()) {
        source.read_exact_at(FileOffset(at), &mut found)?;
        let expected = bitmap_segments(blocks, segment, 1);
        if found != expected {
            let bytes = (0_u64..).zip(found.iter().zip(&expected));
            for (byte, (found, expected)) in
                bytes.filter(|(_, (found, expected))| found != expected)
            {
                let bit = u64::from((found ^ expected).trailing_zeros());
                let number = segment * BLOCKS_PER_SEGMENT + byte * 8 + bit;
                let (bitmap, index) = if (found >> bit) & 1 == 1 {
                    ("stored", "not stored")
                } else {
                    ("not stored", "stored")
                };
                report.error(Finding::corrupt(
                    "bitmap",
                    "bitmap",
                    at.saturating_add(byte),
                    report.message(Severity::Error, &|| {
                        format!("block {number} is {bitmap} by the bitmap and {index} by the index")
                    }),
                ))?;
            }
        }
        at = at.saturating_add(BITMAP_SEGMENT.into());
    }
    Ok(())
}
