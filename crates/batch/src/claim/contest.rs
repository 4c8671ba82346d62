//! The contest for one item, as seen by one worker.

use std::time::Duration;

use super::liveness::Watch;
use super::{
    Action, Answer, Claim, Lease, Listing, Timing, UNKNOWN_LEASE, Way, believed, candidate_lease,
    generation,
};

/// Longest time between two looks at an item that another worker has. Ours.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// One worker's part in the contest for one item. It is kept while the batch runs: what it saw
/// earlier tells who is dead.
#[derive(Clone, Debug)]
pub struct Contest {
    way: Way,
    timing: Timing,
    item: String,
    worker: String,
    /// Candidates have a new name each time.
    attempt: u32,
    watch: Watch,
    step: Step,
    /// When the action that is under way was returned.
    asked: Duration,
    /// When the directory was asked for that everything is decided by.
    looked: Duration,
}

#[derive(Clone, Debug)]
enum Step {
    Idle,
    /// Looking who is there.
    Looking,
    /// Reading what others hold, to see whether they renew it.
    Reading {
        listing: Listing,
        name: String,
        /// Names that come after it.
        rest: Vec<String>,
    },
    /// Storing a claim of this name.
    Claiming {
        name: String,
    },
    /// The claim is stored; looking whether its worker before was done after all.
    Confirming {
        name: String,
        stored: Duration,
    },
    /// Storing a candidate.
    Standing {
        name: String,
    },
    /// Waiting for other candidates to be seen.
    Settling {
        name: String,
        stored: Duration,
    },
    /// Looking who else stands.
    Counting {
        name: String,
        stored: Duration,
    },
    /// Taking the candidate or the claim back.
    Withdrawing {
        again: Duration,
    },
    /// Taking back a claim of an item that is done.
    Leaving,
}

impl Contest {
    /// The contest of `worker` for `item`. A worker's id is its own: no two processes share one,
    /// not even one after the other. It has letters, digits and hyphens.
    #[must_use]
    pub fn new(item: &str, worker: &str, way: Way, timing: Timing) -> Self {
        Self {
            way,
            timing,
            item: item.to_owned(),
            worker: worker.to_owned(),
            attempt: 0,
            watch: Watch::default(),
            step: Step::Idle,
            asked: Duration::ZERO,
            looked: Duration::ZERO,
        }
    }

    /// What to do next, after `answer` came to the action before. `now` is the worker's monotonic
    /// clock.
    pub fn next(&mut self, now: Duration, answer: Answer) -> Action {
        let step = std::mem::replace(&mut self.step, Step::Idle);
        let action = match (step, answer) {
            (_, Answer::Begin) => {
                self.step = Step::Looking;
                Action::List
            }
            (Step::Looking, Answer::Listing(listing)) => self.looked(listing),
            (
                Step::Reading {
                    listing,
                    name,
                    rest,
                },
                Answer::Body(body),
            ) => {
                self.read(now, &name, body.as_deref().unwrap_or_default());
                self.read_next(listing, rest)
            }
            // Between the listing and the claim another worker may have done it all and gone.
            (Step::Claiming { name }, Answer::Stored) => {
                let stored = self.asked;
                self.step = Step::Confirming { name, stored };
                Action::List
            }
            (Step::Confirming { name, stored }, Answer::Listing(listing)) => {
                self.confirmed(now, name, stored, &listing)
            }
            (Step::Standing { name }, Answer::Stored) => self.stood(now, name),
            (Step::Settling { name, stored }, Answer::Waited) => {
                self.step = Step::Counting { name, stored };
                Action::List
            }
            (Step::Counting { name, stored }, Answer::Listing(listing)) => {
                self.counted(now, name, stored, &listing)
            }
            // A failed request may have stored the candidate, or left it where it is.
            (
                Step::Standing { name }
                | Step::Counting { name, .. }
                | Step::Confirming { name, .. },
                Answer::Failed,
            ) => self.withdraw(name, self.timing.settle),
            (Step::Withdrawing { again }, _) => Action::Theirs { again },
            (Step::Leaving, _) => Action::Done,
            // Somebody else was faster, or it is not known: a claim that nobody renews ends by
            // itself.
            _ => self.theirs(self.timing.heartbeat()),
        };
        self.asked = now;
        action
    }

    /// The directory as it was before this worker did anything.
    fn looked(&mut self, listing: Listing) -> Action {
        self.looked = self.asked;
        self.watch.keep(&listing);
        if listing.is_done() {
            return Action::Done;
        }
        let claim = listing.highest().map(|(_, name)| name.to_owned());
        let candidates = listing.names.iter().filter(|name| {
            // Who is dead stays dead.
            candidate_lease(name).is_some_and(|lease| self.watch.remaining(name, lease).is_some())
        });
        let names = candidates.cloned().chain(claim).collect();
        self.read_next(listing, names)
    }

    /// Reads the last of `names`, or decides when there is none.
    fn read_next(&mut self, listing: Listing, mut names: Vec<String>) -> Action {
        let Some(name) = names.pop() else {
            return self.decide(&listing);
        };
        self.step = Step::Reading {
            listing,
            name: name.clone(),
            rest: names,
        };
        Action::Get { name }
    }

