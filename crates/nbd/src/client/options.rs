//! How a client behaves.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::wire::Stop;

/// How a client behaves.
#[derive(Clone)]
pub struct ClientOptions {
    /// Most connections to a server that allows several.
    pub connections: usize,
    /// The file of the certificates that may sign the server's. `None`: those that this machine
    /// trusts.
    pub tls_ca: Option<PathBuf>,
    /// Name of a bitmap of the server's, by which it is to say what has changed: see
    /// [`diskimg::ReadAt::changes`].
    pub bitmap: Option<String>,
    /// How long it may take to connect and to negotiate.
    pub connect: Duration,
    /// How long the answer to a request may take.
    pub answer: Duration,
    /// How often in a row a request is tried again without progress.
    pub retries: u32,
    /// How long to wait before the second of these tries; twice as long before each further one.
    pub pause: Duration,
    /// Stops waiting.
    pub stop: Stop,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connections: 4,
            tls_ca: None,
            bitmap: None,
            connect: Duration::from_secs(20),
            answer: Duration::from_secs(60),
            retries: 6,
            pause: Duration::from_millis(500),
            stop: Arc::new(|| false),
        }
    }
}
