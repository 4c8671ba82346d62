//! The books of a run: the batch's journal, how each disk ended, and why the run stopped.

use batch::{Item, ItemOutcome, ItemState};
use cloud::{Class, Failure, Result, StopToken, from_journal};
use journal::Log;
use parking_lot::Mutex;

use crate::outcome;
use crate::state::Record;

/// What is written down while a batch runs.
pub(crate) struct Book {
    log: Mutex<Option<Log>>,
    worker: Option<String>,
    /// Stops the run when nothing can be written down any more.
    stop: StopToken,
    outcomes: Mutex<Vec<Option<ItemOutcome>>>,
    /// Why the whole run cannot continue.
    broken: Mutex<Option<Failure>>,
}

impl Book {
    /// A book of `disks` disks.
    pub(crate) fn new(
        log: Option<Log>,
        worker: Option<String>,
        disks: usize,
        stop: StopToken,
    ) -> Self {
        Self {
            log: Mutex::new(log),
            worker,
            stop,
            outcomes: Mutex::new(vec![None; disks]),
            broken: Mutex::default(),
        }
    }

    /// The outcome of `item` before anything is known of it.
    pub(crate) fn blank(&self, item: &Item) -> ItemOutcome {
        outcome::blank(item, self.worker.as_deref())
    }

    /// Writes to the batch's journal. A run that cannot write down what it does would do it again:
    /// it stops.
    pub(crate) fn record(&self, record: &Record) -> Result {
        let written = match &mut *self.log.lock() {
            Some(log) => log.append(record).map_err(|error| from_journal(&error)),
            None => Ok(()),
        };
        written.inspect_err(|failure| {
            self.fail(Failure::new(failure.class(), failure.line()));
            self.stop.stop();
        })
    }

    /// Keeps how disk `number` ended.
    pub(crate) fn keep(&self, number: usize, outcome: ItemOutcome) {
        if let Some(place) = self.outcomes.lock().get_mut(number) {
            *place = Some(outcome);
        }
    }

    /// Keeps why the whole run cannot continue; the first reason counts.
    pub(crate) fn fail(&self, failure: Failure) {
        self.broken.lock().get_or_insert(failure);
    }

    /// Why the whole run could not continue, if so.
    pub(crate) fn broken(&self) -> Option<Failure> {
        self.broken.lock().take()
    }

    /// How every disk ended, in the order of `items`.
    pub(crate) fn outcomes_of(&self, items: &[Item]) -> Vec<ItemOutcome> {
        let mut outcomes = self.outcomes.lock();
        let mut ended = outcomes.iter_mut().map(Option::take);
        let mut of = |item: &Item| {
            let ended = ended.next().flatten();
            ended.unwrap_or_else(|| ItemOutcome {
                state: ItemState::Waiting,
                cause: Some("not started".to_owned()),
                exit: Class::Interrupted.code(),
                ..self.blank(item)
            })
        };
        items.iter().map(&mut of).collect()
    }
}
