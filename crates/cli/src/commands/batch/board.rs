//! What a batch shows while it runs: a line for each disk at work on a terminal, events as JSON
//! lines, or a line for each disk that has ended.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::batch::{ItemOutcome, ItemState, Stage, StageSpan, ThroughputSample};
use diskimg::units::human;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::state::now;
use crate::console::for_terminal;
use crate::console::{Console, Level, Listener, Moved};

/// Progress of a disk is told at most this often as an event.
const EVENT_EVERY: Duration = Duration::from_secs(1);
/// A line that says how far everything is, elsewhere than on a terminal.
const LINE_EVERY: Duration = Duration::from_secs(30);
/// Samples of the throughput that a report has at most; then every second one goes.
const MOST_SAMPLES: usize = 2000;
/// Warnings of one disk that are kept, and how long each may be.
const MOST_WARNINGS: usize = 20;
const LONGEST_WARNING: usize = 1000;

/// Shows a batch. One lives for each process that runs one.
pub(super) struct Board {
    console: Console,
    ids: Vec<String>,
    bars: Option<Bars>,
    state: Mutex<Shown>,
}

struct Bars {
    all: MultiProgress,
    total: ProgressBar,
}

#[derive(Default)]
struct Shown {
    items: HashMap<usize, View>,
    ended: usize,
    failed: usize,
    /// Of disks that have ended.
    converted: u64,
    uploaded: u64,
    samples: Vec<ThroughputSample>,
    /// Seconds between two samples.
    every: u64,
    ticks: u64,
    last_line: Option<Instant>,
}

/// A disk at work.
struct View {
    began: Instant,
    stage: Stage,
    timeline: Vec<StageSpan>,
    warnings: Vec<String>,
    converted: u64,
    uploaded: u64,
    told: Option<Instant>,
    bar: Option<ProgressBar>,
}

