//! All rules on a file's metadata, walked once: by the reader, which stops at the first broken one,
//! and by the checker, which collects them.

use diskimg::units::{FileOffset, fits};
use diskimg::{ErrorKind, ReadAt, Report, Result};
use zerocopy::{FromBytes, IntoBytes};

use crate::finding::Broken;
use crate::footer::{Footer, Tables, checksum};
use crate::footer_rules::{Role, has_tables, parse};
use crate::index::{check_bitmap, read_index};
use crate::layout::{COOKIE_V1, COOKIE_V2, DATA_START, INDEX_SEGMENT, PAGE, PAGE_LEN, WireFooter};
use crate::scan::Scan;
use crate::tables::StoredBlock;

/// What the metadata says: every block lies between the footers, overlaps no other, and is on the
/// disk; index and bitmap agree.
#[derive(Debug)]
pub(crate) struct Structure {
    pub(crate) footer: Footer,
    /// Ascending by number and by offset.
    pub(crate) blocks: Vec<StoredBlock>,
}

/// Most memory the walk takes beside the list of blocks: an index segment, and bitmap segments
/// found and expected.
pub(crate) const WALK_BYTES: u64 = 2 * INDEX_SEGMENT as u64;

/// The shortest file: two footers, the footer copy and one bitmap segment.
const MIN_FILE: u64 = 4 * PAGE;

/// Walks the metadata of `source`. `None` when errors that `report` took leave nothing to continue
/// with.
pub(crate) fn walk(source: &dyn ReadAt, report: &mut dyn Report) -> Result<Option<Structure>> {
    let len = source.len();
    let Some(first_page) = read_first(source, report)? else {
        return Ok(None);
    };
    if len < MIN_FILE || !len.is_multiple_of(PAGE) {
        truncated(
            source,
            format!(
                "the file is {len} bytes long, expected a multiple of {PAGE} from {MIN_FILE} on"
            ),
        )?
        .report(report)?;
        return Ok(None);
    }
    let last_at = len - PAGE;
    let last_page = read_page(source, last_at)?;
    if !last_page.starts_with(COOKIE_V2) {
        let message = "the file does not end with the last footer".to_owned();
        truncated(source, message)?.report(report)?;
        return Ok(None);
    }
    if is_copy(&last_page) {
        let message = "the file ends with the footer copy, before index and last footer".to_owned();
        truncated(source, message)?.report(report)?;
        return Ok(None);
    }
    let first = parse(&first_page, 0, Role::First, report)?;
    let Some(last) = parse(&last_page, last_at, Role::Last, report)? else {
        return Ok(None);
    };
    if let Some(first) = first {
        compare_footers(&first, &last, last_at, report)?;
    }
    let Some(tables) = last.tables else {
        return Ok(None);
    };
    let Some(data_end) = place_tables(&tables, last_at, report)? else {
        return Ok(None);
    };
    check_copy(source, &first_page, &last, data_end, report)?;
    let blocks = read_index(source, &last, &tables, data_end, report)?;
    check_bitmap(source, &last, &tables, &blocks, report)?;
    Ok(Some(Structure {
        footer: last,
        blocks,
    }))
}

/// The page at file offset `at`.
fn read_page(source: &dyn ReadAt, at: u64) -> Result<Vec<u8>> {
    let mut page = vec![0; PAGE_LEN];
    source.read_exact_at(FileOffset(at), &mut page)?;
    Ok(page)
}

/// The page of the first footer, when the file begins as ZVHD2.
fn read_first(source: &dyn ReadAt, report: &mut dyn Report) -> Result<Option<Vec<u8>>> {
    let broken = |message: String| Broken::corrupt("cookie", "first footer", 0, message);
    if source.len() < PAGE {
        let message = format!(
            "the file is {} bytes long, a footer takes {PAGE}",
            source.len()
        );
        broken(message)
            .of_kind(ErrorKind::Truncated)
            .report(report)?;
        return Ok(None);
    }
    let page = read_page(source, 0)?;
    if !page.starts_with(COOKIE_V2) {
        let found = page.get(..COOKIE_V2.len()).unwrap_or_default();
        let message = if found == COOKIE_V1 {
            "cookie is that of ZVHD version 1, expected version 2".to_owned()
        } else {
            format!(
                "cookie is {:?}, expected \"z2strm\"",
                found.escape_ascii().to_string()
            )
        };
        broken(message).report(report)?;
        return Ok(None);
    }
    Ok(Some(page))
}

/// A file that has a beginning and not the end that belongs to it.
fn truncated(source: &dyn ReadAt, what: String) -> Result<Broken> {
    let whole = Scan::new(source).whole_blocks()?;
    let message = format!("{what}; it is truncated or damaged: {whole}");
    let end = source.len();
    Ok(Broken::corrupt("last-footer", "file end", end, message).of_kind(ErrorKind::Truncated))
}

