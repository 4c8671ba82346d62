//! One disk on its way: what it holds of what all share, and gives back as soon as it can.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::batch::{Item, Stage};
use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::budget::Grant;
use super::claims::Guard;
use super::runner::Runner;
use super::state::{Record, now};
use crate::console::Console;
use crate::exit::Outcome;
use crate::interrupt::Interrupt;
use ::import::{Activity, Counting, JobWatch, Observer, Step};

/// Observes the import of one disk.
pub(super) struct ItemSteps {
    console: Console,
    runner: Arc<Runner>,
    number: usize,
    id: String,
    interrupt: Interrupt,
    claim: Option<Guard>,
    /// Memory that the last parts need.
    tail: u64,
    holds: Mutex<Holds>,
}

/// Dropped with the import, whatever ends it.
struct Holds {
    grant: Option<Grant>,
    upload: Option<OwnedSemaphorePermit>,
    job: Option<OwnedSemaphorePermit>,
    /// Tells the lane that the next disk can be converted.
    converted: Option<oneshot::Sender<()>>,
}

impl ItemSteps {
    #[expect(clippy::too_many_arguments, reason = "one caller")]
    pub(super) fn new(
        runner: &Arc<Runner>,
        console: Console,
        number: usize,
        item: &Item,
        interrupt: Interrupt,
        claim: Option<Guard>,
        (grant, tail): (Grant, u64),
        upload: Option<OwnedSemaphorePermit>,
        converted: Option<oneshot::Sender<()>>,
    ) -> Self {
        Self {
            runner: Arc::clone(runner),
            console,
            number,
            id: item.id.clone(),
            interrupt,
            claim,
            tail,
            holds: Mutex::new(Holds {
                grant: Some(grant),
                upload,
                job: None,
                converted,
            }),
        }
    }

    /// Whether the disk is this worker's.
    async fn is_sure(&self) -> Outcome {
        match &self.claim {
            Some(claim) => claim.sure().await,
            None => Ok(()),
        }
    }

    fn holds(&self) -> MutexGuard<'_, Holds> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.runner.board.stage(self.number, stage);
        let mut holds = self.holds();
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
            let turn = Arc::clone(&self.runner.jobs).acquire_owned();
            let turn = self.interrupt.unless_asked(turn).await?;
            // It is never closed.
            self.holds().job = turn.ok();
            self.runner.record(&Record::Registering {
                at: now(),
                id: self.id.clone(),
            })?;
            self.is_sure().await
        })
    }
}
