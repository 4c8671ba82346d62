//! The runner: lanes that convert, a budget of memory, and the end of each disk written down.
//!
//! ```text
//!  queue ──▶ lane 1 (the largest that waits) ─┐ claim, look, memory   ┌─ convert ─┬─ complete ─┬─ register ─▶ end
//!        ──▶ lane 2 (the smallest)           ─┤──────────────────────▶│  (lane)   │ (parts)    │ (job)
//!        ──▶ …                               ─┘                        └───────────┴────────────┴──────────
//! ```
//!
//! A lane takes the next disk as soon as the previous one is encoded; the last parts and the job of
//! that one continue in parallel. So small disks never wait behind a huge one, nor the reverse.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use journal::Log;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use crate::book::Book;
use crate::check::{Checked, Verdict};
use crate::claims::Claims;
use crate::driving::{Claiming, Ending, Runner, Work};
use crate::outcome;
use crate::setup::Setup;
use crate::state::now;
use crate::track::Tracker;
use cloud::{Class, Failure};

/// Which of the disks that wait a lane takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    First,
    Largest,
    Smallest,
}

impl Runner {
    pub(crate) fn new(
        setup: &Arc<Setup>,
        tracker: Arc<Tracker>,
        log: Option<Log>,
        claims: Option<Claims>,
        worker: Option<String>,
    ) -> Arc<Self> {
        let stop = setup.cx.stop.child();
        Arc::new(Self {
            setup: Arc::clone(setup),
            tracker,
            claims,
            book: Arc::new(Book::new(log, worker, setup.items.len(), stop.clone())),
            stop,
            uploads: Arc::new(Semaphore::new(setup.width.uploads)),
            jobs: Arc::new(Semaphore::new(setup.width.jobs)),
            queue: Mutex::default(),
            tasks: Mutex::default(),
            failing: AtomicBool::new(false),
            at_work: AtomicUsize::new(0),
        })
    }

    /// Imports everything that is queued.
    pub(crate) async fn run(self: &Arc<Self>) {
        let tracker = Arc::clone(&self.tracker);
        let ticking = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            loop {
                ticks.tick().await;
                tracker.tick();
            }
        });
        let converts = self.setup.width.converts;
        let lanes = (0..converts).map(|lane| {
            // With one lane, the manifest's order is as good as any.
            let order = match (converts, lane) {
                (1, _) => Order::First,
                (_, 0) => Order::Largest,
                _ => Order::Smallest,
            };
            let this = Arc::clone(self);
            tokio::spawn(async move { this.lane(order).await })
        });
        join_all(lanes.collect::<Vec<_>>()).await;
        self.wait_for_tasks().await;
        ticking.abort();
        self.stop.stop();
    }

    /// Ends what needs no work, and queues the rest.
    pub(crate) async fn fill(&self, checked: Vec<Checked>) {
        for (number, checked) in checked.into_iter().enumerate() {
            let Checked { item, verdict } = checked;
            match verdict {
                Verdict::Ready(ready) => {
                    let weight = match &ready.planned {
                        Some(planned) => planned.data_bytes(),
                        None => std::fs::metadata(&item.source).map_or(0, |found| found.len()),
                    };
                    self.queue.lock().push(Work {
                        number,
                        item,
                        ready,
                        weight,
                        queued: now(),
                        after: None,
                    });
                }
                Verdict::Done(mut done) => {
                    self.tracker.end(number, &mut done);
                    self.book.keep(number, *done);
                }
                Verdict::Refused(failure) => {
                    let refused =
                        outcome::failed(self.book.blank(&item), &failure, self.tracker.observer());
                    self.end(number, Ending::of(refused), None).await;
                }
            }
        }
    }

    /// Takes a disk off the queue; `Err` says when it is worth looking again.
    fn pick(&self, order: Order) -> Result<Work, Option<Instant>> {
        let mut queue = self.queue.lock();
        let now = Instant::now();
        let due = |work: &Work| work.after.is_none_or(|after| after <= now);
        let ready = queue.iter().enumerate().filter(|(_, work)| due(work));
        let chosen = match order {
            Order::First => ready.min_by_key(|(_, work)| work.number),
            Order::Largest => {
                ready.max_by_key(|(_, work)| (work.weight, std::cmp::Reverse(work.number)))
            }
            Order::Smallest => ready.min_by_key(|(_, work)| (work.weight, work.number)),
        };
        match chosen.map(|(place, _)| place) {
            Some(place) => Ok(queue.remove(place)),
            None => Err(queue.iter().filter_map(|work| work.after).min()),
        }
    }

    /// Converts one disk after the other.
    async fn lane(self: Arc<Self>, order: Order) {
        loop {
            if self.stop.is_asked() {
                return;
            }
            match self.pick(order) {
                Ok(work) => self.take(work).await,
                // A disk at work may come back, when its claim is lost.
                Err(None) if self.claims.is_some() && self.at_work.load(Ordering::Acquire) > 0 => {
                    let pause = tokio::time::sleep(Duration::from_millis(200));
                    if self.stop.unless_asked(pause).await.is_err() {
                        return;
                    }
                }
                Err(None) => return,
                Err(Some(again)) => {
                    let until = tokio::time::sleep_until(again);
                    if self.stop.unless_asked(until).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Gets one disk, and returns when it is converted or has ended.
    async fn take(self: &Arc<Self>, mut work: Work) {
        let held = match self.claim(&mut work).await {
            Ok(Some(held)) => held,
            // Another worker has it, or has done it.
            Ok(None) => return,
            Err(Claiming::Again(after)) => {
                work.after = Some(after);
                self.queue.lock().push(work);
                return;
            }
            Err(Claiming::Failed(failure)) => {
                let blank = self.book.blank(&work.item);
                let failed = outcome::failed(blank, &failure, self.tracker.observer());
                self.end(work.number, Ending::of(failed), None).await;
                return;
            }
        };
        self.tracker.begin(work.number, work.queued);
        self.at_work.fetch_add(1, Ordering::AcqRel);
        let (converted, is_converted) = oneshot::channel();
        let task = tokio::spawn({
            let this = Arc::clone(self);
            async move {
                this.drive(work, held, converted).await;
                this.at_work.fetch_sub(1, Ordering::AcqRel);
            }
        });
        self.tasks.lock().push(task);
        // Dropping its other end says the same.
        let _ = is_converted.await;
    }

    /// Waits for all disks, also for those that a lane does not wait for.
    async fn wait_for_tasks(&self) {
        loop {
            let task = self.tasks.lock().pop();
            let Some(task) = task else { return };
            if task.await.is_err() {
                self.book
                    .fail(Failure::new(Class::Io, "the task of a disk crashed"));
            }
        }
    }
}
