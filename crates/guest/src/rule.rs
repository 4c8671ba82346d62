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

/// No commands.
const NOTHING: &[&str] = &[];

/// Commands that mend something, per family. `{name}` is replaced by a value of the finding; a
/// command whose value is empty is left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Remedy {
    /// Commands for the Red Hat family.
    pub red_hat: &'static [&'static str],
    /// Those for its releases up to 6, where they are others.
    pub old_red_hat: &'static [&'static str],
    /// Commands for the Debian family.
    pub debian: &'static [&'static str],
    /// Commands for the SUSE family.
    pub suse: &'static [&'static str],
    /// Those for its releases up to 11, where they are others.
    pub old_suse: &'static [&'static str],
    /// Commands for every Linux that has none of its own above.
    pub linux: &'static [&'static str],
    /// Commands for Windows.
    pub windows: &'static [&'static str],
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
        old_red_hat: &[],
        debian: &[],
        suse: &[],
        old_suse: &[],
        linux: &[],
        windows: &[],
    };

    /// The commands for `family`; `old`: for its releases with other tools than today's.
    pub fn of(&self, family: Family, old: bool) -> &'static [&'static str] {
        let (aged, own) = match family {
            Family::RedHat => (self.old_red_hat, self.red_hat),
            Family::Debian => (NOTHING, self.debian),
            Family::Suse => (self.old_suse, self.suse),
            Family::Windows => return self.windows,
            Family::Other => (NOTHING, NOTHING),
        };
        let all = [if old { aged } else { NOTHING }, own];
        let found = all.into_iter().find(|commands| !commands.is_empty());
        found.unwrap_or(self.linux)
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
            .of(facts.family(), facts.is_old())
            .iter()
            .filter_map(|command| filled_in(command, &values))
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

/// `command` with the values of its names; `None` when one of them is empty.
fn filled_in(command: &str, values: &[(&'static str, String)]) -> Option<String> {
    let mut text = command.to_owned();
    for (name, value) in values {
        let name = format!("{{{name}}}");
        if value.is_empty() && text.contains(&name) {
            return None;
        }
        text = text.replace(&name, value);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Os;

    const MENDED: Rule = Rule {
        id: "x",
        severity: Severity::Advice,
        source: Source::Own,
        cite: "",
        text: "It is broken.",
        remedy: Remedy {
            red_hat: &["new {a}", "also {b}"],
            old_red_hat: &["old {a}"],
            linux: &["other {a}"],
            ..Remedy::NONE
        },
        check: |_, judgement| {
            judgement.value("a", "1");
            judgement.value("b", "");
            judgement.found(Severity::Advice, Seen::at("/x"));
        },
    };

    #[test]
    fn commands_are_those_of_the_release_and_have_all_their_values() {
        for (id, version, fix) in [
            ("rhel", "8.7", &["new 1"][..]),
            ("centos", "6.10", &["old 1"]),
            ("sles", "11.4", &["other 1"]),
            ("arch", "1", &["other 1"]),
            ("windows", "2019", &[]),
        ] {
            let facts = Facts {
                os: Some(Os {
                    id: id.into(),
                    version: Some(version.into()),
                    ..Os::default()
                }),
                ..Facts::default()
            };
            assert_eq!(MENDED.judge(&facts).0[0].fix, fix, "{id}");
        }
    }
}
