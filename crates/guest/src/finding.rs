//! What an inspection says.

use serde::{Deserialize, Serialize};

/// How bad a finding is, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The server will not boot.
    WillNotBoot,
    /// The server boots without a network.
    NoNetwork,
    /// Nobody can log in.
    NoLogin,
    /// The server works, but not as it should.
    Degraded,
    /// Worth knowing before the disk becomes an image of many servers.
    Advice,
}

impl Severity {
    /// All of them, worst first.
    pub const ALL: [Self; 5] = [
        Self::WillNotBoot,
        Self::NoNetwork,
        Self::NoLogin,
        Self::Degraded,
        Self::Advice,
    ];

    /// The name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WillNotBoot => "will not boot",
            Self::NoNetwork => "no network",
            Self::NoLogin => "no login",
            Self::Degraded => "degraded",
            Self::Advice => "advice",
        }
    }
}

/// Where in the guest something was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Path in the guest, or the name of a volume, a registry key, a sector. Printable.
    pub path: String,
    /// Line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The line's text or the value. Printable, cut to 200 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// A rule that the guest breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Name of the rule, stable.
    pub id: &'static str,
    /// How bad it is here; the same rule can have findings of two severities.
    pub severity: Severity,
    /// Who asks for it.
    pub source: crate::Source,
    /// Where it was seen.
    pub seen: Vec<Seen>,
    /// What is wrong and why it matters.
    pub why: String,
    /// Commands to type in the guest before its last shutdown; may be empty.
    pub fix: Vec<String>,
    /// What else is enough to mend it.
    pub mended_by: crate::MendedBy,
}

/// The mark of a finding in a sentence about it.
#[must_use]
pub fn tag(id: &str, severity: Severity) -> String {
    format!("({id}, {})", severity.name())
}

/// How a sentence begins that only names advice.
pub const ADVICE: &str = "advice about the system: ";

/// A rule that could not be decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unknown {
    /// Name of the rule.
    pub id: &'static str,
    /// Why it could not be decided.
    pub reason: String,
}

impl Seen {
    /// Something seen at `path`, which is made printable.
    pub(crate) fn at(path: impl AsRef<[u8]>) -> Self {
        Self {
            path: crate::text::printable(path.as_ref()),
            ..Self::default()
        }
    }

    /// A line of a file.
    pub(crate) fn line(path: impl AsRef<[u8]>, line: u32, text: impl AsRef<[u8]>) -> Self {
        Self {
            line: Some(line),
            ..Self::at(path).with(text)
        }
    }

    /// With the text of what was seen.
    pub(crate) fn with(mut self, text: impl AsRef<[u8]>) -> Self {
        let text = crate::text::without_secrets(text.as_ref());
        self.text = Some(crate::text::shown(&text));
        self
    }
}
