//! One disk on its way: what it holds of what all share, and gives back as soon as it can.

use std::fmt;
use std::sync::Arc;

use ::batch::Stage;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::board::Board;
use super::book::Book;
use super::budget::Grant;
use super::claims::Guard;
use super::state::{Record, now};
use crate::console::Console;
use crate::exit::Outcome;
use crate::interrupt::Interrupt;
use ::import::{Activity, Counting, JobWatch, Observer, Step};

/// Observes the import of one disk.
pub(super) struct ItemSteps {
    pub(super) console: Console,
    pub(super) board: &'static Board,
    pub(super) book: Arc<Book>,
    /// The turns to register.
    pub(super) jobs: Arc<Semaphore>,
    pub(super) number: usize,
    pub(super) id: String,
    pub(super) interrupt: Interrupt,
    pub(super) claim: Option<Guard>,
    /// Memory that the last parts need.
    pub(super) tail: u64,
    pub(super) holds: Mutex<Holds>,
}

/// What one disk holds. Dropped with the import, whatever ends it.
pub(super) struct Holds {
    pub(super) grant: Option<Grant>,
    pub(super) upload: Option<OwnedSemaphorePermit>,
    pub(super) job: Option<OwnedSemaphorePermit>,
    /// Tells the lane that the next disk can be converted.
    pub(super) converted: Option<oneshot::Sender<()>>,
}

impl ItemSteps {
    /// Whether the disk is this worker's.
    async fn is_sure(&self) -> Outcome {
        match &self.claim {
            Some(claim) => claim.sure().await,
            None => Ok(()),
        }
    }
}

impl Observer for ItemSteps {
    fn notice(&self, text: fmt::Arguments<'_>) {
        self.console.notice(text);
    }

    fn warn(&self, text: fmt::Arguments<'_>) {
        self.console.warn(text);
    }

    fn count(&self, activity: Activity, total: u64) -> Arc<dyn Counting> {
        self.console.count(activity, total)
    }

    fn follow(&self) -> Box<dyn JobWatch> {
        self.console.follow()
    }

    fn at(&self, step: Step) {
        let stage = match step {
            Step::Check => Stage::Check,
            Step::Compare => Stage::Compare,
            Step::Convert => Stage::Transfer,
            Step::Complete => Stage::Complete,
            Step::Register => Stage::Register,
        };
        self.board.stage(self.number, stage);
        let mut holds = self.holds.lock();
        match step {
            Step::Check | Step::Compare | Step::Convert => {}
            Step::Complete => {
                holds.converted = None;
                if let Some(grant) = &mut holds.grant {
                    grant.shrink_to(self.tail);
                }
            }
            Step::Register => {
                holds.converted = None;
                holds.grant = None;
                holds.upload = None;
            }
        }
    }

    fn may_complete(&self) -> BoxFuture<'_, Outcome> {
        Box::pin(self.is_sure())
    }

    fn may_register(&self) -> BoxFuture<'_, Outcome> {
        Box::pin(async {
            let turn = Arc::clone(&self.jobs).acquire_owned();
            let turn = self.interrupt.unless_asked(turn).await?;
            // It is never closed.
            self.holds.lock().job = turn.ok();
            self.book.record(&Record::Registering {
                at: now(),
                id: self.id.clone(),
            })?;
            self.is_sure().await
        })
    }
}
