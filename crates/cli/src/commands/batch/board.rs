//! What a batch shows while it runs: a line for each disk at work on a terminal, events as JSON
//! lines, or a line for each disk that has ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloud::Hint;
use diskimg::text::shown;
use diskimg::units::human;
use fleet::{Disk, DiskEvent, Event, Overview, Progress, Tally};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;
use serde_json::{Value, json};

use ::batch::{ItemOutcome, ItemState, Manifest, Stage};

use crate::console::{Console, for_terminal};
use crate::hints;

/// Progress of a disk is told at most this often as an event.
const EVENT_EVERY: Duration = Duration::from_secs(1);
/// A line that says how far everything is, elsewhere than on a terminal.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Shows a batch.
pub(super) struct Board {
    console: Console,
    /// The manifest's file.
    file: String,
    digest: String,
    bars: Option<Bars>,
    shown: Mutex<Shown>,
}

struct Bars {
    all: MultiProgress,
    total: ProgressBar,
}

#[derive(Default)]
struct Shown {
    disks: usize,
    ended: usize,
    /// Disks at work.
    active: HashMap<usize, View>,
    last_line: Option<Instant>,
}

#[derive(Default)]
struct View {
    told: Option<Instant>,
    bar: Option<ProgressBar>,
}

impl Board {
    pub(super) fn new(console: Console, manifest: &Manifest) -> Arc<Self> {
        let bars = (console.bars() && !console.json).then(|| {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
            let total = all.add(ProgressBar::no_length().with_message("disks"));
            total.set_style(style(TOTAL));
            Bars { all, total }
        });
        Arc::new(Self {
            console,
            file: manifest.path.display().to_string(),
            digest: manifest.digest.clone(),
            bars,
            shown: Mutex::default(),
        })
    }

    /// Writes an event, where events are wanted.
    pub(super) fn write(&self, name: &str, disk: Option<Disk<'_>>, fields: Value) {
        if !self.console.json {
            return;
        }
        let mut event = json!({ "event": name, "at": fleet::now() });
        if let Some(object) = event.as_object_mut() {
            if let Some(disk) = disk {
                object.insert("item".into(), disk.id.into());
            }
            if let Value::Object(fields) = fields {
                object.extend(fields);
            }
        }
        // The exit code tells a reader that is gone.
        let _ = self.console.line(&event);
    }

