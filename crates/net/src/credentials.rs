//! Access keys that change while a program runs: read again before they end, and when a server
//! refuses them.
//!
//! ```text
//! Keys::current ──▶ the key in hand, while it lasts ──▶ otherwise KeySource::fetch, once for all callers
//! Keys::refused ──▶ the key in hand is forgotten, if it still is the refused one
//! ```

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use time::{Duration, OffsetDateTime};
use tokio::sync::Mutex;

use crate::retry::{Retryable, Verdict, chain};
use crate::secret::{AccessKey, SecretString};

/// A key is replaced when it has less than this left, or half of what it had if that is shorter.
/// The metadata service has a new key ten minutes before the old one ends, and both hold meanwhile.
const RENEW_BEFORE: Duration = Duration::minutes(5);

/// A key, and when it ends.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The key.
    pub key: AccessKey,
    /// End of a temporary key, where it is known.
    pub expires_at: Option<OffsetDateTime>,
}

/// What [`KeySource::fetch`] returns.
pub type Fetching<'a> = Pin<Box<dyn Future<Output = Result<Lease, KeyError>> + Send + 'a>>;

/// Where keys come from: a metadata service, an identity service, a file.
pub trait KeySource: fmt::Debug + Send + Sync {
    /// The key as it is there now; with its own attempts, where attempts can help.
    fn fetch(&self) -> Fetching<'_>;
}

/// Why there is no key.
#[derive(Debug)]
pub struct KeyError {
    message: String,
    hint: Option<String>,
    verdict: Verdict,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl KeyError {
    /// An error that another attempt cannot mend.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            verdict: Verdict::Fatal,
            source: None,
        }
    }

    /// Adds what the user can do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says whether to try again.
    #[must_use]
    pub fn with_verdict(mut self, verdict: Verdict) -> Self {
        self.verdict = verdict;
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for KeyError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

impl Retryable for KeyError {
    fn verdict(&self) -> Verdict {
        self.verdict
    }

    fn reason(&self) -> String {
        chain(self)
    }
}

/// The key to sign with, whatever it comes from. Clones share it. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Keys(Arc<Inner>);

#[derive(Debug)]
enum Inner {
    Fixed(AccessKey),
    /// The lock is held while fetching, so that callers in parallel fetch once.
    Renewed {
        source: Box<dyn KeySource>,
        held: Mutex<Option<Held>>,
    },
}

#[derive(Debug)]
struct Held {
    lease: Lease,
    renew_at: Option<OffsetDateTime>,
}

impl From<AccessKey> for Keys {
    fn from(key: AccessKey) -> Self {
        Self(Arc::new(Inner::Fixed(key)))
    }
}

impl Keys {
    /// Keys of `source`; nothing is fetched yet.
    #[must_use]
    pub fn renewed(source: impl KeySource + 'static) -> Self {
        Self(Arc::new(Inner::Renewed {
            source: Box::new(source),
            held: Mutex::default(),
        }))
    }

    /// The key to sign with now. Costs nothing while the one in hand lasts. When a new one cannot
    /// be had and the old one still holds, the old one is returned.
    ///
    /// # Errors
    /// The source's.
    pub async fn current(&self) -> Result<AccessKey, KeyError> {
        let (source, held) = match &*self.0 {
            Inner::Fixed(key) => return Ok(key.clone()),
            Inner::Renewed { source, held } => (source, held),
        };
        let mut held = held.lock().await;
        let now = OffsetDateTime::now_utc();
        if let Some(held) = held
            .as_ref()
            .filter(|held| held.renew_at.is_none_or(|at| now < at))
        {
            return Ok(held.lease.key.clone());
        }
        match source.fetch().await {
            Ok(lease) => {
                let renew_at = lease.expires_at.map(|end| renew_at(now, end));
                let key = lease.key.clone();
                *held = Some(Held { lease, renew_at });
                Ok(key)
            }
            Err(error) => match held.as_ref().map(|held| &held.lease) {
                Some(old) if old.expires_at.is_none_or(|end| now < end) => {
                    tracing::warn!(
                        "the access key could not be renewed, the old one still holds: {}",
                        error.reason()
                    );
                    Ok(old.key.clone())
                }
                _ => Err(error),
            },
        }
    }

    /// A server refused the key with this id: it is forgotten, unless it has been replaced already.
    /// Returns whether the next [`Keys::current`] may bring another one.
    pub async fn refused(&self, id: &str) -> bool {
        let Inner::Renewed { held, .. } = &*self.0 else {
            return false;
        };
        let mut held = held.lock().await;
        if held.as_ref().is_some_and(|held| held.lease.key.id == id) {
            *held = None;
        }
        true
    }

    /// Whether the key never changes.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        matches!(&*self.0, Inner::Fixed(_))
    }

    /// What must not be shown when a server repeats it.
    pub async fn secrets(&self) -> Vec<SecretString> {
        let of = |key: &AccessKey| {
            let mut secrets = vec![key.secret.clone()];
            secrets.extend(key.session_token.clone());
            secrets
        };
        match &*self.0 {
            Inner::Fixed(key) => of(key),
            Inner::Renewed { held, .. } => held
                .lock()
                .await
                .as_ref()
                .map(|held| of(&held.lease.key))
                .unwrap_or_default(),
        }
    }
}

