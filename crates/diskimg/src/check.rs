//! Checking an image file against the rules of its format: all of its metadata is walked, and every
//! broken rule is reported with its place, instead of stopping at the first one.
//!
//! A checker works on the file and not on an opened image, because it is for files that do not
//! open.

use std::path::Path;
use std::sync::Arc;

use crate::chain::Context;
use crate::disguise::Disguise;
use crate::driver::Driver;
use crate::error::{ErrorKind, Result};
use crate::format::Format;
use crate::open::{chosen, drivers};
use crate::options::OpenOptions;
use crate::packed::Counted;
use crate::probe::Probe;
use crate::report::CheckReport;
use crate::select::recognised_as;
use crate::source::{FileSource, ReadAt};

/// Checks the file at `path` against the rules of its format, with this crate's formats and those
/// of `more`. No other file is opened, whatever it names.
///
/// # Errors
/// Those of telling the format apart and of reading the file. Broken rules are in the report.
pub fn check(
    path: &Path,
    options: &OpenOptions,
    more: &[Driver],
    cancelled: &dyn Fn() -> bool,
) -> Result<CheckReport> {
    let source: Arc<dyn ReadAt> = Arc::new(FileSource::open(path)?);
    check_source(&source, options, more, cancelled).map_err(|error| error.in_file(path))
}

/// [`check`] on any source of bytes.
///
/// # Errors
/// As [`check`].
pub fn check_source(
    source: &Arc<dyn ReadAt>,
    options: &OpenOptions,
    more: &[Driver],
    cancelled: &dyn Fn() -> bool,
) -> Result<CheckReport> {
    let drivers = drivers(more);
    let (source, driver) = match chosen(Arc::clone(source), options, &drivers, Counted::Always) {
        Ok(chosen) => chosen,
        // What breaks while it is decoded.
        Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Truncated) => {
            let mut report = CheckReport::new(Format::Raw);
            report.refused(error)?;
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    let mut report = CheckReport::new(driver.format);
    if let Some(disguise) = Disguise::of(source.as_ref(), options, driver.format) {
        report.warning("name", "file", 0, disguise.warning());
    }
    (driver.check)(&source, &mut report, cancelled)?;
    // The content decides where the user does not; but the user may have said that it is raw.
    if driver.format == Format::Raw
        && !source.is_empty()
        && let Some(name) = recognised_as(&Probe::read(source.as_ref())?, &drivers)
    {
        report.warning(
            "recognised",
            "disk",
            0,
            format_args!("the content is that of {name}; read as raw, its bytes are the disk"),
        );
    }
    // A file that is reported to have no error can be opened.
    if report.errors == 0
        && !report.cancelled
        && let Err(error) = driver.open_image(source, &Context::describe())
    {
        report.refused(error)?;
    }
    Ok(report)
}
