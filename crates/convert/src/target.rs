//! The formats that are written.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// A format that imgferry writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// What the cloud imports directly; compressed, written front to back.
    Zvhd2,
    /// The disk's bytes as they are, in a sparse file.
    Raw,
}

impl Target {
    /// Every target, in the order in which help texts list them.
    pub const ALL: [Self; 2] = [Self::Zvhd2, Self::Raw];

    /// The name used on the command line and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zvhd2 => "zvhd2",
            Self::Raw => "raw",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|target| target.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::name).join(", ");
                format!("{text:?} is not a format that imgferry writes; it writes {names}")
            })
    }
}
