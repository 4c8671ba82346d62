//! What a check found: broken rules with their places, counted, and listed up to a cap.

use std::fmt;

use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::format::Format;

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
    /// The format whose rules were checked.
    pub format: Format,
    /// Number of errors, listed or not.
    pub errors: u64,
    /// Number of warnings, listed or not.
    pub warnings: u64,
    /// At most [`MAX_LISTED`] of each severity, in the order they were found.
    pub findings: Vec<Finding>,
    /// Whether there are more findings than are listed.
    pub cut: bool,
    /// What was not examined, and why.
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

    /// Whether everything was examined, and no error found.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.errors == 0 && self.skipped.is_empty() && !self.cancelled
    }

    /// Counts a finding, and lists it while there is room. It is put into words only then: a
    /// hostile file may have millions of broken entries.
    fn add(&mut self, severity: Severity, finding: impl FnOnce() -> Finding) {
        let count = match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count = count.saturating_add(1);
        if *count > MAX_LISTED as u64 {
            self.cut = true;
        } else {
            self.findings.push(finding());
        }
    }

    /// Adds a finding in `structure`, which lies at byte `offset` of the file.
    fn add_at(
        &mut self,
        severity: Severity,
        rule: &'static str,
        (structure, offset): (&'static str, u64),
        message: impl fmt::Display,
    ) {
        self.add(severity, || Finding {
            severity,
            rule,
            structure,
            offset: Some(offset),
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
        self.add_at(Severity::Error, rule, (structure, offset), message);
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
        self.add_at(Severity::Warning, rule, (structure, offset), message);
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
            ErrorKind::Mismatch => "mismatch",
        };
        self.add(Severity::Error, || {
            Finding::of(Severity::Error, rule, &error)
        });
        Ok(())
    }
}

impl Finding {
    fn of(severity: Severity, rule: &'static str, error: &Error) -> Self {
        Self {
            severity,
            rule,
            structure: error.structure().unwrap_or("file"),
            offset: error.offset(),
            message: error.message().to_owned(),
        }
    }
}

/// Takes the rules that a file breaks while its structures are read: a reader stops at the first
/// error, a check lists them all.
///
/// Both walk the same code. What it says of a broken rule is made only when somebody sees it.
pub trait Report {
    /// A rule without which the file is not sound.
    ///
    /// # Errors
    /// What `error` makes, when the walk ends with it.
    fn broken(&mut self, rule: &'static str, error: &dyn Fn() -> Error) -> Result<()>;

    /// A rule that readers forgive.
    fn forgiven(&mut self, rule: &'static str, error: &dyn Fn() -> Error);

    /// Takes what something else refuses the file for.
    ///
    /// # Errors
    /// `error` itself, when the walk ends with it or it says nothing about the file's content.
    fn refused(&mut self, error: Error) -> Result<()>;

    /// Whether what reading does not need is examined as well.
    fn examines_all(&self) -> bool {
        false
    }

    /// The value of `result`, or `None` when it was refused.
    ///
    /// # Errors
    /// Those of [`Self::refused`].
    fn kept<T>(&mut self, result: Result<T>) -> Result<Option<T>>
    where
        Self: Sized,
    {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) => self.refused(error).map(|()| None),
        }
    }
}

impl Report for CheckReport {
    fn broken(&mut self, rule: &'static str, error: &dyn Fn() -> Error) -> Result<()> {
        self.add(Severity::Error, || {
            Finding::of(Severity::Error, rule, &error())
        });
        Ok(())
    }

    fn forgiven(&mut self, rule: &'static str, error: &dyn Fn() -> Error) {
        self.add(Severity::Warning, || {
            Finding::of(Severity::Warning, rule, &error())
        });
    }

    fn refused(&mut self, error: Error) -> Result<()> {
        Self::refused(self, error)
    }

    fn examines_all(&self) -> bool {
        true
    }
}

/// What readers do: the first error ends the walk, warnings are forgiven.
#[derive(Clone, Copy, Debug)]
pub struct FirstError;

impl Report for FirstError {
    fn broken(&mut self, _: &'static str, error: &dyn Fn() -> Error) -> Result<()> {
        Err(error())
    }

    fn forgiven(&mut self, _: &'static str, _: &dyn Fn() -> Error) {}

    fn refused(&mut self, error: Error) -> Result<()> {
        Err(error)
    }
}

/// What `walk` reads, or the first rule that is broken.
///
/// # Errors
/// Those of `walk`.
pub(crate) fn first_error<T>(walk: impl FnOnce(&mut FirstError) -> Result<Option<T>>) -> Result<T> {
    // What yields nothing has reported why, which ended the walk.
    walk(&mut FirstError)?
        .ok_or_else(|| Error::new(ErrorKind::Corrupt, "a structure cannot be read"))
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