    fn read(&mut self, now: Duration, name: &str, body: &[u8]) {
        let lease = candidate_lease(name).unwrap_or_else(|| {
            Claim::parse(body).map_or(UNKNOWN_LEASE, |claim| believed(claim.lease_seconds))
        });
        self.watch.see(name, body, lease, (self.asked, now));
    }

    /// Everything that others hold was read.
    fn decide(&mut self, listing: &Listing) -> Action {
        let candidates = listing.names.iter().filter_map(|name| {
            let lease = candidate_lease(name)?;
            self.watch.remaining(name, lease)
        });
        if let Some(remaining) = candidates.max() {
            return self.theirs(remaining);
        }
        let Some((generation, claim)) = listing.highest() else {
            return self.claim(0);
        };
        match self.watch.remaining(claim, UNKNOWN_LEASE) {
            Some(remaining) => self.theirs(remaining),
            None => self.claim(generation),
        }
    }

    /// Nobody has it, or the worker of `generation` is dead.
    fn claim(&mut self, generation: u32) -> Action {
        self.attempt = self.attempt.saturating_add(1);
        let body = self.content().body();
        match self.way {
            Way::IfAbsent => {
                let Some(next) = generation.checked_add(1) else {
                    return self.theirs(self.timing.lease);
                };
                let name = format!("g{next:08}");
                self.step = Step::Claiming { name: name.clone() };
                Action::Put {
                    name,
                    body,
                    if_absent: true,
                }
            }
            Way::LowestWins => {
                let (worker, attempt) = (&self.worker, self.attempt);
                let name = format!("c.{worker}-{attempt}.{}", self.seconds());
                self.step = Step::Standing { name: name.clone() };
                Action::Put {
                    name,
                    body,
                    if_absent: false,
                }
            }
        }
    }

    fn confirmed(
        &mut self,
        now: Duration,
        name: String,
        stored: Duration,
        listing: &Listing,
    ) -> Action {
        if listing.is_done() {
            return self.leave(name);
        }
        match listing.highest() {
            Some((_, claim)) if claim == name => self.won(now, name, stored, listing),
            // It was taken away, or taken over: this took very long.
            _ => self.theirs(self.timing.heartbeat()),
        }
    }

    /// The candidate is stored. A worker that looked before and stored late could be overlooked by
    /// one that has won meanwhile; so it counts only if it was quick.
    fn stood(&mut self, now: Duration, name: String) -> Action {
        let patience = self.timing.settle.checked_div(2).unwrap_or_default();
        if now.saturating_sub(self.looked) > patience {
            return self.withdraw(name, self.timing.settle);
        }
        self.step = Step::Settling {
            name,
            stored: self.asked,
        };
        Action::Wait(self.timing.settle)
    }

    fn counted(
        &mut self,
        now: Duration,
        name: String,
        stored: Duration,
        listing: &Listing,
    ) -> Action {
        if listing.is_done() {
            return self.leave(name);
        }
        let is_there = listing.names.contains(&name);
        let lives = |other: &&String| {
            let lease = match generation(other) {
                Some(_) => Some(UNKNOWN_LEASE),
                None => candidate_lease(other),
            };
            lease.is_some_and(|lease| self.watch.remaining(other, lease).is_some())
        };
        // A claim that a later one has followed counts no more.
        let highest = listing.highest().map(|(_, claim)| claim);
        let counts =
            |other: &&String| generation(other).is_none() || highest == Some(other.as_str());
        let others = listing.names.iter().filter(|other| **other != name);
        let lowest = others.clone().filter(counts).filter(lives).min();
        // Claims of workers that put only if absent are ahead of every candidate.
        let beaten = others
            .filter(counts)
            .any(|other| generation(other).is_some() && lives(&other));
        match lowest {
            _ if !is_there || beaten => self.withdraw(name, self.timing.heartbeat()),
            Some(other) if *other < name => self.withdraw(name, self.timing.heartbeat()),
            _ => self.won(now, name, stored, listing),
        }
    }

    fn won(&mut self, now: Duration, name: String, since: Duration, listing: &Listing) -> Action {
        let names = listing.names.iter();
        let before = names
            .map(|name| (name.clone(), self.watch.content(name)))
            .collect();
        let lease = Lease::new(name, self.content(), self.timing, since, before);
        if lease.is_held(now) {
            return Action::Won(lease);
        }
        // It took longer than the lease: whoever looks on takes it over.
        self.theirs(self.timing.heartbeat())
    }

    fn withdraw(&mut self, name: String, again: Duration) -> Action {
        self.step = Step::Withdrawing { again };
        match generation(&name) {
            None => Action::Delete { name },
            Some(_) => Action::Put {
                name,
                body: self.content().released().body(),
                if_absent: false,
            },
        }
    }

    fn leave(&mut self, name: String) -> Action {
        self.step = Step::Leaving;
        Action::Delete { name }
    }

    fn theirs(&self, remaining: Duration) -> Action {
        let again = remaining.min(LOOK_AGAIN).max(Duration::from_millis(100));
        Action::Theirs { again }
    }

    fn seconds(&self) -> u64 {
        let whole = self.timing.lease.as_secs();
        whole.saturating_add(u64::from(self.timing.lease.subsec_nanos() > 0))
    }

    fn content(&self) -> Claim {
        Claim {
            version: 1,
            item: self.item.clone(),
            worker: self.worker.clone(),
            lease_seconds: self.seconds(),
            attempt: self.attempt,
            beat: 0,
        }
    }
}
