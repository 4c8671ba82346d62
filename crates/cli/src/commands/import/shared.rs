//! What an import works with and does not own: alone in its process it is the only one to use it,
//! in a batch many do.

use futures::future::BoxFuture;

use crate::commands::session::Session;
use crate::exit::Outcome;

/// The cloud, and who is told how far the import has come.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a> {
    pub(crate) session: &'a Session,
    /// `None` makes one when the checks that need none have passed.
    pub(crate) storage: Option<&'a obs::Client>,
    pub(crate) steps: &'a dyn Steps,
    /// What earlier runs may have done that no journal on this machine tells.
    pub(crate) before: Before,
}

/// Where an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// Opens, plans, asks the cloud.
    Check,
    /// Reads the disk to compare it with an object that is there.
    Compare,
    /// Reads and encodes; parts are sent meanwhile.
    Convert,
    /// Everything is encoded: the last parts are sent and joined.
    Complete,
    /// The object is there and verified; nothing of the disk is in memory any more.
    Register,
}

/// Is told of the steps of an import, and lets it wait before those that cannot be taken back.
pub(crate) trait Steps: Send + Sync {
    /// The import is at `step` now.
    fn at(&self, step: Step);

    /// Ends when the import may join the parts of its object.
    fn may_complete(&self) -> BoxFuture<'_, Outcome>;

    /// Ends when the import may register its image.
    fn may_register(&self) -> BoxFuture<'_, Outcome>;
}

/// Nobody else is there.
pub(crate) struct Alone;

impl Steps for Alone {
    fn at(&self, _: Step) {}

    fn may_complete(&self) -> BoxFuture<'_, Outcome> {
        Box::pin(async { Ok(()) })
    }

    fn may_register(&self) -> BoxFuture<'_, Outcome> {
        Box::pin(async { Ok(()) })
    }
}

/// What earlier runs may have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Before {
    /// The key was free when one of them began, so an object that has it now is theirs.
    pub(crate) uploaded: bool,
    /// The name was free then, so an image that has it now and comes from the object is theirs.
    pub(crate) registered: bool,
}
