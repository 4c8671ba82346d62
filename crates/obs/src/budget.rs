//! The memory that parts may hold, shared by the thread that fills them and the tasks that send
//! them.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::Notify;

/// A number of bytes that is handed out and comes back.
///
/// A condition variable and not an async semaphore: only a plain thread waits, and giving back
/// never blocks.
#[derive(Debug)]
pub(crate) struct Budget {
    state: Mutex<State>,
    changed: Condvar,
    /// Signals to those that could give something back that a thread waits.
    short: Notify,
    total: u64,
}

#[derive(Debug)]
struct State {
    free: u64,
    waiting: usize,
    closed: bool,
}

impl Budget {
    pub(crate) fn new(total: u64) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                free: total,
                waiting: 0,
                closed: false,
            }),
            changed: Condvar::new(),
            short: Notify::new(),
            total,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Waits until `bytes` are free and takes them. `None` once the budget is closed, and when it
    /// could never be met.
    pub(crate) fn acquire(self: &Arc<Self>, bytes: u64) -> Option<Permit> {
        if bytes > self.total {
            return None;
        }
        let lacks = |state: &mut State| !state.closed && state.free < bytes;
        let mut state = self.lock();
        if lacks(&mut state) {
            state.waiting = state.waiting.saturating_add(1);
            self.short.notify_one();
            self.changed.wait_while(&mut state, lacks);
            state.waiting = state.waiting.saturating_sub(1);
        }
        if state.closed {
            return None;
        }
        state.free = state.free.saturating_sub(bytes);
        Some(Permit {
            budget: Arc::clone(self),
            bytes,
        })
    }

    /// Whether a thread waits for bytes to come back.
    pub(crate) fn is_short(&self) -> bool {
        self.lock().waiting > 0
    }

    /// Waits until somebody begins to wait for bytes; one call for each.
    pub(crate) async fn runs_short(&self) {
        self.short.notified().await;
    }

    /// Refuses all further requests, and wakes the waiting thread.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Bytes in all.
    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    /// Free bytes.
    pub(crate) fn free(&self) -> u64 {
        self.lock().free
    }
}

/// Bytes taken from a [`Budget`]; they go back when this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        state.free = state.free.saturating_add(self.bytes);
        drop(state);
        self.budget.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn waits_until_enough_came_back() {
        let budget = Budget::new(10);
        let first = budget.acquire(6).unwrap();
        let second = budget.acquire(4).unwrap();
        let waiting = thread::spawn({
            let budget = Arc::clone(&budget);
            move || budget.acquire(9).is_some()
        });
        drop(second);
        thread::sleep(Duration::from_millis(20));
        assert!(!waiting.is_finished() && budget.is_short());
        drop(first);
        assert!(waiting.join().unwrap());
        assert!(!budget.is_short());
        assert_eq!(budget.free(), 10);
    }

    #[test]
    fn closing_wakes_who_waits() {
        let budget = Budget::new(1);
        let held = budget.acquire(1).unwrap();
        let waiting = thread::spawn({
            let budget = Arc::clone(&budget);
            move || budget.acquire(1).is_none()
        });
        thread::sleep(Duration::from_millis(20));
        budget.close();
        assert!(waiting.join().unwrap());
        drop(held);
        assert!(budget.acquire(1).is_none());
    }

    #[test]
    fn what_can_never_be_met_does_not_wait() {
        assert!(Budget::new(1).acquire(2).is_none());
    }
}
