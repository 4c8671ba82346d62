//! What happens while a disk is served, for whoever runs the server.

use std::io;

/// What happens while a disk is served.
#[derive(Debug)]
pub enum Event {
    /// A client was refused: there are so many already.
    TooMany(usize),
    /// A client was cut off, and why.
    Dropped(String),
    /// The disk could not be read; the client was told so.
    Unreadable(diskimg::Error),
}

/// A client that breaks the protocol.
pub(crate) fn violation(found: impl Into<String>) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the client breaks the NBD protocol: {}", found.into()),
    )
}