impl Board {
    /// For disks with these ids, of which `done` have nothing left to do.
    pub(super) fn new(console: Console, ids: Vec<String>, done: usize) -> &'static Self {
        let bars = (console.bars() && !console.json).then(|| {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
            let length = u64::try_from(ids.len()).unwrap_or(u64::MAX);
            let total = all.add(ProgressBar::new(length).with_message("disks"));
            total.set_style(style(TOTAL));
            total.set_position(u64::try_from(done).unwrap_or_default());
            Bars { all, total }
        });
        // For the life of the process: consoles of items point here.
        Box::leak(Box::new(Self {
            console,
            ids,
            bars,
            state: Mutex::new(Shown {
                ended: done,
                every: 1,
                ..Shown::default()
            }),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn id(&self, item: usize) -> &str {
        self.ids.get(item).map_or("", String::as_str)
    }

    /// The console of item number `item`.
    pub(super) fn console(&'static self, item: usize) -> Console {
        self.console.of_item(item, self)
    }

    /// Writes an event, where events are wanted.
    pub(super) fn event(&self, name: &str, item: Option<usize>, fields: Value) {
        if !self.console.json {
            return;
        }
        let mut event = json!({ "event": name, "at": now() });
        if let Some(object) = event.as_object_mut() {
            if let Some(item) = item {
                object.insert("item".into(), self.id(item).into());
            }
            if let Value::Object(fields) = fields {
                object.extend(fields);
            }
        }
        // The exit code tells a reader that is gone.
        let _ = self.console.line(&event);
    }

    /// A line for people about everything.
    pub(super) fn say(&self, text: impl std::fmt::Display) {
        match &self.bars {
            Some(bars) => {
                let _ = bars.all.println(for_terminal(&text.to_string()));
            }
            None => self.console.notice(text),
        }
    }

    fn warn(&self, text: impl std::fmt::Display) {
        match &self.bars {
            Some(bars) => {
                let _ = bars.all.println(for_terminal(&format!("warning: {text}")));
            }
            None => self.console.warn(text),
        }
    }

    /// An item is taken up.
    pub(super) fn begin(&self, item: usize, queued: u64) {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.all.insert_before(&bars.total, ProgressBar::new(1));
            bar.set_style(style(BAR));
            bar.set_prefix(short(self.id(item)));
            bar.set_message(Stage::Queue.word());
            bar
        });
        self.lock().items.insert(
            item,
            View {
                began: Instant::now(),
                stage: Stage::Queue,
                // It waits for memory now.
                timeline: vec![StageSpan {
                    stage: Stage::Queue,
                    start: queued,
                    end: None,
                }],
                warnings: Vec::new(),
                converted: 0,
                uploaded: 0,
                told: None,
                bar,
            },
        );
        self.event("began", Some(item), json!({}));
    }

    /// An item is at another stage.
    pub(super) fn stage(&self, item: usize, stage: Stage) {
        let at = now();
        {
            let mut shown = self.lock();
            let Some(view) = shown.items.get_mut(&item) else {
                return;
            };
            if view.stage == stage {
                return;
            }
            view.stage = stage;
            if let Some(last) = view.timeline.last_mut() {
                last.end = Some(at);
            }
            view.timeline.push(StageSpan {
                stage,
                start: at,
                end: None,
            });
            if let Some(bar) = &view.bar {
                bar.set_message(stage.word());
            }
        }
        self.event("stage", Some(item), json!({ "stage": stage.word() }));
    }

    /// An item has ended: fills in what the board knows of it, and tells it.
    pub(super) fn end(&self, item: usize, outcome: &mut ItemOutcome) {
        let at = now();
        let (ended, seconds) = {
            let mut shown = self.lock();
            let mut seconds = 0.0;
            if let Some(view) = shown.items.remove(&item) {
                seconds = view.began.elapsed().as_secs_f64();
                shown.converted = shown.converted.saturating_add(view.converted);
                shown.uploaded = shown.uploaded.saturating_add(view.uploaded);
                outcome.timeline = view.timeline;
                if let Some(last) = outcome.timeline.last_mut() {
                    last.end.get_or_insert(at);
                }
                for warning in view.warnings {
                    if !outcome.warnings.contains(&warning) {
                        outcome.warnings.push(warning);
                    }
                }
                if let Some(bar) = &view.bar {
                    bar.finish_and_clear();
                }
                if let (Some(bars), Some(bar)) = (&self.bars, &view.bar) {
                    bars.all.remove(bar);
                }
            }
            outcome.warnings.truncate(MOST_WARNINGS);
            shown.ended = shown.ended.saturating_add(1);
            if outcome.state.is_failure() {
                shown.failed = shown.failed.saturating_add(1);
            }
            (shown.ended, seconds)
        };
        if let Some(bars) = &self.bars {
            bars.total
                .set_position(u64::try_from(ended).unwrap_or_default());
        }
        let line = format!(
            "[{ended}/{}] {}: {}",
            self.ids.len(),
            outcome.id,
            line_of(outcome, seconds)
        );
        if outcome.state.is_failure() {
            self.warn(line);
        } else {
            self.say(line);
        }
        self.event("ended", Some(item), json!({ "outcome": outcome }));
    }

    /// An item is given back, because of `why`: another worker may have it.
    pub(super) fn back(&self, item: usize, why: &str) {
        let view = self.lock().items.remove(&item);
        if let (Some(bars), Some(bar)) = (&self.bars, view.and_then(|view| view.bar)) {
            bar.finish_and_clear();
            bars.all.remove(&bar);
        }
        self.warn(format_args!(
            "{}: {why}; it is looked at again",
            self.id(item)
        ));
        self.event("lost", Some(item), json!({}));
    }

    /// Once a second: samples, and a line now and then.
    pub(super) fn tick(&self) {
        let line = {
            let mut shown = self.lock();
            shown.ticks = shown.ticks.saturating_add(1);
            if shown.ticks.is_multiple_of(shown.every.max(1)) {
                shown.sample();
            }
            let due = match shown.last_line {
                None => {
                    shown.last_line = Some(Instant::now());
                    false
                }
                Some(last) => last.elapsed() >= LINE_EVERY,
            };
            (due && self.bars.is_none() && !self.console.json).then(|| {
                shown.last_line = Some(Instant::now());
                let failed = match shown.failed {
                    0 => String::new(),
                    failed => format!(", {failed} of them failed"),
                };
                format!(
                    "{} of {} ended{failed}, {} at work; {} converted, {} uploaded",
                    shown.ended,
                    self.ids.len(),
                    shown.items.len(),
                    human(shown.sum(|view| view.converted, shown.converted)),
                    human(shown.sum(|view| view.uploaded, shown.uploaded)),
                )
            })
        };
        if let Some(line) = line {
            self.say(line);
        }
    }

    /// Takes everything off the terminal, and returns the samples.
    pub(super) fn finish(&self) -> Vec<ThroughputSample> {
        if let Some(bars) = &self.bars {
            bars.total.finish_and_clear();
            let _ = bars.all.clear();
        }
        let mut shown = self.lock();
        shown.sample();
        std::mem::take(&mut shown.samples)
    }
}

impl Shown {
    fn sum(&self, of: impl Fn(&View) -> u64, ended: u64) -> u64 {
        self.items
            .values()
            .fold(ended, |sum, view| sum.saturating_add(of(view)))
    }

