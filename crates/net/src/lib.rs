//! What every cloud client here needs: secrets, retries, HTTP, request signing.
//!
//! ```text
//! retry::retry ──attempt──▶ build Request ──▶ sign::sign ──▶ http::Client::send ──▶ Response
//!      ▲                     (plain data)     (fresh date)     one attempt           │
//!      └──────────── Verdict ◀──────── status::verdict / HttpError::verdict ◀────────┘
//! ```
//!
//! A request is plain data until it is sent, so each attempt gets a fresh signature. There is one
//! place that retries ([`retry`]); [`http`] never retries and never follows a redirect. [`sign`] holds
//! both sides of `SDK-HMAC-SHA256`, the client's and the server's, over one canonical form.

pub mod agency;
pub mod clock;
pub mod credentials;
pub mod endpoint;
pub mod http;
pub mod mask;
pub mod retry;
pub mod secret;
pub mod sign;
pub mod status;
