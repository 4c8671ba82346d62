//! Files that images name: what may be opened because a file says so, and how images stack up.
//!
//! ```text
//! image ──names──▶ Wanted ──Context::refer(), by the policy──▶ refused │ described │ opened inside DIR
//!                                                                                       │
//! layer ──▶ Below: what its own file does not hold ◀──────────────────────────────────────┘
//! ```
//!
//! A format is never guessed here: what a file says of the one below it is what that is opened as.

mod below;
mod context;
mod inside;
mod names;

pub(crate) use below::{Below, Unopened};
pub use context::{BackingPolicy, Context};
pub(crate) use context::{Found, Opening, Referred, Shared};
pub(crate) use names::NamedPath;

use crate::image::{Reference, printable};

/// What a file is to the image that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It holds what a qcow2 image does not.
    Backing,
    /// It holds what a differencing disk does not.
    Parent,
    /// It holds a qcow2 image's clusters.
    Data,
}

/// A file that an image names.
pub(crate) struct Wanted {
    pub(crate) role: Role,
    /// Its name as the image gives it; empty when there is none.
    pub(crate) name: String,
    /// Its format as the image gives it.
    pub(crate) format: Option<String>,
    /// Where it may be, in the order in which to look.
    pub(crate) paths: Vec<NamedPath>,
    /// How to make one image of it all where it was made.
    pub(crate) whole_hint: &'static str,
}

impl Wanted {
    /// For [`crate::Details`].
    pub(crate) fn reference(&self) -> Reference {
        Reference {
            role: match self.role {
                Role::Backing => "backing file",
                Role::Parent => "parent",
                Role::Data => "data file",
            },
            name: printable(&self.name),
            format: self.format.as_deref().map(printable),
        }
    }
}
