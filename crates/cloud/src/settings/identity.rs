//! The credentials: the strongest place that has any decides, and credentials of two places are
//! never mixed.

use net::agency::{Agency, METADATA_ENDPOINT};
use net::credentials::{Fetching, KeyError, KeySource, Keys, Lease};
use net::secret::{AccessKey, SecretString};
use url::Url;

use super::layers::{Layer, Layers, Place};
use super::names::Item;
use super::{ProcessEnvironment, file, openstack};
use crate::hint::{Hint, Problem};

/// Credentials.
#[derive(Clone, Debug)]
pub enum Identity {
    /// Signs every request.
    Keys(Keys),
    /// Gets a token, and temporary keys for the object storage.
    Password {
        /// The IAM user.
        user: String,
        /// Their password.
        password: SecretString,
        /// The account that the user belongs to.
        domain: String,
    },
    /// A token from elsewhere.
    Token(SecretString),
}

/// Credentials, in words, and where they were found.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) identity: Identity,
    pub(crate) what: &'static str,
    pub(crate) place: Place,
}

/// The credentials of the strongest layer that has any.
pub(crate) fn choose(layers: &Layers, allow_http: bool) -> Result<Chosen, Problem> {
    for layer in &layers.0 {
        let Some((identity, what)) = of_layer(layer, layers, allow_http)? else {
            continue;
        };
        return Ok(Chosen {
            identity,
            what,
            place: layer.place.clone(),
        });
    }
    Err(Problem::new(
        "no credentials are given",
        Hint::GiveCredentials,
    ))
}

fn of_layer(
    layer: &Layer,
    layers: &Layers,
    allow_http: bool,
) -> Result<Option<(Identity, &'static str)>, String> {
    let place = &layer.place;
    let pair = |set: Item, unset: Item| {
        Err(format!(
            "{} is set, {} is not",
            place.name(set),
            place.name(unset)
        ))
    };
    match (layer.get(Item::AccessKey), layer.get(Item::SecretKey)) {
        (Some(_), None) => return pair(Item::AccessKey, Item::SecretKey),
        (None, Some(_)) => return pair(Item::SecretKey, Item::AccessKey),
        (Some(_), Some(_)) => {
            let Some(key) = access_key(layer) else {
                return Ok(None);
            };
            if key.session_token.is_none() {
                return Ok(Some((Identity::Keys(key.into()), "access key")));
            }
            let keys = match place {
                // The environment of a process cannot change from outside.
                Place::Options | Place::Environment => key.into(),
                Place::Profile { .. } | Place::Openstack { .. } => Keys::renewed(Reread {
                    place: place.clone(),
                }),
            };
            return Ok(Some((Identity::Keys(keys), "temporary access key")));
        }
        (None, None) => {}
    }
    if let Some(token) = layer.get(Item::AuthToken) {
        return Ok(Some((Identity::Token(token.into()), "token")));
    }
    let user = [Item::UserName, Item::UserPassword, Item::DomainName];
    match user.map(|name| layer.get(name)) {
        [Some(user), Some(password), Some(domain)] => {
            return Ok(Some((
                Identity::Password {
                    user: user.to_owned(),
                    password: password.into(),
                    domain: domain.to_owned(),
                },
                "user and password",
            )));
        }
        [None, None, _] => {}
        found => {
            let unset: Vec<String> = user
                .into_iter()
                .zip(found)
                .filter(|(_, value)| value.is_none())
                .map(|(name, _)| place.name(name))
                .collect();
            return Err(format!(
                "to sign in by password, set {} too",
                unset.join(" and ")
            ));
        }
    }
    let agency = layer.get(Item::Agency);
    if agency.map_or(Ok(false), |value| place.is_yes(Item::Agency, value))? {
        let text = layers
            .get(Item::MetadataEndpoint)
            .map_or(METADATA_ENDPOINT, |found| found.value);
        let url = Url::parse(text).map_err(|e| {
            format!("the metadata endpoint is not an address such as http://host: {e}")
        })?;
        let agency = Agency::new(url, allow_http)
            .map_err(|e| format!("the metadata service cannot be used: {e}"))?;
        let keys = Keys::renewed(agency);
        return Ok(Some((Identity::Keys(keys), "agency of this server")));
    }
    Ok(None)
}

fn access_key(layer: &Layer) -> Option<AccessKey> {
    Some(AccessKey {
        id: layer.get(Item::AccessKey)?.to_owned(),
        secret: layer.get(Item::SecretKey)?.into(),
        session_token: layer.get(Item::SecurityToken).map(Into::into),
    })
}

/// Temporary keys in a file: the program that renews them rewrites the file, so a refused key is
/// read again.
#[derive(Debug)]
struct Reread {
    place: Place,
}

impl KeySource for Reread {
    fn fetch(&self) -> Fetching<'_> {
        let read = || {
            let layer = match &self.place {
                Place::Profile { name, path } => {
                    let location = file::Location {
                        path: path.clone(),
                        given: true,
                    };
                    file::profile(&location, Some(name))?
                }
                Place::Openstack { name, .. } => Some(openstack::cloud(name, &ProcessEnvironment)?),
                Place::Options | Place::Environment => None,
            };
            layer
                .as_ref()
                .and_then(access_key)
                .ok_or_else(|| format!("{} no longer has an access key", self.place))
        };
        // A small file: not worth another thread.
        let lease = read().map_err(KeyError::new).map(|key| Lease {
            key,
            expires_at: None,
        });
        Box::pin(std::future::ready(lease))
    }
}
