//! Who is asking: the sandbox's key, temporary keys and tokens.

use std::collections::HashMap;
use std::time::Duration;

use net::secret::{ExposeSecret as _, SecretString};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use crate::keys::{Keys, hex_id};

/// Most tokens, and most temporary keys, that are valid at a time; beyond, the oldest goes.
const MAX_ISSUED: usize = 10_000;

/// A token's length in hex digits. The cloud's have several KiB; clients must not mind.
const TOKEN_LEN: usize = 2048;

/// Issues and checks credentials. Those it issues end with the process, like a cloud's with time.
#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) keys: Keys,
    token_lifetime: Duration,
    tokens: Mutex<HashMap<String, Token>>,
    temporary: Mutex<HashMap<String, TemporaryKey>>,
}

/// What a token stands for.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) issued_at: OffsetDateTime,
    pub(crate) expires_at: OffsetDateTime,
    /// Whether it may act in the project; otherwise only in IAM.
    pub(crate) in_project: bool,
}

/// A key that ends, and needs its session token with it.
#[derive(Clone, Debug)]
pub(crate) struct TemporaryKey {
    pub(crate) id: String,
    pub(crate) secret: SecretString,
    pub(crate) session_token: SecretString,
    pub(crate) expires_at: OffsetDateTime,
}

impl Credentials {
    pub(crate) fn new(keys: Keys, token_lifetime: Duration) -> Self {
        Self {
            keys,
            token_lifetime,
            tokens: Mutex::default(),
            temporary: Mutex::default(),
        }
    }

    /// Whether these are the user's.
    pub(crate) fn is_user(&self, user: &str, password: &str, domain: &str) -> bool {
        user == self.keys.user
            && domain == self.keys.domain
            && same(password, self.keys.password.expose_secret())
    }

    /// A new token: its text, and what it stands for.
    pub(crate) fn issue_token(&self, in_project: bool) -> (String, Token) {
        let issued_at = OffsetDateTime::now_utc();
        let token = Token {
            issued_at,
            expires_at: later(issued_at, self.token_lifetime),
            in_project,
        };
        let text: String = random_hex(TOKEN_LEN);
        let mut tokens = self.tokens.lock();
        insert(&mut tokens, text.clone(), token.clone(), |token| {
            token.expires_at
        });
        (text, token)
    }

    /// What a token stands for, if it is known and not over.
    pub(crate) fn token(&self, text: &str) -> Option<Token> {
        let token = self.tokens.lock().get(text).cloned()?;
        (token.expires_at > OffsetDateTime::now_utc()).then_some(token)
    }

    /// A new key that ends after `lifetime`.
    pub(crate) fn issue_key(&self, lifetime: Duration) -> TemporaryKey {
        let key = TemporaryKey {
            id: random_hex(20).to_uppercase(),
            secret: random_hex(40).into(),
            session_token: random_hex(TOKEN_LEN).into(),
            expires_at: later(OffsetDateTime::now_utc(), lifetime),
        };
        let mut keys = self.temporary.lock();
        insert(&mut keys, key.id.clone(), key.clone(), |key| key.expires_at);
        key
    }

    /// The secret of an access key id that is known and not over.
    pub(crate) fn secret(&self, id: &str) -> Option<SecretString> {
        if id == self.keys.access_key.id {
            return Some(self.keys.access_key.secret.clone());
        }
        self.temporary_key(id).map(|key| key.secret)
    }

    /// Whether a request by this access key came with the session token that belongs to it: its
    /// own for a temporary key, none for the permanent one.
    pub(crate) fn is_session(&self, id: &str, session_token: Option<&str>) -> bool {
        match (self.temporary_key(id), session_token) {
            (Some(key), Some(given)) => same(given, key.session_token.expose_secret()),
            (None, None) => id == self.keys.access_key.id,
            _ => false,
        }
    }

    fn temporary_key(&self, id: &str) -> Option<TemporaryKey> {
        let key = self.temporary.lock().get(id).cloned()?;
        (key.expires_at > OffsetDateTime::now_utc()).then_some(key)
    }
}

/// Compares in a time that does not tell where the difference is.
fn same(given: &str, expected: &str) -> bool {
    Sha256::digest(given) == Sha256::digest(expected)
}

fn later(time: OffsetDateTime, by: Duration) -> OffsetDateTime {
    let by = time::Duration::try_from(by).unwrap_or(time::Duration::DAY);
    time.checked_add(by).unwrap_or(time)
}

/// Adds an entry; makes room by dropping what is over, or else what ends first.
fn insert<T>(
    entries: &mut HashMap<String, T>,
    name: String,
    entry: T,
    ends: impl Fn(&T) -> OffsetDateTime,
) {
    if entries.len() >= MAX_ISSUED {
        let now = OffsetDateTime::now_utc();
        entries.retain(|_, entry| ends(entry) > now);
    }
    if entries.len() >= MAX_ISSUED
        && let Some(first) = entries.iter().min_by_key(|(_, entry)| ends(entry))
    {
        let first = first.0.clone();
        entries.remove(&first);
    }
    entries.insert(name, entry);
}

fn random_hex(digits: usize) -> String {
    let mut text = String::with_capacity(digits);
    while text.len() < digits {
        text.push_str(&hex_id());
    }
    text.truncate(digits);
    text
}
