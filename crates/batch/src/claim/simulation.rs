//! Many workers, one storage, every delay drawn by chance: at no moment do two workers hold an
//! item, and a dead worker's item is taken over. Listings have names only, so whatever a storage
//! does with ETags and times is covered; the clock of a worker may stand still while its machine
//! sleeps.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use proptest::prelude::*;

use super::{Action, Answer, Contest, Lease, Listing, Timing, Way};

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

fn run(world: World, seed: u64, until: Millis) -> Outcome {
    let mut chance = Chance(seed);
    let mut workers: Vec<Worker> = (0..world.workers)
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
    let mut storage = Storage::default();
    let mut outcome = Outcome::default();
    let mut queue: BinaryHeap<Reverse<(Millis, u64)>> = BinaryHeap::new();
    let mut events: BTreeMap<u64, Event> = BTreeMap::new();
    let mut count = 0;
    let mut later = |queue: &mut BinaryHeap<_>, events: &mut BTreeMap<_, _>, at, event| {
        count += 1;
        events.insert(count, event);
        queue.push(Reverse((at, count)));
    };
    for index in 0..world.workers {
        let at = chance.below(3000);
        later(
            &mut queue,
            &mut events,
            at,
            Event::Answered(index, Answer::Begin),
        );
    }
    while let Some(Reverse((now, number))) = queue.pop() {
        if now > until {
            break;
        }
        let event = events.remove(&number).unwrap();
        let delay = chance.below(world.delay);
        // What comes to a machine that sleeps waits.
        if let Event::Answered(index, _)
        | Event::Renewed(index, ..)
        | Event::Beat(index)
        | Event::Finish(index) = &event
            && workers[*index].asleep > now
        {
            let at = workers[*index].asleep;
            later(&mut queue, &mut events, at, event);
            continue;
        }
        match event {
            Event::Arrives(index, action, fails) => {
                let effect = !fails || chance.percent(50);
                let answer = match effect {
                    true => storage.act(&action),
                    false => Answer::Failed,
                };
                let answer = if fails { Answer::Failed } else { answer };
                // An attempt whose answer was lost may take effect once more, when nobody waits for
                // it.
                if fails && chance.percent(50) {
                    let at = now + chance.below(24_000);
                    later(&mut queue, &mut events, at, Event::Late(action));
                }
                later(
                    &mut queue,
                    &mut events,
                    now + delay,
                    Event::Answered(index, answer),
                );
            }
            Event::Late(action) => drop(storage.act(&action)),
            Event::Answered(index, answer) => {
                if workers[index].dead {
                    continue;
                }
                let clock = workers[index].clock(now);
                let action = workers[index].contest.next(clock, answer);
                let pause = match chance.percent(world.pauses) {
                    true => chance.below(24_000),
                    false => 0,
                };
                let at = now + pause;
                match action {
                    Action::Won(lease) => {
                        outcome.won += 1;
                        workers[index].lease = Some(lease);
                        workers[index].dead = chance.percent(world.deaths);
                        later(&mut queue, &mut events, at, Event::Beat(index));
                        if world.work > 0 {
                            let at = at + chance.below(world.work);
                            later(&mut queue, &mut events, at, Event::Finish(index));
                        }
                    }
                    Action::Theirs { again: wait } | Action::Wait(wait) => {
                        let answer = match workers[index].contest.is_settling() {
                            true => Answer::Waited,
                            false => Answer::Begin,
                        };
                        let wait = u64::try_from(wait.as_millis()).unwrap() + chance.below(300);
                        later(
                            &mut queue,
                            &mut events,
                            at + wait,
                            Event::Answered(index, answer),
                        );
                    }
                    Action::Done => {}
                    request => {
                        let fails = chance.percent(world.failures);
                        let event = Event::Arrives(index, request, fails);
                        later(&mut queue, &mut events, at + delay, event);
                    }
                }
            }
            Event::Beat(index) => {
                if chance.percent(world.sleeps) && !workers[index].finishing {
                    workers[index].sleep(now, chance.below(24_000));
                    let at = workers[index].asleep;
                    later(&mut queue, &mut events, at, Event::Beat(index));
                    continue;
                }
                let clock = workers[index].clock(now);
                let worker = &mut workers[index];
                let renewal = worker.lease.as_mut().filter(|_| !worker.dead);
                match renewal.and_then(|lease| lease.renew(clock)) {
                    Some((name, body)) => {
                        let event = Event::Renewal(index, name, body, false);
                        later(&mut queue, &mut events, now + delay, event);
                    }
                    None => worker.lease = worker.lease.take().filter(|_| worker.dead),
                }
            }
            // What cannot be taken back comes behind another renewal.
            Event::Finish(index) => {
                let clock = workers[index].clock(now);
                let worker = &mut workers[index];
                let renewal = worker.lease.as_mut().filter(|_| !worker.dead);
                if let Some((name, body)) = renewal.and_then(|lease| lease.renew(clock)) {
                    worker.finishing = true;
                    let event = Event::Renewal(index, name, body, true);
                    later(&mut queue, &mut events, now + delay, event);
                }
            }
            Event::Done(None) => storage.put(super::DONE, b""),
            Event::Done(Some(name)) => {
                storage.0.remove(&name);
            }
            Event::Renewal(index, name, body, finish) => {
                storage.put(&name, &body);
                let event = Event::Renewed(index, storage.clone(), finish);
                later(&mut queue, &mut events, now + delay, event);
            }
            Event::Renewed(index, there, finish) => {
                let clock = workers[index].clock(now);
                let worker = &mut workers[index];
                let held = worker.renewed(clock, &there);
                worker.finishing &= !finish;
                if worker.dead {
                    continue;
                }
                if !held {
                    if worker.lease.take().is_some() {
                        let event = Event::Answered(index, Answer::Begin);
                        later(&mut queue, &mut events, now, event);
                    }
                } else if !finish {
                    let pause = match chance.percent(world.pauses) {
                        true => chance.below(24_000),
                        false => 0,
                    };
                    let at = now + 2000 + pause;
                    later(&mut queue, &mut events, at, Event::Beat(index));
                } else if let Some(lease) = worker.lease.take() {
                    outcome.finished += 1;
                    later(&mut queue, &mut events, now + delay, Event::Done(None));
                    let at = now + delay + chance.below(world.delay);
                    let name = Some(lease.name().to_owned());
                    later(&mut queue, &mut events, at, Event::Done(name));
                }
            }
        }
        let holders = workers.iter().filter(|worker| {
            let clock = worker.clock(now);
            worker
                .lease
                .as_ref()
                .is_some_and(|lease| lease.is_held(clock))
        });
        if holders.count() > 1 && outcome.twice.is_none() {
            outcome.twice = Some(now);
        }
    }
    outcome
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
            sleeps: 0,
            work: 0,
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
                workers: 4,
                delay: 50,
                deaths: 100,
                failures: 0,
                pauses: 0,
                sleeps: 0,
                work: 0,
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
                workers: 4,
                delay: 200,
                deaths: 0,
                failures: 0,
                pauses: 0,
                sleeps: 0,
                work: 0,
            };
            let outcome = run(world, seed, 200_000);
            assert_eq!(outcome.won, 1, "{world:?}, seed {seed}");
        }
    }
}
