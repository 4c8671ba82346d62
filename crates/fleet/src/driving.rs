//! One disk from its claim to its outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use batch::{Item, ItemOutcome, Readiness, UnixMillis};
use journal::SourceIdentity;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::book::Book;
use crate::budget::Budget;
use crate::check::Ready;
use crate::claims::{Claimed, Claims};
use crate::held::Held;
use crate::outcome;
use crate::setup::Setup;
use crate::state::{Record, now};
use crate::steps::{Holds, ItemSteps};
use crate::track::{TrackedDisk, Tracker};
use cloud::{Class, Failure, Result, StopToken, from_obs};
use import::{Action, Before, Completion, Context, ImportSpec};

/// A disk that waits.
pub(crate) struct Work {
    pub(crate) number: usize,
    pub(crate) item: Item,
    pub(crate) ready: Box<Ready>,
    /// What it weighs: bytes that are read.
    pub(crate) weight: u64,
    pub(crate) queued: UnixMillis,
    /// Not before; another worker has it until then.
    pub(crate) after: Option<Instant>,
}

/// Everything that the lanes and the disks share.
pub(crate) struct Runner {
    pub(crate) setup: Arc<Setup>,
    pub(crate) tracker: Arc<Tracker>,
    pub(crate) claims: Option<Claims>,
    /// What is written down.
    pub(crate) book: Arc<Book>,
    pub(crate) stop: StopToken,
    pub(crate) uploads: Arc<Semaphore>,
    pub(crate) jobs: Arc<Semaphore>,
    pub(crate) queue: Mutex<Vec<Work>>,
    pub(crate) tasks: Mutex<Vec<JoinHandle<()>>>,
    pub(crate) failing: AtomicBool,
    /// Disks that were taken and have not ended.
    pub(crate) at_work: AtomicUsize,
}

impl Runner {
    /// Claims a disk where workers share the batch: the claim, or nothing to claim, or `None` when
    /// nothing is left to do here.
    pub(crate) async fn claim(&self, work: &mut Work) -> Result<Option<Option<Held>>, Claiming> {
        let Some(claims) = &self.claims else {
            return Ok(Some(None));
        };
        let claimed = claims.take(&work.item, &self.stop).await;
        match claimed.map_err(Claiming::Failed)? {
            Claimed::Theirs(again) => Err(Claiming::Again(Instant::now() + again)),
            Claimed::Done(done) => {
                let mut done = outcome::elsewhere(&work.item, done.as_deref());
                self.tracker.end(work.number, &mut done);
                self.book.keep(work.number, done);
                Ok(None)
            }
            Claimed::Won(held) => {
                let begun = held.was_begun(&work.item).await;
                let begun = begun.map_err(Claiming::Failed)?;
                if begun {
                    work.ready.begun = true;
                    work.ready.before = Before {
                        uploaded: true,
                        registered: true,
                    };
                }
                Ok(Some(Some(held)))
            }
        }
    }

    /// Imports one disk.
    pub(crate) async fn drive(
        self: &Arc<Self>,
        work: Work,
        held: Option<Held>,
        converted: oneshot::Sender<()>,
    ) {
        let mut work = work;
        let number = work.number;
        let child = match &held {
            Some(held) => held.token().child(),
            None => self.stop.child(),
        };
        let source = SourceIdentity::of(&work.item.source).ok();
        let mut blank = self.book.blank(&work.item);
        let ended = self
            .import(&mut work, &mut blank, held.as_ref(), &child, converted)
            .await;
        child.stop();
        let failure = match ended {
            Ok(ended) => {
                let ending = Ending {
                    source,
                    left_alone: ended.result == Completion::Skipped,
                    ..Ending::of(outcome::of(blank, &ended))
                };
                self.end(number, ending, held).await;
                return;
            }
            Err(failure) => failure,
        };
        let interrupted = failure.class() == Class::Interrupted;
        let lost = match &held {
            Some(held) if !self.stop.is_asked() => held.why_lost().await,
            _ => None,
        };
        if let Some(lost) = lost {
            // The new owner imports it, or dies too: it is tried again later.
            self.tracker.back(number, &lost);
            work.ready.begun = true;
            work.after = Some(Instant::now());
            self.queue.lock().push(work);
            return;
        }
        let mut outcome = outcome::failed(blank, &failure, self.tracker.observer());
        if interrupted && self.failing.load(Ordering::Acquire) {
            outcome.cause = Some("stopped, because another disk failed".into());
        }
        self.end(number, Ending::of(outcome), held).await;
    }

