//! Why a sandbox cannot start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a sandbox cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory of the sandbox cannot be used.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was attempted, as a verb: "create", "read".
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another sandbox has the directory.
    #[error("{} is in use by another sandbox", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A file of the sandbox holds something else than what a sandbox writes.
    #[error("{} is not what a sandbox writes there", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where its text ends to make sense.
        source: io::Error,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The certificate for https cannot be made or used.
    #[error("cannot serve https")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A bucket's name breaks the rules: 3 to 63 lower-case letters, digits, `-` and `.`.
    #[error("bucket name {name:?} is not 3 to 63 lower-case letters, digits, '-' and '.'")]
    BucketName {
        /// The name that was given.
        name: String,
    },
}

impl Error {
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io {
            doing,
            path: path.into(),
            source,
        }
    }
}
