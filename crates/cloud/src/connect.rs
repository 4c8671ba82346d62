//! Clients for a resolved cloud.

use ims::{Client as Images, ClientOptions, Credentials, Endpoints};
use net::credentials::{Fetching, KeyError, KeySource, Keys};
use net::retry::Retryable as _;
use obs::{Client as Storage, Config};

use crate::error::{Result, from_ims, from_obs};
use crate::settings::{Cloud, Identity};

/// How long temporary keys last that are fetched for the object storage, in seconds: the most that
/// the service gives, because an upload may take hours.
const KEY_SECONDS: u32 = 86_400;

/// A client of the identity and the image service. Nothing is sent yet.
pub(crate) fn images(cloud: &Cloud) -> Result<Images> {
    let credentials = match &cloud.identity {
        Identity::Keys(keys) => Credentials::Keys(keys.clone()),
        Identity::Token(token) => Credentials::Token(token.clone()),
        Identity::Password {
            user,
            password,
            domain,
        } => Credentials::Password {
            user: user.clone(),
            password: password.clone(),
            domain: domain.clone(),
        },
    };
    let endpoints = Endpoints {
        iam: cloud.iam.clone(),
        ims: cloud.ims.clone(),
    };
    let mut options = ClientOptions::new(endpoints, cloud.region.clone(), credentials);
    options.project_id.clone_from(&cloud.project_id);
    options.project_name.clone_from(&cloud.project_name);
    options.api_version = cloud.api_version;
    options.http.allow_http = cloud.allow_http;
    Images::new(options).map_err(|error| from_ims(&error))
}

/// A client of the object storage, with the keys of `images` or temporary ones for its token;
/// `adjust` changes its settings.
pub(crate) async fn storage(
    cloud: &Cloud,
    images: &Images,
    adjust: impl FnOnce(Config) -> Config,
) -> Result<Storage> {
    let keys = storage_keys(images);
    // What speaks against them is found here, not in the middle of a request.
    keys.current().await?;
    Storage::new(adjust(Config {
        path_style: cloud.path_style,
        allow_http: cloud.allow_http,
        ..Config::new(cloud.obs.clone(), cloud.region.clone(), keys)
    }))
    .map_err(|error| from_obs(&error))
}

/// The keys that the object storage is asked with: it knows no tokens.
fn storage_keys(images: &Images) -> Keys {
    images.keys().unwrap_or_else(|| {
        Keys::renewed(TemporaryKeys {
            images: images.clone(),
        })
    })
}

/// Temporary keys that the identity service gives for a token.
#[derive(Debug)]
struct TemporaryKeys {
    images: Images,
}

impl KeySource for TemporaryKeys {
    fn fetch(&self) -> Fetching<'_> {
        Box::pin(async {
            self.images.lend(KEY_SECONDS).await.map_err(|error| {
                let failed = KeyError::new("there are no temporary keys for the object storage")
                    .with_verdict(error.verdict());
                let failed = match error.hint() {
                    Some(hint) => failed.with_hint(hint),
                    None => failed,
                };
                failed.caused_by(error)
            })
        })
    }
}
