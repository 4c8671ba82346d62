//! What can go wrong with a journal.

use std::fmt;
use std::io;
use std::path::PathBuf;

use diskimg::text::shown;

/// What this crate's operations return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a journal cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The system refused.
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was being done, as in `writing`.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has it.
    InUse {
        /// The journal.
        path: PathBuf,
    },
    /// There is no place to keep journals.
    NoPlace,
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>, doing: &'static str, source: io::Error) -> Self {
        Self::Io {
            path: path.into(),
            doing,
            source,
        }
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<Hint> {
        match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded
                | io::ErrorKind::FileTooLarge => Some(Hint::MakeRoom),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    Some(Hint::ChooseWritable)
                }
                _ => None,
            },
            Self::InUse { .. } => Some(Hint::WaitForOther),
            Self::NoPlace => Some(Hint::SetHome),
        }
    }
}

/// What the caller can do about an error. `Display` says it in general words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The file system is full: make room, or keep journals elsewhere.
    MakeRoom,
    /// The directory cannot be written: keep journals elsewhere.
    ChooseWritable,
    /// Another process uses the journal: wait until it has ended.
    WaitForOther,
    /// No directory follows from the environment: set one, or name one.
    SetHome,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MakeRoom => "make room there, or keep journals elsewhere, and try again",
            Self::ChooseWritable => "keep journals in a directory that can be written",
            Self::WaitForOther => "wait until it has ended",
            Self::SetHome => "set HOME or XDG_STATE_HOME, or name a directory",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, doing, .. } => {
                write!(f, "the journal {}: {doing} failed", shown(path))
            }
            Self::InUse { path } => write!(
                f,
                "another imgferry is at work on the same object (its journal {} is locked)",
                shown(path)
            ),
            Self::NoPlace => f.write_str("there is no directory for the journals of imports"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::InUse { .. } | Self::NoPlace => None,
        }
    }
}
