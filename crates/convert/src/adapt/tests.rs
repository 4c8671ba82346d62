//! The state machine against a model of workers, a sink and a line.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// Bytes of a block at each level, of an operating system's disk.
const BYTES: [u64; AUTO_LEVELS.len()] = [840_000, 770_000, 735_000];
const MIB: u64 = 1 << 20;

/// A machine and a line.
#[derive(Clone, Debug)]
struct Model {
    /// Blocks per second that all workers make at the lowest level, and how many times longer each
    /// level takes.
    blocks_per_second: f64,
    costs: [f64; AUTO_LEVELS.len()],
    /// Bytes per second; the second from block `turn` on.
    line: [f64; 2],
    turn: usize,
    window: usize,
    part: u64,
    /// Parts that the sink holds at most.
    parts: u64,
    /// Parts that are sent at the same time.
    streams: usize,
}

impl Default for Model {
    /// The machine of `docs/performance.md`.
    fn default() -> Self {
        Self {
            blocks_per_second: 240.0,
            costs: [1.0, 1.4, 3.72],
            line: [1e12; 2],
            turn: usize::MAX,
            window: 12,
            part: 8 * MIB,
            parts: 14,
            streams: 4,
        }
    }
}

/// What came of a run.
#[derive(Debug, Default)]
struct Run {
    seconds: f64,
    /// Level of each block.
    levels: Vec<i32>,
}

impl Run {
    fn changes(&self) -> usize {
        let pairs = self.levels.windows(2);
        pairs.filter(|two| two[0] != two[1]).count()
    }

    /// The part of the blocks from `from` on that have `level`.
    fn share(&self, level: i32, from: usize) -> f64 {
        let blocks = &self.levels[from..];
        let have = blocks.iter().filter(|found| **found == level).count();
        have as f64 / blocks.len() as f64
    }
}

/// Parts on their way: the first of them share the line.
#[derive(Default)]
struct Sending {
    /// Bytes that are left of each.
    parts: VecDeque<f64>,
    at: f64,
}

impl Sending {
    /// When the next part is through.
    fn next_end(&self, (line, streams): (f64, usize)) -> f64 {
        let together = self.parts.iter().take(streams);
        let shares = streams.min(self.parts.len()) as f64;
        self.at + together.copied().fold(f64::INFINITY, f64::min) * shares / line
    }

    fn until(&mut self, now: f64, line: (f64, usize)) {
        while self.at < now {
            let shares = line.1.min(self.parts.len());
            let end = self.next_end(line).min(now);
            let sent = (end - self.at) * line.0 / shares.max(1) as f64;
            for part in self.parts.iter_mut().take(shares) {
                *part -= sent;
            }
            // What is left of a part by rounding is nothing.
            self.parts.retain(|left| *left > 1.0);
            self.at = end;
        }
    }
}

impl Model {
    /// Sends `blocks` blocks, at one level or at those that the controller says.
    fn run(&self, blocks: usize, fixed: Option<usize>) -> Run {
        let mut controller = Controller::new(self.window);
        let mut run = Run::default();
        // When the last blocks were taken.
        let mut taken: VecDeque<f64> = VecDeque::from(vec![0.0; self.window]);
        let mut sending = Sending::default();
        let (mut now, mut ready) = (0.0_f64, 0.0_f64);
        let mut filled = self.part;
        for block in 0..blocks {
            let line = (self.line[usize::from(block >= self.turn)], self.streams);
            let step = fixed.unwrap_or(controller.step);
            run.levels.push(AUTO_LEVELS[step]);
            let begun = taken.pop_front().unwrap().max(ready);
            ready = begun + self.costs[step] / self.blocks_per_second;
            let began = now;
            now = now.max(ready);
            let (mut bytes, mut waited) = (BYTES[step], false);
            while bytes > 0 {
                if filled == self.part {
                    sending.until(now, line);
                    // The next part begins when there is room for all of it.
                    while sending.parts.len() as u64 >= self.parts {
                        now = sending.next_end(line);
                        sending.until(now, line);
                        waited = true;
                    }
                    filled = 0;
                }
                let part = bytes.min(self.part - filled);
                bytes -= part;
                filled += part;
                if filled == self.part {
                    sending.until(now, line);
                    sending.parts.push_back(self.part as f64);
                }
            }
            taken.push_back(now);
            sending.until(now, line);
            controller.see(Seen {
                took: Duration::from_secs_f64(now - began),
                waited,
                worked: Duration::from_secs_f64(self.costs[step] / self.blocks_per_second),
                blocks: 1,
                bytes: BYTES[step],
                held: (sending.parts.len() as u64 + 1) * self.part,
                capacity: self.parts * self.part,
            });
        }
        let rest: f64 = sending.parts.iter().sum();
        run.seconds = now + rest / self.line[usize::from(blocks > self.turn)];
        run
    }

    /// Seconds at the level that is best for this machine and line.
    fn best(&self, blocks: usize) -> f64 {
        let steps = 0..AUTO_LEVELS.len();
        let runs = steps.map(|step| self.run(blocks, Some(step)).seconds);
        runs.fold(f64::INFINITY, f64::min)
    }
}

fn line(mib_per_second: f64) -> Model {
    Model {
        line: [mib_per_second * MIB as f64; 2],
        ..Model::default()
    }
}

