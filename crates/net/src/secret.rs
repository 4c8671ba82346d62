//! Credentials. Secrets are masked by their type, never by care.

pub use secrecy::{ExposeSecret, SecretString};

/// An access key pair, with a session token when it is temporary. `Debug` shows the access key id
/// only.
#[derive(Clone, Debug)]
pub struct AccessKey {
    /// Access key id (AK). Not a secret.
    pub id: String,
    /// Secret access key (SK).
    pub secret: SecretString,
    /// Security token of temporary credentials.
    pub session_token: Option<SecretString>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let key = AccessKey {
            id: "AKID".into(),
            secret: "hunter2".into(),
            session_token: Some("tok-123".into()),
        };
        let text = format!("{key:?}");
        assert!(text.contains("AKID") && !text.contains("hunter2") && !text.contains("tok-123"));
    }
}
