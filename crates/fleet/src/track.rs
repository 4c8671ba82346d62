//! What is known of the disks at work: their stages, warnings and bytes, for the observer while the
//! batch runs, and for its report afterwards.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use batch::{ItemOutcome, Stage, StageSpan, ThroughputSample, UnixMillis};
use cloud::Failure;
use convert::{Counter, Monitor};
use import::{Activity, Counting, JobWatch};
use parking_lot::Mutex;

use crate::observe::{Disk, DiskEvent, Event, Observer, Progress, Tally};
use crate::state::now;

/// Samples of the throughput that a report has at most; then every second one goes.
const MOST_SAMPLES: usize = 2000;
/// Warnings of one disk that are kept, and how long each may be.
const MOST_WARNINGS: usize = 20;
const LONGEST_WARNING: usize = 1000;
/// What a job's progress is called.
const JOB: &str = "job";

/// Follows the disks of a run.
pub(crate) struct Tracker {
    observer: Arc<dyn Observer>,
    ids: Vec<String>,
    tracked: Mutex<Tracked>,
}

#[derive(Default)]
struct Tracked {
    active: HashMap<usize, Active>,
    /// Of the disks that ended, and of the whole run.
    tally: Tally,
    samples: Vec<ThroughputSample>,
    /// Seconds between two samples.
    every: u64,
    ticks: u64,
}

/// A disk at work.
struct Active {
    began: Instant,
    timeline: Vec<StageSpan>,
    warnings: Vec<String>,
    converted: u64,
    uploaded: u64,
}

impl Tracker {
    /// For the disks with these ids.
    pub(crate) fn new(observer: Arc<dyn Observer>, ids: Vec<String>) -> Arc<Self> {
        let tally = Tally {
            disks: ids.len(),
            ..Tally::default()
        };
        Arc::new(Self {
            observer,
            ids,
            tracked: Mutex::new(Tracked {
                tally,
                every: 1,
                ..Tracked::default()
            }),
        })
    }

    pub(crate) fn observer(&self) -> &dyn Observer {
        &*self.observer
    }

    fn tell(&self, number: usize, event: DiskEvent<'_>) {
        let id = self.ids.get(number).map_or("", String::as_str);
        self.observer.event(Event::Disk(Disk { number, id }, event));
    }

    /// A disk is taken up that has waited since `queued`.
    pub(crate) fn begin(&self, number: usize, queued: UnixMillis) {
        let active = Active {
            began: Instant::now(),
            // It waits for memory now.
            timeline: vec![StageSpan {
                stage: Stage::Queue,
                start: queued,
                end: None,
            }],
            warnings: Vec::new(),
            converted: 0,
            uploaded: 0,
        };
        self.tracked.lock().active.insert(number, active);
        self.tell(number, DiskEvent::Began);
    }

    /// A disk is at another stage.
    pub(crate) fn stage(&self, number: usize, stage: Stage) {
        let at = now();
        {
            let mut tracked = self.tracked.lock();
            let Some(active) = tracked.active.get_mut(&number) else {
                return;
            };
            if let Some(last) = active.timeline.last_mut() {
                if last.stage == stage {
                    return;
                }
                last.end = Some(at);
            }
            active.timeline.push(StageSpan {
                stage,
                start: at,
                end: None,
            });
        }
        self.tell(number, DiskEvent::Stage(stage));
    }

    /// A disk has ended: fills in what is known of it here.
    pub(crate) fn end(&self, number: usize, outcome: &mut ItemOutcome) {
        let seconds = self.tracked.lock().end(number, outcome);
        self.tell(number, DiskEvent::Ended { outcome, seconds });
    }

    /// A disk is given back, because another worker may have it.
    pub(crate) fn back(&self, number: usize, why: &Failure) {
        self.tracked.lock().active.remove(&number);
        self.tell(number, DiskEvent::Lost(why));
    }

    pub(crate) fn notice(&self, number: usize, text: &str) {
        self.tell(number, DiskEvent::Notice(text));
    }

    pub(crate) fn warn(&self, number: usize, text: &str) {
        let text: String = text.chars().take(LONGEST_WARNING).collect();
        if let Some(active) = self.tracked.lock().active.get_mut(&number) {
            if active.warnings.contains(&text) {
                return;
            }
            active.warnings.push(text.clone());
        }
        self.tell(number, DiskEvent::Warning(&text));
    }

    fn moved(&self, number: usize, progress: Progress) {
        {
            let mut tracked = self.tracked.lock();
            let Some(active) = tracked.active.get_mut(&number) else {
                return;
            };
            if progress.what != JOB {
                active.converted = active.converted.max(progress.done);
                active.uploaded = active.uploaded.max(progress.uploaded);
            }
        }
        self.tell(number, DiskEvent::Progress(progress));
    }

