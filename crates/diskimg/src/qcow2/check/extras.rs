//! What else takes clusters of the file: snapshots, bitmaps, the header of an encrypted disk.

use super::walk::{Walker, places};
use super::{placed, structure};
use crate::error::Result;
use crate::limits::{
    MAX_BITMAP_DIRECTORY_BYTES, MAX_BITMAPS, MAX_L1_BYTES, MAX_SNAPSHOT_TABLE_BYTES, MAX_SNAPSHOTS,
};
use crate::qcow2::layout::{
    BitmapHead, BitmapsExtension, ExtensionHeader, SnapshotHead, autoclear, extension,
};
use crate::units::{fits, round_up};

/// Header extension of encrypted disks: offset and length of the LUKS header.
const CRYPTO: u32 = 0x0537_be77;
/// `crypt_method` of LUKS.
const LUKS: u32 = 2;
/// Bits of an entry of a bitmap's table that hold the cluster's offset.
const BITMAP_OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

pub(super) fn check(base: &super::Base, walker: &mut Walker<'_>) -> Result<()> {
    snapshots(base, walker)?;
    extensions(base, walker)
}

fn snapshots(base: &super::Base, walker: &mut Walker<'_>) -> Result<()> {
    const TABLE: &str = "snapshot table";
    const HEAD: u64 = size_of::<SnapshotHead>() as u64;
    if base.snapshot_count == 0 {
        return Ok(());
    }
    let start = base.snapshots;
    if base.snapshot_count > MAX_SNAPSHOTS {
        walker.complete = false;
        walker.report.error(
            "limit",
            TABLE,
            start,
            format_args!(
                "it has {} entries, at most {MAX_SNAPSHOTS} are allowed",
                base.snapshot_count
            ),
        );
        return Ok(());
    }
    if !placed(walker.source, base, walker.report, TABLE, (start, HEAD)) {
        walker.complete = false;
        return Ok(());
    }
    let limit = walker
        .source
        .len()
        .min(start.saturating_add(MAX_SNAPSHOT_TABLE_BYTES));
    let mut at = start;
    for number in 0..base.snapshot_count {
        let end = if fits(at, HEAD, limit) && walker.spend(HEAD) {
            structure::<SnapshotHead>(walker.source, at)?.and_then(|head| {
                let rest = u64::from(head.extra_size.get())
                    + u64::from(head.id_size.get())
                    + u64::from(head.name_size.get());
                let end = at.checked_add(HEAD)?.checked_add(rest)?;
                (end <= limit).then_some((head, end))
            })
        } else {
            None
        };
        let Some((head, end)) = end else {
            if walker.complete && !walker.report.cancelled {
                walker.complete = false;
                walker.report.error(
                    "past-end",
                    TABLE,
                    at,
                    format_args!(
                        "entry {number} ends past the end of the file, or the table is too long"
                    ),
                );
            }
            return Ok(());
        };
        walker.table(
            "L1 table of a snapshot",
            head.l1_table_offset.get(),
            u64::from(head.l1_size.get()),
            false,
        )?;
        if walker.report.cancelled {
            return Ok(());
        }
        // Only the last entry is not padded.
        at = round_up(end, 8).unwrap_or(end);
        if number + 1 == base.snapshot_count {
            walker.counts.mark(start, end - start);
        }
    }
    Ok(())
}

/// Walks the header extensions, for those that take clusters. Each step goes at least 8 bytes on.
fn extensions(base: &super::Base, walker: &mut Walker<'_>) -> Result<()> {
    const EXTENSION: &str = "header extension";
    const HEAD: u64 = size_of::<ExtensionHeader>() as u64;
    let limit = base.cluster_size.min(walker.source.len());
    let mut at = base.extensions;
    // One of each kind counts: what they name may be as long as the file.
    let (mut encrypted, mut listed) = (false, false);
    while fits(at, HEAD, limit) {
        let Some(head) = structure::<ExtensionHeader>(walker.source, at)? else {
            break;
        };
        let (kind, len) = (head.kind.get(), u64::from(head.len.get()));
        if kind == extension::END {
            break;
        }
        let data = at + HEAD;
        if !fits(data, len, limit) {
            walker.complete = false;
            walker.report.error(
                "past-end",
                EXTENSION,
                at,
                format_args!(
                    "extension {kind:#010x} is {len} bytes long, and ends past the first cluster"
                ),
            );
            break;
        }
        match kind {
            CRYPTO if base.crypt_method == LUKS && len >= 16 && !encrypted => {
                encrypted = true;
                if let [offset, size] = walker.numbers(data, 16)?[..]
                    && placed(
                        walker.source,
                        base,
                        walker.report,
                        "LUKS header",
                        (offset, size),
                    )
                {
                    walker.counts.mark(offset, size);
                }
            }
            // Programs that do not know bitmaps clear the bit, and then their clusters count as
            // lost.
            extension::BITMAPS if base.autoclear & autoclear::BITMAPS != 0 && !listed => {
                listed = true;
                if len >= size_of::<BitmapsExtension>() as u64
                    && let Some(place) = structure::<BitmapsExtension>(walker.source, data)?
                {
                    bitmaps(base, walker, &place)?;
                }
            }
            _ => {}
        }
        let Some(next) = round_up(len, 8).and_then(|len| data.checked_add(len)) else {
            break;
        };
        at = next;
    }
    Ok(())
}

