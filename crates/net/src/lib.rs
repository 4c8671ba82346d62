//! What every cloud client here needs: secrets, retries, HTTP, request signing.

pub mod retry;
pub mod secret;
