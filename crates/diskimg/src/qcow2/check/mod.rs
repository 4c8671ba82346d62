//! Checking a qcow2 file: every table is walked, every use of a cluster is counted, and the counts
//! are compared with those that the file keeps. Header and entries are read as the reader reads
//! them; it reports into the check.
//!
//! Severities are those of `qemu-img check`: a count that is too low is an error, because a program
//! that writes would overwrite what is in use; one that is too high wastes space, a warning.

mod extras;
mod pieces;
mod refcounts;
mod walk;

use std::sync::Arc;

use self::refcounts::Refcounts;
use self::walk::Walker;
use super::features::Features;
use super::header::{Fields, check_size};
use super::layout::V2_HEADER_LENGTH;
use super::place::{L1_TABLE, L1Place};
use crate::chain::Context;
use crate::error::Result;
use crate::limits::MAX_CHECKED_CLUSTERS;
use crate::report::{CheckReport, Report as _};
use crate::source::ReadAt;
use crate::stored::StoredMap;

/// Checks `source`.
///
/// # Errors
/// Those of the device. Broken rules are in `report`.
pub(super) fn check(
    source: &Arc<dyn ReadAt>,
    report: &mut CheckReport,
    cancelled: &dyn Fn() -> bool,
) -> Result<()> {
    // Tables that lie in a hole of the file are zeros, and are not read.
    let holes = StoredMap::new(source, &Context::default());
    let source = source.as_ref();
    let Some(fields) = Fields::read(source, report)? else {
        return Ok(());
    };
    let base = &fields.base;
    report.kept(check_size(base.size.get()))?;
    marks(&fields.features, report);
    if fields.features.unknown {
        return Ok(());
    }
    let disk = fields.entries();
    let clusters = source.len().div_ceil(disk.cluster_size());
    if clusters > MAX_CHECKED_CLUSTERS {
        report.skipped.push(format!(
            "the file has {clusters} clusters, at most {MAX_CHECKED_CLUSTERS} are counted"
        ));
        return Ok(());
    }
    // The header itself is the first cluster.
    let mut counts = Refcounts::new(clusters, disk.cluster_size());
    counts.mark(0, V2_HEADER_LENGTH);
    counts.load(source, &holes, &fields, report, cancelled)?;
    let l1 = L1Place {
        structure: L1_TABLE,
        offset: base.l1_table_offset.get(),
        entries: base.l1_size.get().into(),
        size: Some(base.size.get()),
    };
    let mut walker = Walker::new(source, &holes, disk, &mut counts, report, cancelled);
    walker.table(&l1, true)?;
    extras::check(&fields, &mut walker)?;
    // What they refer to comes last, so that tables that lie on each other are seen.
    walker.l2_tables()?;
    let complete = walker.complete;
    if complete && !report.cancelled {
        counts.compare(report);
    }
    Ok(())
}

/// What the program that wrote the image says of it.
fn marks(features: &Features, report: &mut CheckReport) {
    const HEADER: &str = "header";
    if features.corrupt {
        report.error(
            "corrupt-bit",
            HEADER,
            V2_HEADER_LENGTH,
            "the image is marked as corrupt by the program that wrote it",
        );
    }
    if features.dirty {
        report.warning(
            "dirty-bit",
            HEADER,
            V2_HEADER_LENGTH,
            "the image was not closed; its reference counts may be out of date",
        );
    }
}
