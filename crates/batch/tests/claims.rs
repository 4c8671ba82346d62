//! Many workers, one storage, every delay drawn by chance: at no moment do two workers hold an
//! item, and a dead worker's item is taken over. Listings have names only, so whatever a storage
//! does with ETags and times is covered; the clock of a worker may stand still while its machine
//! sleeps.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use batch::claim::{Action, Answer, Contest, DONE, Lease, Listing, Timing, Way};
use proptest::prelude::*;

/// Milliseconds of the one true time.
type Millis = u64;

/// How the run is made.
#[derive(Clone, Copy, Debug)]
struct World {
    way: Way,
    workers: usize,
    /// Longest way of a request, each direction.
    delay: Millis,
    /// Of a hundred steps, how many are followed by the worker's death.
    deaths: u64,
    /// Of a hundred requests, how many fail: half of them with an effect.
    failures: u64,
    /// Of a hundred steps, how many are followed by a pause of up to three leases.
    pauses: u64,
    /// Of a hundred beats, how many find that the machine slept for up to three leases, and its
    /// clock with it.
    sleeps: u64,
    /// Longest time that the item takes; 0: it never ends.
    work: Millis,
}

/// Nothing goes wrong, and the item never ends.
const CALM: World = World {
    way: Way::IfAbsent,
    workers: 4,
    delay: 50,
    deaths: 0,
    failures: 0,
    pauses: 0,
    sleeps: 0,
    work: 0,
};

const TIMING: Timing = Timing {
    lease: Duration::from_secs(8),
    settle: Duration::from_millis(2000),
};

struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        // SplitMix64: the same run for the same seed.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end.max(1)
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

#[derive(Clone, Default)]
struct Storage(BTreeMap<String, Vec<u8>>);

impl Storage {
    fn put(&mut self, name: &str, body: &[u8]) {
        self.0.insert(name.to_owned(), body.to_vec());
    }

    fn listing(&self) -> Listing {
        Listing {
            names: self.0.keys().cloned().collect(),
        }
    }

    fn act(&mut self, action: &Action) -> Answer {
        match action {
            Action::List => Answer::Listing(self.listing()),
            Action::Get { name } => Answer::Body(self.0.get(name).cloned()),
            Action::Put {
                name,
                body,
                if_absent,
            } => {
                if *if_absent && self.0.contains_key(name) {
                    return Answer::Exists;
                }
                self.put(name, body);
                Answer::Stored
            }
            Action::Delete { name } => {
                self.0.remove(name);
                Answer::Deleted
            }
            other => panic!("no request: {other:?}"),
        }
    }
}

enum Event {
    /// The request reaches the storage.
    Arrives(usize, Action, bool),
    /// An attempt that nobody waits for reaches the storage.
    Late(Action),
    /// The answer reaches the worker, or a wait is over.
    Answered(usize, Answer),
    /// A renewal reaches the storage; whether the item is done when the claim is still held.
    Renewal(usize, String, Vec<u8>, bool),
    /// Its answer, with what was there behind it.
    Renewed(usize, Storage, bool),
    /// The worker looks at its claim.
    Beat(usize),
    /// The item is done, if it is the worker's still.
    Finish(usize),
    /// What a worker stores at the end reaches the storage.
    Done(Option<String>),
}

struct Worker {
    contest: Contest,
    lease: Option<Lease>,
    dead: bool,
    /// Its clock runs by so many thousandths too fast.
    drift: u64,
    offset: u64,
    /// How long its machine has slept in all, and until when it sleeps.
    slept: Millis,
    asleep: Millis,
    /// Whether it waits for the answer behind which it does what cannot be taken back. Nothing
    /// helps a machine that sleeps then but the storage, which has no upload of its any more.
    finishing: bool,
}

impl Worker {
    fn clock(&self, now: Millis) -> Duration {
        let awake = now.max(self.asleep) - self.slept;
        Duration::from_millis(self.offset + awake + awake * self.drift / 1000)
    }

    /// What renews the claim, if the worker has it and lives.
    fn renew(&mut self, now: Millis) -> Option<(String, Vec<u8>)> {
        let clock = self.clock(now);
        let lease = self.lease.as_mut().filter(|_| !self.dead);
        lease.and_then(|lease| lease.renew(clock))
    }

    fn sleep(&mut self, now: Millis, span: Millis) {
        self.slept += span;
        self.asleep = now + span;
    }

    /// Whether the claim is held, as far as this worker can tell from what was there behind its
    /// renewal.
    fn renewed(&mut self, clock: Duration, there: &Storage) -> bool {
        let Some(lease) = &mut self.lease else {
            return false;
        };
        let listing = there.listing();
        let taken = lease
            .rivals(&listing)
            .into_iter()
            .any(|rival| lease.yields_to(rival, &there.0[rival]));
        if taken {
            lease.lose();
        }
        lease.renewed(clock)
    }
}

/// What came of it.
#[derive(Debug, Default)]
struct Outcome {
    won: usize,
    /// How often the item was done.
    finished: usize,
    twice: Option<Millis>,
}

