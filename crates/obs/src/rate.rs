//! A limit on bytes per second, shared by everything that moves.

use std::num::NonZeroU64;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Time that may be made up for after a pause: enough to keep a line busy between two polls, too
/// little to be seen.
const BURST: Duration = Duration::from_millis(50);

/// Hands out turns: each caller learns how long to wait, so that all of them together keep to the
/// limit.
#[derive(Debug)]
pub(crate) struct Rate {
    per_second: NonZeroU64,
    /// When everything that was handed out so far has had its time.
    free_at: Mutex<Option<Instant>>,
}

impl Rate {
    pub(crate) fn new(per_second: NonZeroU64) -> Self {
        Self {
            per_second,
            free_at: Mutex::default(),
        }
    }

    pub(crate) fn per_second(&self) -> u64 {
        self.per_second.get()
    }

    /// Takes `bytes`, which may move after the returned time.
    pub(crate) fn take(&self, bytes: u64) -> Duration {
        self.take_at(bytes, Instant::now())
    }

    fn take_at(&self, bytes: u64, now: Instant) -> Duration {
        let takes = Duration::from_secs_f64(bytes as f64 / self.per_second.get() as f64);
        let mut free_at = self.free_at.lock();
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let start = free_at.map_or(earliest, |at| at.max(earliest));
        let end = start.checked_add(takes).unwrap_or(start);
        *free_at = Some(end);
        end.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takers_wait_so_that_together_they_keep_to_the_limit() {
        let rate = Rate::new(NonZeroU64::new(1000).unwrap());
        let start = Instant::now();
        // Two takers, each asking again when its turn has come.
        let mut due = [start, start];
        let mut moved = 0;
        while let Some(next) = due
            .iter_mut()
            .min()
            .filter(|at| **at < start + Duration::from_secs(10))
        {
            *next += rate.take_at(100, *next);
            moved += 100;
        }
        assert!((9_900..=10_200).contains(&moved), "{moved}");
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let rate = Rate::new(NonZeroU64::new(1000).unwrap());
        let start = Instant::now();
        rate.take_at(100, start);
        let later = start + Duration::from_secs(3600);
        assert_eq!(rate.take_at(1050, later), Duration::from_secs(1));
    }
}
