//! Signing in: POST /v3/auth/tokens, and the cache that keeps its token fresh.
//!
//! Source: Identity and Access Management API Reference, "Obtaining a User Token". A token lasts 24
//! hours; a change of password or rights ends it within half an hour.

use net::http::{HeaderValue, Method, Request, Response, header};
use net::retry::Retryable;
use net::secret::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use tokio::sync::Mutex;

use crate::error::{Error, ErrorKind, Result};
use crate::value;

/// The header that brings a token.
pub(crate) const HEADER: &str = "x-subject-token";

/// A token is renewed when it has less than this left: longer than any one call with its attempts.
const RENEW_BEFORE: Duration = Duration::minutes(30);

/// Assumed lifetime when the answer names none. Ours: far below the documented 24 hours.
const UNSTATED_LIFETIME: Duration = Duration::hours(1);

/// Longest token that is taken, in bytes. Ours: real ones have several KiB, and gateways refuse
/// larger headers.
const MAX_TOKEN_BYTES: usize = 64 << 10;

/// A token as the server gave it.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) value: SecretString,
    /// Project that the token is scoped to.
    pub(crate) project_id: Option<String>,
    /// Which sign-in made it, so that only the one that was refused is thrown away.
    pub(crate) number: u64,
    expires_at: OffsetDateTime,
    renew_at: OffsetDateTime,
}

/// The cached token. The lock is held while signing in, so that callers in parallel sign in once.
#[derive(Debug, Default)]
pub(crate) struct TokenCache {
    slot: Mutex<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    token: Option<Token>,
    number: u64,
}

impl TokenCache {
    /// A token that is good for a while at `now`; `sign_in` is called if there is none. When it
    /// fails for a passing reason and the old token still holds, the old one is returned.
    pub(crate) async fn get<F>(&self, now: OffsetDateTime, sign_in: F) -> Result<Token>
    where
        F: AsyncFnOnce() -> Result<Token>,
    {
        let mut slot = self.slot.lock().await;
        if let Some(token) = slot.token.as_ref().filter(|token| now < token.renew_at) {
            return Ok(token.clone());
        }
        let renewed = sign_in().await;
        match (renewed, &slot.token) {
            (Ok(mut token), _) => {
                slot.number = slot.number.wrapping_add(1);
                token.number = slot.number;
                slot.token = Some(token.clone());
                Ok(token)
            }
            (Err(error), Some(old))
                if now < old.expires_at
                    && matches!(
                        error.kind(),
                        ErrorKind::Network | ErrorKind::Unavailable | ErrorKind::Foreign
                    ) =>
            {
                tracing::warn!(
                    "the token could not be renewed, the old one still holds: {}",
                    error.reason()
                );
                Ok(old.clone())
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Throws away the token of sign-in `number`, unless it has been replaced already.
    pub(crate) async fn refused(&self, number: u64) {
        let mut slot = self.slot.lock().await;
        if slot
            .token
            .as_ref()
            .is_some_and(|token| token.number == number)
        {
            slot.token = None;
        }
    }

    /// The value of the cached token, for masking.
    pub(crate) async fn peek(&self) -> Option<SecretString> {
        let slot = self.slot.lock().await;
        slot.token.as_ref().map(|token| token.value.clone())
    }
}

/// The scope of a token: a project by id, or by its name, which for regions is the region.
pub(crate) enum Scope<'a> {
    ProjectId(&'a str),
    ProjectName(&'a str),
}

/// The request that signs in.
pub(crate) fn request(
    url: net::http::Url,
    user: &str,
    password: &SecretString,
    domain: &str,
    scope: &Scope<'_>,
) -> Request {
    let project = match scope {
        Scope::ProjectId(id) => json!({"id": id}),
        Scope::ProjectName(name) => json!({"name": name}),
    };
    let body = json!({
        "auth": {
            "identity": {
                "methods": ["password"],
                "password": {
                    "user": {
                        "name": user,
                        "password": password.expose_secret(),
                        "domain": {"name": domain},
                    }
                }
            },
            "scope": {"project": project},
        }
    });
    let mut request = Request::new(Method::POST, url).with_json(body.to_string());
    let json = HeaderValue::from_static("application/json");
    request.headers.insert(header::ACCEPT, json);
    request
}

/// The token in a successful answer.
pub(crate) fn from_answer(answer: &Response, now: OffsetDateTime) -> Result<Token> {
    let value = answer
        .headers
        .get(HEADER)
        .and_then(|value| value.to_str().ok())
        .filter(|value| !value.is_empty() && value.len() <= MAX_TOKEN_BYTES)
        .ok_or_else(|| {
            Error::new(
                ErrorKind::BadAnswer,
                "signing in brought no token in the header X-Subject-Token",
            )
            .with_hint("check the address of the identity service")
        })?;
    // The body only refines what is known; a token without one is still a token.
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let token = body.get("token").unwrap_or(&Value::Null);
    let time = |name| {
        value::text(token, name).and_then(|text| OffsetDateTime::parse(&text, &Rfc3339).ok())
    };
    let expires_at = time("expires_at").unwrap_or_else(|| later(now, UNSTATED_LIFETIME));
    let issued_at = time("issued_at").unwrap_or(now);
    // A token that never had that much would be renewed by every call.
    let margin = RENEW_BEFORE.min(((expires_at - issued_at) / 2_i32).max(Duration::ZERO));
    Ok(Token {
        value: value.into(),
        project_id: token
            .get("project")
            .and_then(|project| value::text(project, "id"))
            .filter(|id| crate::id::is_id(id)),
        number: 0,
        expires_at,
        renew_at: expires_at.checked_sub(margin).unwrap_or(expires_at),
    })
}

fn later(now: OffsetDateTime, by: Duration) -> OffsetDateTime {
    now.checked_add(by).unwrap_or(now)
}
