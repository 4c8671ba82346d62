//! What an import job does with the object: checks it, opens it, and reads all of it.

use std::error::Error as StdError;
use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;

use convert::{CancelToken, Counter, Monitor};
use diskimg::Format;

use crate::images::{Examined, JobFailure};

/// How an examination ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The object is a disk image and was read to its end.
    Good(Examined),
    /// It is not, or not one that was asked for.
    Failed(JobFailure),
    /// The sandbox stops.
    Cancelled,
}

/// Examines the object in the file `path`, which a client knows as `name`. Blocks until done.
///
/// The disk inside must fit into `min_disk` GiB.
pub(crate) fn examine(
    path: &Path,
    name: &str,
    min_disk: u64,
    progress: &(dyn Fn(f64) + Sync),
    cancel: &CancelToken,
) -> Outcome {
    match read(path, min_disk, progress, cancel) {
        Ok(examined) => Outcome::Good(examined),
        Err(_) if cancel.is_cancelled() => Outcome::Cancelled,
        Err(failure) => Outcome::Failed(JobFailure {
            // Where the sandbox has the file means nothing to a client.
            reason: failure.reason.replace(&path.display().to_string(), name),
            ..failure
        }),
    }
}

fn read(
    path: &Path,
    min_disk: u64,
    progress: &(dyn Fn(f64) + Sync),
    cancel: &CancelToken,
) -> Result<Examined, JobFailure> {
    let damaged = |error: &dyn StdError| JobFailure {
        code: "IMG.1075",
        reason: chain(error),
    };
    let opened = convert::open(path, Some(Format::Zvhd2)).map_err(|error| damaged(&error))?;
    let virtual_size = opened.image.virtual_size();
    let fits = min_disk
        .checked_shl(30)
        .is_some_and(|bytes| virtual_size <= bytes);
    if !fits {
        return Err(JobFailure {
            code: "IMG.0055",
            reason: format!(
                "the disk in the image file has {virtual_size} bytes, which is more than min_disk ({min_disk} GiB)"
            ),
        });
    }
    let threads = available_parallelism().map_or(1, NonZero::get);
    let monitor = Progress {
        total: virtual_size,
        done: AtomicU64::new(0),
        tell: progress,
    };
    let digest = convert::digest(opened.image.as_ref(), threads, &monitor, cancel)
        .map_err(|error| damaged(&error))?;
    Ok(Examined {
        virtual_size,
        content_digest: digest.to_string(),
    })
}

/// Tells the share of the disk that has been dealt with.
struct Progress<'a> {
    total: u64,
    done: AtomicU64,
    tell: &'a (dyn Fn(f64) + Sync),
}

impl Monitor for Progress<'_> {
    fn count(&self, counter: Counter, increment: u64) {
        if counter == Counter::GuestBytes {
            let before = self.done.fetch_add(increment, Ordering::Relaxed);
            let done = before.saturating_add(increment);
            // Thousandths first: exact, and precise enough to be looked at.
            let thousandths = u128::from(done)
                .saturating_mul(1000)
                .checked_div(u128::from(self.total))
                .and_then(|thousandths| u16::try_from(thousandths).ok())
                .unwrap_or(1000);
            (self.tell)(f64::from(thousandths) / 1000.0);
        }
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
