//! Files that images name: what may be opened because a file says so, and how images stack up.

mod context;

pub use context::{BackingPolicy, Context};