/// Whether a page is a sound footer without tables: not the last one.
fn is_copy(page: &[u8]) -> bool {
    WireFooter::ref_from_prefix(page)
        .is_ok_and(|(wire, _)| wire.checksum.get() == checksum(wire) && !has_tables(wire))
}

/// A reader that streams believes the first footer, one with random access the last: they must
/// describe one disk.
fn compare_footers(
    first: &Footer,
    last: &Footer,
    last_at: u64,
    report: &mut dyn Report,
) -> Result<()> {
    let differ = |field, first: String, last: String| {
        Broken::corrupt(
            "footers-agree",
            "last footer",
            last_at,
            format!("{field} is {last}, the first footer has {first}"),
        )
    };
    let numbers = [
        ("orig_size", first.virtual_size, last.virtual_size),
        (
            "block_size",
            first.block_size.into(),
            last.block_size.into(),
        ),
    ];
    for (field, first, last) in numbers {
        if first != last {
            differ(field, first.to_string(), last.to_string()).report(report)?;
        }
    }
    if first.compression != last.compression {
        let name = |footer: &Footer| footer.compression.name().to_owned();
        differ("compress_method", name(first), name(last)).report(report)?;
    }
    if first.identity.uuid != last.identity.uuid {
        let hex = |footer: &Footer| format!("{:032x}", u128::from_be_bytes(footer.identity.uuid));
        differ("uuid", hex(first), hex(last)).report(report)?;
    }
    if first.identity.timestamp != last.identity.timestamp {
        let time = |footer: &Footer| footer.identity.timestamp.to_string();
        differ("timestamp", time(first), time(last)).forgive(report);
    }
    Ok(())
}

/// Checks index and bitmap against the file. Returns where the blocks end and the footer copy is.
fn place_tables(tables: &Tables, last_at: u64, report: &mut dyn Report) -> Result<Option<u64>> {
    let broken = |rule, message: String| Broken::corrupt(rule, "last footer", last_at, message);
    let (index, bitmap) = (tables.index_lba, tables.bitmap_lba);
    let (index_size, bitmap_size) = (tables.index_size.into(), tables.bitmap_size.into());
    for (name, lba, size, lowest) in [
        ("index", index, index_size, DATA_START + PAGE),
        ("bitmap", bitmap, bitmap_size, DATA_START + PAGE),
    ] {
        if lba < lowest || !lba.is_multiple_of(PAGE) || !fits(lba, size, last_at) {
            broken(
                "table-place",
                format!(
                    "{name} has {size} bytes at {lba:#x}, expected a multiple of {PAGE} between \
                     {lowest:#x} and the last footer at {last_at:#x}"
                ),
            )
            .report(report)?;
            return Ok(None);
        }
    }
    let index_end = index.saturating_add(index_size);
    if bitmap < index_end {
        broken(
            "table-place",
            format!("bitmap is at {bitmap:#x}, before the end of the index at {index_end:#x}"),
        )
        .report(report)?;
        return Ok(None);
    }
    if bitmap != index_end || bitmap.saturating_add(bitmap_size) != last_at {
        broken(
            "table-gap",
            format!(
                "index ends at {index_end:#x}, bitmap has {bitmap_size} bytes at {bitmap:#x}, \
                 last footer is at {last_at:#x}: expected no gaps"
            ),
        )
        .forgive(report);
    }
    Ok(index.checked_sub(PAGE))
}

/// The copy ends the data for readers that stream.
fn check_copy(
    source: &dyn ReadAt,
    first_page: &[u8],
    last: &Footer,
    at: u64,
    report: &mut dyn Report,
) -> Result<()> {
    let page = read_page(source, at)?;
    let broken = |rule, message: String| Broken::corrupt(rule, "footer copy", at, message);
    if !page.starts_with(COOKIE_V2) {
        return broken(
            "footer-copy",
            "no footer stands between the last block and the index".to_owned(),
        )
        .report(report);
    }
    let parts = (
        WireFooter::ref_from_prefix(&page),
        WireFooter::ref_from_prefix(first_page),
    );
    let (Ok((copy, copy_rest)), Ok((first, first_rest))) = parts else {
        return Ok(());
    };
    let (found, expected) = (copy.checksum.get(), checksum(copy));
    if found != expected {
        broken(
            "footer-copy-checksum",
            format!("checksum is {found:#010x}, expected {expected:#010x}"),
        )
        .forgive(report);
    }
    let stored = copy.non_zero_blk_num.get();
    if stored != last.stored_blocks {
        broken(
            "footer-copy-totals",
            format!(
                "non_zero_blk_num is {stored}, the last footer has {}",
                last.stored_blocks
            ),
        )
        .forgive(report);
    }
    let alike = WireFooter {
        checksum: first.checksum,
        non_zero_blk_num: first.non_zero_blk_num,
        ..*copy
    };
    if alike.as_bytes() != first.as_bytes() || copy_rest != first_rest {
        broken(
            "footer-copy-fields",
            "differs from the first footer in more than non_zero_blk_num and checksum".to_owned(),
        )
        .forgive(report);
    }
    Ok(())
}
