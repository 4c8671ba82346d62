//! Whether the system on a disk is ready for the cloud.

use std::fmt;

use guest::{INCOMPLETE, Severity};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// What the check of a system came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Its servers would not work, or not as they should.
    Problems,
    /// No system was found, or not everything could be read.
    #[default]
    NotChecked,
    /// There is nothing but advice.
    Ready,
}

/// A rule that a system breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestFinding {
    /// Name of the rule.
    pub id: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong. Pages show it; it is not written down.
    #[serde(skip_serializing, default)]
    pub why: String,
    /// Commands to type in the guest. Pages show them; they are not written down.
    #[serde(skip_serializing, default)]
    pub fix: Vec<String>,
}

/// What was found of the system on a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Readiness {
    /// What it came to.
    pub verdict: Verdict,
    /// Broken rules, worst first.
    pub findings: Vec<GuestFinding>,
    /// Names of the rules that could not be decided.
    pub undecided: Vec<String>,
}

/// What is read of a report.
#[derive(Deserialize)]
struct Told {
    os: Option<IgnoredAny>,
    #[serde(default)]
    data_disk: bool,
    findings: Vec<GuestFinding>,
    unknown: Vec<Undecided>,
}

#[derive(Deserialize)]
struct Undecided {
    id: String,
}

impl Readiness {
    /// What `report` says: a [`guest::Report`], or its JSON form, which is all that a failure
    /// carries. `None` for a disk of data, which boots no server.
    #[must_use]
    pub fn read(report: &impl Serialize) -> Option<Self> {
        let told = serde_json::to_value(report).and_then(Told::deserialize);
        let Ok(told) = told else {
            return Some(Self::default());
        };
        if told.data_disk {
            return None;
        }
        let undecided: Vec<String> = told.unknown.into_iter().map(|rule| rule.id).collect();
        let has_problems = told.findings.iter().any(GuestFinding::is_problem);
        let is_complete = told.os.is_some() && !undecided.iter().any(|id| id == INCOMPLETE);
        Some(Self {
            verdict: match (has_problems, is_complete) {
                (true, _) => Verdict::Problems,
                (false, true) => Verdict::Ready,
                (false, false) => Verdict::NotChecked,
            },
            findings: told.findings,
            undecided,
        })
    }

    /// Whether `warning` tells one of the findings.
    pub(crate) fn has_told(&self, warning: &str) -> bool {
        let mut findings = self.findings.iter();
        warning.starts_with(guest::ADVICE)
            || findings.any(|found| warning.contains(&guest::tag(&found.id, found.severity)))
    }

    /// The worst that was found.
    pub(crate) fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).min()
    }
}

impl GuestFinding {
    /// Whether it is more than advice.
    fn is_problem(&self) -> bool {
        self.severity < Severity::Advice
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.verdict {
            Verdict::NotChecked => f.write_str("not checked"),
            Verdict::Ready if self.undecided.is_empty() => f.write_str("ready"),
            Verdict::Ready => write!(f, "ready, {} undecided", self.undecided.len()),
            Verdict::Problems => {
                let problems = self.findings.iter().filter(|found| found.is_problem());
                let count = problems.clone().count();
                let mut found: Vec<Severity> = problems.map(|found| found.severity).collect();
                found.sort();
                found.dedup();
                let names: Vec<&str> = found.into_iter().map(Severity::name).collect();
                let s = if count == 1 { "" } else { "s" };
                write!(f, "{count} problem{s}: {}", names.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A report with findings of these severities and undecided rules.
    fn report(os: Value, severities: &[&str], undecided: &[&str]) -> Value {
        let finding = |severity| json!({"id": "a", "severity": severity, "why": "w", "fix": ["f"]});
        let unknown = |id| json!({"id": id, "reason": "r"});
        json!({
            "os": os,
            "findings": severities.iter().map(finding).collect::<Vec<_>>(),
            "unknown": undecided.iter().map(unknown).collect::<Vec<_>>(),
        })
    }

    #[test]
    fn only_a_system_that_was_checked_is_ready() {
        let linux = || json!({"id": "debian"});
        for (report, verdict, told) in [
            (report(linux(), &[], &[]), Verdict::Ready, "ready"),
            (report(linux(), &["advice"], &[]), Verdict::Ready, "ready"),
            (
                report(linux(), &[], &["a", "b"]),
                Verdict::Ready,
                "ready, 2 undecided",
            ),
            (
                report(linux(), &[], &[INCOMPLETE]),
                Verdict::NotChecked,
                "not checked",
            ),
            (
                report(Value::Null, &[], &[]),
                Verdict::NotChecked,
                "not checked",
            ),
            (
                report(linux(), &["no-network"], &[INCOMPLETE]),
                Verdict::Problems,
                "1 problem: no network",
            ),
            (
                report(
                    linux(),
                    &["degraded", "will-not-boot", "degraded", "advice"],
                    &[],
                ),
                Verdict::Problems,
                "3 problems: will not boot, degraded",
            ),
            (json!({"findings": 1}), Verdict::NotChecked, "not checked"),
        ] {
            let read = Readiness::read(&report).unwrap();
            assert_eq!((read.verdict, read.to_string().as_str()), (verdict, told));
        }
    }

    #[test]
    fn a_report_reads_like_its_json_form() {
        let report = guest::Report {
            unknown: vec![guest::Unknown {
                id: INCOMPLETE,
                reason: "no partition can be read".to_owned(),
            }],
            ..guest::Report::default()
        };
        let read = Readiness::read(&report).unwrap();
        assert_eq!(read.undecided, [INCOMPLETE]);
        assert_eq!(Readiness::read(&json!(report)), Some(read));
        let data = guest::Report {
            data_disk: true,
            ..report
        };
        assert_eq!(Readiness::read(&data), None);
    }

    #[test]
    fn only_names_and_severities_are_written_down() {
        let read = Readiness::read(&report(json!({}), &["no-login"], &["b"])).unwrap();
        assert_eq!(read.findings[0].fix, ["f"]);
        let written = json!({
            "verdict": "problems",
            "findings": [{"id": "a", "severity": "no-login"}],
            "undecided": ["b"],
        });
        assert_eq!(json!(read), written);
    }
}
