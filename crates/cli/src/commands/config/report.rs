//! What `config` prints.

use std::fmt;
use std::path::PathBuf;

use cloud::{Check, CheckState, Setting};
use diskimg::text::shown;
use serde::Serialize;

use crate::hints;

/// A setting as it is shown.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    name: &'static str,
    value: String,
    origin: String,
}

impl From<Setting> for Row {
    fn from(setting: Setting) -> Self {
        Self {
            origin: hints::origin(&setting),
            name: setting.name,
            value: setting.value,
        }
    }
}

/// The settings as they are shown.
pub(super) fn rows(settings: Vec<Setting>) -> Vec<Row> {
    settings.into_iter().map(Row::from).collect()
}

/// The settings, and what is missing.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    pub(super) config_file: Option<PathBuf>,
    pub(super) config_file_exists: bool,
    pub(super) settings: Vec<Row>,
    pub(super) missing: Vec<String>,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.config_file {
            let there = if self.config_file_exists {
                ""
            } else {
                " (not there)"
            };
            write!(f, "configuration file {}{there}", shown(&path))?;
            if !self.settings.is_empty() || !self.missing.is_empty() {
                writeln!(f)?;
            }
        }
        write_settings(f, &self.settings)?;
        for (number, missing) in self.missing.iter().enumerate() {
            if number > 0 || !self.settings.is_empty() {
                writeln!(f)?;
            }
            write!(f, "problem: {missing}")?;
        }
        Ok(())
    }
}

/// A step of the check as it is shown.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    name: &'static str,
    state: CheckState,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl From<&Check> for Step {
    fn from(check: &Check) -> Self {
        Self {
            name: check.name,
            state: check.state,
            detail: check.detail.clone(),
            hint: hints::lines(&check.hints),
        }
    }
}

/// The settings, and what the cloud said.
#[derive(Debug, Serialize)]
pub(super) struct Checked {
    pub(super) settings: Vec<Row>,
    pub(super) checks: Vec<Step>,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_settings(f, &self.settings)?;
        let width = self.checks.iter().map(|check| check.name.len()).max();
        for check in &self.checks {
            write!(
                f,
                "\n{:7}  {:width$}  {}",
                check.state.as_str(),
                check.name,
                check.detail,
                width = width.unwrap_or_default()
            )?;
        }
        Ok(())
    }
}

fn write_settings(f: &mut fmt::Formatter<'_>, settings: &[Row]) -> fmt::Result {
    let width = |of: fn(&Row) -> usize| settings.iter().map(of).max().unwrap_or_default();
    let name = width(|setting| setting.name.len());
    let value = width(|setting| setting.value.chars().count());
    for (number, setting) in settings.iter().enumerate() {
        if number > 0 {
            writeln!(f)?;
        }
        write!(
            f,
            "{:name$}  {:value$}  {}",
            setting.name, setting.value, setting.origin
        )?;
    }
    Ok(())
}
