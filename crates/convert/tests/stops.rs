//! Runs that do not get to their end: the right error, everybody stopped, nothing left behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

mod common;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{BLOCK, IDENTITY, TestDisk, names, plan, thread_count};
use convert::{
    CancelToken, Error, Monitor, OutputFile, Overwrite, Sink, SinkError, Target, VoidMonitor,
};

/// Takes so many bytes, then does what it was told.
struct Limited<F> {
    left: usize,
    then: F,
}

impl<F: FnMut() -> Result<(), SinkError> + Send> Sink for Limited<F> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        match self.left.checked_sub(bytes.len()) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => (self.then)(),
        }
    }
}

fn to_zvhd2(disk: &TestDisk, sink: &mut dyn Sink, cancel: &CancelToken) -> Result<(), Error> {
    let plan = plan(disk, Target::Zvhd2, 3);
    convert::to_zvhd2(disk, &plan, IDENTITY, sink, &VoidMonitor, cancel).map(|_| ())
}

/// Cancels when so many blocks have been stored.
struct CancelAfter(u64, CancelToken, AtomicU64);

impl Monitor for CancelAfter {
    fn count(&self, counter: convert::Counter, increment: u64) {
        if counter == convert::Counter::DataBlocks
            && self.2.fetch_add(increment, Ordering::Relaxed) + increment == self.0
        {
            self.1.cancel();
        }
    }
}

/// Runs `run` with an output file over an existing one; it fails, and nothing has changed.
fn leaves_the_target_alone(run: impl FnOnce(&mut OutputFile) -> Result<(), Error>) -> Error {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk");
    fs::write(&path, "precious").unwrap();
    let mut out = OutputFile::create(&path, Overwrite::Replace).unwrap();
    let error = run(&mut out).unwrap_err();
    drop(out);
    assert_eq!(names(directory.path()), ["disk"]);
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    error
}

#[test]
fn a_source_that_cannot_be_read_is_the_error_and_leaves_no_file() {
    for block in [0, 1, 17, 39] {
        let disk = TestDisk::random(40).failing_at_block(block);
        let cancel = CancelToken::new();
        let by_raw = leaves_the_target_alone(|out| {
            let plan = plan(&disk, Target::Raw, 3);
            convert::to_raw(&disk, &plan, out, &VoidMonitor, &cancel).map(|_| ())
        });
        let by_zvhd2 = leaves_the_target_alone(|out| to_zvhd2(&disk, out, &cancel));
        let by_digest = convert::digest(&disk, 3, &VoidMonitor, &cancel).unwrap_err();
        for error in [by_raw, by_zvhd2, by_digest] {
            assert!(matches!(error, Error::Source(_)), "{error:?}");
            assert_eq!(
                error.to_string(),
                "cluster at offset 0x1234: it is broken on purpose"
            );
        }
    }
}

#[test]
fn a_sink_that_fails_is_the_error_and_stops_the_reading() {
    let disk = TestDisk::random(60);
    let mut sink = Limited {
        left: 5 * BLOCK as usize,
        then: || Err("the server is gone".into()),
    };
    let error = to_zvhd2(&disk, &mut sink, &CancelToken::new()).unwrap_err();
    assert!(matches!(error, Error::Sink(_)), "{error:?}");
    assert_eq!(error.to_string(), "the server is gone");
    // Four blocks taken, and at most the window of 20 beyond.
    let read = disk.bytes_read.load(Ordering::Relaxed) / BLOCK;
    assert!(read <= 5 + 20, "{read} blocks were read");
}

#[test]
fn a_slow_sink_holds_the_workers_back() {
    let disk = Arc::new(TestDisk::random(60));
    let seen = Arc::clone(&disk);
    let mut most_ahead = 0;
    let mut taken = 0;
    let mut sink = Watched(|bytes: &[u8]| {
        std::thread::sleep(Duration::from_millis(3));
        let read = seen.bytes_read.load(Ordering::Relaxed);
        most_ahead = most_ahead.max(read.saturating_sub(taken) / BLOCK);
        // What does not compress is a little longer than it was.
        taken += bytes.len() as u64 / BLOCK * BLOCK;
    });
    to_zvhd2(&disk, &mut sink, &CancelToken::new()).unwrap();
    // Three workers have a window of twenty, the blocks that are being written among them.
    assert!(most_ahead <= 20, "{most_ahead} blocks ahead");
    assert!(most_ahead >= 4, "the workers never got ahead");
}

