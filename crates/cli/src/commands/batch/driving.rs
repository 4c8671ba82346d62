//! One disk from its claim to its outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ::batch::{Item, ItemOutcome, ItemState, UnixMillis};
use journal::SourceIdentity;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::board::Board;
use super::book::Book;
use super::budget::Budget;
use super::check::Ready;
use super::claims::{Claimed, Claims, Held};
use super::outcome;
use super::setup::Setup;
use super::state::{Record, now};
use super::steps::{Holds, ItemSteps};
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;
use ::import::{Action, Before, Context, ImportSpec};
use cloud::from_obs;

/// A disk that waits.
pub(super) struct Work {
    pub(super) number: usize,
    pub(super) item: Item,
    pub(super) ready: Box<Ready>,
    /// What it weighs: bytes that are read.
    pub(super) weight: u64,
    pub(super) queued: UnixMillis,
    /// Not before; another worker has it until then.
    pub(super) after: Option<Instant>,
}

/// Everything that the lanes and the disks share.
pub(super) struct Runner {
    pub(super) setup: Arc<Setup>,
    pub(super) board: &'static Board,
    pub(super) claims: Option<Claims>,
    /// What is written down.
    pub(super) book: Arc<Book>,
    pub(super) interrupt: Interrupt,
    pub(super) fail_fast: bool,
    pub(super) uploads: Arc<Semaphore>,
    pub(super) jobs: Arc<Semaphore>,
    pub(super) queue: Mutex<Vec<Work>>,
    pub(super) tasks: Mutex<Vec<JoinHandle<()>>>,
    pub(super) failing: AtomicBool,
    /// Disks that were taken and have not ended.
    pub(super) at_work: AtomicUsize,
}

