//! OpenStack's `clouds.yaml`, with `secure.yaml` beside it.
//!
//! Source: openstacksdk, "Configuring OpenStack SDK Applications"; the names of access keys from
//! the SDK extensions of Open Telekom Cloud. Errors never quote the files: there are secrets in
//! them.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use diskimg::source::open_regular;
use diskimg::text::shown;
use nearest::did_you_mean;
use serde::Deserialize;

use super::Environment;
use super::file::{NOTHING, config_dir};
use super::layers::{Layer, Place};
use super::names::Item;

/// Largest file in bytes. Ours.
const MAX_BYTES: u64 = 1 << 20;

/// Scalars are taken as the text that stands there: an id of digits stays as it is written.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Clouds {
    clouds: BTreeMap<String, Cloud>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Cloud {
    auth: Auth,
    auth_type: Option<String>,
    region_name: Option<String>,
    image_endpoint_override: Option<String>,
    object_store_endpoint_override: Option<String>,
    identity_endpoint_override: Option<String>,
    #[serde(alias = "ak")]
    access_key: Option<String>,
    #[serde(alias = "sk")]
    secret_key: Option<String>,
    security_token: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth_url: Option<String>,
    username: Option<String>,
    user_id: Option<String>,
    password: Option<String>,
    token: Option<String>,
    project_name: Option<String>,
    project_id: Option<String>,
    user_domain_name: Option<String>,
    domain_name: Option<String>,
    #[serde(alias = "ak")]
    access_key: Option<String>,
    #[serde(alias = "sk")]
    secret_key: Option<String>,
    security_token: Option<String>,
}

/// The cloud `name` of the first `clouds.yaml` that there is: OS_CLIENT_CONFIG_FILE, this
/// directory, the user's configuration, /etc/openstack. What `secure.yaml` says of it counts more.
pub(crate) fn cloud(name: &str, env: &dyn Environment) -> Result<Layer, String> {
    let candidates = candidates("clouds.yaml", "OS_CLIENT_CONFIG_FILE", env);
    let Some((path, clouds)) = first(&candidates)? else {
        let looked: Vec<String> = candidates
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        return Err(format!(
            "cloud {name:?} is asked for, but there is no clouds.yaml; looked for {}",
            looked.join(", ")
        ));
    };
    let place = Place::Openstack {
        name: name.to_owned(),
        path: path.clone(),
    };
    let Some(cloud) = clouds.clouds.get(name) else {
        return Err(format!(
            "{} has no cloud {name:?}{}",
            shown(&path),
            did_you_mean(name, clouds.clouds.keys().map(String::as_str))
        ));
    };
    let secure = first(&self::candidates(
        "secure.yaml",
        "OS_CLIENT_SECURE_FILE",
        env,
    ))?;
    let secure = secure.and_then(|(_, mut secure)| secure.clouds.remove(name));
    layer(place, cloud, &secure.unwrap_or_default())
}

/// Where `file` is looked for, in order.
fn candidates(file: &str, variable: &str, env: &dyn Environment) -> Vec<PathBuf> {
    let given = env.get(variable).map(PathBuf::from);
    let user = config_dir(env).map(|dir| dir.join("openstack").join(file));
    given
        .into_iter()
        .chain([PathBuf::from(file)])
        .chain(user)
        .chain([Path::new("/etc/openstack").join(file)])
        .collect()
}

fn first(candidates: &[PathBuf]) -> Result<Option<(PathBuf, Clouds)>, String> {
    for path in candidates {
        if let Some(clouds) = read(path)? {
            return Ok(Some((path.clone(), clouds)));
        }
    }
    Ok(None)
}

fn read(path: &Path) -> Result<Option<Clouds>, String> {
    let failed = |error| format!("{} cannot be read: {error}", shown(&path));
    if path == Path::new(NOTHING) {
        return Ok(Some(Clouds::default()));
    }
    let file = match open_regular(path) {
        Ok(file) => file,
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let mut text = String::new();
    file.take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(format!(
            "{} has more than {MAX_BYTES} bytes, which no list of clouds needs",
            shown(&path)
        ));
    }
    if text.trim().is_empty() {
        return Ok(Some(Clouds::default()));
    }
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(&text, options)
        .map(Some)
        .map_err(|error| {
            let place = error.location().map(|location| {
                format!(", line {}, column {}", location.line(), location.column())
            });
            format!(
                "{}{}: this is no YAML with a list of clouds",
                shown(&path),
                place.unwrap_or_default()
            )
        })
}

fn layer(place: Place, cloud: &Cloud, secure: &Cloud) -> Result<Layer, String> {
    let kind = secure.auth_type.as_deref().or(cloud.auth_type.as_deref());
    let mut layer = Layer::new(place);
    let mut set = |name, pick: fn(&Cloud) -> Option<&String>| {
        let value = pick(secure).or_else(|| pick(cloud));
        layer.set(name, value.filter(|value| !value.is_empty()).cloned());
    };
    set(Item::Region, |cloud| cloud.region_name.as_ref());
    set(Item::IamEndpoint, |cloud| {
        cloud
            .identity_endpoint_override
            .as_ref()
            .or(cloud.auth.auth_url.as_ref())
    });
    set(Item::ImsEndpoint, |cloud| {
        cloud.image_endpoint_override.as_ref()
    });
    set(Item::ObsEndpoint, |cloud| {
        cloud.object_store_endpoint_override.as_ref()
    });
    set(Item::ProjectName, |cloud| cloud.auth.project_name.as_ref());
    set(Item::ProjectId, |cloud| cloud.auth.project_id.as_ref());
    set(Item::AccessKey, |cloud| {
        cloud.access_key.as_ref().or(cloud.auth.access_key.as_ref())
    });
    set(Item::SecretKey, |cloud| {
        cloud.secret_key.as_ref().or(cloud.auth.secret_key.as_ref())
    });
    set(Item::SecurityToken, |cloud| {
        cloud
            .security_token
            .as_ref()
            .or(cloud.auth.security_token.as_ref())
    });
    set(Item::UserName, |cloud| cloud.auth.username.as_ref());
    set(Item::UserPassword, |cloud| cloud.auth.password.as_ref());
    set(Item::AuthToken, |cloud| cloud.auth.token.as_ref());
    set(Item::DomainName, |cloud| {
        cloud
            .auth
            .user_domain_name
            .as_ref()
            .or(cloud.auth.domain_name.as_ref())
    });
    // The address of the identity service ends in its version there; here it is part of each call.
    if let Some(url) = layer.get(Item::IamEndpoint) {
        let base = url.trim_end_matches('/');
        let base = base.strip_suffix("/v3").unwrap_or(base).to_owned();
        layer.set(Item::IamEndpoint, Some(base));
    }
    match kind {
        None => {}
        Some("password" | "v3password") => layer.remove(Item::AuthToken),
        Some("token" | "v3token") => {
            layer.remove(Item::UserName);
            layer.remove(Item::UserPassword);
        }
        Some(other) => {
            return Err(format!(
                "{} signs in by {other:?}, expected password or token",
                layer.place
            ));
        }
    }
    let by_id = secure.auth.user_id.is_some() || cloud.auth.user_id.is_some();
    if by_id && layer.get(Item::UserName).is_none() {
        return Err(format!(
            "{} names the user by id, expected username and user_domain_name",
            layer.place
        ));
    }
    Ok(layer)
}
