//! What the sinks on plain threads and the tasks that send share: the budget of memory, the first
//! error, and the parts in flight.

use std::sync::{Arc, OnceLock};

use crate::budget::Budget;
use crate::error::{Error, ErrorKind};
use crate::part::{CopyPart, Part};
use crate::zeros::ZeroPart;

/// What the sink and the tasks that send its parts share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) budget: Arc<Budget>,
    failure: OnceLock<Error>,
}

impl Shared {
    pub(crate) fn new(memory: u64) -> Arc<Self> {
        Arc::new(Self {
            budget: Budget::new(memory),
            failure: OnceLock::new(),
        })
    }

    /// Stops the upload. The first error stays.
    pub(crate) fn fail(&self, error: Error) {
        let _ = self.failure.set(error);
        self.budget.close();
    }

    pub(crate) fn failure(&self) -> Option<&Error> {
        self.failure.get()
    }

    /// Why the upload accepts no more data.
    pub(crate) fn stopped(&self) -> Error {
        self.failure()
            .cloned()
            .unwrap_or_else(|| Error::new(ErrorKind::Cancelled, "the upload is closed"))
    }
}

/// What goes over the bridge.
#[derive(Debug)]
pub(crate) enum Message {
    /// A part that is full, or the last one.
    Part(Part),
    /// A part that is all zero, of which no bytes are held.
    Zeros(ZeroPart),
    /// A part that the server copies from another object.
    Copy(CopyPart),
    /// Everything was written.
    End,
}
