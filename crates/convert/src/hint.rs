//! What the user can do about an error, as data. `Display` gives it in general words; a program
//! with an option for it says that instead.

use std::borrow::Cow;
use std::fmt;

use diskimg::units::human;

/// What the user can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Advice that holds for every program.
    Text(Cow<'static, str>),
    /// About the disk.
    Disk(diskimg::Hint),
    /// The output exists: allow it to be replaced.
    Replace,
    /// The finished output cannot get its name: this command gives it another one. Next time, allow
    /// what is there to be replaced.
    MoveOrReplace(String),
    /// The memory does not suffice: give this many bytes.
    GiveMemory(u64),
    /// The source is not what the interrupted run read: start over.
    StartOver,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Disk(hint) => hint.fmt(f),
            Self::Replace => f.write_str("allow it to be replaced"),
            Self::MoveOrReplace(command) => write!(
                f,
                "give it another name: {command}; or allow what is there to be replaced next time"
            ),
            Self::GiveMemory(bytes) => write!(f, "give {} of memory", human(*bytes)),
            Self::StartOver => {
                f.write_str("the source has changed, or was read with an error: start over")
            }
        }
    }
}

impl From<String> for Hint {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<&'static str> for Hint {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<diskimg::Hint> for Hint {
    fn from(hint: diskimg::Hint) -> Self {
        Self::Disk(hint)
    }
}
