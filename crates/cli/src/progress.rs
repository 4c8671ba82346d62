//! Progress: bars on a terminal, a line now and then elsewhere.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use convert::{Counter, Monitor};
use diskimg::units::human;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::console::Console;
use ::import::{Activity, Counting, JobWatch, Observer};

/// Elsewhere than on a terminal a line is written this often: enough to see that a run lives,
/// few enough for a log.
const LINE_EVERY: Duration = Duration::from_secs(15);
/// A job that does not get on is told of this often.
const JOB_LINE_EVERY: Duration = Duration::from_secs(60);
/// On a terminal the bar shows that time passes.
const TICK: Duration = Duration::from_millis(500);

/// Counts what the pipeline and the upload report, and shows it.
pub(crate) struct Progress {
    console: Console,
    what: &'static str,
    total: u64,
    start: Instant,
    guest: AtomicU64,
    uploaded: AtomicU64,
    next_line_ms: AtomicU64,
    bars: MultiProgress,
    disk: ProgressBar,
    upload: Option<ProgressBar>,
}

impl Progress {
    /// Progress through `total` bytes of virtual disk. `what` is a word for it (`converting`).
    /// Inside a runtime a line is due also while nothing moves: a log that stands still must not
    /// look like a program that hangs.
    pub(crate) fn new(console: Console, what: &'static str, total: u64, upload: bool) -> Arc<Self> {
        let bars = MultiProgress::with_draw_target(if console.bars() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        });
        let disk = bars.add(ProgressBar::new(total).with_message(what));
        disk.set_style(style(KNOWN_LENGTH));
        let upload = upload.then(|| {
            let bar = bars.add(ProgressBar::no_length().with_message("uploaded"));
            bar.set_style(style(UNKNOWN_LENGTH));
            bar
        });
        disk.enable_steady_tick(TICK);
        let this = Arc::new(Self {
            console,
            what,
            total,
            start: Instant::now(),
            guest: AtomicU64::new(0),
            uploaded: AtomicU64::new(0),
            next_line_ms: AtomicU64::new(millis(LINE_EVERY)),
            bars,
            disk,
            upload,
        });
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(beat(Arc::downgrade(&this), LINE_EVERY));
        }
        this
    }

    /// Takes the bars off the terminal.
    pub(crate) fn finish(&self) {
        self.disk.finish_and_clear();
        if let Some(upload) = &self.upload {
            upload.finish_and_clear();
        }
        let _ = self.bars.clear();
    }

    fn line_if_due(&self) {
        if self.console.bars() || self.console.quiet() {
            return;
        }
        if let Some(line) = self.line_at(self.start.elapsed()) {
            self.console.notice(line);
        }
    }

    /// The line to write when the run has lasted for `elapsed`, if one is due.
    fn line_at(&self, elapsed: Duration) -> Option<String> {
        let now = millis(elapsed);
        let due = self.next_line_ms.load(Ordering::Relaxed);
        let next = now.saturating_add(millis(LINE_EVERY));
        let won = now >= due
            && self
                .next_line_ms
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if !won {
            return None;
        }
        let guest = self.guest.load(Ordering::Relaxed);
        let done = match self.total {
            // Only its end tells how long it is.
            0 => human(guest).to_string(),
            total => format!(
                "{} % of {}",
                u128::from(guest) * 100 / u128::from(total),
                human(total)
            ),
        };
        let uploaded = match &self.upload {
            Some(_) => format!(
                ", {} uploaded",
                human(self.uploaded.load(Ordering::Relaxed))
            ),
            None => String::new(),
        };
        Some(format!("{}: {done}{uploaded}, {} s", self.what, now / 1000))
    }
}