    /// A second has passed.
    pub(crate) fn tick(&self) {
        let tally = {
            let mut tracked = self.tracked.lock();
            tracked.ticks = tracked.ticks.saturating_add(1);
            if tracked.ticks.is_multiple_of(tracked.every.max(1)) {
                tracked.sample();
            }
            tracked.tally()
        };
        self.observer.event(Event::Tick(tally));
    }

    /// The throughput of the whole run.
    pub(crate) fn samples(&self) -> Vec<ThroughputSample> {
        let mut tracked = self.tracked.lock();
        tracked.sample();
        std::mem::take(&mut tracked.samples)
    }
}

impl Tracked {
    fn end(&mut self, number: usize, outcome: &mut ItemOutcome) -> f64 {
        let mut seconds = 0.0;
        if let Some(active) = self.active.remove(&number) {
            seconds = active.began.elapsed().as_secs_f64();
            let add = |sum: &mut u64, more| *sum = sum.saturating_add(more);
            add(&mut self.tally.converted_bytes, active.converted);
            add(&mut self.tally.sent_bytes, active.uploaded);
            outcome.timeline = active.timeline;
            if let Some(last) = outcome.timeline.last_mut() {
                last.end.get_or_insert(now());
            }
            for warning in active.warnings {
                if !outcome.warnings.contains(&warning) {
                    outcome.warnings.push(warning);
                }
            }
        }
        outcome.warnings.truncate(MOST_WARNINGS);
        self.tally.ended = self.tally.ended.saturating_add(1);
        if outcome.state.is_failure() {
            self.tally.failed = self.tally.failed.saturating_add(1);
        }
        seconds
    }

    /// How far everything is now.
    fn tally(&self) -> Tally {
        let sum = |ended: u64, of: fn(&Active) -> u64| {
            let active = self.active.values().map(of);
            active.fold(ended, u64::saturating_add)
        };
        Tally {
            active: self.active.len(),
            converted_bytes: sum(self.tally.converted_bytes, |active| active.converted),
            sent_bytes: sum(self.tally.sent_bytes, |active| active.uploaded),
            ..self.tally
        }
    }

    fn sample(&mut self) {
        let tally = self.tally();
        self.samples.push(ThroughputSample {
            at: now(),
            converted_bytes: tally.converted_bytes,
            sent_bytes: tally.sent_bytes,
        });
        if self.samples.len() > MOST_SAMPLES {
            let mut keep = false;
            self.samples.retain(|_| {
                keep = !keep;
                keep
            });
            self.every = self.every.saturating_mul(2);
        }
    }
}

/// One disk of a run, as its import reports it.
#[derive(Clone)]
pub(crate) struct TrackedDisk {
    pub(crate) tracker: Arc<Tracker>,
    pub(crate) number: usize,
}

impl TrackedDisk {
    pub(crate) fn stage(&self, stage: Stage) {
        self.tracker.stage(self.number, stage);
    }
}

impl import::Observer for TrackedDisk {
    fn notice(&self, text: fmt::Arguments<'_>) {
        self.tracker.notice(self.number, &text.to_string());
    }

    fn warn(&self, text: fmt::Arguments<'_>) {
        self.tracker.warn(self.number, &text.to_string());
    }

    fn count(&self, activity: Activity, total: u64) -> Arc<dyn Counting> {
        Arc::new(Count {
            disk: self.clone(),
            what: activity.name(),
            total,
            done: AtomicU64::new(0),
            uploaded: AtomicU64::new(0),
        })
    }

    fn follow(&self) -> Box<dyn JobWatch> {
        Box::new(self.clone())
    }
}

/// Counts the bytes of one stage.
struct Count {
    disk: TrackedDisk,
    what: &'static str,
    total: u64,
    done: AtomicU64,
    uploaded: AtomicU64,
}

impl Monitor for Count {
    fn count(&self, counter: Counter, increment: u64) {
        match counter {
            Counter::GuestBytes => &self.done,
            Counter::UploadedBytes => &self.uploaded,
            _ => return,
        }
        .fetch_add(increment, Ordering::Relaxed);
        let progress = Progress {
            what: self.what,
            done: self.done.load(Ordering::Relaxed),
            total: self.total,
            uploaded: self.uploaded.load(Ordering::Relaxed),
        };
        self.disk.tracker.moved(self.disk.number, progress);
    }
}

impl Counting for Count {
    fn end(&self) {}
}

impl JobWatch for TrackedDisk {
    fn update(&mut self, _: &str, done: Option<f64>) {
        let Some(done) = done.filter(|done| (0.0..=1.0).contains(done)) else {
            return;
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 100"
        )]
        let percent = (done * 100.0) as u64;
        let progress = Progress {
            what: JOB,
            done: percent,
            total: 100,
            uploaded: 0,
        };
        self.tracker.moved(self.number, progress);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_long_run_are_thinned_out() {
        let mut tracked = Tracked {
            every: 1,
            ..Tracked::default()
        };
        for _ in 0..5000 {
            tracked.sample();
        }
        assert!(tracked.samples.len() <= MOST_SAMPLES);
        assert!(tracked.every > 1);
    }
}
