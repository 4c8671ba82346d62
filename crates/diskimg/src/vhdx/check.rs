//! Checking a VHDX file: headers, log, region tables and metadata as the reader reads them, and all
//! entries of the BAT, with what the reader says of each.

use std::sync::Arc;

use super::entries::{Entries, places};
use super::header::Header;
use super::log;
use super::metadata::Metadata;
use super::region::Regions;
use crate::chain::Context;
use crate::error::Result;
use crate::report::CheckReport;
use crate::source::ReadAt;
use crate::stored::StoredMap;

/// Entries of the BAT between two checks for cancellation.
const BATCH: u64 = 1 << 13;

/// Checks `source`. What begins with header or metadata ends at the first of them that cannot be
/// used, because nothing behind it can be found.
///
/// # Errors
/// Those of the device. Broken rules are in `report`.
pub(super) fn check(
    source: &Arc<dyn ReadAt>,
    report: &mut CheckReport,
    cancelled: &dyn Fn() -> bool,
) -> Result<()> {
    let header = match Header::read(source.as_ref()) {
        Ok(header) => header,
        Err(error) => return report.refused(error),
    };
    for warning in &header.warnings {
        report.warning("header-copy", "VHDX header", 0, warning);
    }
    let replayed: Arc<dyn ReadAt> = match log::replay(source, &header, &Context::default()) {
        Ok(None) => Arc::clone(source),
        Ok(Some((overlay, entries))) => {
            report.warning(
                "log-pending",
                "VHDX log",
                header.log.start,
                format_args!(
                    "the file was not closed: {entries} entries are to be replayed; \
                     what follows is said of the file after that"
                ),
            );
            Arc::new(overlay)
        }
        Err(error) => return report.refused(error),
    };
    let source = replayed.as_ref();
    let mut warnings = Vec::new();
    let regions = Regions::read(source, &header.log, &mut warnings);
    for warning in warnings {
        report.warning("region-copy", "VHDX region table", 0, warning);
    }
    let regions = match regions {
        Ok(regions) => regions,
        Err(error) => return report.refused(error),
    };
    let metadata = match Metadata::read(source, &regions.metadata) {
        Ok(metadata) => metadata,
        Err(error) => return report.refused(error),
    };
    let entries = Entries::new(regions, &metadata, source.len(), report)?;
    let mut taken = match places(source.len()) {
        Ok(taken) => taken,
        Err(skipped) => {
            report.skipped.push(skipped);
            return Ok(());
        }
    };
    let holes = StoredMap::new(&replayed, &Context::default());
    let mut asked = 0;
    entries.each(source, &holes, |index, entry| {
        if index >= asked {
            asked = index + BATCH;
            report.cancelled = cancelled();
        }
        if !report.cancelled {
            entries.check(index, entry, &mut taken, report)?;
        }
        Ok(!report.cancelled)
    })
}
