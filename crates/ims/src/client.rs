//! The client: options, and what all calls share.

use std::sync::Arc;

use net::clock::Clock;
use net::http::ClientOptions as HttpOptions;
use net::retry::Policy;
use tokio::sync::OnceCell;

use crate::auth::Credentials;
use crate::endpoint::Endpoints;
use crate::error::{Error, ErrorKind, Result};
use crate::id::is_id;
use crate::token::TokenCache;

/// Which release of the calls that make, copy and export images is used. The bodies are the same;
/// the newer one asks for rights to the key of encrypted images, and only Huawei's own clouds have
/// it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApiVersion {
    /// `/v2` (some calls `/v1`), which every cloud has.
    #[default]
    V2,
    /// `/v2.1`.
    V2_1,
}

/// How a [`Client`] is made.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Where the services are.
    pub endpoints: Endpoints,
    /// Region, which is also the name of its project.
    pub region: String,
    /// Id of the project, when the region has several; looked up otherwise.
    pub project_id: Option<String>,
    /// Name of the project, when it is not the region's: a sub-project such as `eu-de_web`.
    pub project_name: Option<String>,
    /// Who is calling.
    pub credentials: Credentials,
    /// Timeouts, and whether TLS may be missing.
    pub http: HttpOptions,
    /// How often to try.
    pub policy: Policy,
    /// Release of the calls.
    pub api_version: ApiVersion,
    /// How often the attempts of [`ClientOptions::policy`] begin anew where too many imports run at
    /// once (`IMG.0060`): nothing is wrong then, and others end in minutes.
    pub flow_control_rounds: u32,
}

impl ClientOptions {
    /// Options with the usual timeouts and policy.
    #[must_use]
    pub fn new(endpoints: Endpoints, region: impl Into<String>, credentials: Credentials) -> Self {
        Self {
            endpoints,
            region: region.into(),
            project_id: None,
            project_name: None,
            credentials,
            http: HttpOptions::default(),
            policy: Policy::default(),
            api_version: ApiVersion::default(),
            flow_control_rounds: 20,
        }
    }
}

/// A client of IAM and IMS. Clones share connections, token and project id. Many calls may run at
/// once.
#[derive(Clone, Debug)]
pub struct Client(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) options: ClientOptions,
    pub(crate) http: net::http::Client,
    pub(crate) clock: Clock,
    pub(crate) tokens: TokenCache,
    pub(crate) project_id: OnceCell<String>,
}

impl Client {
    /// A client; nothing is sent yet.
    ///
    /// # Errors
    /// `Invalid` when a given project id is no id, an endpoint holds credentials, or TLS cannot be
    /// set up.
    pub fn new(options: ClientOptions) -> Result<Self> {
        if let Some(id) = options.project_id.as_deref().filter(|id| !is_id(id)) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("invalid project id {id:?}: expected letters, digits and '-'"),
            ));
        }
        for url in [&options.endpoints.iam, &options.endpoints.ims] {
            if !url.username().is_empty() || url.password().is_some() {
                // It would be sent along, and shown wherever the address is.
                return Err(Error::new(
                    ErrorKind::Invalid,
                    "the address of a service holds a user name or password",
                )
                .with_hint("leave out what stands before the @"));
            }
        }
        let http = net::http::Client::new(&options.http).map_err(|e| {
            Error::new(ErrorKind::Invalid, "the services cannot be called").caused_by(e)
        })?;
        Ok(Self(Arc::new(Inner {
            project_id: OnceCell::new_with(options.project_id.clone()),
            options,
            http,
            clock: Clock::new(),
            tokens: TokenCache::default(),
        })))
    }

    /// The path of a call that both releases have.
    pub(crate) fn versioned(&self, call: &str) -> String {
        self.versioned_or("/v2", call)
    }

    /// The same, of one that stands at `old` in the older release.
    pub(crate) fn versioned_or(&self, old: &str, call: &str) -> String {
        let version = match self.0.options.api_version {
            ApiVersion::V2 => old,
            ApiVersion::V2_1 => "/v2.1",
        };
        format!("{version}{call}")
    }

    /// The region that was given.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.0.options.region
    }

    /// The name of the project: given, or the region's.
    #[must_use]
    pub fn project_name(&self) -> &str {
        let options = &self.0.options;
        options.project_name.as_deref().unwrap_or(&options.region)
    }

    /// The services' time minus this machine's, as far as answers have told; zero within a minute.
    #[must_use]
    pub fn clock_skew(&self) -> time::Duration {
        self.0.clock.skew()
    }
}
