//! One module per command.

pub(crate) mod convert;
pub(crate) mod digest;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod sandbox;
pub(crate) mod verify;

use std::path::Path;

use ::convert::Error;
use diskimg::{Format, Opened};

use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};

/// Opens an image, and tells its warnings.
pub(crate) fn open(path: &Path, format: Option<Format>, console: Console) -> Outcome<Opened> {
    if path.as_os_str() == "-" {
        return Err(Failure::new(
            Exit::Refused,
            "a disk image cannot be read from standard input: readers need random access",
        )
        .hint("save it to a file first: cat > disk.img"));
    }
    let opened = ::convert::open(path, format)?;
    for warning in opened.image.details().warnings {
        console.warn(format_args!("{}: {warning}", path.display()));
    }
    Ok(opened)
}

/// How many threads work unless told: one per core that this process may use.
pub(crate) fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::Source(_) => return match error {
                Error::Source(error) => error.into(),
                other => Self::from_error(Exit::Io, &other),
            },
            Error::Sink(source) => {
                if let Some(error) = source.downcast_ref::<obs::Error>() {
                    return import::from_obs(error);
                }
                Exit::Io
            }
            Error::Cancelled => Exit::Interrupted,
            Error::Refused { .. } => Exit::Refused,
            _ => Exit::Io,
        };
        Self::from_error(exit, &error).maybe_hint(error.hint().as_deref())
    }
}
