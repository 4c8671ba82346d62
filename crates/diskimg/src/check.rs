//! Holding an image file against the rules of its format: all of its metadata is walked, and every
//! broken rule is reported with its place, instead of stopping at the first one.
//!
//! A checker works on the file and not on an opened image, because what it is for are files that do
//! not open.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::chain::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{DiskImage, DiskImageExt};
use crate::open::{Disguise, Driver, OpenOptions, choose, open_as};
use crate::probe::Format;
use crate::source::{FileSource, ReadAt};

/// Most findings of each severity that a report lists; all are counted.
pub const MAX_LISTED: usize = 500;

/// How bad a broken rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The disk's content is damaged or may be, or the file is refused.
    Error,
    /// The content is whole: space is wasted, or a copy that is not needed is damaged.
    Warning,
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Stable name of the rule, such as `overlap`.
    pub rule: &'static str,
    /// What breaks it, such as `L2 entry`.
    pub structure: &'static str,
    /// File offset of that in bytes, when it has one place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Found and expected.
    pub message: String,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// The format whose rules were held against the file.
    pub format: Format,
    /// Number of errors, listed or not.
    pub errors: u64,
    /// Number of warnings, listed or not.
    pub warnings: u64,
    /// At most [`MAX_LISTED`] of each severity, in the order they were found.
    pub findings: Vec<Finding>,
    /// Whether there are more findings than are listed.
    pub cut: bool,
    /// What was not looked at, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
    /// Whether the check was stopped before its end.
    pub cancelled: bool,
}

impl CheckReport {
    /// A report without findings.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self {
            format,
            errors: 0,
            warnings: 0,
            findings: Vec::new(),
            cut: false,
            skipped: Vec::new(),
            cancelled: false,
        }
    }

    /// Whether everything was looked at, and no error found.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.errors == 0 && self.skipped.is_empty() && !self.cancelled
    }

    /// Counts a finding, and lists it while there is room. Its message is made only then: a hostile
    /// file may have millions of broken entries.
    fn add(
        &mut self,
        severity: Severity,
        rule: &'static str,
        structure: &'static str,
        offset: Option<u64>,
        message: impl fmt::Display,
    ) {
        let count = match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count = count.saturating_add(1);
        if *count > MAX_LISTED as u64 {
            self.cut = true;
            return;
        }
        self.findings.push(Finding {
            severity,
            rule,
            structure,
            offset,
            message: message.to_string(),
        });
    }

    /// Adds a finding of severity `Error` in `structure`, which lies at byte `offset` of the file.
    /// Give `message` as `format_args!` where a file can have many of them.
    pub fn error(
        &mut self,
        rule: &'static str,
        structure: &'static str,
        offset: u64,
        message: impl fmt::Display,
    ) {
        self.add(Severity::Error, rule, structure, Some(offset), message);
    }

    /// Adds a finding of severity `Warning` in `structure`, which lies at byte `offset` of the
    /// file. Give `message` as `format_args!` where a file can have many of them.
    pub fn warning(
        &mut self,
        rule: &'static str,
        structure: &'static str,
        offset: u64,
        message: impl fmt::Display,
    ) {
        self.add(Severity::Warning, rule, structure, Some(offset), message);
    }

    /// Adds what a reader said of the file. The device's errors and questions outside the disk are
    /// no findings.
    ///
    /// # Errors
    /// `error` itself when it says nothing about the file's content.
    pub fn refused(&mut self, error: Error) -> Result<()> {
        let rule = match error.kind() {
            ErrorKind::Io | ErrorKind::OutOfRange => return Err(error),
            ErrorKind::Corrupt => "corrupt",
            ErrorKind::Truncated => "truncated",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::Ambiguous => "ambiguous",
            ErrorKind::Limit => "limit",
            ErrorKind::Cancelled => "cancelled",
        };
        self.add(
            Severity::Error,
            rule,
            error.structure().unwrap_or("file"),
            error.offset(),
            error.message(),
        );
        Ok(())
    }
}

/// What checks a file of one format: adds what it finds to the report. It asks `cancelled` again
/// and again, and ends early when the answer is yes.
pub type CheckFn = fn(
    source: &Arc<dyn ReadAt>,
    report: &mut CheckReport,
    cancelled: &dyn Fn() -> bool,
) -> Result<()>;

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
    let driver = choose(source.as_ref(), options, more)?;
    let mut report = CheckReport::new(driver.format);
    if let Some(disguise) = Disguise::of(source.as_ref(), options, driver.format) {
        report.warning("name", "file", 0, disguise.warning());
    }
    (driver.check)(source, &mut report, cancelled)?;
    // Whoever is told that a file has no error can open it.
    if report.errors == 0
        && !report.cancelled
        && let Err(error) = open_as(&driver, Arc::clone(source), &Context::describe())
    {
        report.refused(error)?;
    }
    Ok(report)
}

/// Checks by opening the image and walking all its extents, for formats whose reader looks at all
/// metadata anyway: ends at the first broken rule.
///
/// # Errors
/// Those of the device.
pub fn by_extents(
    opened: Result<impl DiskImage>,
    report: &mut CheckReport,
    cancelled: &dyn Fn() -> bool,
) -> Result<()> {
    let image = match opened {
        Ok(image) => image,
        Err(error) => return report.refused(error),
    };
    for extent in image.all_extents() {
        if cancelled() {
            report.cancelled = true;
            break;
        }
        if let Err(error) = extent {
            return report.refused(error);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_is_not_listed_is_counted_and_never_put_into_words() {
        struct Said<'a>(&'a Cell<usize>);
        impl fmt::Display for Said<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.set(self.0.get() + 1);
                f.write_str("broken")
            }
        }
        let (errors, warnings) = (Cell::new(0), Cell::new(0));
        let mut report = CheckReport::new(Format::Raw);
        for at in 0..1000 {
            report.error("rule", "entry", at, Said(&errors));
            report.warning("rule", "entry", at, Said(&warnings));
        }
        assert_eq!((report.errors, report.warnings), (1000, 1000));
        assert_eq!((errors.get(), warnings.get()), (MAX_LISTED, MAX_LISTED));
        assert_eq!(report.findings.len(), 2 * MAX_LISTED);
        assert!(report.cut);
    }
}
