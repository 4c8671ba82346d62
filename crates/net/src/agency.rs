//! Keys of the agency that a server runs with, from its metadata service.
//!
//! Source: Elastic Cloud Server User Guide, "Obtaining Metadata", "Security Key": GET
//! /openstack/latest/securitykey; the keys last an hour and are replaced ten minutes before their
//! end. Where a server allows only the second version of the service, a token is fetched first (PUT
//! /meta-data/latest/api/token), as Huawei Cloud's SDKs do.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::credentials::{Fetching, KeyError, KeySource, Lease};
use crate::http::{
    Client, ClientOptions, HeaderName, HeaderValue, Host, HttpError, Method, Request, Response, Url,
};
use crate::retry::{Policy, Retryable as _, retry};
use crate::secret::AccessKey;
use crate::status::{self, Repeat};

/// Address of the metadata service: the same link-local one on every server.
pub const METADATA_ENDPOINT: &str = "http://169.254.169.254";

/// The service is on the same host; elsewhere nobody answers, and the user waits for that.
const TIME_LIMIT: Duration = Duration::from_secs(3);

/// Life of a metadata token in seconds: one is fetched each time, so the shortest that is accepted
/// by all.
const TOKEN_SECONDS: &str = "60";

/// Longest text of the service that is shown, in characters.
const MAX_SHOWN: usize = 200;

const X_METADATA_TOKEN: HeaderName = HeaderName::from_static("x-metadata-token");
const X_METADATA_TOKEN_TTL: HeaderName = HeaderName::from_static("x-metadata-token-ttl-seconds");

/// The metadata service as a source of keys.
#[derive(Clone, Debug)]
pub struct Agency {
    client: Client,
    endpoint: Url,
    policy: Policy,
}

impl Agency {
    /// The service at `endpoint`. Plain http is allowed to this machine and to link-local
    /// addresses, which no router passes on; elsewhere if `allow_http`. No proxy is used.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new(endpoint: Url, allow_http: bool) -> Result<Self, HttpError> {
        let client = Client::new(&ClientOptions {
            allow_http: allow_http || is_link_local(&endpoint),
            connect_timeout: TIME_LIMIT,
            request_timeout: TIME_LIMIT,
            direct: true,
        })?;
        Ok(Self {
            client,
            endpoint,
            policy: Policy {
                max_attempts: 3,
                base_delay: Duration::from_millis(200),
                max_delay: Duration::from_secs(1),
                budget: Duration::from_secs(10),
            },
        })
    }

    async fn lease(&self) -> Result<Lease, KeyError> {
        let mut answer = self
            .send(Method::GET, "/openstack/latest/securitykey", None)
            .await?;
        if matches!(answer.status.as_u16(), 401 | 403) {
            let ttl = (
                X_METADATA_TOKEN_TTL,
                HeaderValue::from_static(TOKEN_SECONDS),
            );
            let token = self
                .send(Method::PUT, "/meta-data/latest/api/token", Some(ttl))
                .await?;
            // Without a token the first refusal is the one to tell.
            if token.status.is_success()
                && let Ok(mut token) = HeaderValue::from_bytes(token.body.trim_ascii())
            {
                token.set_sensitive(true);
                let token = Some((X_METADATA_TOKEN, token));
                answer = self
                    .send(Method::GET, "/openstack/latest/securitykey", token)
                    .await?;
            }
        }
        if answer.status.is_success() {
            return parse(&answer.body);
        }
        let verdict = status::verdict(
            answer.status,
            &answer.headers,
            Repeat::Safe,
            OffsetDateTime::now_utc(),
        );
        let said: String = String::from_utf8_lossy(&answer.body)
            .chars()
            .filter(|c| !c.is_control())
            .take(MAX_SHOWN)
            .collect();
        Err(KeyError::new(format!(
            "the metadata service {} gives no keys: HTTP {} {}",
            self.endpoint,
            answer.status.as_u16(),
            said.trim()
        ))
        .with_verdict(verdict)
        .with_hint(
            "give the server an agency for the image service and object storage (its console page, \
             Management Information)",
        ))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        header: Option<(HeaderName, HeaderValue)>,
    ) -> Result<Response, KeyError> {
        let mut url = self.endpoint.clone();
        url.set_path(&format!(
            "{}{path}",
            self.endpoint.path().trim_end_matches('/')
        ));
        let mut request = Request::new(method, url);
        request.headers.extend(header);
        self.client.send(request).await.map_err(|error| {
            let verdict = error.verdict_for(Repeat::Safe);
            let hint = match error.is_plain_http() {
                true => "use an https endpoint, or allow plain http",
                false => {
                    "keys of an agency exist on servers of the cloud only; elsewhere set \
                     HW_ACCESS_KEY and HW_SECRET_KEY"
                }
            };
            KeyError::new("the metadata service does not answer")
                .with_verdict(verdict)
                .with_hint(hint)
                .caused_by(error)
        })
    }
}

impl KeySource for Agency {
    fn fetch(&self) -> Fetching<'_> {
        Box::pin(async {
            let result = retry(&self.policy, "reading the agency's keys", |_| self.lease()).await;
            match &result {
                Ok(lease) => tracing::debug!(
                    "key {} of the server's agency, until {:?}",
                    lease.key.id,
                    lease.expires_at
                ),
                Err(error) => tracing::debug!("no key of an agency: {}", error.reason()),
            }
            result
        })
    }
}

/// The credential in an answer of the metadata service, or of IAM, which has the same shape:
/// `{"credential": {"access", "secret", "securitytoken", "expires_at"}}`.
///
/// # Errors
/// When access or secret is missing.
pub fn parse(body: &[u8]) -> Result<Lease, KeyError> {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let field = |name| {
        value
            .get("credential")
            .and_then(|credential| credential.get(name)?.as_str())
            .filter(|text| !text.is_empty())
    };
    let (Some(id), Some(secret)) = (field("access"), field("secret")) else {
        return Err(KeyError::new(
            "the answer with temporary keys has no access and secret",
        ));
    };
    Ok(Lease {
        key: AccessKey {
            id: id.to_owned(),
            secret: secret.into(),
            session_token: field("securitytoken").map(Into::into),
        },
        expires_at: field("expires_at").and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok()),
    })
}

fn is_link_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_link_local(),
        Some(Host::Ipv6(address)) => match IpAddr::V6(address).to_canonical() {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        },
        _ => false,
    }
}
