//! Work done by many threads, results taken in order by one: the window every run goes through.
//!
//! ```text
//!          ticket 7 ┌──────────┐
//!  jobs ───────────▶│ worker 1 ├─┐   results, by ticket
//!  (one cursor) ... │ worker 2 ├─┼──▶ [4 5 _ 7 _ _] ──▶ consume, on the calling thread
//!                   └──────────┘ ┘     window
//! ```
//!
//! A job gets its ticket when it is taken. Its work begins only when it is less than `window`
//! tickets ahead of what has been consumed, so at most `window` results exist at any time. The
//! holder of the lowest ticket is always inside the window, so some thread can always continue; no
//! thread polls. Locks are never held while a job is worked on or a result is consumed.
//!
//! The first error stops everybody: before their next job, or when they wait.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use parking_lot::{Condvar, Mutex};
use std::thread;

use crate::cancel::CancelToken;
use crate::error::{Error, Result};
use crate::limits::{HASHES_AHEAD, MAX_THREADS};

/// How many threads work, and how far ahead of the consumer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Width {
    /// Worker threads, at least 1; the consumer is another, the caller's.
    pub(crate) threads: usize,
    /// Most jobs that are begun and not consumed, at least 1.
    pub(crate) window: usize,
}

impl Width {
    /// The width of a run whose results take no memory to speak of.
    pub(crate) fn for_hashes(threads: usize) -> Self {
        let threads = threads.clamp(1, MAX_THREADS);
        Self {
            threads,
            window: threads * HASHES_AHEAD,
        }
    }
}

/// Runs `work` on the jobs that `next_job` yields, and `consume` on its results in the jobs' order.
///
/// `next_job` is called under a lock, by one worker at a time. Each worker has a state of its own,
/// made by `new_worker` on its thread. `cancel` is checked before each job and each result.
///
/// # Errors
/// The first of: an error of any of the closures, `Cancelled`, `WorkerPanicked`. All workers have
/// ended by then. A panic of `consume` continues in the caller, after all workers are done.
pub(crate) fn run<J, S, R: Send>(
    width: Width,
    cancel: &CancelToken,
    next_job: impl FnMut() -> Result<Option<J>> + Send,
    new_worker: impl Fn() -> Result<S> + Sync,
    work: impl Fn(&mut S, J) -> Result<R> + Sync,
    mut consume: impl FnMut(R) -> Result<()>,
) -> Result<()> {
    let jobs = Mutex::new(Jobs {
        next_job,
        issued: 0,
    });
    let window = Window::new(width.window.max(1));
    let worker = || {
        let run = || worker(&jobs, &window, cancel, &new_worker, &work);
        // A panic must not leave the consumer waiting for a result that never comes.
        let result = catch_unwind(AssertUnwindSafe(run));
        if let Err(error) = result.unwrap_or(Err(Error::WorkerPanicked)) {
            window.fail(error);
        }
    };
    thread::scope(|scope| {
        let mut workers = Vec::new();
        let result = {
            // Stops the workers however this block is left, a panic of `consume` included.
            let _stop = StopOnDrop(&window);
            spawn(scope, width.threads, worker, &mut workers)
                .and_then(|()| consume_all(&window, cancel, &mut consume))
        };
        // The scope alone waits for the closures to return, not for the threads to be gone.
        for worker in workers {
            // It cannot have panicked: that was caught.
            let _ = worker.join();
        }
        result
    })
}

/// Starts up to `threads` workers.
fn spawn<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    threads: usize,
    worker: impl Fn() + Copy + Send + 'scope,
    workers: &mut Vec<thread::ScopedJoinHandle<'scope, ()>>,
) -> Result<()> {
    for number in 1..=threads.max(1) {
        let builder = thread::Builder::new().name(format!("worker-{number}"));
        match builder.spawn_scoped(scope, worker) {
            Ok(handle) => workers.push(handle),
            // Fewer threads are slower, not wrong.
            Err(_) if number > 1 => break,
            Err(e) => {
                return Err(Error::refused(format!("no worker thread can start: {e}"))
                    .with_hint("raise the limit on threads (ulimit -u)"));
            }
        }
    }
    Ok(())
}

