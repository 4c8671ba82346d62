//! What is wrong with a stream, as errors of reading it.

use std::io;

/// An error about the content of a stream.
pub(super) fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}

/// An error about a stream that holds something else than a disk: `what`.
pub(super) fn refused(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, what.into())
}

/// The error of a stream that ends where it must not.
pub(super) fn ended_early() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it ends early")
}
