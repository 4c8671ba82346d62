//! Rules: pure functions of facts, listed in tables beside what they judge.

use serde::Serialize;

use crate::mending::mended_by;
use crate::{Facts, Finding, MendedBy, Seen, Severity, Unknown};

/// Who asks for a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The cloud's own documents.
    Vendor,
    /// Other tools and their users' reports.
    Peer,
    /// This project.
    Own,
}

/// Systems that are mended with the same commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Red Hat Enterprise Linux and what is built like it.
    RedHat,
    /// Debian, Ubuntu.
    Debian,
    /// SUSE Linux Enterprise, openSUSE.
    Suse,
    /// Windows.
    Windows,
    /// Anything else.
    Other,
}

/// Commands that mend something, per family. `{name}` is replaced by a value of the finding.
#[derive(Clone, Copy, Debug, Default)]
pub struct Remedy {
    /// Commands for the Red Hat family.
    pub red_hat: &'static [&'static str],
    /// Commands for the Debian family.
    pub debian: &'static [&'static str],
    /// Commands for the SUSE family.
    pub suse: &'static [&'static str],
    /// Commands for every system that has none of its own above; for Windows the only ones.
    pub any: &'static [&'static str],
}

/// One rule.
pub struct Rule {
    /// Stable name, as users allow it.
    pub id: &'static str,
    /// The worst severity of its findings.
    pub severity: Severity,
    /// Who asks for it.
    pub source: Source,
    /// The document that asks for it, for readers of the rules' page.
    pub cite: &'static str,
    /// What is wrong when the rule is broken, and why it matters: one or two sentences.
    pub text: &'static str,
    /// What to type.
    pub remedy: Remedy,
    /// Judges the facts.
    pub check: fn(&Facts, &mut Judgement),
}

/// What a rule has found. Nothing: the rule is kept, or does not apply.
#[derive(Debug, Default)]
pub struct Judgement {
    found: Vec<(Severity, Seen)>,
    values: Vec<(&'static str, String)>,
    note: Option<String>,
    unknown: Option<String>,
}

impl Judgement {
    /// The rule is broken at `seen`.
    pub(crate) fn found(&mut self, severity: Severity, seen: Seen) {
        self.found.push((severity, seen));
    }

    /// The rule could not be decided. The first reason counts.
    pub(crate) fn unknown(&mut self, reason: impl Into<String>) {
        self.unknown.get_or_insert_with(|| reason.into());
    }

    /// The value of `read`, or the rule is unknown.
    pub(crate) fn known<'a, T>(&mut self, read: &'a crate::known::Known<T>) -> Option<&'a T> {
        match read {
            Ok(value) => Some(value),
            Err(reason) => {
                self.unknown(reason.clone());
                None
            }
        }
    }

    /// A value that was derived from facts, or the rule is unknown.
    pub(crate) fn derived<T>(&mut self, value: crate::known::Known<T>) -> Option<T> {
        value.map_err(|reason| self.unknown(reason)).ok()
    }

    /// A value for `{name}` in the remedy's commands.
    pub(crate) fn value(&mut self, name: &'static str, value: impl Into<String>) {
        self.values.push((name, value.into()));
    }

    /// A value that the guest has written itself: commands are pasted into shells, so whatever is
    /// not a plain word is replaced by `otherwise`.
    pub(crate) fn word(&mut self, name: &'static str, value: &str, otherwise: &str) {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._+-:@=".contains(c);
        let is_word = !value.is_empty() && !value.starts_with('-') && value.chars().all(plain);
        self.value(name, if is_word { value } else { otherwise });
    }

    /// A sentence that is added to the rule's text, about this guest.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.note.get_or_insert_with(|| note.into());
    }
}

impl Remedy {
    /// No command helps.
    pub const NONE: Self = Self {
        red_hat: &[],
        debian: &[],
        suse: &[],
        any: &[],
    };

    /// The commands for `family`.
    pub fn of(&self, family: Family) -> &'static [&'static str] {
        let own = match family {
            Family::RedHat => self.red_hat,
            Family::Debian => self.debian,
            Family::Suse => self.suse,
            Family::Windows | Family::Other => &[],
        };
        if own.is_empty() { self.any } else { own }
    }
}

impl Rule {
    /// What is enough to mend what breaks it.
    #[must_use]
    pub fn mended_by(&self) -> MendedBy {
        mended_by(self.id)
    }

    /// What the rule says of `facts`: findings (one per severity) and unknowns.
    pub fn judge(&self, facts: &Facts) -> (Vec<Finding>, Option<Unknown>) {
        let mut judgement = Judgement::default();
        (self.check)(facts, &mut judgement);
        let Judgement {
            found,
            values,
            note,
            unknown,
        } = judgement;
        let why = match note {
            Some(note) => format!("{} {note}", self.text),
            None => self.text.to_owned(),
        };
        let fix: Vec<String> = self
            .remedy
            .of(facts.family())
            .iter()
            .map(|command| filled_in(command, &values))
            .collect();
        let mut findings: Vec<Finding> = Vec::new();
        for (severity, seen) in found {
            match findings.iter_mut().find(|known| known.severity == severity) {
                Some(known) => known.seen.push(seen),
                None => findings.push(Finding {
                    id: self.id,
                    severity,
                    source: self.source,
                    seen: vec![seen],
                    why: why.clone(),
                    fix: fix.clone(),
                    mended_by: self.mended_by(),
                }),
            }
        }
        let unknown = unknown.map(|reason| Unknown {
            id: self.id,
            reason,
        });
        (findings, unknown)
    }
}

/// `command` with the values of its names.
fn filled_in(command: &str, values: &[(&'static str, String)]) -> String {
    values
        .iter()
        .fold(command.to_owned(), |text, (name, value)| {
            text.replace(&format!("{{{name}}}"), value)
        })
}
