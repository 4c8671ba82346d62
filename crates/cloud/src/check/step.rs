//! One step of a check, and its result.

use serde::Serialize;

use crate::error::{Class, Result};
use crate::hint::Hint;

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    /// As an import needs it.
    Ok,
    /// An import may work all the same.
    Warning,
    /// No import can work.
    Failed,
    /// Not checked, because something before it failed.
    Skipped,
}

impl CheckState {
    /// A word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// A step.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// The result.
    pub state: CheckState,
    /// What was found.
    pub detail: String,
    /// What the user can do.
    #[serde(skip)]
    pub hints: Vec<Hint>,
    /// What went wrong, if it failed.
    #[serde(skip)]
    pub class: Option<Class>,
}

impl Check {
    pub(super) fn new(name: &'static str, state: CheckState, detail: impl Into<String>) -> Self {
        Self {
            name,
            state,
            detail: detail.into(),
            hints: Vec::new(),
            class: None,
        }
    }

    /// The detail of a success, or the failure.
    #[must_use]
    pub fn of(name: &'static str, result: Result<String>) -> Self {
        match result {
            Ok(detail) => Self::new(name, CheckState::Ok, detail),
            Err(failure) => Self {
                hints: failure.hints().to_vec(),
                class: Some(failure.class()),
                ..Self::new(name, CheckState::Failed, failure.line())
            },
        }
    }

    pub(super) fn failed(&self) -> bool {
        self.state == CheckState::Failed
    }

    pub(super) fn skipped(name: &'static str, why: &str) -> Self {
        Self::new(name, CheckState::Skipped, why)
    }
}
