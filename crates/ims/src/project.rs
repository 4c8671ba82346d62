//! Which project the calls act in, and temporary keys for other services.

use net::agency;
use net::credentials::{Keys, Lease};
use net::http::Method;
use net::secret::AccessKey;
use net::status::Repeat;
use serde_json::json;

use crate::auth::Credentials;
use crate::call::{Call, json as parse};
use crate::client::Client;
use crate::endpoint::Service;
use crate::error::{Error, ErrorKind, Result};
use crate::id::is_id;
use crate::value;

/// Shortest and longest life of temporary keys, in seconds. IAM's: 15 minutes to 24 hours.
const KEY_SECONDS: std::ops::RangeInclusive<u32> = 900..=86_400;

impl Client {
    /// The project's id: given, or from the token's scope, or looked up by the region's name (GET
    /// /v3/projects?name=REGION). Asked for once.
    ///
    /// # Errors
    /// `Invalid` when the region has no or several projects; what the call brings otherwise.
    pub async fn project_id(&self) -> Result<&str> {
        let id = self
            .0
            .project_id
            .get_or_try_init(|| async {
                if let Some(id) = self.token_with_patience().await?.and_then(|t| t.project_id) {
                    return Ok(id);
                }
                self.look_up_project().await
            })
            .await?;
        Ok(id)
    }

    /// Signing in outside of a call has its own attempts.
    async fn token_with_patience(&self) -> Result<Option<crate::token::Token>> {
        net::retry::retry(&self.0.options.policy, "signing in", |_| self.token()).await
    }

    /// Gets a token, if the credentials are of that kind and none is in hand.
    ///
    /// # Errors
    /// What the identity service said.
    pub async fn sign_in(&self) -> Result<()> {
        self.token_with_patience().await.map(drop)
    }

    /// Ids of the projects that have the name of this client's project (GET /v3/projects?name=).
    ///
    /// # Errors
    /// What the call brings.
    pub async fn projects(&self) -> Result<Vec<String>> {
        const DOING: &str = "looking up the project";
        let wanted = self.project_name();
        let query = [("name", wanted)];
        let call = Call::get(self, DOING, Service::Iam, "/v3/projects".into()).query(&query);
        // No X-Project-Id: it is what is asked for.
        let answer = self.call(&call, None).await?;
        let body = parse(DOING, &answer)?;
        Ok(value::list(&body, "projects")
            .iter()
            .filter(|project| value::text(project, "name").is_none_or(|name| name == wanted))
            .filter_map(|project| value::text(project, "id"))
            .filter(|id| is_id(id))
            .collect())
    }

    async fn look_up_project(&self) -> Result<String> {
        let wanted = self.project_name();
        let found = self.projects().await?;
        match found.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(Error::new(
                ErrorKind::Invalid,
                format!("no project is named {wanted:?}"),
            )
            .with_hint(
                "check the region's name and that the account has rights in it, or set \
                 HW_PROJECT_ID",
            )),
            several => Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "{} projects are named {wanted:?}, expected one",
                    several.len()
                ),
            )
            .with_hint(format!(
                "set HW_PROJECT_ID to one of {}",
                several
                    .iter()
                    .take(10)
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", ")
            ))),
        }
    }

    /// Keys that other services accept, such as object storage, which knows no tokens: the given
    /// ones, or temporary ones that last `seconds` (POST /v3.0/OS-CREDENTIAL/securitytokens;
    /// clamped to what IAM allows, 900 to 86,400).
    ///
    /// # Errors
    /// What the call brings; `BadAnswer` when the answer has no keys.
    pub async fn access_key(&self, seconds: u32) -> Result<AccessKey> {
        match self.keys() {
            Some(keys) => keys.current().await.map_err(Error::no_key),
            None => Ok(self.lend(seconds).await?.key),
        }
    }

    /// The keys that this client signs with; `None` when it uses tokens.
    #[must_use]
    pub fn keys(&self) -> Option<Keys> {
        match &self.0.options.credentials {
            Credentials::AccessKey(key) => Some(key.clone().into()),
            Credentials::Keys(keys) => Some(keys.clone()),
            Credentials::Password { .. } | Credentials::Token(_) => None,
        }
    }

    /// Temporary keys for the token, and when they end.
    ///
    /// # Errors
    /// As for [`Client::access_key`].
    pub async fn lend(&self, seconds: u32) -> Result<Lease> {
        const DOING: &str = "getting temporary keys";
        let seconds = seconds.clamp(*KEY_SECONDS.start(), *KEY_SECONDS.end());
        let body = json!({"auth": {"identity": {
            "methods": ["token"],
            "token": {"duration_seconds": seconds},
        }}});
        let call = Call {
            method: Method::POST,
            body: Some(body.to_string().into()),
            // A second pair of keys does no harm; both expire.
            repeat: Repeat::Safe,
            ..Call::get(
                self,
                DOING,
                Service::Iam,
                "/v3.0/OS-CREDENTIAL/securitytokens".into(),
            )
        };
        let answer = self.call(&call, None).await?;
        agency::parse(&answer.body).map_err(|e| {
            Error::new(ErrorKind::BadAnswer, e.to_string())
                .with_hint("check the address of the identity service")
        })
    }
}
