//! What else takes clusters of the file: snapshots, bitmaps, the header of an encrypted disk.

use super::walk::{Walker, places};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{MAX_BITMAPS, MAX_L1_BYTES};
use crate::qcow2::bitmaps::{DIRECTORY, Directory};
use crate::qcow2::header::Fields;
use crate::qcow2::layout::{BITMAP_OFFSET, BitmapHead, BitmapsExtension, LUKS, SnapshotHead};
use crate::qcow2::place::L1Place;
use crate::qcow2::snapshots::Table;
use crate::report::Report as _;

pub(super) fn check(fields: &Fields, walker: &mut Walker<'_>) -> Result<()> {
    snapshots(fields, walker)?;
    walker.complete &= fields.features.whole;
    if let Some((offset, len)) = fields.features.luks
        && fields.base.crypt_method.get() == LUKS
        && walker.place("LUKS header", offset, len)?
    {
        walker.counts.mark(offset, len);
    }
    // Programs that do not know bitmaps clear the bit that says that they are up to date, and then
    // their clusters count as lost.
    match &fields.features.bitmaps {
        Some(place) => bitmaps(walker, place),
        None => Ok(()),
    }
}

fn snapshots(fields: &Fields, walker: &mut Walker<'_>) -> Result<()> {
    let base = &fields.base;
    let mut table = Table::new(
        walker.source,
        base.cluster_bits.get(),
        base.snapshots_offset.get(),
        base.nb_snapshots.get(),
    );
    while table.has_more() {
        if !walker.spend(size_of::<SnapshotHead>() as u64) {
            return Ok(());
        }
        let Some(snapshot) = table.step(walker.report)? else {
            walker.complete = false;
            return Ok(());
        };
        let l1 = L1Place {
            structure: "L1 table of a snapshot",
            offset: snapshot.l1_offset.0,
            entries: snapshot.l1_entries.into(),
            size: None,
        };
        walker.table(&l1, false)?;
        if walker.report.cancelled {
            return Ok(());
        }
    }
    let taken = table.taken();
    if !taken.is_empty() {
        walker.counts.mark(taken.start, taken.end - taken.start);
    }
    Ok(())
}

fn bitmaps(walker: &mut Walker<'_>, place: &BitmapsExtension) -> Result<()> {
    let (start, size) = (place.directory_offset.get(), place.directory_size.get());
    let count = place.count.get();
    if count > MAX_BITMAPS {
        walker.complete = false;
        return walker.report.broken("limit", &|| {
            let message = format!("it has {count} entries, at most {MAX_BITMAPS} are allowed");
            Error::new(ErrorKind::Limit, message).at(DIRECTORY, start)
        });
    }
    let Some(mut directory) = Directory::open(walker.source, place, walker.report)? else {
        walker.complete = false;
        return Ok(());
    };
    if !walker.place(DIRECTORY, start, size)? || !walker.claim(DIRECTORY, start, size) {
        walker.complete = false;
        return Ok(());
    }
    for _ in 0..count {
        if !walker.spend(size_of::<BitmapHead>() as u64) {
            return Ok(());
        }
        let Some(found) = directory.step(walker.report)? else {
            walker.complete = false;
            return Ok(());
        };
        bitmap(walker, found.bits.table)?;
    }
    Ok(())
}

/// Walks the table of a bitmap, of `entries` entries at `offset`.
fn bitmap(walker: &mut Walker<'_>, (offset, entries): (u64, u32)) -> Result<()> {
    const TABLE: &str = "bitmap table";
    let len = u64::from(entries) * 8;
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
    if !walker.place(TABLE, offset, len)? || !walker.claim(TABLE, offset, len) {
        walker.complete = false;
        return Ok(());
    }
    walker.entries(offset, len, |walker, first, entries| {
        let cluster_size = walker.disk.cluster_size();
        for (at, entry) in places(first, entries) {
            let cluster = entry & BITMAP_OFFSET;
            if cluster == 0 {
                continue;
            }
            if !cluster.is_multiple_of(cluster_size) || cluster >= walker.source.len() {
                walker.report.error(
                    "past-end",
                    TABLE,
                    at,
                    format_args!("found {entry:#018x}: no cluster of the file is there"),
                );
                continue;
            }
            walker.counts.mark(cluster, cluster_size);
        }
        Ok(())
    })?;
    Ok(())
}