#[test]
fn a_slow_line_gets_the_highest_level_as_soon_as_the_sink_is_full() {
    for rate in [0.5, 5.0, 20.0] {
        let run = line(rate).run(2000, None);
        assert_eq!(run.levels[0], 1);
        assert!(run.share(6, 250) > 0.99, "{rate}: {}", run.share(6, 250));
        assert_eq!(run.changes(), 1, "{rate}");
    }
}

#[test]
fn a_line_that_is_faster_than_compression_stays_at_the_lowest_level() {
    for rate in [190.0, 250.0, 5000.0] {
        let run = line(rate).run(4000, None);
        assert_eq!(run.share(1, 0), 1.0, "{rate}");
    }
}

/// What a server does that writes its cache back: nothing, for two seconds.
#[test]
fn a_server_that_stalls_once_in_a_while_makes_no_slow_line() {
    let mut controller = Controller::new(12);
    let part = 8 * MIB;
    let see = |controller: &mut Controller, took, waited| {
        controller.see(Seen {
            took: Duration::from_millis(took),
            waited,
            worked: Duration::from_millis(7),
            blocks: 1,
            bytes: BYTES[0],
            held: 14 * part,
            capacity: 14 * part,
        });
    };
    for block in 0..3000 {
        // Work is nine tenths of the time, but for the stalls.
        let took = if block % 400 == 399 { 2000 } else { 8 };
        see(&mut controller, took, block % 10 == 9);
        assert_eq!(controller.level(), 1, "{block}");
    }
}

#[test]
fn a_line_in_between_gets_the_level_in_between() {
    let run = line(75.0).run(4000, None);
    assert!(run.share(3, 500) > 0.95, "{}", run.share(3, 500));
}

#[test]
fn the_level_follows_a_line_that_becomes_slow_or_fast() {
    for (rates, level) in [([15.0, 2000.0], 1), ([2000.0, 15.0], 6)] {
        let model = Model {
            line: rates.map(|rate| rate * MIB as f64),
            turn: 2000,
            ..Model::default()
        };
        let share = model.run(5000, None).share(level, 3500);
        assert!(share > 0.99, "{rates:?}: {share}");
    }
}

#[test]
fn parts_of_a_large_object_of_which_two_fit_are_no_reason_to_come_down() {
    let model = Model {
        part: 160 * MIB,
        parts: 2,
        ..line(20.0)
    };
    let run = model.run(6000, None);
    let changed: Vec<_> = (1..6000)
        .filter(|at| run.levels[*at] != run.levels[at - 1])
        .map(|at| (at, run.levels[at]))
        .collect();
    assert_eq!(run.levels.last(), Some(&6), "{changed:?}");
    assert!(changed.len() <= 2, "{changed:?}");
}

#[test]
fn a_machine_on_which_higher_levels_cost_more_than_was_expected_is_not_held_up_by_them() {
    let model = Model {
        costs: [1.0, 3.0, 12.0],
        ..line(40.0)
    };
    let (run, best) = (model.run(6000, None), model.best(6000));
    assert!(run.seconds < 1.1 * best, "{} {best}", run.seconds);
    assert!(run.changes() < 40, "{}", run.changes());
}

fn any_model() -> impl Strategy<Value = Model> {
    let machine = (20.0..4000.0_f64, 1.2..2.0_f64, 2.5..5.0_f64);
    let part = prop_oneof![Just(8 * MIB), Just(32 * MIB), Just(160 * MIB)];
    let sink = (part, 2..20_u64, 1..8_usize);
    (machine, 0.5..3000.0_f64, 1..100_usize, sink).prop_map(
        |((blocks_per_second, three, six), rate, window, (part, parts, streams))| Model {
            blocks_per_second,
            costs: [1.0, three, six],
            line: [rate * MIB as f64; 2],
            turn: usize::MAX,
            window,
            part,
            parts,
            streams,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever machine and line: an import is hardly slower than at the best level that one could
    /// have chosen for it, and the level does not swing.
    #[test]
    fn no_import_is_much_slower_than_at_its_best_fixed_level(model in any_model()) {
        const BLOCKS: usize = 6000;
        let (run, best) = (model.run(BLOCKS, None), model.best(BLOCKS));
        // What a trial costs that does not pay: the time in which the highest level fills the sink.
        let sink = (model.part * model.parts) as f64;
        let trial = sink / BYTES[2] as f64 * model.costs[2] / model.blocks_per_second;
        let most = 1.12 * best + trial / 2.0;
        prop_assert!(run.seconds <= most, "{} {best} {trial} {}", run.seconds, run.changes());
        let bytes = BLOCKS as u64 * BYTES[0];
        let sinks = usize::try_from(bytes / (model.part * model.parts)).unwrap();
        prop_assert!(run.changes() <= 4 + 2 * sinks, "{} {sinks}", run.changes());
    }

    /// Whatever is seen, in whatever order: the level is one of those that memory was planned for.
    #[test]
    fn every_level_is_one_that_was_planned(
        seen in prop::collection::vec(
            ((0..5000_u64, 0..5000_u64, any::<bool>()), 0..3_u64, any::<u64>(), any::<u64>(), any::<u64>()),
            0..300,
        ),
        window in 0..100_usize,
    ) {
        let mut controller = Controller::new(window);
        for ((took, worked, waited), blocks, bytes, held, capacity) in seen {
            controller.see(Seen {
                took: Duration::from_millis(took),
                waited,
                worked: Duration::from_millis(worked),
                blocks,
                bytes,
                held,
                capacity,
            });
            prop_assert!(AUTO_LEVELS.contains(&controller.level()));
        }
    }
}
