//! Broken rules: what is said of one, and who stops at it.

use diskimg::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::rules::RULES;

/// How bad a broken rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is not sound, and this crate's reader refuses it or the block.
    Error,
    /// Readers forgive it.
    Warning,
}

/// A broken rule, found at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Stable name of the rule.
    pub(crate) rule: &'static str,
    pub(crate) kind: ErrorKind,
    /// What breaks it.
    pub(crate) structure: &'static str,
    /// File offset of the structure.
    pub(crate) offset: u64,
    /// Found and expected.
    pub(crate) message: String,
}

impl Finding {
    pub(crate) fn corrupt(
        rule: &'static str,
        structure: &'static str,
        offset: u64,
        message: impl Into<String>,
    ) -> Self {
        debug_assert!(RULES.iter().any(|(name, _)| *name == rule), "rule {rule}");
        Self {
            rule,
            kind: ErrorKind::Corrupt,
            structure,
            offset,
            message: message.into(),
        }
    }

    pub(crate) fn of_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }
}

impl From<Finding> for Error {
    fn from(finding: Finding) -> Self {
        Self::new(
            finding.kind,
            format!("{} (rule {})", finding.message, finding.rule),
        )
        .at(finding.structure, finding.offset)
    }
}

/// Takes findings while a file is walked.
pub(crate) trait Report {
    /// A rule without which the file is not sound. The walk ends when this fails.
    fn error(&mut self, finding: Finding) -> Result<()>;

    /// A rule that readers forgive.
    fn warning(&mut self, finding: Finding);

    /// Whether what one more finding says is ever looked at. A hostile file may have millions of
    /// broken entries, of which only the first ones are listed.
    fn listens(&self, severity: Severity) -> bool;

    /// The message that `say` makes, when it is looked at.
    fn message(&self, severity: Severity, say: &dyn Fn() -> String) -> String {
        if self.listens(severity) {
            say()
        } else {
            String::new()
        }
    }
}

/// What readers do: the first error ends the walk, warnings are forgiven.
pub(crate) struct FirstError;

impl Report for FirstError {
    fn error(&mut self, finding: Finding) -> Result<()> {
        Err(finding.into())
    }

    fn warning(&mut self, _: Finding) {}

    fn listens(&self, severity: Severity) -> bool {
        severity == Severity::Error
    }
}
