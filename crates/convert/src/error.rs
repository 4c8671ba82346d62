//! What stops a run: the source, the sink, the output file, or the user.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::PathBuf;

use diskimg::text::shown;

use crate::cancel::CancelToken;
use crate::hint::Hint;
use crate::sink::SinkError;

/// What this crate's operations return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a run stopped. A caller that prints it prints the chain of sources once.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The source image cannot be read, or the block cannot be encoded.
    Source(diskimg::Error),
    /// The sink takes no more bytes. Shown as the sink's own error.
    Sink(SinkError),
    /// The output file cannot be made.
    Output {
        /// The file.
        path: PathBuf,
        /// What was being done, as in `writing`.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The output file is finished, and cannot get its name. It is kept.
    Unnamed {
        /// The name that it was to get.
        path: PathBuf,
        /// Where it is.
        kept: PathBuf,
        /// What the user can do.
        hint: Hint,
        /// What the system said.
        source: io::Error,
    },
    /// The request was refused before any work.
    Refused {
        /// What was found, and what was expected.
        message: String,
        /// What the user can do about it.
        hint: Option<Hint>,
    },
    /// Somebody asked to stop.
    Cancelled,
    /// A worker thread panicked: a defect of this program. Its message went to the panic hook.
    WorkerPanicked,
}

impl Error {
    /// A refusal without a hint.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::Refused {
            message: message.into(),
            hint: None,
        }
    }

    /// The finished file `kept` cannot be renamed to `path`.
    pub(crate) fn unnamed(path: PathBuf, kept: PathBuf, source: io::Error) -> Self {
        let quoted = |path: &std::path::Path| {
            format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
        };
        let hint = match source.kind() {
            io::ErrorKind::AlreadyExists => {
                Hint::MoveOrReplace(format!("mv {} NAME", quoted(&kept)))
            }
            _ => format!("rename it yourself: mv {} {}", quoted(&kept), quoted(&path)).into(),
        };
        Self::Unnamed {
            path,
            kept,
            hint,
            source,
        }
    }

    /// Adds what the user can do to a refusal; other errors have their own hints.
    #[must_use]
    pub fn with_hint(mut self, text: impl Into<Hint>) -> Self {
        if let Self::Refused { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<Hint> {
        match self {
            Self::Source(error) => error.hint().cloned().map(Hint::Disk),
            Self::Refused { hint, .. } => hint.clone(),
            Self::Unnamed { hint, .. } => Some(hint.clone()),
            Self::Output { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some("make room there, or write to another disk".into())
                }
                io::ErrorKind::FileTooLarge => Some(
                    "write to a file system (or under a limit) that allows larger files".into(),
                ),
                _ => None,
            },
            Self::WorkerPanicked => Some("this is a defect of imgferry: please report it".into()),
            Self::Sink(_) | Self::Cancelled => None,
        }
    }

    /// What a failed [`crate::Sink::write`] means for the run. A sink that gives up because it was
    /// told to stop has not failed, and this crate's own errors are not wrapped twice.
    pub(crate) fn from_sink(error: SinkError, cancel: &CancelToken) -> Self {
        if cancel.is_cancelled() {
            return Self::Cancelled;
        }
        match error.downcast::<Self>() {
            Ok(own) => *own,
            Err(foreign) => Self::Sink(foreign),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(error) => error.fmt(f),
            Self::Sink(error) => error.fmt(f),
            Self::Output { path, doing, .. } => write!(f, "{}: {doing} failed", shown(path)),
            Self::Unnamed { path, kept, .. } => write!(
                f,
                "{}: renaming the finished file to this name failed; it is kept as {}",
                shown(path),
                shown(kept)
            ),
            Self::Refused { message, .. } => f.write_str(message),
            Self::Cancelled => f.write_str("stopped on request"),
            Self::WorkerPanicked => f.write_str("a worker thread panicked"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            // These two are shown as what they wrap, so the chain goes on behind it.
            Self::Source(error) => error.source(),
            Self::Sink(error) => error.source(),
            Self::Output { source, .. } | Self::Unnamed { source, .. } => Some(source),
            Self::Refused { .. } | Self::Cancelled | Self::WorkerPanicked => None,
        }
    }
}

impl From<diskimg::Error> for Error {
    fn from(error: diskimg::Error) -> Self {
        match error.kind() {
            diskimg::ErrorKind::Cancelled => Self::Cancelled,
            _ => Self::Source(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_a_hint_and_names_the_file() {
        let error = Error::Output {
            path: "/data/disk.raw".into(),
            doing: "writing",
            source: io::ErrorKind::StorageFull.into(),
        };
        assert_eq!(error.to_string(), "/data/disk.raw: writing failed");
        assert!(error.hint().unwrap().to_string().contains("make room"));
    }

    #[test]
    fn a_sink_error_of_our_own_is_not_wrapped() {
        let own: SinkError = Box::new(Error::refused("no"));
        let error = Error::from_sink(own, &CancelToken::new());
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    }

    #[test]
    fn a_wrapped_error_appears_once_in_the_chain() {
        let io = io::Error::other("disk on fire");
        let error = Error::Source(diskimg::Error::io("reading failed", io));
        let mut chain = vec![error.to_string()];
        let mut next = StdError::source(&error);
        while let Some(cause) = next {
            chain.push(cause.to_string());
            next = cause.source();
        }
        assert_eq!(chain, ["reading failed", "disk on fire"]);
    }
}
