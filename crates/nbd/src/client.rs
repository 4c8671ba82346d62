//! Reads exports of NBD servers.

mod cover;
mod handshake;
mod options;
mod pool;
mod reply;
mod session;
mod source;
mod status;
mod trouble;

pub use handshake::{Export, Wanted};
pub use options::ClientOptions;
pub use session::{Piece, Session};
pub use source::NbdSource;
pub use status::Status;
pub use trouble::Trouble;
