//! One step of a check of the settings, and what it came to.

use serde::Serialize;

use crate::hints;
use cloud::{Class, Result};

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Ok,
    Warning,
    Failed,
    Skipped,
}

impl State {
    pub(super) fn as_str(self) -> &'static str {
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
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) state: State,
    pub(super) detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hint: Option<String>,
    /// How the program ends because of a failure.
    #[serde(skip)]
    pub(super) exit: Option<Class>,
}

impl Check {
    pub(super) fn new(name: &'static str, state: State, detail: impl Into<String>) -> Self {
        Self {
            name,
            state,
            detail: detail.into(),
            hint: None,
            exit: None,
        }
    }

    /// The detail of a success, or the failure.
    pub(super) fn of(name: &'static str, result: Result<String>) -> Self {
        match result {
            Ok(detail) => Self::new(name, State::Ok, detail),
            Err(failure) => Self {
                hint: hints::lines(failure.hints()),
                exit: Some(failure.class()),
                ..Self::new(name, State::Failed, failure.line())
            },
        }
    }

    pub(super) fn failed(&self) -> bool {
        self.state == State::Failed
    }

    pub(super) fn skipped(name: &'static str, why: &str) -> Self {
        Self::new(name, State::Skipped, why)
    }
}