struct Watched<F>(F);

impl<F: FnMut(&[u8]) + Send> Sink for Watched<F> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        (self.0)(bytes);
        Ok(())
    }
}

#[test]
fn cancelling_ends_every_kind_of_run_soon() {
    for block in [1, 7, 20] {
        let disk = TestDisk::random(2000);
        let cancelled = |run: &dyn Fn(&dyn Monitor, &CancelToken) -> Error| {
            let cancel = CancelToken::new();
            let monitor = CancelAfter(block, cancel.clone(), AtomicU64::new(0));
            let error = run(&monitor, &cancel);
            assert!(matches!(error, Error::Cancelled), "{error:?}");
            let read = disk.bytes_read.swap(0, Ordering::Relaxed) / BLOCK;
            assert!(read < 150, "{read} blocks were read");
        };
        cancelled(&|monitor, cancel| {
            leaves_the_target_alone(|out| {
                let plan = plan(&disk, Target::Zvhd2, 3);
                convert::to_zvhd2(&disk, &plan, IDENTITY, out, monitor, cancel).map(|_| ())
            })
        });
        cancelled(&|monitor, cancel| {
            leaves_the_target_alone(|out| {
                let plan = plan(&disk, Target::Raw, 3);
                convert::to_raw(&disk, &plan, out, monitor, cancel).map(|_| ())
            })
        });
        cancelled(&|monitor, cancel| convert::digest(&disk, 3, monitor, cancel).unwrap_err());
        cancelled(&|monitor, cancel| {
            convert::compare(&disk, &disk, 3, monitor, cancel).unwrap_err()
        });
    }
}

#[test]
fn a_run_cancelled_before_it_begins_reads_and_writes_nothing() {
    let disk = TestDisk::random(3);
    let cancel = CancelToken::new();
    cancel.cancel();
    let mut file = Vec::new();
    let error = to_zvhd2(&disk, &mut file, &cancel).unwrap_err();
    assert!(matches!(error, Error::Cancelled));
    assert!(file.is_empty());
    assert_eq!(disk.bytes_read.load(Ordering::Relaxed), 0);
}

#[test]
fn a_sink_that_gives_up_because_of_the_cancellation_is_no_failure() {
    let disk = TestDisk::random(30);
    let cancel = CancelToken::new();
    let token = cancel.clone();
    let mut sink = Limited {
        left: 3 * BLOCK as usize,
        then: move || {
            token.cancel();
            Err("stopped waiting".into())
        },
    };
    let error = to_zvhd2(&disk, &mut sink, &cancel).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error:?}");
}

#[test]
fn a_panic_while_reading_is_an_error_and_leaves_no_file() {
    let disk = TestDisk::random(20).with_hook(|at| {
        assert!(at / BLOCK != 9, "a panic on purpose");
        Ok(())
    });
    let error = leaves_the_target_alone(|out| to_zvhd2(&disk, out, &CancelToken::new()));
    assert!(matches!(error, Error::WorkerPanicked), "{error:?}");
}

#[test]
fn no_run_leaves_a_thread_behind() {
    // In a process of its own, because other tests have threads too.
    let output = common::child("thread_counting_child", &[])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
#[ignore = "run by no_run_leaves_a_thread_behind as a child process"]
fn thread_counting_child() {
    if !common::is_child() {
        return;
    }
    let before = thread_count();
    for block in 0..10 {
        let disk = TestDisk::random(10).failing_at_block(block);
        to_zvhd2(&disk, &mut Vec::new(), &CancelToken::new()).unwrap_err();
        let disk = TestDisk::random(10);
        to_zvhd2(&disk, &mut Vec::new(), &CancelToken::new()).unwrap();
        let cancel = CancelToken::new();
        let monitor = CancelAfter(block + 1, cancel.clone(), AtomicU64::new(0));
        convert::digest(&disk, 8, &monitor, &cancel).unwrap_err();
    }
    assert_eq!(thread_count(), before);
}
