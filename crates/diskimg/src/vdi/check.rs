//! Checking a VDI file: header and block map as the reader reads them, and what of the file nothing
//! uses.

use std::sync::Arc;

use super::entries::Entries;
use super::header::{HEADER, Header, MAP};
use super::image::miscounted;
use crate::chain::Context;
use crate::error::Result;
use crate::report::CheckReport;
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
    let Some(header) = Header::read(source.as_ref(), report)? else {
        return Ok(());
    };
    for warning in &header.warnings {
        report.warning("size", HEADER, 0, warning);
    }
    let entries = Entries::new(header, source.len());
    let holes = StoredMap::new(source, &Context::default());
    let counted = match entries.scan(source.as_ref(), &holes, report, cancelled) {
        Ok(counted) => counted,
        Err(error) => return report.refused(error),
    };
    if cancelled() {
        report.cancelled = true;
        return Ok(());
    }
    // What damage hides is not said to be unused.
    if report.errors > 0 {
        return Ok(());
    }
    if let Some(warning) = miscounted(&entries.header, counted.stored) {
        report.warning("allocated", HEADER, 0, warning);
    }
    let unused = counted.used.saturating_sub(counted.stored);
    if unused > 0 {
        let message = format_args!("{unused} blocks of the file are no blocks of the disk");
        report.warning("leak", MAP, entries.header.map_offset, message);
    }
    let end = entries.block_at(counted.used);
    if source.len() > end {
        let more = source.len() - end;
        let message = format_args!("{more} bytes behind the last block are not used");
        report.warning("trailing", "file", end, message);
    }
    Ok(())
}
