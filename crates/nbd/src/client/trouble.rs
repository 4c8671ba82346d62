//! Why something did not work, and what follows: another connection, another try, or the end.

use std::io;

use diskimg::{Error, ErrorKind};

use crate::proto::{EIO, ENOMEM, ESHUTDOWN, error_name};
use crate::wire::is_stopped;

/// Why a request was not answered.
#[derive(Debug)]
pub enum Trouble {
    /// The connection is of no use any more; another one may be.
    Broken(Error),
    /// The server has reported an error for this request.
    Refused {
        /// Its number in the protocol.
        code: u32,
        /// What the server said, escaped.
        message: String,
        /// Where on the disk.
        at: u64,
    },
    /// No other try would be better.
    Final(Error),
}

impl Trouble {
    /// Whether it is worth another try.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Broken(_) => true,
            Self::Refused { code, .. } => matches!(*code, EIO | ENOMEM | ESHUTDOWN),
            Self::Final(_) => false,
        }
    }

    /// Whether the connection can be used for the next request.
    pub(crate) fn leaves_connection(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if *code != ESHUTDOWN)
    }

    /// As an error.
    #[must_use]
    pub fn into_error(self) -> Error {
        match self {
            Self::Broken(error) | Self::Final(error) => error,
            Self::Refused { code, message, at } => {
                let said = match message.as_str() {
                    "" => String::new(),
                    said => format!(": \"{said}\""),
                };
                Error::new(
                    ErrorKind::Io,
                    format!(
                        "the server answers a request at offset {at:#x} with {}{said}",
                        error_name(code)
                    ),
                )
            }
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{InvalidData, TimedOut, UnexpectedEof};
        if is_stopped(&error) {
            return Self::Final(Error::new(ErrorKind::Cancelled, "stopped"));
        }
        match error.kind() {
            // What TLS says of a certificate that does not fit, and of bytes that were changed.
            InvalidData => Self::Final(
                Error::io("the encrypted connection failed", error).with_hint(
                    "name the file of the certificate that signed the server's (--tls-ca FILE); \
                     the host must be spelled as in the server's certificate",
                ),
            ),
            TimedOut => Self::Broken(
                Error::new(ErrorKind::Io, "the server does not answer in time").caused_by(error),
            ),
            UnexpectedEof => Self::Broken(Error::new(
                ErrorKind::Io,
                "the server has closed the connection",
            )),
            _ => Self::Broken(Error::io("the connection is broken", error)),
        }
    }
}

/// The server does what the protocol forbids.
pub(crate) fn violation(found: impl Into<String>) -> Trouble {
    Trouble::Final(
        Error::new(
            ErrorKind::Corrupt,
            format!("the server breaks the NBD protocol: {}", found.into()),
        )
        .with_hint("connect to a server that follows the protocol, such as qemu-nbd or nbdkit"),
    )
}
