//! Checking a VMDK: the structures are the reader's, which reports into the check. What only a
//! check looks at is here: every table, its copy, and the marker of every grain.

use std::sync::Arc;

use super::image::VmdkImage;
use crate::chain::Context;
use crate::driver::check_by_extents;
use crate::error::Result;
use crate::report::CheckReport;
use crate::source::ReadAt;

/// Checks `source`, and the files beside it that need no permission.
///
/// # Errors
/// Those of the device. Broken rules are in `report`.
pub(super) fn check(
    source: &Arc<dyn ReadAt>,
    report: &mut CheckReport,
    cancelled: &dyn Fn() -> bool,
) -> Result<()> {
    let context = Context::describing(source.as_ref());
    let opened = VmdkImage::open_with(Arc::clone(source), &context);
    check_by_extents(opened, report, cancelled)
}
