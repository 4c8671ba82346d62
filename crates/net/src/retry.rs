//! The one retry layer: policy as data, one loop, and facts about each request.

use std::error::Error;
use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

/// How often and how long to try.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Attempts in all, the first included. At least 1.
    pub max_attempts: u32,
    /// Upper bound of the first pause; doubles with each attempt.
    pub base_delay: Duration,
    /// Upper bound of any pause that we choose; a server may ask for more within the budget.
    pub max_delay: Duration,
    /// No new attempt begins after this much time since the first.
    pub budget: Duration,
}

impl Default for Policy {
    /// Six attempts within five minutes: with pauses of up to 0.5, 1, 2, 4 and 8 s this outlasts a
    /// server's restart, and reports a real outage before the user gives up.
    fn default() -> Self {
        Self {
            max_attempts: 6,
            base_delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(20),
            budget: Duration::from_secs(300),
        }
    }
}

impl Policy {
    /// One attempt only.
    #[must_use]
    pub const fn never() -> Self {
        Self {
            max_attempts: 1,
            base_delay: Duration::ZERO,
            max_delay: Duration::ZERO,
            budget: Duration::MAX,
        }
    }

    /// Upper bound of the pause after attempt number `attempt` (from 1).
    #[must_use]
    pub fn delay_bound(&self, attempt: u32) -> Duration {
        let factor = 1_u32
            .checked_shl(attempt.saturating_sub(1))
            .unwrap_or(u32::MAX);
        self.base_delay.saturating_mul(factor).min(self.max_delay)
    }
}

/// What an error says about trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Another attempt cannot help: wrong credentials, bad request, not found.
    Fatal,
    /// Another attempt may help.
    Retry,
    /// Another attempt may help, and the server said when. When that is past the budget, the error
    /// is returned at once: an earlier attempt would be turned away too.
    RetryAfter(Duration),
}

/// An error that knows whether to try again.
pub trait Retryable: Display {
    /// The verdict.
    fn verdict(&self) -> Verdict;

    /// The text for the log line of a retry, where nobody prints the causes. Errors whose own text
    /// does not say why answer with [`chain`].
    fn reason(&self) -> String {
        self.to_string()
    }
}

/// `error` and its causes in one line, each text once.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut last = text.clone();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if next != last {
            text.push_str(": ");
            text.push_str(&next);
        }
        last = next;
        cause = error.source();
    }
    text
}

/// Runs `attempt` until it succeeds, fails for good, or `policy` is used up; the last error is
/// returned. `what` names the request in the warning that each retry logs. The closure gets the
/// attempt's number (from 1) and must build, sign and send anew each time, so that credentials and
/// timestamps are fresh.
///
/// Pauses are random between 0 and the bound ("full jitter"), so that many parts that failed
/// together do not come back together.
///
/// # Errors
/// The last attempt's.
pub async fn retry<T, E, F, Fut>(policy: &Policy, what: &str, mut attempt: F) -> Result<T, E>
where
    E: Retryable,
    F: FnMut(u32) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let start = Instant::now();
    let mut number = 1;
    loop {
        let error = match attempt(number).await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let jittered = policy.delay_bound(number).mul_f64(fastrand::f64());
        let pause = match error.verdict() {
            Verdict::Fatal => return Err(error),
            Verdict::Retry => jittered,
            Verdict::RetryAfter(pause) => pause.max(jittered),
        };
        let elapsed = start.elapsed();
        if number >= policy.max_attempts || elapsed.saturating_add(pause) > policy.budget {
            return Err(error);
        }
        tracing::warn!(
            "{what}: attempt {number} of {} failed, next in {:.1} s: {}",
            policy.max_attempts,
            pause.as_secs_f64(),
            error.reason()
        );
        tokio::time::sleep(pause).await;
        number += 1;
    }
}
