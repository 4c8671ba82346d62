//! The rules on footers: from the wire structure to checked plain values.

use diskimg::limits::MAX_VIRTUAL_SIZE;
use diskimg::units::SECTOR;
use diskimg::{ErrorKind, Report, Result};
use zerocopy::FromBytes;

use crate::finding::Broken;
use crate::footer::{
    Compression, DATA_OFFSET, DISK_TYPE, FEATURES, FF_VERSION, Footer, Identity, Tables,
    ZVHD2_VERSION, checksum, geometry, rounded_size,
};
use crate::layout::{
    BITMAP_SEGMENT, INDEX_SEGMENT, MAX_BLOCK_SIZE, MAX_STORED_BLOCKS, MIN_BLOCK_SIZE, WireFooter,
};
use crate::tables::segments;

/// Which of a file's footers it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    First,
    Last,
}

impl Role {
    pub(crate) const fn structure(self) -> &'static str {
        match self {
            Self::First => "first footer",
            Self::Last => "last footer",
        }
    }
}

/// Reads a footer of version 2, whose cookie was checked, from the page at file offset `at`.
/// `None` after an error that was reported and leaves nothing to continue with.
pub(crate) fn parse(
    page: &[u8],
    at: u64,
    role: Role,
    report: &mut dyn Report,
) -> Result<Option<Footer>> {
    let structure = role.structure();
    let Ok((wire, rest)) = WireFooter::ref_from_prefix(page) else {
        return Ok(None);
    };
    let Some(virtual_size) = parse_common(wire, at, structure, report)? else {
        return Ok(None);
    };
    let broken = |rule, message: String| Broken::corrupt(rule, structure, at, message);
    let unsupported = |rule, field: &str, found: u8, expected: &str| {
        broken(rule, format!("{field} is {found}, expected {expected}"))
            .of_kind(ErrorKind::Unsupported)
    };
    if wire.zvhd2_version != ZVHD2_VERSION {
        let finding = unsupported("version", "zvhd2_version", wire.zvhd2_version, "1");
        finding.report(report)?;
        return Ok(None);
    }
    let Some(compression) = Compression::from_wire(wire.compress_method) else {
        let expected = "0 (zlib) or 1 (zstd)";
        let finding = unsupported(
            "compression",
            "compress_method",
            wire.compress_method,
            expected,
        );
        finding.report(report)?;
        return Ok(None);
    };
    if wire.index_contains_zero_blk > 1 {
        let found = wire.index_contains_zero_blk;
        let finding = unsupported("index-kind", "index_contains_zero_blk", found, "0 or 1");
        finding.report(report)?;
        return Ok(None);
    }
    let block_size = wire.block_size.get();
    if !block_size.is_power_of_two() || !(MIN_BLOCK_SIZE..=MAX_BLOCK_SIZE).contains(&block_size) {
        broken(
            "block-size",
            format!(
                "block_size is {block_size}, \
                 expected a power of two from {MIN_BLOCK_SIZE} to {MAX_BLOCK_SIZE}"
            ),
        )
        .report(report)?;
        return Ok(None);
    }
    let max_blocks = wire.max_blk_num.get();
    let expected = virtual_size.div_ceil(u64::from(block_size));
    if u64::from(max_blocks) != expected {
        broken(
            "block-count",
            format!(
                "max_blk_num is {max_blocks}, \
                 expected {expected} for {virtual_size} bytes in blocks of {block_size}"
            ),
        )
        .report(report)?;
        return Ok(None);
    }
    if wire.reserved.iter().chain(rest).any(|byte| *byte != 0) {
        broken("reserved", "reserved bytes are not zero".to_owned()).forgive(report);
    }
    let mut footer = Footer {
        identity: Identity {
            uuid: wire.uuid,
            timestamp: wire.timestamp.get(),
        },
        virtual_size,
        block_size,
        max_blocks,
        compression,
        dense_index: wire.index_contains_zero_blk == 0,
        stored_blocks: wire.non_zero_blk_num.get(),
        tables: None,
    };
    if !fill_in_totals(&mut footer, wire, at, role, report)? {
        return Ok(None);
    }
    Ok(Some(footer))
}

/// Fills in what only the last footer has; `false` when it cannot be used.
fn fill_in_totals(
    footer: &mut Footer,
    wire: &WireFooter,
    at: u64,
    role: Role,
    report: &mut dyn Report,
) -> Result<bool> {
    let broken = |rule, message: String| Broken::corrupt(rule, role.structure(), at, message);
    match role {
        Role::First if footer.stored_blocks != 0 || has_tables(wire) => {
            let message = "totals are filled in, expected zeros in the first footer".to_owned();
            broken("first-footer-totals", message).forgive(report);
        }
        Role::First => {}
        Role::Last => match parse_tables(wire, footer) {
            Ok(tables) => footer.tables = Some(tables),
            Err((rule, kind, message)) => {
                broken(rule, message).of_kind(kind).report(report)?;
                return Ok(false);
            }
        },
    }
    Ok(true)
}

