//! Which level the next blocks get when the line decides ([`Level::Auto`](crate::Level::Auto)).
//!
//! ```text
//!                 writes wait for room: the line is the limit
//!  ┌───┐ ───────────────────────────────────────────────────▶ ┌───┐ ──▶ ┌───┐
//!  │ 1 │                                                      │ 3 │     │ 6 │
//!  └───┘ ◀─────────────────────────────────────────────────── └───┘ ◀── └───┘
//!                 one and a half sinks of bytes without a wait, and it holds no more than before: the CPU is the limit
//! ```
//!
//! A state machine without clock and threads: it learns what the sink and the workers did. While
//! the line is the limit, the part of the time that workers were at work says how much longer each
//! block may take: the level becomes the highest at which they would still rest a little. Work is
//! measured as it passes on the clock: where others want the processor too, it takes longer, and
//! the level stays low. Between the two rules lies a wide gap, and after a step down nothing is
//! tried for a while, so the level does not swing.

use std::time::{Duration, Instant};

use crate::level::AUTO_LEVELS;
use crate::limits::cores;
use crate::sink::Backlog;

/// Time that a byte takes at each level, to that of the first, and some more: `docs/performance.md`
/// has 1.4 and 3.7 for whole conversions, and zstd alone takes more.
const COSTS: [f64; AUTO_LEVELS.len()] = [1.0, 1.6, 4.0];
/// The part of the time that workers may be at work after a step up.
const MOST_BUSY: f64 = 0.8;
/// A round of measuring takes at least this long. It also has as many blocks as are on their way at
/// any time, and [`WAITS`] waits or all that the sink holds, so that it is a whole cycle of parts
/// that end together. A step up needs two rounds that agree: a server that stalls once makes no
/// slow line.
const ROUND: Duration = Duration::from_millis(500);
/// Waits of a round: so many parts share the line, and end together, when an upload begins.
const WAITS: u32 = 4;
/// Rounds after a step down before another step up is tried.
const HOLD_ROUNDS: u32 = 8;

/// What happened since the last look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Time that has passed.
    pub(crate) took: Duration,
    /// Whether a write waited for room.
    pub(crate) waited: bool,
    /// What workers needed for the blocks that were written, as if all worked at the same time.
    pub(crate) worked: Duration,
    /// Blocks that were written.
    pub(crate) blocks: u64,
    /// Bytes that were written.
    pub(crate) bytes: u64,
    /// Bytes that the sink holds now.
    pub(crate) held: u64,
    /// Bytes that it may hold.
    pub(crate) capacity: u64,
}

/// Time from the end of one wait to the end of another.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    took: Duration,
    worked: Duration,
    blocks: u64,
    bytes: u64,
    waits: u32,
}

impl Round {
    fn is_over(&self, window: u64, capacity: u64) -> bool {
        self.took >= ROUND
            && self.blocks >= window
            && (self.waits >= WAITS || self.bytes >= capacity)
    }
}

/// The state machine.
#[derive(Clone, Debug)]
pub(crate) struct Controller {
    /// Index into [`AUTO_LEVELS`].
    step: usize,
    /// Blocks that are on their way at any time: they have the level of before.
    window: u64,
    /// Of them, those that still come.
    settling: u64,
    /// Rounds in which no step up is tried.
    hold: u32,
    round: Option<Round>,
    /// The step that the round before was for.
    proposed: usize,
    /// Bytes that were written since a write had to wait.
    calm: u64,
    /// What the sink held then.
    held: u64,
}

impl Controller {
    /// Begins at the lowest level. `window` blocks are on their way at the same time at most.
    pub(crate) fn new(window: usize) -> Self {
        Self {
            step: 0,
            window: window as u64,
            settling: 0,
            hold: 0,
            round: None,
            proposed: 0,
            calm: 0,
            held: 0,
        }
    }

    /// The level of the blocks that are begun next.
    pub(crate) fn level(&self) -> i32 {
        let level = AUTO_LEVELS.get(self.step);
        level.copied().unwrap_or(zvhd2::DEFAULT_LEVEL)
    }

