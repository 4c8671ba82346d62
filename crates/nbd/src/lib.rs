//! Reads disks from NBD servers, and serves disks to NBD clients.
//!
//! ```text
//!  NbdUri ──▶ Pool of connections ──▶ Session: greeting, TLS, options, requests in flight
//!                  │                                      │
//!                  ▼                                      ▼
//!             NbdSource: ReadAt with holes ◀── replies, held against what was asked for
//!                  │
//!                  ▼  diskimg::open_source, like a file
//!             DiskImage ──serve()──▶ Listener ──▶ a thread for each client
//! ```
//!
//! The other side is hostile: lengths, cookies, ranges and counts are checked against the request
//! and against [`limits`] before anything is held, and every wait has a deadline and can be
//! stopped. The crate is synchronous and knows no terminal.

mod client;
pub mod limits;
mod proto;
mod server;
mod tls;
mod uri;
mod wire;

pub use client::{ClientOptions, Export, NbdSource, Piece, Session, Status, Trouble, Wanted};
pub use server::{Event, Listener, ServeOptions, serve};
pub use uri::{Address, DEFAULT_PORT, NbdUri};
pub use wire::{Stop, Stream};
