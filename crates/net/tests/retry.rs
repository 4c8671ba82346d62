//! The retry loop under a paused clock: how often, how long, and when it gives up.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

use std::fmt;
use std::time::Duration;

use net::retry::{Policy, Retryable, Verdict, retry};
use tokio::time::Instant;

#[derive(Debug, PartialEq)]
struct Failure(u32, Verdict);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attempt {} failed", self.0)
    }
}

impl Retryable for Failure {
    fn verdict(&self) -> Verdict {
        self.1
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn policy(max_attempts: u32) -> Policy {
    Policy {
        max_attempts,
        base_delay: SECOND,
        max_delay: 4 * SECOND,
        budget: 1000 * SECOND,
    }
}

/// Fails each time; the times of the attempts, and the last error.
async fn failing(policy: &Policy, verdict: Verdict) -> (Vec<Duration>, Failure) {
    let start = Instant::now();
    let mut times = Vec::new();
    let result: Result<(), _> = retry(policy, "test", |number| {
        times.push(start.elapsed());
        async move { Err(Failure(number, verdict)) }
    })
    .await;
    (times, result.unwrap_err())
}

#[tokio::test(start_paused = true)]
async fn success_ends_the_loop_and_attempts_are_numbered_from_one() {
    let result = retry(&policy(5), "test", |number| async move {
        if number < 3 {
            Err(Failure(number, Verdict::Retry))
        } else {
            Ok(number)
        }
    })
    .await;
    assert_eq!(result, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn a_fatal_error_is_returned_at_once() {
    let (times, error) = failing(&policy(5), Verdict::Fatal).await;
    assert_eq!((times.len(), error.0), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_last_error_is_returned_after_all_attempts() {
    let (times, error) = failing(&policy(4), Verdict::Retry).await;
    assert_eq!((times.len(), error.0), (4, 4));
    let (times, _) = failing(&Policy::never(), Verdict::Retry).await;
    assert_eq!(times.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn pauses_stay_under_a_doubling_bound_and_use_all_of_it() {
    let mut longest = [0.0_f64; 5];
    let mut shortest = [f64::MAX; 5];
    for _ in 0..200 {
        let (times, _) = failing(&policy(6), Verdict::Retry).await;
        for (pause, (longest, shortest)) in longest.iter_mut().zip(&mut shortest).enumerate() {
            let seconds = (times[pause + 1] - times[pause]).as_secs_f64();
            *longest = longest.max(seconds);
            *shortest = shortest.min(seconds);
        }
    }
    // Tokio's timer counts milliseconds.
    for (bound, (longest, shortest)) in [1.0, 2.0, 4.0, 4.0, 4.0]
        .into_iter()
        .zip(longest.into_iter().zip(shortest))
    {
        assert!(longest <= bound + 0.002, "{longest} over {bound}");
        assert!(longest > bound * 0.8, "{longest} of {bound}: no full range");
        assert!(
            shortest < bound * 0.2,
            "{shortest} of {bound}: no full jitter"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn no_attempt_begins_after_the_budget() {
    let policy = Policy {
        max_attempts: u32::MAX,
        budget: 30 * SECOND,
        ..policy(0)
    };
    let (times, error) = failing(&policy, Verdict::Retry).await;
    assert!(times.len() > 5, "{}", times.len());
    assert!(*times.last().unwrap() <= 30 * SECOND);
    assert_eq!(error.0 as usize, times.len());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_when_is_believed_even_beyond_our_longest_pause() {
    let told = Verdict::RetryAfter(60 * SECOND);
    let (times, _) = failing(&policy(3), told).await;
    for pair in times.windows(2) {
        let pause = (pair[1] - pair[0]).as_secs_f64();
        assert!((60.0..60.01).contains(&pause), "{pause}");
    }
    assert_eq!(times.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn waiting_longer_than_the_budget_is_not_begun() {
    let (times, _) = failing(&policy(5), Verdict::RetryAfter(1001 * SECOND)).await;
    assert_eq!(times.len(), 1);
    let (times, _) = failing(&policy(5), Verdict::RetryAfter(Duration::MAX)).await;
    assert_eq!(times.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn retry_after_zero_is_still_jittered() {
    let start = Instant::now();
    for _ in 0..20 {
        failing(&policy(3), Verdict::RetryAfter(Duration::ZERO)).await;
    }
    assert!(start.elapsed() > SECOND, "{:?}", start.elapsed());
}

#[test]
fn bounds_never_overflow() {
    let policy = Policy {
        base_delay: Duration::MAX,
        max_delay: Duration::MAX,
        ..Policy::default()
    };
    assert_eq!(policy.delay_bound(u32::MAX), Duration::MAX);
    assert_eq!(policy.delay_bound(0), Duration::MAX);
    let default = Policy::default();
    assert_eq!(default.delay_bound(1), default.base_delay);
    assert_eq!(default.delay_bound(40), default.max_delay);
}