    /// Takes in what was seen.
    pub(crate) fn see(&mut self, seen: Seen) {
        if self.settling > 0 {
            self.settling = self.settling.saturating_sub(seen.blocks);
            self.begin(None, seen.held);
            return;
        }
        let round = self.round.map(|round| Round {
            took: round.took.saturating_add(seen.took),
            worked: round.worked.saturating_add(seen.worked),
            blocks: round.blocks.saturating_add(seen.blocks),
            bytes: round.bytes.saturating_add(seen.bytes),
            waits: round.waits.saturating_add(u32::from(seen.waited)),
        });
        if seen.waited {
            let round = match round {
                Some(round) if round.is_over(self.window, seen.capacity) => {
                    self.end_round(round);
                    Round::default()
                }
                round => round.unwrap_or_default(),
            };
            self.begin(Some(round), seen.held);
            return;
        }
        self.round = round;
        self.calm = self.calm.saturating_add(seen.bytes);
        // After a wait several parts may be through at once: so much fits in without another one,
        // and half as much again while it is sent.
        if self.calm >= seen.capacity.saturating_add(seen.capacity / 2) {
            if seen.held > self.held {
                // All parts were through at once, and a slow line lets them be filled again.
                self.begin(round, seen.held);
                return;
            }
            // The line has taken as much as came, or more.
            if self.step > 0 {
                self.hold = HOLD_ROUNDS;
                self.change(self.step.saturating_sub(1));
            }
            self.begin(None, seen.held);
        }
    }

    /// Restarts the count of what is written without a wait.
    fn begin(&mut self, round: Option<Round>, held: u64) {
        self.round = round;
        self.calm = 0;
        self.held = held;
    }

    fn end_round(&mut self, round: Round) {
        let busy = round.worked.as_secs_f64() / round.took.as_secs_f64();
        if self.hold > 0 {
            self.hold = self.hold.saturating_sub(1);
            return;
        }
        let now = COSTS.get(self.step).copied().unwrap_or(1.0);
        let fits = |cost: &f64| busy * cost / now <= MOST_BUSY;
        let step = COSTS.iter().rposition(fits).unwrap_or_default();
        let agreed = step.min(self.proposed);
        self.proposed = step;
        if agreed > self.step {
            self.change(agreed);
        }
    }

    fn change(&mut self, step: usize) {
        self.step = step;
        self.proposed = 0;
        self.settling = self.window;
    }
}

/// A [`Controller`] with a clock.
#[derive(Debug)]
pub(crate) struct Adapting {
    controller: Controller,
    /// Workers that run at the same time.
    at_once: u32,
    looked: Instant,
    waited: Duration,
}

impl Adapting {
    /// For a run of `threads` workers.
    pub(crate) fn new(threads: usize, window: usize) -> Self {
        // However many there are: while they rest a little, which is when it matters, each works at
        // full speed.
        let at_once = threads.min(cores());
        Self {
            controller: Controller::new(window),
            at_once: u32::try_from(at_once).unwrap_or(u32::MAX).max(1),
            looked: Instant::now(),
            waited: Duration::ZERO,
        }
    }

    /// Looks at the sink after `blocks` blocks of `bytes` bytes were written, which took a worker
    /// `worked`; the level of the blocks that are begun next.
    pub(crate) fn look(
        &mut self,
        backlog: Backlog,
        (blocks, bytes): (u64, u64),
        worked: Duration,
    ) -> i32 {
        let now = Instant::now();
        self.controller.see(Seen {
            took: now.saturating_duration_since(self.looked),
            waited: backlog.waited > self.waited,
            worked: worked / self.at_once,
            blocks,
            bytes,
            held: backlog.held,
            capacity: backlog.capacity,
        });
        self.looked = now;
        self.waited = backlog.waited;
        self.controller.level()
    }
}

#[cfg(test)]
mod tests;
