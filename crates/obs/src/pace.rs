//! How many parts are sent at the same time, tuned while sending.
//!
//! ```text
//!              faster than before                      busy (503, 429)
//!   ┌────────┐──────────────────▶ half as many more ┌─────────┐ half as many
//!   │ trying │                                      │ cutting │──┐ then one more each round,
//!   └────────┘──────────────────▶ back one step,    └─────────┘◀─┘ up to just below where it was cut
//!              no faster          and hold for some rounds
//! ```
//!
//! A state machine without clock and network: callers report what happened and when.

use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

/// Where the search begins.
const START: usize = 4;
/// The most that are tried when the number is tuned: servers refuse clients that open more, and a
/// line that eight streams cannot fill is rarely filled by forty.
pub const MOST_IN_FLIGHT: usize = 32;
/// A round takes at least this long: shorter ones measure noise.
const ROUND: Duration = Duration::from_millis(500);
/// What more parts at the same time must bring to be kept: growing by half must bring a tenth.
const WORTH: f64 = 1.1;
/// Rounds before it is tried again whether more would be faster.
const HOLD_ROUNDS: u32 = 8;
/// Requests that were under way together fail together: one cut for all of them.
const ONE_CUT: Duration = Duration::from_secs(3);

/// The state machine. Times are since any fixed moment.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    adapts: bool,
    most: usize,
    limit: usize,
    state: State,
    round: Round,
    cut_at: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// `before` is the limit and the bytes per second of the round before the last step up.
    Trying { before: Option<(usize, f64)> },
    /// Nothing is tried for some rounds.
    Holding { rounds: u32 },
    /// One more each round, up to `ceiling`.
    Recovering { ceiling: usize },
}

/// What was measured since the limit last changed.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    began: Option<Duration>,
    bytes: u64,
    parts: usize,
    /// Whether parts had to wait for one another all the time; otherwise their maker sets the pace.
    starved: bool,
}

impl Pace {
    /// Up to `most` parts: always, or as many as it pays for.
    pub(crate) fn new(most: usize, adapts: bool) -> Self {
        let most = most.max(1);
        Self {
            adapts,
            most,
            limit: if adapts { START.min(most) } else { most },
            state: State::Trying { before: None },
            round: Round::default(),
            cut_at: None,
        }
    }

    /// How many parts may be under way now.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// A part of `bytes` bytes was confirmed. `waiting` says whether another one was ready to be
    /// sent.
    pub(crate) fn confirmed(&mut self, bytes: u64, waiting: bool, now: Duration) {
        if !self.adapts {
            return;
        }
        let Some(began) = self.round.began else {
            // The first one only starts the clock: when it began is not known.
            self.round.began = Some(now);
            return;
        };
        self.round.bytes = self.round.bytes.saturating_add(bytes);
        self.round.parts = self.round.parts.saturating_add(1);
        self.round.starved |= !waiting;
        let took = now.saturating_sub(began);
        if self.round.parts < self.limit || took < ROUND {
            return;
        }
        let Round { bytes, starved, .. } = self.round;
        self.round = Round {
            began: Some(now),
            ..Round::default()
        };
        self.end_round(bytes as f64 / took.as_secs_f64(), starved);
    }

    fn end_round(&mut self, rate: f64, starved: bool) {
        self.state = match self.state {
            // More at the same time cannot be faster than parts are made.
            State::Trying { before: None } if starved => State::Trying { before: None },
            State::Trying { before } => match before {
                Some((limit, old)) if rate < old * WORTH => {
                    self.change(limit);
                    State::Holding {
                        rounds: HOLD_ROUNDS,
                    }
                }
                _ => self.step_up(rate),
            },
            State::Holding { rounds: 0 } => State::Trying { before: None },
            State::Holding { rounds } => State::Holding { rounds: rounds - 1 },
            State::Recovering { ceiling } if self.limit < ceiling => {
                self.change(self.limit.saturating_add(1));
                State::Recovering { ceiling }
            }
            State::Recovering { .. } => State::Holding {
                rounds: HOLD_ROUNDS,
            },
        };
    }

    fn step_up(&mut self, rate: f64) -> State {
        let before = self.limit;
        self.change(before.saturating_add(before.div_ceil(2)).min(self.most));
        if self.limit == before {
            return State::Holding {
                rounds: HOLD_ROUNDS,
            };
        }
        State::Trying {
            before: Some((before, rate)),
        }
    }

    /// The server turned a request away because it is busy.
    pub(crate) fn pushed_back(&mut self, now: Duration) {
        let same = |cut: Duration| now.saturating_sub(cut) < ONE_CUT;
        if !self.adapts || self.cut_at.is_some_and(same) {
            return;
        }
        self.cut_at = Some(now);
        let was = self.limit;
        self.change((was / 2).max(1));
        self.state = State::Recovering {
            // One less than what was too much.
            ceiling: was.saturating_sub(1).max(1),
        };
        tracing::info!(
            "the server is busy: {} instead of {was} parts at the same time",
            self.limit
        );
    }

