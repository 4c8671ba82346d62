//! The rules on index and bitmap: every entry a block of this disk that lies where blocks lie, in
//! order; the bitmap the same blocks once more.

use diskimg::units::{FileOffset, fits, round_up};
use diskimg::{Error, ReadAt, Report, Result};
use zerocopy::FromBytes;

use crate::finding::Broken;
use crate::footer::{Footer, Tables};
use crate::layout::{
    BITMAP_SEGMENT, BLOCKS_PER_SEGMENT, DATA_START, INDEX_SEGMENT, PAGE, WireIndexEntry,
    max_padded_len,
};
use crate::tables::{StoredBlock, bitmap_segments, segments};

const ENTRY: &str = "index entry";

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
    // The index was checked against the file's length, and has at least one entry per stored block.
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
                report.forgiven("index-padding", &|| {
                    let message = format!("entry {number} is not zero, the index has {entries}");
                    Error::corrupt(ENTRY, entry_at, message)
                });
            }
            number += 1;
            entry_at = entry_at.saturating_add(size_of::<WireIndexEntry>() as u64);
        }
        at = entry_at;
    }
    let found = rules.blocks.len() as u64;
    if !footer.dense_index && found != stored {
        Broken::corrupt(
            "stored-count",
            "index",
            tables.index_lba,
            format!("index has {found} stored blocks, non_zero_blk_num is {stored}"),
        )
        .report(report)?;
    }
    let free = rules.free;
    if free != data_end {
        Broken::corrupt(
            "block-gap",
            "footer copy",
            data_end,
            format!("blocks end at {free:#x}, expected no gap before the footer copy"),
        )
        .forgive(report);
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
        let entry = StoredBlock {
            offset,
            number,
            len,
        };
        if let Some((rule, say)) = self.broken(&entry, position) {
            return report.broken(rule, &|| {
                Error::corrupt(ENTRY, at, say(self, &entry, position))
            });
        }
        if offset != self.free {
            report.forgiven("block-gap", &|| {
                let message = format!(
                    "block {number} is at {offset:#x}, \
                     expected it right after the one before, at {:#x}",
                    self.free
                );
                Error::corrupt(ENTRY, at, message)
            });
        }
        let stored = self.footer.stored_blocks;
        if self.blocks.len() as u64 >= u64::from(stored) {
            return report.broken("stored-count", &|| {
                let message =
                    format!("block {number} is one more than the {stored} of non_zero_blk_num");
                Error::corrupt(ENTRY, at, message)
            });
        }
        self.free = offset.saturating_add(len.into());
        self.blocks.push(entry);
        Ok(())
    }

    /// The rule that `entry`, number `position` of the index, breaks, and what says how.
    fn broken(&self, entry: &StoredBlock, position: u64) -> Option<(&'static str, Say)> {
        let StoredBlock {
            offset,
            number,
            len,
        } = *entry;
        let whole = len > 0 && round_up(len.into(), PAGE) == Some(len.into());
        let last = self.blocks.last();
        Some(if number >= self.footer.max_blocks {
            ("index-number", |rules, entry, _| {
                let last = rules.footer.max_blocks.saturating_sub(1);
                format!("block number is {}, the last block is {last}", entry.number)
            })
        } else if !self.footer.dense_index && u64::from(number) != position {
            ("index-number", |_, entry, position| {
                format!("block number is {}, expected {position}", entry.number)
            })
        } else if last.is_some_and(|last| last.number >= number) {
            ("index-order", |rules, entry, _| {
                let last = rules.blocks.last().map_or(0, |last| last.number);
                format!("block {} comes after block {last}", entry.number)
            })
        } else if !whole || u64::from(len) > max_padded_len(self.footer.block_size) {
            ("index-len", |rules, entry, _| {
                format!(
                    "block {} has {} bytes, expected a multiple of {PAGE} up to {}",
                    entry.number,
                    entry.len,
                    max_padded_len(rules.footer.block_size)
                )
            })
        } else if offset < DATA_START || !fits(offset, len.into(), self.data_end) {
            ("index-place", |rules, entry, _| {
                format!(
                    "block {} has {} bytes at {:#x}, expected between {DATA_START:#x} and {:#x}",
                    entry.number, entry.len, entry.offset, rules.data_end
                )
            })
        } else if !offset.is_multiple_of(PAGE) {
            ("index-place", |_, entry, _| {
                let StoredBlock { offset, number, .. } = entry;
                format!("block {number} is at {offset:#x}, expected a multiple of {PAGE}")
            })
        } else if offset < self.free {
            ("index-overlap", |rules, entry, _| {
                format!(
                    "block {} is at {:#x}, before the end of the block before it at {:#x}",
                    entry.number, entry.offset, rules.free
                )
            })
        } else {
            return None;
        })
    }
}

/// Says how an entry of an index, with its position, breaks a rule.
type Say = fn(&IndexRules<'_>, &StoredBlock, u64) -> String;

/// Compares the bitmap with the blocks that the index has.
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
                report.broken("bitmap", &|| {
                    Error::corrupt(
                        "bitmap",
                        at.saturating_add(byte),
                        format!(
                            "block {number} is {bitmap} by the bitmap and {index} by the index"
                        ),
                    )
                })?;
            }
        }
        at = at.saturating_add(BITMAP_SEGMENT.into());
    }
    Ok(())
}