/// A run, at the moment `now`.
struct Run {
    world: World,
    chance: Chance,
    now: Millis,
    workers: Vec<Worker>,
    storage: Storage,
    outcome: Outcome,
    /// What happens when, in the order of time; events of one moment in the order of their numbers.
    queue: BTreeMap<(Millis, u64), Event>,
    count: u64,
}

fn run(world: World, seed: u64, until: Millis) -> Outcome {
    let mut run = Run::new(world, seed);
    while let Some(((now, _), event)) = run.queue.pop_first() {
        if now > until {
            break;
        }
        run.now = now;
        match run.wakes_at(&event) {
            // What comes to a machine that sleeps waits.
            Some(at) => run.later(at, event),
            None => run.happen(event),
        }
    }
    run.outcome
}

impl Run {
    fn new(world: World, seed: u64) -> Self {
        let mut chance = Chance(seed);
        let workers = (0..world.workers)
            .map(|index| Worker {
                contest: Contest::new("web01", &format!("w{index}"), world.way, TIMING),
                lease: None,
                dead: false,
                drift: chance.below(20),
                offset: chance.below(1_000_000),
                slept: 0,
                asleep: 0,
                finishing: false,
            })
            .collect();
        let mut run = Self {
            world,
            chance,
            now: 0,
            workers,
            storage: Storage::default(),
            outcome: Outcome::default(),
            queue: BTreeMap::new(),
            count: 0,
        };
        for index in 0..world.workers {
            let at = run.chance.below(3000);
            run.later(at, Event::Answered(index, Answer::Begin));
        }
        run
    }

    fn later(&mut self, at: Millis, event: Event) {
        self.count += 1;
        self.queue.insert((at, self.count), event);
    }

    /// When the machine that the event comes to wakes, if it sleeps.
    fn wakes_at(&self, event: &Event) -> Option<Millis> {
        let (Event::Answered(index, _)
        | Event::Renewed(index, ..)
        | Event::Beat(index)
        | Event::Finish(index)) = event
        else {
            return None;
        };
        Some(self.workers[*index].asleep).filter(|asleep| *asleep > self.now)
    }

    /// How long a step is put off.
    fn pause(&mut self) -> Millis {
        match self.chance.percent(self.world.pauses) {
            true => self.chance.below(24_000),
            false => 0,
        }
    }

    fn happen(&mut self, event: Event) {
        let at = self.now + self.chance.below(self.world.delay);
        match event {
            Event::Arrives(index, action, fails) => {
                let answer = self.arrive(action, fails);
                self.later(at, Event::Answered(index, answer));
            }
            Event::Late(action) => drop(self.storage.act(&action)),
            Event::Answered(index, answer) => self.answered(index, answer, at - self.now),
            Event::Beat(index) => self.beat(index, at),
            Event::Finish(index) => self.finish(index, at),
            Event::Done(None) => self.storage.put(DONE, b""),
            Event::Done(Some(name)) => {
                self.storage.0.remove(&name);
            }
            Event::Renewal(index, name, body, finish) => {
                self.storage.put(&name, &body);
                let there = self.storage.clone();
                self.later(at, Event::Renewed(index, there, finish));
            }
            Event::Renewed(index, there, finish) => self.renewed(index, &there, finish, at),
        }
        let now = self.now;
        let holds = |worker: &&Worker| {
            let lease = worker.lease.as_ref();
            lease.is_some_and(|lease| lease.is_held(worker.clock(now)))
        };
        if self.workers.iter().filter(holds).count() > 1 {
            self.outcome.twice.get_or_insert(now);
        }
    }

    /// A request reaches the storage; a failed one has an effect or none.
    fn arrive(&mut self, action: Action, fails: bool) -> Answer {
        let answer = match !fails || self.chance.percent(50) {
            true => self.storage.act(&action),
            false => Answer::Failed,
        };
        if !fails {
            return answer;
        }
        // An attempt whose answer was lost may take effect once more, when nobody waits for it.
        if self.chance.percent(50) {
            let at = self.now + self.chance.below(24_000);
            self.later(at, Event::Late(action));
        }
        Answer::Failed
    }

    /// A worker gets an answer, and takes its next step.
    fn answered(&mut self, index: usize, answer: Answer, delay: Millis) {
        let worker = &mut self.workers[index];
        if worker.dead {
            return;
        }
        let clock = worker.clock(self.now);
        let action = worker.contest.next(clock, answer);
        let at = self.now + self.pause();
        match action {
            Action::Won(lease) => self.won(index, lease, at),
            Action::Wait(wait) => self.wait(index, at, wait, Answer::Waited),
            Action::Theirs { again } => self.wait(index, at, again, Answer::Begin),
            Action::Done => {}
            request => {
                let fails = self.chance.percent(self.world.failures);
                self.later(at + delay, Event::Arrives(index, request, fails));
            }
        }
    }

    fn wait(&mut self, index: usize, at: Millis, wait: Duration, answer: Answer) {
        let wait = u64::try_from(wait.as_millis()).unwrap() + self.chance.below(300);
        self.later(at + wait, Event::Answered(index, answer));
    }