fn renew_at(now: OffsetDateTime, end: OffsetDateTime) -> OffsetDateTime {
    let margin = RENEW_BEFORE.min(((end - now) / 2_i32).max(Duration::ZERO));
    end.checked_sub(margin).unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Numbered keys that last some minutes; fails from a given one on.
    #[derive(Debug)]
    struct Numbered {
        count: Arc<AtomicU32>,
        minutes: i64,
        fails_from: u32,
    }

    impl KeySource for Numbered {
        fn fetch(&self) -> Fetching<'_> {
            Box::pin(async {
                let number = self.count.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                if number >= self.fails_from {
                    return Err(KeyError::new("the source is gone"));
                }
                Ok(Lease {
                    key: AccessKey {
                        id: format!("K{number}"),
                        secret: "hunter22".into(),
                        session_token: Some("tok-123".into()),
                    },
                    expires_at: Some(OffsetDateTime::now_utc() + Duration::minutes(self.minutes)),
                })
            })
        }
    }

    fn keys(minutes: i64, fails_from: u32) -> (Keys, Arc<AtomicU32>) {
        let count = Arc::new(AtomicU32::new(0));
        let source = Numbered {
            count: Arc::clone(&count),
            minutes,
            fails_from,
        };
        (Keys::renewed(source), count)
    }

    #[tokio::test]
    async fn a_key_is_fetched_once_while_it_lasts_also_by_many() {
        let (keys, count) = keys(60, u32::MAX);
        let callers: Vec<_> = (0..8)
            .map(|_| {
                let keys = keys.clone();
                tokio::spawn(async move { keys.current().await.unwrap().id })
            })
            .collect();
        for caller in callers {
            assert_eq!(caller.await.unwrap(), "K0");
        }
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_key_is_replaced_before_it_ends() {
        let now = OffsetDateTime::now_utc();
        let hour = now + Duration::hours(1);
        assert_eq!(renew_at(now, hour), hour - Duration::minutes(5));
        let soon = now + Duration::minutes(4);
        assert_eq!(renew_at(now, soon), now + Duration::minutes(2));
        // One that is over is asked for each time.
        let (keys, _) = keys(0, u32::MAX);
        assert_eq!(keys.current().await.unwrap().id, "K0");
        assert_eq!(keys.current().await.unwrap().id, "K1");
    }

    #[tokio::test]
    async fn a_refused_key_is_fetched_again_and_a_replaced_one_is_left_alone() {
        let (keys, _) = keys(60, u32::MAX);
        assert_eq!(keys.current().await.unwrap().id, "K0");
        assert!(keys.refused("K0").await);
        assert_eq!(keys.current().await.unwrap().id, "K1");
        assert!(keys.refused("K0").await);
        assert_eq!(keys.current().await.unwrap().id, "K1");
    }

    #[tokio::test]
    async fn a_fixed_key_stays_and_another_attempt_brings_no_other() {
        let keys = Keys::from(AccessKey {
            id: "AK".into(),
            secret: "hunter22".into(),
            session_token: None,
        });
        assert_eq!(keys.current().await.unwrap().id, "AK");
        assert!(!keys.refused("AK").await);
    }

    #[tokio::test]
    async fn the_error_of_the_source_is_returned_when_nothing_holds_any_more() {
        let (keys, _) = keys(60, 1);
        keys.current().await.unwrap();
        keys.refused("K0").await;
        let error = keys.current().await.unwrap_err();
        assert_eq!(error.to_string(), "the source is gone");
    }

    #[tokio::test]
    async fn debug_shows_no_secret_of_a_key_in_hand() {
        let (keys, _) = keys(60, u32::MAX);
        keys.current().await.unwrap();
        let text = format!("{keys:?}");
        assert!(text.contains("K0"), "{text}");
        assert!(!text.contains("hunter22") && !text.contains("tok-123"));
        assert_eq!(keys.secrets().await.len(), 2);
    }
}
