//! Progress: bars on a terminal, a line now and then elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use convert::{Counter, Monitor};
use diskimg::units::human;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::console::{Console, Moved};

/// Elsewhere than on a terminal a line is written this often: enough to see that a run lives,
/// few enough for a log.
const LINE_EVERY: Duration = Duration::from_secs(15);

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
    pub(crate) fn new(console: Console, what: &'static str, total: u64, upload: bool) -> Arc<Self> {
        let bars = MultiProgress::with_draw_target(if console.bars() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        });
        let disk = bars.add(ProgressBar::new(total).with_message(what));
        disk.set_style(style(
            "{msg:>10} [{bar:32}] {percent:>3} %  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} left",
        ));
        let upload = upload.then(|| {
            let bar = bars.add(ProgressBar::no_length().with_message("uploaded"));
            bar.set_style(style("{msg:>10} {binary_bytes}  {binary_bytes_per_sec}"));
            bar
        });
        Arc::new(Self {
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
        })
    }

    /// Takes the bars off the terminal.
    pub(crate) fn finish(&self) {
        self.disk.finish_and_clear();
        if let Some(upload) = &self.upload {
            upload.finish_and_clear();
        }
        let _ = self.bars.clear();
    }

    fn line_if_due(&self, guest: u64) {
        if self.console.is_item() {
            self.console.moved(Moved {
                what: self.what,
                done: guest,
                total: self.total,
                uploaded: self.uploaded.load(Ordering::Relaxed),
            });
            return;
        }
        if self.console.bars() || self.console.quiet() {
            return;
        }
        let now = millis(self.start.elapsed());
        let due = self.next_line_ms.load(Ordering::Relaxed);
        let next = now.saturating_add(millis(LINE_EVERY));
        let won = now >= due
            && self
                .next_line_ms
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if !won {
            return;
        }
        let percent = u128::from(guest) * 100 / u128::from(self.total.max(1));
        let uploaded = match &self.upload {
            Some(_) => format!(
                ", {} uploaded",
                human(self.uploaded.load(Ordering::Relaxed))
            ),
            None => String::new(),
        };
        self.console.notice(format_args!(
            "{}: {percent} % of {}{uploaded}, {} s",
            self.what,
            human(self.total),
            now / 1000
        ));
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
                self.line_if_due(guest);
            }
            Counter::UploadedBytes => {
                let uploaded = self
                    .uploaded
                    .fetch_add(increment, Ordering::Relaxed)
                    .saturating_add(increment);
                if let Some(bar) = &self.upload {
                    bar.set_position(uploaded);
                }
                self.line_if_due(self.guest.load(Ordering::Relaxed));
            }
            _ => {}
        }
    }
}

/// A bar for a job that reports percent, or a line when the percentage moved.
pub(crate) struct JobProgress {
    console: Console,
    bar: ProgressBar,
    last: Option<u64>,
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
        bar.set_style(style("{msg:>10} [{bar:32}] {percent:>3} %  {elapsed}"));
        Self {
            console,
            bar,
            last: None,
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
        self.console.moved(Moved {
            what: "job",
            done: percent,
            total: 100,
            uploaded: 0,
        });
        if !self.console.bars() && !self.console.is_item() && self.last != Some(percent) {
            self.console
                .notice(format_args!("job: {status} {percent} %"));
        }
        self.last = Some(percent);
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

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bar_templates_are_valid() {
        for template in [
            "{msg:>10} [{bar:32}] {percent:>3} %  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} left",
            "{msg:>10} {binary_bytes}  {binary_bytes_per_sec}",
            "{msg:>10} [{bar:32}] {percent:>3} %  {elapsed}",
        ] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