    async fn import(
        self: &Arc<Self>,
        work: &mut Work,
        blank: &mut ItemOutcome,
        held: Option<&Held>,
        stop: &StopToken,
        converted: oneshot::Sender<()>,
    ) -> Result<import::Outcome> {
        let (item, ready) = (&work.item, &mut work.ready);
        let disk = TrackedDisk {
            tracker: Arc::clone(&self.tracker),
            number: work.number,
        };
        if ready.begun {
            self.fence(item, &ready.spec).await?;
        }
        let planned = match ready.planned.take() {
            Some(planned) => planned,
            None => {
                self.setup
                    .plan(&ready.spec, ready.before, &disk, stop)
                    .await?
            }
        };
        blank.format = planned.format();
        blank.guest = planned.guest.as_ref().and_then(Readiness::read);
        blank.virtual_size = planned.plan.as_ref().map(|plan| plan.virtual_size);
        let permit = Arc::clone(&self.uploads).acquire_owned();
        let permit: Option<OwnedSemaphorePermit> = stop.unless_asked(permit).await?.ok();
        let grant = stop
            .unless_asked(self.setup.budget.grant(planned.memory))
            .await?;
        if planned.action != Action::Skip {
            self.begin(item, held).await?;
        }
        let holds = Holds {
            grant: Some(grant),
            upload: permit,
            job: None,
            disks: planned.data_images.len().saturating_add(1),
            // The service converts what is uploaded as it is.
            converted: (planned.action != Action::UploadAsIs).then_some(converted),
        };
        let steps = ItemSteps {
            disk,
            book: Arc::clone(&self.book),
            jobs: Arc::clone(&self.jobs),
            id: item.id.clone(),
            stop: stop.clone(),
            claim: held.map(Held::guard),
            tail: planned.tail_memory(),
            holds: Mutex::new(holds),
        };
        let cx = Context {
            session: &self.setup.cx.session,
            storage: Some(&self.setup.storage),
            observer: &steps,
            stop,
            before: ready.before,
        };
        ready.spec.work = Budget::options(planned.memory, &ready.spec.work);
        import::run(&ready.spec, cx).await
    }

    /// Writes down that from here on there may be something of `item` in the cloud.
    async fn begin(&self, item: &Item, held: Option<&Held>) -> Result {
        self.book.record(&Record::Began {
            at: now(),
            id: item.id.clone(),
            bucket: item.bucket.clone(),
            key: item.object_key(),
            name: item.name.clone(),
        })?;
        match held {
            Some(held) => held.begin(item).await,
            None => Ok(()),
        }
    }

    /// Throws away uploads of the disk that no journal here knows: a kill came before their id was
    /// noted, or a dead worker has left them. A worker that is only slow cannot complete one any
    /// more either.
    async fn fence(&self, item: &Item, spec: &ImportSpec) -> Result {
        let storage = &self.setup.storage;
        for key in tokio::task::block_in_place(|| import::object_keys(spec)) {
            let ours = import::upload_of(spec, &self.setup.cx.session, &key);
            let open = storage
                .list_uploads(&item.bucket, Some(&key))
                .await
                .map_err(|error| from_obs(&error))?;
            for upload in open {
                if upload.key == key && Some(&upload.upload_id) != ours.as_ref() {
                    storage
                        .abort_upload(&item.bucket, &key, &upload.upload_id)
                        .await
                        .map_err(|error| from_obs(&error))?;
                }
            }
        }
        Ok(())
    }

    /// Writes down how a disk ended, and tells everybody.
    pub(crate) async fn end(&self, number: usize, ending: Ending, held: Option<Held>) {
        let Ending {
            mut outcome,
            source,
            left_alone,
        } = ending;
        self.tracker.end(number, &mut outcome);
        let done = outcome.state.is_done() && !left_alone;
        // A failure stops the run by itself.
        let _ = self.book.record(&Record::Ended {
            at: now(),
            outcome: Box::new(outcome::short(&outcome)),
            source: source.filter(|_| done),
            left_alone,
        });
        if let Some(held) = held {
            let noted = match done {
                true => held.done(&outcome::short(&outcome)).await,
                false => held.give_up().await,
            };
            if let Err(failure) = noted {
                outcome.warnings.push(failure.line());
            }
        }
        if outcome.state.is_failure() && self.setup.spec.fail_fast {
            self.failing.store(true, Ordering::Release);
            self.stop.stop();
        }
        self.book.keep(number, outcome);
    }
}

/// How a disk ended.
pub(crate) struct Ending {
    pub(crate) outcome: ItemOutcome,
    /// The disk as it was.
    pub(crate) source: Option<SourceIdentity>,
    /// Whether it was skipped because of what exists.
    pub(crate) left_alone: bool,
}

impl Ending {
    /// An end of which nothing more is known.
    pub(crate) fn of(outcome: ItemOutcome) -> Self {
        Self {
            outcome,
            source: None,
            left_alone: false,
        }
    }
}

/// Why a disk was not claimed.
pub(crate) enum Claiming {
    Again(Instant),
    Failed(Failure),
}