fn bitmaps(base: &super::Base, walker: &mut Walker<'_>, place: &BitmapsExtension) -> Result<()> {
    const DIRECTORY: &str = "bitmap directory";
    const HEAD: u64 = size_of::<BitmapHead>() as u64;
    let (start, size) = (place.directory_offset.get(), place.directory_size.get());
    if size > MAX_BITMAP_DIRECTORY_BYTES {
        walker.complete = false;
        walker.report.error(
            "limit",
            DIRECTORY,
            start,
            format_args!("it is {size} bytes long, at most {MAX_BITMAP_DIRECTORY_BYTES} are read"),
        );
        return Ok(());
    }
    if place.count.get() > MAX_BITMAPS {
        walker.complete = false;
        walker.report.error(
            "limit",
            DIRECTORY,
            start,
            format_args!(
                "it has {} entries, at most {MAX_BITMAPS} are allowed",
                place.count.get()
            ),
        );
        return Ok(());
    }
    if !placed(walker.source, base, walker.report, DIRECTORY, (start, size)) {
        walker.complete = false;
        return Ok(());
    }
    if !walker.claim(DIRECTORY, start, size) {
        walker.complete = false;
        return Ok(());
    }
    let (mut at, end) = (start, start + size);
    for number in 0..place.count.get() {
        let mut next = None;
        if fits(at, HEAD, end) && walker.spend(HEAD) {
            next = structure::<BitmapHead>(walker.source, at)?.and_then(|head| {
                let rest = u64::from(head.extra_size.get()) + u64::from(head.name_size.get());
                let next = round_up(at.checked_add(HEAD)?.checked_add(rest)?, 8)?;
                (next <= end).then_some((head, next))
            });
        }
        let Some((head, next)) = next else {
            if walker.complete && !walker.report.cancelled {
                walker.complete = false;
                walker.report.error(
                    "past-end",
                    DIRECTORY,
                    at,
                    format_args!("entry {number} ends past the end of the directory"),
                );
            }
            return Ok(());
        };
        bitmap(base, walker, &head)?;
        at = next;
    }
    Ok(())
}

fn bitmap(base: &super::Base, walker: &mut Walker<'_>, head: &BitmapHead) -> Result<()> {
    const TABLE: &str = "bitmap table";
    let (offset, len) = (
        head.table_offset.get(),
        u64::from(head.table_size.get()) * 8,
    );
    if len == 0 {
        return Ok(());
    }
    if len > MAX_L1_BYTES {
        walker.complete = false;
        walker.report.error(
            "limit",
            TABLE,
            offset,
            format_args!("it is {len} bytes long, at most {MAX_L1_BYTES} are read"),
        );
        return Ok(());
    }
    if !placed(walker.source, base, walker.report, TABLE, (offset, len)) {
        walker.complete = false;
        return Ok(());
    }
    if !walker.claim(TABLE, offset, len) {
        walker.complete = false;
        return Ok(());
    }
    walker.entries(offset, len, |walker, first, entries| {
        for (at, entry) in places(first, entries) {
            let cluster = entry & BITMAP_OFFSET;
            if cluster == 0 {
                continue;
            }
            if !cluster.is_multiple_of(base.cluster_size) || cluster >= walker.source.len() {
                walker.report.error(
                    "past-end",
                    TABLE,
                    at,
                    format_args!("found {entry:#018x}: no cluster of the file is there"),
                );
                continue;
            }
            walker.counts.mark(cluster, base.cluster_size);
        }
    })?;
    Ok(())
}