/// Writes the lines that are due, for as long as there is somebody to write them for.
async fn beat(progress: Weak<Progress>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        match progress.upgrade() {
            Some(progress) if !progress.disk.is_finished() => progress.line_if_due(),
            _ => return,
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Monitor for Progress {
    fn count(&self, counter: Counter, increment: u64) {
        match counter {
            Counter::GuestBytes => {
                let guest = self
                    .guest
                    .fetch_add(increment, Ordering::Relaxed)
                    .saturating_add(increment);
                self.disk.set_position(guest);
                self.line_if_due();
            }
            Counter::UploadedBytes => {
                let uploaded = self
                    .uploaded
                    .fetch_add(increment, Ordering::Relaxed)
                    .saturating_add(increment);
                if let Some(bar) = &self.upload {
                    bar.set_position(uploaded);
                }
                self.line_if_due();
            }
            _ => {}
        }
    }
}

impl Counting for Progress {
    fn end(&self) {
        self.finish();
    }
}

/// A command's console observes what the command imports.
impl Observer for Console {
    fn notice(&self, text: fmt::Arguments<'_>) {
        Console::notice(*self, text);
    }

    fn warn(&self, text: fmt::Arguments<'_>) {
        Console::warn(*self, text);
    }

    fn count(&self, activity: Activity, total: u64) -> Arc<dyn Counting> {
        Progress::new(*self, activity.name(), total, activity.uploads())
    }

    fn follow(&self) -> Box<dyn JobWatch> {
        Box::new(JobProgress::new(*self))
    }
}

/// A bar for a job that reports percent, or a line when the percentage moved, and now and then when
/// it did not.
pub(crate) struct JobProgress {
    console: Console,
    bar: ProgressBar,
    last: Option<u64>,
    told: Instant,
}

impl JobProgress {
    pub(crate) fn new(console: Console) -> Self {
        let bar = ProgressBar::with_draw_target(
            Some(100),
            if console.bars() {
                ProgressDrawTarget::stderr()
            } else {
                ProgressDrawTarget::hidden()
            },
        )
        .with_message("job");
        bar.set_style(style(JOB));
        Self {
            console,
            bar,
            last: None,
            told: Instant::now(),
        }
    }

    /// What the job says; `done` is between 0 and 1.
    pub(crate) fn update(&mut self, status: &str, done: Option<f64>) {
        let Some(done) = done.filter(|done| (0.0..=1.0).contains(done)) else {
            return;
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 100"
        )]
        let percent = (done * 100.0) as u64;
        self.bar.set_position(percent);
        let silent = self.told.elapsed() >= JOB_LINE_EVERY;
        if !self.console.bars() && (self.last != Some(percent) || silent) {
            self.told = Instant::now();
            self.console
                .notice(format_args!("job: {status} {percent} %"));
        }
        self.last = Some(percent);
    }
}

impl JobWatch for JobProgress {
    fn update(&mut self, status: &str, done: Option<f64>) {
        Self::update(self, status, done);
    }
}

impl Drop for JobProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

const KNOWN_LENGTH: &str = "{msg:>10} [{bar:32}] {percent:>3} %  {binary_bytes} of \
                            {binary_total_bytes}  {binary_bytes_per_sec}  {eta} left";
const UNKNOWN_LENGTH: &str = "{msg:>10} {binary_bytes}  {binary_bytes_per_sec}";
const JOB: &str = "{msg:>10} [{bar:32}] {percent:>3} %  {elapsed}";

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: a run that waits or tries again is not silent where nobody sees a bar.
    #[test]
    fn a_line_is_due_while_nothing_moves() {
        let console = Console::new(false, false);
        let progress = Progress::new(console, "converting", 100 << 20, true);
        progress.count(Counter::GuestBytes, 50 << 20);
        progress.count(Counter::UploadedBytes, 8 << 20);
        let at = |seconds| progress.line_at(Duration::from_secs(seconds));
        assert_eq!(at(14), None);
        assert_eq!(
            at(15).as_deref(),
            Some("converting: 50 % of 100 MiB, 8 MiB uploaded, 15 s")
        );
        assert_eq!(at(29), None);
        assert!(at(31).is_some());
    }

    #[tokio::test]
    async fn lines_stop_with_what_they_are_about() {
        let progress = Progress::new(Console::new(false, true), "converting", 1, false);
        let every = Duration::from_millis(5);
        let beating = tokio::spawn(beat(Arc::downgrade(&progress), every));
        tokio::time::sleep(every * 4).await;
        assert!(!beating.is_finished());
        drop(progress);
        beating.await.unwrap();
    }

    #[test]
    fn a_stream_of_unknown_length_has_no_percentage() {
        let progress = Progress::new(Console::new(false, false), "reading", 0, true);
        progress.count(Counter::GuestBytes, 3 << 20);
        let line = progress.line_at(Duration::from_secs(20)).unwrap();
        assert_eq!(line, "reading: 3 MiB, 0 bytes uploaded, 20 s");
    }

    #[test]
    fn bar_templates_are_valid() {
        for template in [KNOWN_LENGTH, UNKNOWN_LENGTH, JOB] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
