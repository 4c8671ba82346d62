//! One disk on its way: what it holds of what all share, and gives back as soon as it can.

use std::fmt;
use std::sync::Arc;

use batch::Stage;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::book::Book;
use crate::budget::Grant;
use crate::held::Guard;
use crate::state::{Record, now};
use crate::track::TrackedDisk;
use cloud::{Result, StopToken};
use import::{Activity, Counting, JobWatch, Observer, Step};

/// Observes the import of one disk.
pub(crate) struct ItemSteps {
    pub(crate) disk: TrackedDisk,
    pub(crate) book: Arc<Book>,
    /// The turns to register.
    pub(crate) jobs: Arc<Semaphore>,
    pub(crate) id: String,
    pub(crate) stop: StopToken,
    pub(crate) claim: Option<Guard>,
    /// Memory that the last parts need.
    pub(crate) tail: u64,
    pub(crate) holds: Mutex<Holds>,
}

/// What one disk holds. Dropped with the import, whatever ends it.
pub(crate) struct Holds {
    pub(crate) grant: Option<Grant>,
    pub(crate) upload: Option<OwnedSemaphorePermit>,
    pub(crate) job: Option<OwnedSemaphorePermit>,
    /// Disks of the machine that are not encoded yet.
    pub(crate) disks: usize,
    /// Tells the lane that the next disk can be converted.
    pub(crate) converted: Option<oneshot::Sender<()>>,
}

impl ItemSteps {
    /// Whether the disk is this worker's.
    async fn is_sure(&self) -> Result {
        match &self.claim {
            Some(claim) => claim.sure().await,
            None => Ok(()),
        }
    }
}

impl Observer for ItemSteps {
    fn notice(&self, text: fmt::Arguments<'_>) {
        self.disk.notice(text);
    }

    fn warn(&self, text: fmt::Arguments<'_>) {
        self.disk.warn(text);
    }

    fn count(&self, activity: Activity, total: u64) -> Arc<dyn Counting> {
        self.disk.count(activity, total)
    }

    fn follow(&self) -> Box<dyn JobWatch> {
        self.disk.follow()
    }

    fn at(&self, step: Step) {
        let stage = match step {
            Step::Check => Stage::Check,
            Step::Compare => Stage::Compare,
            Step::Convert => Stage::Transfer,
            Step::Complete => Stage::Complete,
            Step::Register => Stage::Register,
        };
        self.disk.stage(stage);
        let mut holds = self.holds.lock();
        match step {
            Step::Check | Step::Compare | Step::Convert => {}
            // Another disk of the machine is read next.
            Step::Complete if holds.disks > 1 => holds.disks = holds.disks.saturating_sub(1),
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

    fn may_complete(&self) -> BoxFuture<'_, Result> {
        Box::pin(self.is_sure())
    }

    fn may_register(&self) -> BoxFuture<'_, Result> {
        Box::pin(async {
            let turn = Arc::clone(&self.jobs).acquire_owned();
            let turn = self.stop.unless_asked(turn).await?;
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