    /// A line for people about everything.
    fn say(&self, text: impl std::fmt::Display) {
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

    /// Takes everything off the terminal.
    pub(super) fn finish(&self) {
        if let Some(bars) = &self.bars {
            bars.total.finish_and_clear();
            let _ = bars.all.clear();
        }
    }

    /// What is about to happen, in two lines; the table is for `batch plan`.
    fn started(&self, overview: &Overview) {
        let Overview {
            disks,
            to_do,
            done,
            refused,
            ..
        } = *overview;
        self.shown.lock().disks = disks;
        if let Some(bars) = &self.bars {
            bars.total
                .set_length(u64::try_from(disks).unwrap_or(u64::MAX));
        }
        self.say(format_args!(
            "{to_do} disks to import ({} of data), {done} skipped, {refused} refused",
            human(overview.data_bytes)
        ));
        self.say(format_args!(
            "memory  at most {}: program {}, {} per disk, more if a disk needs it; {} converted at a time, {} uploaded, {} jobs",
            human(overview.memory),
            human(overview.fixed_memory),
            human(overview.share),
            overview.converts,
            overview.uploads,
            overview.jobs
        ));
        self.write(
            "plan",
            None,
            json!({
                "manifest": self.file,
                "manifest_digest": self.digest,
                "items": disks, "to_do": to_do, "skipped": done, "refused": refused,
                "data_bytes": overview.data_bytes, "memory_bound": overview.memory,
                "converts": overview.converts, "uploads": overview.uploads,
                "jobs": overview.jobs, "threads": overview.threads,
            }),
        );
    }

    /// A disk is taken up.
    fn began(&self, disk: Disk<'_>) {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.all.insert_before(&bars.total, ProgressBar::new(1));
            bar.set_style(style(BAR));
            bar.set_prefix(short(disk.id));
            bar.set_message(Stage::Queue.word());
            bar
        });
        let view = View { told: None, bar };
        self.shown.lock().active.insert(disk.number, view);
        self.write("began", Some(disk), json!({}));
    }

    fn stage(&self, disk: Disk<'_>, stage: Stage) {
        if let Some(View { bar: Some(bar), .. }) = self.shown.lock().active.get(&disk.number) {
            bar.set_message(stage.word());
        }
        self.write("stage", Some(disk), json!({ "stage": stage.word() }));
    }

    fn progress(&self, disk: Disk<'_>, progress: Progress) {
        let due = {
            let mut shown = self.shown.lock();
            let Some(view) = shown.active.get_mut(&disk.number) else {
                return;
            };
            if let Some(bar) = &view.bar {
                bar.set_length(progress.total);
                bar.set_position(progress.done);
            }
            let due = view.told.is_none_or(|told| told.elapsed() >= EVENT_EVERY);
            if due {
                view.told = Some(Instant::now());
            }
            due
        };
        if due {
            let Progress {
                what,
                done,
                total,
                uploaded,
            } = progress;
            let fields =
                json!({ "what": what, "done": done, "total": total, "uploaded": uploaded });
            self.write("progress", Some(disk), fields);
        }
    }

    /// Takes the bar of a disk off the terminal.
    fn remove(&self, disk: Disk<'_>) {
        let view = self.shown.lock().active.remove(&disk.number);
        if let (Some(bars), Some(bar)) = (&self.bars, view.and_then(|view| view.bar)) {
            bar.finish_and_clear();
            bars.all.remove(&bar);
        }
    }

    fn ended(&self, disk: Disk<'_>, outcome: &ItemOutcome, seconds: f64) {
        self.remove(disk);
        let (ended, disks) = {
            let mut shown = self.shown.lock();
            shown.ended = shown.ended.saturating_add(1);
            (shown.ended, shown.disks)
        };
        if let Some(bars) = &self.bars {
            bars.total
                .set_position(u64::try_from(ended).unwrap_or_default());
        }
        let line = format!(
            "[{ended}/{disks}] {}: {}",
            outcome.id,
            line_of(outcome, seconds)
        );
        if outcome.state.is_failure() {
            self.warn(line);
        } else {
            self.say(line);
        }
        self.write("ended", Some(disk), json!({ "outcome": outcome }));
    }

    /// Says now and then how far everything is.
    fn tick(&self, tally: Tally) {
        if self.bars.is_some() || self.console.json {
            return;
        }
        let due = {
            let last = &mut self.shown.lock().last_line;
            let due = last.is_some_and(|last| last.elapsed() >= LINE_EVERY);
            if due || last.is_none() {
                *last = Some(Instant::now());
            }
            due
        };
        if due {
            let failed = match tally.failed {
                0 => String::new(),
                failed => format!(", {failed} of them failed"),
            };
            self.say(format_args!(
                "{} of {} finished{failed}, {} active; {} converted, {} uploaded",
                tally.ended,
                tally.disks,
                tally.active,
                human(tally.converted_bytes),
                human(tally.sent_bytes),
            ));
        }
    }

    fn disk_event(&self, disk: Disk<'_>, event: DiskEvent<'_>) {
        match event {
            DiskEvent::Began => self.began(disk),
            DiskEvent::Stage(stage) => self.stage(disk, stage),
            DiskEvent::Notice(text) => self.write("notice", Some(disk), json!({ "text": text })),
            DiskEvent::Warning(text) => {
                self.warn(format_args!("{}: {text}", disk.id));
                self.write("warning", Some(disk), json!({ "text": text }));
            }
            DiskEvent::Progress(progress) => self.progress(disk, progress),
            DiskEvent::Lost(why) => {
                self.remove(disk);
                self.warn(format_args!("{}: {}; will retry", disk.id, why.line()));
                self.write("lost", Some(disk), json!({}));
            }
            DiskEvent::Ended { outcome, seconds } => self.ended(disk, outcome, seconds),
        }
    }
}

impl fleet::Observer for Board {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Checking(disks) => self.console.notice(format_args!(
                "checking {disks} disks of {}",
                shown(&self.file)
            )),
            Event::Sharing {
                worker,
                conditional,
            } => {
                let way = match conditional {
                    true => "the server stores a claim only if none exists",
                    false => {
                        "the server ignores If-None-Match, so workers list the claims and the lowest wins"
                    }
                };
                self.console.notice(format_args!("worker {worker}; {way}"));
            }
            Event::Started(overview) => self.started(overview),
            Event::Tick(tally) => self.tick(tally),
            Event::Disk(disk, event) => self.disk_event(disk, event),
        }
    }

    fn hint(&self, hint: &Hint) -> String {
        hints::keys::text(hint)
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
}
