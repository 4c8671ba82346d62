//! Broken rules: what is said of one, and what readers do with it.

use diskimg::{Error, ErrorKind, Report, Result};

use crate::rules::RULES;

/// A broken rule, found at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
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

impl Broken {
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

    /// Reports it as one without which the file is not sound.
    ///
    /// # Errors
    /// Those of `report`.
    pub(crate) fn report(&self, report: &mut dyn Report) -> Result<()> {
        report.broken(self.rule, &|| self.error())
    }

    /// Reports it as one that readers forgive.
    pub(crate) fn forgive(&self, report: &mut dyn Report) {
        report.forgiven(self.rule, &|| self.error());
    }

    fn error(&self) -> Error {
        Error::new(self.kind, self.message.as_str()).at(self.structure, self.offset)
    }
}

impl From<Broken> for Error {
    fn from(broken: Broken) -> Self {
        with_rule(broken.rule, &broken.error())
    }
}

/// `error`, about `rule`, naming it.
fn with_rule(rule: &str, error: &Error) -> Error {
    let named = Error::new(error.kind(), format!("{} (rule {rule})", error.message()));
    match (error.structure(), error.offset()) {
        (Some(structure), Some(offset)) => named.at(structure, offset),
        _ => named,
    }
}

/// What readers do: the first error ends the walk and names its rule, warnings are forgiven.
pub(crate) struct FirstError;

impl Report for FirstError {
    fn broken(&mut self, rule: &'static str, error: &dyn Fn() -> Error) -> Result<()> {
        Err(with_rule(rule, &error()))
    }

    fn forgiven(&mut self, _: &'static str, _: &dyn Fn() -> Error) {}

    fn refused(&mut self, error: Error) -> Result<()> {
        Err(error)
    }
}
