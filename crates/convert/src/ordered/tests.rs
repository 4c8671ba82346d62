//! The window against workers that are slow, fail and panic.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::*;

/// Runs `test` and fails instead of hanging for ever.
fn in_time<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    thread::spawn(move || done.send(catch_unwind(AssertUnwindSafe(test))));
    match result.recv_timeout(Duration::from_secs(30)) {
        Ok(Ok(value)) => value,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(_) => panic!("it hangs"),
    }
}

fn count_to(end: u64) -> impl FnMut() -> Result<Option<u64>> + Send {
    let mut numbers = 0..end;
    move || Ok(numbers.next())
}

fn width(threads: usize, window: usize) -> Width {
    Width { threads, window }
}

#[test]
fn results_come_in_order_for_every_width() {
    for (threads, window) in [(1, 1), (1, 5), (2, 1), (2, 3), (4, 2), (8, 8), (8, 64)] {
        let found = in_time(move || {
            let mut found = Vec::new();
            run(
                width(threads, window),
                &CancelToken::new(),
                count_to(300),
                || Ok(()),
                |(), job| {
                    // Every seventh job takes longer, so that others overtake it.
                    if job % 7 == 0 {
                        thread::sleep(Duration::from_micros(200));
                    }
                    Ok(job)
                },
                |result| {
                    found.push(result);
                    Ok(())
                },
            )
            .unwrap();
            found
        });
        assert!(found.into_iter().eq(0..300), "{threads} {window}");
    }
}

#[test]
fn no_more_jobs_than_the_window_are_begun_and_not_consumed() {
    const WINDOW: usize = 3;
    let most = in_time(|| {
        let (begun, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        run(
            width(8, WINDOW),
            &CancelToken::new(),
            count_to(200),
            || Ok(()),
            |(), job| {
                let now = begun.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                Ok(job)
            },
            |_| {
                // A slow consumer: the workers would run away if they could.
                thread::sleep(Duration::from_micros(300));
                begun.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            },
        )
        .unwrap();
        most.into_inner()
    });
    assert_eq!(most, WINDOW);
}

/// A run in which one closure goes wrong, as chosen by name.
fn fails_in(place: &'static str) -> Error {
    in_time(move || {
        let fail = |here: &str| match here == place {
            true => Err(Error::refused(place)),
            false => Ok(()),
        };
        let mut jobs = count_to(u64::MAX);
        run(
            width(4, 6),
            &CancelToken::new(),
            || match jobs()? {
                Some(50) if place == "job" => Err(Error::refused(place)),
                job => Ok(job),
            },
            || fail("worker"),
            |(), job| match job {
                50 => fail("work").map(|()| job),
                51 if place == "panic" => panic!("a worker panics on purpose"),
                _ => Ok(job),
            },
            |job| match job {
                50 => fail("consume"),
                _ => Ok(()),
            },
        )
        .unwrap_err()
    })
}

#[test]
fn an_error_anywhere_ends_an_endless_run_and_is_returned() {
    for place in ["job", "worker", "work", "consume"] {
        assert_eq!(fails_in(place).to_string(), place);
    }
}

#[test]
fn a_panic_in_a_worker_is_an_error_and_no_hang() {
    assert!(matches!(fails_in("panic"), Error::WorkerPanicked));
}

#[test]
fn a_panic_of_the_consumer_ends_the_workers_first() {
    in_time(|| {
        let working = AtomicUsize::new(0);
        let panic = catch_unwind(AssertUnwindSafe(|| {
            run(
                width(4, 4),
                &CancelToken::new(),
                count_to(u64::MAX),
                || Ok(()),
                |(), job| {
                    working.fetch_add(1, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(1));
                    working.fetch_sub(1, Ordering::SeqCst);
                    Ok(job)
                },
                |_| panic!("the consumer panics on purpose"),
            )
        }));
        assert!(panic.is_err());
        assert_eq!(working.into_inner(), 0);
    });
}

#[test]
fn cancelling_stops_before_another_job_begins_even_for_those_who_wait() {
    const WINDOW: usize = 2;
    let (error, late) = in_time(|| {
        let cancel = CancelToken::new();
        let (cancelled, late) = (AtomicBool::new(false), AtomicUsize::new(0));
        let error = run(
            width(8, WINDOW),
            &cancel,
            count_to(u64::MAX),
            || Ok(()),
            |(), job| {
                if cancelled.load(Ordering::SeqCst) {
                    late.fetch_add(1, Ordering::SeqCst);
                }
                Ok(job)
            },
            |job| {
                if job == 20 {
                    // By then the workers stand at the window's edge.
                    thread::sleep(Duration::from_millis(50));
                    cancel.cancel();
                    cancelled.store(true, Ordering::SeqCst);
                }
                Ok(())
            },
        )
        .unwrap_err();
        (error, late.into_inner())
    });
    assert!(matches!(error, Error::Cancelled), "{error:?}");
    assert_eq!(late, 0);
}

#[test]
fn a_job_that_was_taken_is_not_begun_after_cancelling() {
    let (error, late) = in_time(|| {
        let cancel = CancelToken::new();
        let late = AtomicUsize::new(0);
        let mut jobs = count_to(u64::MAX);
        let error = run(
            width(2, 64),
            &cancel,
            || {
                let job = jobs()?;
                if job == Some(20) {
                    cancel.cancel();
                }
                Ok(job)
            },
            || Ok(()),
            |(), job| {
                late.fetch_add(usize::from(job >= 20), Ordering::SeqCst);
                Ok(job)
            },
            |_| Ok(()),
        )
        .unwrap_err();
        (error, late.into_inner())
    });
    assert!(matches!(error, Error::Cancelled), "{error:?}");
    assert_eq!(late, 0);
}

#[test]
fn a_run_cancelled_after_its_last_job_does_not_count_as_done() {
    let cancel = CancelToken::new();
    let token = cancel.clone();
    let result = run(
        width(2, 2),
        &cancel,
        count_to(10),
        || Ok(()),
        |(), job| Ok(job),
        move |job| {
            if job == 9 {
                token.cancel();
            }
            Ok(())
        },
    );
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
}
