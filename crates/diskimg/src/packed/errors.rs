//! What is wrong with a stream: as errors of reading it, and as those of the disk inside.

use std::{fmt, io};

use super::container::Container;
use crate::error::{Error, ErrorKind};
use crate::hint::Hint;
use crate::text::printable;

/// An error about the content of a stream.
pub(super) fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

/// What a stream holds instead of a disk, and what the user can do.
#[derive(Debug)]
struct Other {
    what: String,
    hint: &'static str,
}

impl fmt::Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Other {}

/// What helps with most archives.
pub(super) const UNPACK: &str = "unpack it first: tar -xf IMAGE";

/// An error about a stream that holds something else than a disk: `what`.
pub(super) fn refused(what: impl Into<String>, hint: &'static str) -> io::Error {
    let what = what.into();
    io::Error::new(io::ErrorKind::Unsupported, Other { what, hint })
}

/// The error of a stream that ends where it must not.
pub(super) fn ended_early() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it ends early")
}

/// Why a stream cannot be decoded.
#[derive(Debug)]
pub(crate) struct Undecodable {
    kind: io::ErrorKind,
    message: String,
    hint: &'static str,
}

impl Undecodable {
    /// What `error` says, which decoding ended with.
    pub(crate) fn of(error: &io::Error) -> Self {
        let other = error.get_ref().and_then(|it| it.downcast_ref::<Other>());
        Self {
            kind: error.kind(),
            message: error.to_string(),
            hint: other.map_or(UNPACK, |other| other.hint),
        }
    }

    /// The error of a stream of `packing` of which `position` bytes had come out.
    pub(crate) fn error(&self, packing: Container, position: u64) -> Error {
        let stream = packing.name();
        match self.kind {
            io::ErrorKind::UnexpectedEof => Error::new(
                ErrorKind::Truncated,
                format!(
                    "the {stream} stream ends early, after {position} unpacked bytes: the file is \
                     incomplete"
                ),
            ),
            io::ErrorKind::Unsupported => Error::unsupported(format!(
                "the content of the {stream} stream is {}",
                self.message
            ))
            .with_hint(self.hint),
            _ => Error::new(
                ErrorKind::Corrupt,
                format!(
                    "the {stream} stream cannot be decoded after {position} unpacked bytes: {}",
                    printable(&self.message)
                ),
            ),
        }
    }
}

/// The error of a disk of `size` bytes of which only `position` came.
pub(crate) fn ended(position: u64, size: u64) -> Error {
    Error::new(
        ErrorKind::Truncated,
        format!("it ended after {position} bytes, {size} were announced"),
    )
    .with_hint(Hint::EndedAt(position))
}

/// The error of a disk of which more than its `size` bytes came.
pub(crate) fn longer(size: u64) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("it continues after the {size} bytes that were announced"),
    )
    .with_hint(Hint::CorrectSize)
}