    /// Parts that began under another limit tell nothing about this one.
    fn change(&mut self, limit: usize) {
        if limit != self.limit {
            tracing::debug!("{limit} parts at the same time, {} before", self.limit);
        }
        self.limit = limit.max(1);
        self.round = Round::default();
    }
}

/// A [`Pace`] that tasks share, with a clock.
#[derive(Debug)]
pub(crate) struct Pacer {
    pace: Mutex<Pace>,
    start: Instant,
}

impl Default for Pacer {
    /// One at a time.
    fn default() -> Self {
        Self::new(Pace::new(1, false))
    }
}

impl Pacer {
    pub(crate) fn new(pace: Pace) -> Self {
        Self {
            pace: Mutex::new(pace),
            start: Instant::now(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock()
    }

    pub(crate) fn limit(&self) -> usize {
        self.lock().limit()
    }

    pub(crate) fn confirmed(&self, bytes: u64, waiting: bool) {
        self.lock().confirmed(bytes, waiting, self.start.elapsed());
    }

    pub(crate) fn pushed_back(&self) {
        self.lock().pushed_back(self.start.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const MOST: usize = MOST_IN_FLIGHT;

    /// A line on which one stream gets `stream` bytes per second and all together `line`.
    struct Line {
        stream: f64,
        line: f64,
        now: Duration,
    }

    impl Line {
        fn rate(&self, streams: usize) -> f64 {
            (self.stream * streams as f64).min(self.line)
        }

        /// Sends `parts` parts of 8 MiB one after the other into `pace`.
        fn send(&mut self, pace: &mut Pace, parts: usize, waiting: bool) {
            for _ in 0..parts {
                let takes = (8 * MIB) as f64 / self.rate(pace.limit());
                self.now += Duration::from_secs_f64(takes);
                pace.confirmed(8 * MIB, waiting, self.now);
            }
        }
    }

    fn line(stream: u64, line: u64) -> Line {
        Line {
            stream: (stream * MIB) as f64,
            line: (line * MIB) as f64,
            now: Duration::ZERO,
        }
    }

    #[test]
    fn a_fixed_number_stays_whatever_happens() {
        let mut pace = Pace::new(7, false);
        line(5, 1000).send(&mut pace, 500, true);
        pace.pushed_back(Duration::from_secs(1000));
        assert_eq!(pace.limit(), 7);
        assert_eq!(Pace::new(0, false).limit(), 1);
    }

    #[test]
    fn it_grows_while_more_streams_are_faster() {
        let mut pace = Pace::new(MOST, true);
        assert_eq!(pace.limit(), 4);
        line(5, 10_000).send(&mut pace, 400, true);
        assert_eq!(pace.limit(), MOST);
    }

    #[test]
    fn it_stays_where_the_line_is_full() {
        let mut pace = Pace::new(MOST, true);
        let mut line = line(10, 60);
        let mut most = 0;
        for _ in 0..100 {
            line.send(&mut pace, 10, true);
            most = most.max(pace.limit());
        }
        // Six streams fill it. Trials reach one step beyond and come back.
        assert!(most <= 14, "{most}");
        line.send(&mut pace, 30, true);
        assert!((6..=14).contains(&pace.limit()), "{}", pace.limit());
    }

    #[test]
    fn a_slow_line_that_one_stream_fills_is_left_alone() {
        let mut pace = Pace::new(MOST, true);
        line(2, 2).send(&mut pace, 200, true);
        assert!(pace.limit() <= 6, "{}", pace.limit());
    }

    #[test]
    fn it_does_not_grow_when_parts_are_made_slower_than_they_are_sent() {
        let mut pace = Pace::new(MOST, true);
        line(5, 10_000).send(&mut pace, 400, false);
        assert_eq!(pace.limit(), 4);
    }

    #[test]
    fn it_halves_once_for_requests_that_fail_together_and_recovers_below_what_was_too_much() {
        let mut pace = Pace::new(MOST, true);
        let mut line = line(5, 10_000);
        line.send(&mut pace, 400, true);
        let at = line.now;
        for ms in 0..10 {
            pace.pushed_back(at + Duration::from_millis(ms * 100));
        }
        assert_eq!(pace.limit(), MOST / 2);
        let mut seen = Vec::new();
        for _ in 0..40 {
            line.send(&mut pace, 40, true);
            seen.push(pace.limit());
        }
        assert!(seen.contains(&(MOST - 1)), "{seen:?}");
        assert!(seen[..10].is_sorted(), "{seen:?}");
    }

    #[test]
    fn a_server_that_stays_busy_gets_one_part_at_a_time() {
        let mut pace = Pace::new(MOST, true);
        for second in 0..60 {
            pace.pushed_back(Duration::from_secs(second));
        }
        assert_eq!(pace.limit(), 1);
    }
}