/// Takes the results in order until there are no more.
fn consume_all<R>(
    window: &Window<R>,
    cancel: &CancelToken,
    consume: &mut impl FnMut(R) -> Result<()>,
) -> Result<()> {
    while let Some(result) = window.take()? {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        consume(result)?;
        window.advance();
    }
    // Cancelled after the last job: what is left to do (a tail, a commit) must not happen.
    if cancel.is_cancelled() {
        return Err(Error::Cancelled);
    }
    Ok(())
}

/// One worker's life: take a job, wait for its turn, do it, hand it over.
fn worker<J, S, R>(
    jobs: &Mutex<Jobs<impl FnMut() -> Result<Option<J>>>>,
    window: &Window<R>,
    cancel: &CancelToken,
    new_worker: &impl Fn() -> Result<S>,
    work: &impl Fn(&mut S, J) -> Result<R>,
) -> Result<()> {
    let mut state = new_worker()?;
    loop {
        let (ticket, job) = {
            let mut jobs = jobs.lock();
            if window.state.lock().stopped {
                return Ok(());
            }
            match (jobs.next_job)()? {
                Some(job) => {
                    let ticket = jobs.issued;
                    jobs.issued += 1;
                    (ticket, job)
                }
                None => {
                    window.end_at(jobs.issued);
                    return Ok(());
                }
            }
        };
        if !window.wait_for_turn(ticket) {
            return Ok(());
        }
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let result = work(&mut state, job)?;
        window.deliver(ticket, result);
    }
}

/// The jobs not taken yet.
struct Jobs<F> {
    next_job: F,
    issued: u64,
}

/// The results between the workers and the consumer.
struct Window<R> {
    state: Mutex<State<R>>,
    /// Told when the window moves on, or everything stops.
    room: Condvar,
    /// Told when the next result in order is there, or none will come.
    ready: Condvar,
}

struct State<R> {
    /// Results by ticket; the first slot is the one of ticket `consumed`.
    results: VecDeque<Option<R>>,
    consumed: u64,
    /// Number of jobs there are in all, once that is known.
    total: Option<u64>,
    error: Option<Error>,
    stopped: bool,
}

impl<R> Window<R> {
    fn new(size: usize) -> Self {
        Self {
            state: Mutex::new(State {
                results: (0..size).map(|_| None).collect(),
                consumed: 0,
                total: None,
                error: None,
                stopped: false,
            }),
            room: Condvar::new(),
            ready: Condvar::new(),
        }
    }

    /// Waits until `ticket` is inside the window; `false` when everything stops.
    fn wait_for_turn(&self, ticket: u64) -> bool {
        let mut state = self.state.lock();
        self.room.wait_while(&mut state, |state| {
            !state.stopped && state.slot(ticket).is_none()
        });
        !state.stopped
    }

    fn deliver(&self, ticket: u64, result: R) {
        let mut state = self.state.lock();
        let is_next = ticket == state.consumed;
        if let Some(slot) = state.slot(ticket) {
            *slot = Some(result);
        }
        if is_next {
            self.ready.notify_one();
        }
    }

    /// The next result in order; `None` when all have been consumed.
    fn take(&self) -> Result<Option<R>> {
        let mut state = self.state.lock();
        loop {
            if let Some(error) = state.error.take() {
                return Err(error);
            }
            if let Some(result) = state.results.front_mut().and_then(Option::take) {
                return Ok(Some(result));
            }
            if state.total == Some(state.consumed) {
                return Ok(None);
            }
            self.ready.wait(&mut state);
        }
    }

    /// Moves on by one, after the result has been consumed.
    fn advance(&self) {
        let mut state = self.state.lock();
        state.results.rotate_left(1);
        state.consumed += 1;
        self.room.notify_all();
    }

    fn end_at(&self, total: u64) {
        self.state.lock().total = Some(total);
        self.ready.notify_one();
    }

    fn fail(&self, error: Error) {
        self.state.lock().error.get_or_insert(error);
        self.stop();
    }

    fn stop(&self) {
        self.state.lock().stopped = true;
        self.room.notify_all();
        self.ready.notify_one();
    }
}

impl<R> State<R> {
    /// The slot of `ticket`, when it is inside the window.
    fn slot(&mut self, ticket: u64) -> Option<&mut Option<R>> {
        let ahead = ticket.checked_sub(self.consumed)?;
        self.results.get_mut(usize::try_from(ahead).ok()?)
    }
}

struct StopOnDrop<'a, R>(&'a Window<R>);

impl<R> Drop for StopOnDrop<'_, R> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

#[cfg(test)]
mod tests;