/// Whether any of the fields that only the last footer fills in is set.
pub(crate) fn has_tables(wire: &WireFooter) -> bool {
    let sizes = [
        wire.index_size,
        wire.bitmap_size,
        wire.index_seg_size,
        wire.bitmap_seg_size,
        wire.index_seg_num,
        wire.bitmap_seg_num,
    ];
    wire.index_lba.get() != 0
        || wire.bitmap_lba.get() != 0
        || sizes.iter().any(|size| size.get() != 0)
}

/// The fields that both versions have: the guest size, when checksum and size are right.
pub(crate) fn parse_common(
    wire: &WireFooter,
    at: u64,
    structure: &'static str,
    report: &mut dyn Report,
) -> Result<Option<u64>> {
    let broken = |rule, message: String| Broken::corrupt(rule, structure, at, message);
    let (found, expected) = (wire.checksum.get(), checksum(wire));
    if found != expected {
        broken(
            "checksum",
            format!("checksum is {found:#010x}, expected {expected:#010x}"),
        )
        .report(report)?;
        return Ok(None);
    }
    let virtual_size = wire.orig_size.get();
    if virtual_size == 0 || !virtual_size.is_multiple_of(SECTOR) {
        broken(
            "virtual-size",
            format!("orig_size is {virtual_size} bytes, expected a multiple of {SECTOR} above 0"),
        )
        .report(report)?;
        return Ok(None);
    }
    if virtual_size > MAX_VIRTUAL_SIZE {
        let message =
            format!("orig_size is {virtual_size} bytes, at most {MAX_VIRTUAL_SIZE} are read");
        broken("virtual-size", message)
            .of_kind(ErrorKind::Limit)
            .report(report)?;
        return Ok(None);
    }
    let fields = [
        (
            "features",
            u64::from(wire.features.get()),
            u64::from(FEATURES),
        ),
        (
            "ff_version",
            u64::from(wire.ff_version.get()),
            u64::from(FF_VERSION),
        ),
        ("data_offset", wire.data_offset.get(), DATA_OFFSET),
        (
            "type",
            u64::from(wire.disk_type.get()),
            u64::from(DISK_TYPE),
        ),
        (
            "curr_size",
            wire.curr_size.get(),
            rounded_size(virtual_size),
        ),
        (
            "geometry",
            u64::from(wire.geometry.get()),
            u64::from(geometry(virtual_size)),
        ),
    ];
    for (field, found, expected) in fields {
        if found != expected {
            broken(
                "footer-field",
                format!("{field} is {found:#x}, expected {expected:#x}"),
            )
            .forgive(report);
        }
    }
    Ok(Some(virtual_size))
}

/// The last footer's word on index and bitmap; whether they lie in the file is not checked here.
fn parse_tables(
    wire: &WireFooter,
    footer: &Footer,
) -> std::result::Result<Tables, (&'static str, ErrorKind, String)> {
    let stored = u64::from(footer.stored_blocks);
    let max_blocks = u64::from(footer.max_blocks);
    if stored > max_blocks {
        let message = format!("non_zero_blk_num is {stored}, the disk has {max_blocks} blocks");
        return Err(("stored-count", ErrorKind::Corrupt, message));
    }
    if stored > MAX_STORED_BLOCKS {
        let message = format!("non_zero_blk_num is {stored}, at most {MAX_STORED_BLOCKS} are read");
        return Err(("stored-count", ErrorKind::Limit, message));
    }
    let entries = if footer.dense_index {
        stored
    } else {
        max_blocks
    };
    let (index, bitmap) = (segments(entries), segments(max_blocks));
    let fields = [
        (
            "index_seg_size",
            wire.index_seg_size,
            u64::from(INDEX_SEGMENT),
        ),
        (
            "bitmap_seg_size",
            wire.bitmap_seg_size,
            u64::from(BITMAP_SEGMENT),
        ),
        ("index_seg_num", wire.index_seg_num, index),
        ("bitmap_seg_num", wire.bitmap_seg_num, bitmap),
        (
            "index_size",
            wire.index_size,
            index * u64::from(INDEX_SEGMENT),
        ),
        (
            "bitmap_size",
            wire.bitmap_size,
            bitmap * u64::from(BITMAP_SEGMENT),
        ),
    ];
    for (field, found, expected) in fields {
        if u64::from(found.get()) != expected {
            let message = format!("{field} is {found}, expected {expected}");
            return Err(("table-size", ErrorKind::Corrupt, message));
        }
    }
    Ok(Tables {
        index_lba: wire.index_lba.get(),
        index_size: wire.index_size.get(),
        bitmap_lba: wire.bitmap_lba.get(),
        bitmap_size: wire.bitmap_size.get(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::FirstError;
    use crate::layout::PAGE_LEN;

    #[test]
    fn vendor_footers_are_read_and_written_back_byte_for_byte() {
        for name in [
            "tiny.zvhd2",
            "tiny-zlib.zvhd2",
            "empty.zvhd2",
            "sparse-130g.zvhd2",
        ] {
            let file = std::fs::read(testkit::vectors::directory().join(name)).unwrap();
            let last = file.len() - PAGE_LEN;
            for (at, role) in [(0, Role::First), (last, Role::Last)] {
                let page = &file[at..at + PAGE_LEN];
                let footer = parse(page, at as u64, role, &mut FirstError)
                    .unwrap()
                    .unwrap();
                assert!(footer.to_page() == page, "{name} {role:?}: {footer:?}");
            }
        }
    }
}