    fn won(&mut self, index: usize, lease: Lease, at: Millis) {
        self.outcome.won += 1;
        self.workers[index].lease = Some(lease);
        self.workers[index].dead = self.chance.percent(self.world.deaths);
        self.later(at, Event::Beat(index));
        if self.world.work > 0 {
            let at = at + self.chance.below(self.world.work);
            self.later(at, Event::Finish(index));
        }
    }

    /// A worker looks at its claim and renews it, or its machine falls asleep.
    fn beat(&mut self, index: usize, at: Millis) {
        if self.chance.percent(self.world.sleeps) && !self.workers[index].finishing {
            let span = self.chance.below(24_000);
            self.workers[index].sleep(self.now, span);
            self.later(self.now + span, Event::Beat(index));
            return;
        }
        let worker = &mut self.workers[index];
        match worker.renew(self.now) {
            Some((name, body)) => self.later(at, Event::Renewal(index, name, body, false)),
            None => worker.lease = worker.lease.take().filter(|_| worker.dead),
        }
    }

    /// What cannot be taken back comes behind another renewal.
    fn finish(&mut self, index: usize, at: Millis) {
        let worker = &mut self.workers[index];
        if let Some((name, body)) = worker.renew(self.now) {
            worker.finishing = true;
            self.later(at, Event::Renewal(index, name, body, true));
        }
    }

    /// The answer to a renewal, with what was there behind it.
    fn renewed(&mut self, index: usize, there: &Storage, finish: bool, at: Millis) {
        let worker = &mut self.workers[index];
        let held = worker.renewed(worker.clock(self.now), there);
        worker.finishing &= !finish;
        if worker.dead {
            return;
        }
        if !held {
            if worker.lease.take().is_some() {
                self.later(self.now, Event::Answered(index, Answer::Begin));
            }
        } else if !finish {
            let at = self.now + 2000 + self.pause();
            self.later(at, Event::Beat(index));
        } else if let Some(lease) = worker.lease.take() {
            self.outcome.finished += 1;
            self.later(at, Event::Done(None));
            let at = at + self.chance.below(self.world.delay);
            self.later(at, Event::Done(Some(lease.name().to_owned())));
        }
    }
}

fn worlds() -> impl Strategy<Value = World> {
    (
        prop_oneof![Just(Way::IfAbsent), Just(Way::LowestWins)],
        2_usize..6,
        prop_oneof![Just(50_u64), Just(400), Just(1500), Just(6000)],
        prop_oneof![Just(0_u64), Just(50)],
        prop_oneof![Just(0_u64), Just(15)],
        prop_oneof![Just(0_u64), Just(10)],
    )
        .prop_map(|(way, workers, delay, deaths, failures, pauses)| World {
            way,
            workers,
            delay,
            deaths,
            failures,
            pauses,
            ..CALM
        })
}

/// Seeds that one test tries; IMGFERRY_CLAIM_CASES sets another number.
fn cases() -> u32 {
    std::env::var("IMGFERRY_CLAIM_CASES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(2000)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn no_two_workers_hold_an_item_at_any_moment(world in worlds(), seed: u64) {
        let outcome = run(world, seed, 90_000);
        prop_assert_eq!(outcome.twice, None);
    }

    // What is on its way when a claim ends is not called back; so requests are quicker than the
    // margin.
    #[test]
    fn an_item_is_done_exactly_once(world in worlds(), seed: u64) {
        let world = World { delay: world.delay.min(400), work: 12_000, ..world };
        let outcome = run(world, seed, 400_000);
        prop_assert!(outcome.finished <= 1, "{outcome:?}");
        if world.deaths == 0 && world.pauses == 0 {
            prop_assert_eq!(outcome.finished, 1);
        }
    }

    // A sleeping machine counts on a claim that is long over; it looks before it does what cannot
    // be taken back.
    #[test]
    fn an_item_is_done_once_although_machines_sleep(world in worlds(), seed: u64) {
        let world = World { delay: world.delay.min(400), sleeps: 20, work: 12_000, ..world };
        let outcome = run(world, seed, 400_000);
        prop_assert!(outcome.finished <= 1, "{outcome:?}");
    }
}

#[test]
fn a_dead_workers_item_is_taken_over_after_its_lease() {
    for way in [Way::IfAbsent, Way::LowestWins] {
        for seed in 0..50 {
            let world = World {
                way,
                deaths: 100,
                ..CALM
            };
            // All of them win in turn, each after the death of the one before.
            let outcome = run(world, seed, 400_000);
            assert_eq!(outcome.won, 4, "{world:?}, seed {seed}");
            assert_eq!(outcome.twice, None, "{world:?}, seed {seed}");
        }
    }
}

#[test]
fn a_live_worker_keeps_its_item() {
    for way in [Way::IfAbsent, Way::LowestWins] {
        for seed in 0..50 {
            let world = World {
                way,
                delay: 200,
                ..CALM
            };
            let outcome = run(world, seed, 200_000);
            assert_eq!(outcome.won, 1, "{world:?}, seed {seed}");
        }
    }
}