    fn sample(&mut self) {
        let sample = ThroughputSample {
            at: now(),
            converted_bytes: self.sum(|view| view.converted, self.converted),
            sent_bytes: self.sum(|view| view.uploaded, self.uploaded),
        };
        self.samples.push(sample);
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

impl Listener for Board {
    fn line(&self, item: usize, level: Level, text: &str) {
        match level {
            Level::Notice => self.event("notice", Some(item), json!({ "text": text })),
            Level::Warning => {
                let text: String = text.chars().take(LONGEST_WARNING).collect();
                let known = {
                    let mut shown = self.lock();
                    shown.items.get_mut(&item).is_some_and(|view| {
                        let known = view.warnings.contains(&text);
                        if !known {
                            view.warnings.push(text.clone());
                        }
                        known
                    })
                };
                if !known {
                    self.warn(format_args!("{}: {text}", self.id(item)));
                    self.event("warning", Some(item), json!({ "text": text }));
                }
            }
        }
    }

    fn moved(&self, item: usize, moved: Moved) {
        let due = {
            let mut shown = self.lock();
            let Some(view) = shown.items.get_mut(&item) else {
                return;
            };
            if moved.what != "job" {
                view.converted = view.converted.max(moved.done);
                view.uploaded = view.uploaded.max(moved.uploaded);
            }
            if let Some(bar) = &view.bar {
                bar.set_length(moved.total);
                bar.set_position(moved.done);
            }
            let due = view.told.is_none_or(|told| told.elapsed() >= EVENT_EVERY);
            if due {
                view.told = Some(Instant::now());
            }
            due
        };
        if due {
            self.event(
                "progress",
                Some(item),
                json!({ "what": moved.what, "done": moved.done, "total": moved.total, "uploaded": moved.uploaded }),
            );
        }
    }
}

/// How an item ended, in a line.
fn line_of(outcome: &ItemOutcome, seconds: f64) -> String {
    let mut line = outcome.state.word().to_owned();
    if let Some(cause) = &outcome.cause {
        line.push_str(": ");
        line.push_str(cause);
    } else if let Some(image) = &outcome.image_id {
        line.push_str(&format!(", image {image}"));
    }
    if matches!(outcome.state, ItemState::Active | ItemState::Adopted) {
        line.push_str(&format!(
            ", {} in {seconds:.1} s",
            human(outcome.virtual_size.unwrap_or_default())
        ));
    }
    line
}

const TOTAL: &str = "{msg:>20} [{bar:32}] {pos} of {len}  {elapsed}";
const BAR: &str = "{prefix:>20} [{bar:32}] {percent:>3} %  {msg}";

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

fn short(id: &str) -> String {
    let length = id.chars().count();
    match length > 20 {
        true => format!("…{}", id.chars().skip(length - 19).collect::<String>()),
        false => id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bar_templates_are_valid() {
        for template in [BAR, TOTAL] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
        assert_eq!(short("a-name-of-more-than-twenty").chars().count(), 20);
    }

    #[test]
    fn samples_of_a_long_run_are_thinned_out() {
        let mut shown = Shown {
            every: 1,
            ..Shown::default()
        };
        for _ in 0..5000 {
            shown.sample();
        }
        assert!(shown.samples.len() <= MOST_SAMPLES);
        assert!(shown.every > 1);
    }
}