impl Runner {
    /// Claims a disk where workers share the batch: the claim, or nothing to claim, or `None` when
    /// nothing is left to do here.
    pub(super) async fn claim(&self, work: &mut Work) -> Result<Option<Option<Held>>, Claiming> {
        let Some(claims) = &self.claims else {
            return Ok(Some(None));
        };
        let claimed = claims.take(&work.item, &self.interrupt).await;
        match claimed.map_err(Claiming::Failed)? {
            Claimed::Theirs(again) => Err(Claiming::Again(Instant::now() + again)),
            Claimed::Done(done) => {
                let mut done = match done {
                    Some(done) => *done,
                    None => outcome::blank(&work.item, None),
                };
                let by = done
                    .worker
                    .clone()
                    .unwrap_or_else(|| "another worker".into());
                done.state = ItemState::Skipped;
                done.cause = Some(format!("done by {by}"));
                done.hint = None;
                (done.read_bytes, done.sent_bytes, done.kept_bytes) = (0, 0, 0);
                done.timeline.clear();
                self.board.end(work.number, &mut done);
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
    pub(super) async fn drive(
        self: &Arc<Self>,
        work: Work,
        held: Option<Held>,
        converted: oneshot::Sender<()>,
    ) {
        let mut work = work;
        let number = work.number;
        let child = match &held {
            Some(held) => held.interrupt().child(),
            None => self.interrupt.child(),
        };
        let source = SourceIdentity::of(&work.item.source).ok();
        let mut blank = self.book.blank(&work.item);
        let ended = self
            .import(&mut work, &mut blank, held.as_ref(), &child, converted)
            .await;
        child.stop();
        let failure = match ended {
            Ok(ended) => {
                self.end(number, outcome::of(blank, &ended), source, held)
                    .await;
                return;
            }
            Err(failure) => failure,
        };
        let interrupted = failure.class() == Exit::Interrupted;
        let lost = match &held {
            Some(held) if !self.interrupt.is_asked() => held.why_lost().await,
            _ => None,
        };
        if let Some(lost) = lost {
            // Whoever has it now does it, or dies too: it is looked at again.
            self.board.back(number, &lost.line());
            work.ready.begun = true;
            work.after = Some(Instant::now());
            self.queue.lock().push(work);
            return;
        }
        let mut outcome = outcome::failed(blank, &failure);
        if interrupted && self.failing.load(Ordering::Acquire) {
            outcome.cause = Some("stopped, because another disk failed (--fail-fast)".into());
        }
        self.end(number, outcome, source, held).await;
    }

    async fn import(
        self: &Arc<Self>,
        work: &mut Work,
        blank: &mut ItemOutcome,
        held: Option<&Held>,
        interrupt: &Interrupt,
        converted: oneshot::Sender<()>,
    ) -> Outcome<::import::Outcome> {
        let (number, item, ready) = (work.number, &work.item, &mut work.ready);
        let console = self.board.console(number);
        if ready.begun {
            self.fence(item, &ready.spec).await?;
        }
        let planned = match ready.planned.take() {
            Some(planned) => planned,
            None => {
                self.setup
                    .plan(&ready.spec, ready.before, console, interrupt)
                    .await?
            }
        };
        blank.format = planned.format();
        blank.virtual_size = planned.plan.as_ref().map(|plan| plan.virtual_size);
        let permit = Arc::clone(&self.uploads).acquire_owned();
        let permit: Option<OwnedSemaphorePermit> = interrupt.unless_asked(permit).await?.ok();
        let grant = interrupt
            .unless_asked(self.setup.budget.grant(planned.memory))
            .await?;
        // From here on there may be something of it in the cloud.
        self.book.record(&Record::Began {
            at: now(),
            id: item.id.clone(),
            bucket: item.bucket.clone(),
            key: item.object_key(),
            name: item.name.clone(),
        })?;
        if let Some(held) = held {
            held.begin(item).await?;
        }
        let holds = Holds {
            grant: Some(grant),
            upload: permit,
            job: None,
            // The service converts what is uploaded as it is.
            converted: (planned.action != Action::UploadAsIs).then_some(converted),
        };
        let steps = ItemSteps {
            console,
            board: self.board,
            book: Arc::clone(&self.book),
            jobs: Arc::clone(&self.jobs),
            number,
            id: item.id.clone(),
            interrupt: interrupt.clone(),
            claim: held.map(Held::guard),
            tail: planned.tail_memory(),
            holds: Mutex::new(holds),
        };
        let cx = Context {
            session: &self.setup.session,
            storage: Some(&self.setup.storage),
            observer: &steps,
            stop: interrupt,
            before: ready.before,
        };
        ready.spec.work = Budget::options(planned.memory, &ready.spec.work);
        ::import::run(&ready.spec, cx).await
    }

    /// Throws away uploads of the disk that no journal here knows: a kill came before their id was
    /// noted, or a dead worker has left them. A worker that is only slow cannot complete one any
    /// more either.
    async fn fence(&self, item: &Item, spec: &ImportSpec) -> Outcome {
        let storage = &self.setup.storage;
        let key = item.object_key();
        let ours = ::import::upload_of(spec, &self.setup.session, &key);
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
        Ok(())
    }

    /// Writes down how a disk ended, and tells everybody.
    pub(super) async fn end(
        &self,
        number: usize,
        mut outcome: ItemOutcome,
        source: Option<SourceIdentity>,
        held: Option<Held>,
    ) {
        self.board.end(number, &mut outcome);
        let done = outcome.state.is_done();
        // A failure stops the run by itself.
        let _ = self.book.record(&Record::Ended {
            at: now(),
            outcome: Box::new(outcome::short(&outcome)),
            source: source.filter(|_| done),
        });
        if let Some(held) = held {
            let told = match done {
                true => held.done(&outcome::short(&outcome)).await,
                false => held.give_up().await,
            };
            if let Err(failure) = told {
                outcome.warnings.push(failure.line());
            }
        }
        if outcome.state.is_failure() && self.fail_fast {
            self.failing.store(true, Ordering::Release);
            self.interrupt.stop();
        }
        self.book.keep(number, outcome);
    }
}

/// Why a disk was not claimed.
pub(super) enum Claiming {
    Again(Instant),
    Failed(Failure),
}
