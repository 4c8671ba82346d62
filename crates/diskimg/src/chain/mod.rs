//! Files that images name: what may be opened because a file says so, and how images stack up.
//!
//! ```text
//! image ──names──▶ Wanted ──Context::refer(), by the policy──▶ refused │ described │ opened
//!                                                                                      │
//! layer ──▶ Below: what its own file does not hold ◀───────────────────────────────────┘
//! ```
//!
//! A format is never guessed here: what a file says of the one below it is what that is opened as.

mod below;
mod beside;
mod context;
mod extents;
mod handles;
mod inside;
mod names;
mod wanted;

pub(crate) use below::{Below, Unopened};
pub use beside::{descriptor_of, open_beside};
pub use context::Context;
pub(crate) use context::{Opener, Opening, Referred, Shared};
pub(crate) use extents::ExtentFiles;
pub use inside::open_inside;
pub(crate) use names::NamedPath;
pub(crate) use wanted::{Role, Wanted};
