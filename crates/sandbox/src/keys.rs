//! The credentials of a sandbox: made at its first start, kept in its directory.

use net::secret::{AccessKey, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::Error;
use crate::layout::{Layout, load};

/// Who may use the sandbox.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) access_key: AccessKey,
    pub(crate) user: String,
    pub(crate) user_id: String,
    pub(crate) password: SecretString,
    pub(crate) domain: String,
    pub(crate) domain_id: String,
    pub(crate) project_id: String,
}

/// The same as in the file, which only its owner can read.
#[derive(Serialize, Deserialize)]
struct Stored {
    access_key_id: String,
    secret_access_key: String,
    user: String,
    user_id: String,
    password: String,
    domain: String,
    domain_id: String,
    project_id: String,
}

impl Keys {
    /// The keys in the directory, or new ones that are then kept there.
    pub(crate) fn load_or_make(layout: &Layout) -> Result<Self, Error> {
        let path = layout.keys();
        let stored = match load::<Stored>(&path)? {
            Some(stored) => stored,
            None => {
                let stored = Stored::random();
                layout
                    .write_json(&path, &stored)
                    .map_err(|e| Error::io("write", &path, e))?;
                stored
            }
        };
        Ok(Self {
            access_key: AccessKey {
                id: stored.access_key_id,
                secret: stored.secret_access_key.into(),
                session_token: None,
            },
            user: stored.user,
            user_id: stored.user_id,
            password: stored.password.into(),
            domain: stored.domain,
            domain_id: stored.domain_id,
            project_id: stored.project_id,
        })
    }
}

impl Stored {
    fn random() -> Self {
        // 20 and 40 characters, as the cloud's keys have; a version 4 UUID holds 122 random bits.
        let id = hex_id().to_uppercase();
        let secret = format!("{}{}", hex_id(), hex_id());
        Self {
            access_key_id: id.chars().take(20).collect(),
            secret_access_key: secret.chars().take(40).collect(),
            user: "sandbox-user".to_owned(),
            user_id: hex_id(),
            password: hex_id(),
            domain: "sandbox-domain".to_owned(),
            domain_id: hex_id(),
            project_id: hex_id(),
        }
    }
}

/// A random id of 32 hex digits, the form of the cloud's ids.
pub(crate) fn hex_id() -> String {
    Uuid::new_v4().simple().to_string()
}
