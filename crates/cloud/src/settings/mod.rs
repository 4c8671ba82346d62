//! Where the cloud is, and the credentials for it: options over environment over configuration
//! file, resolved once into plain data.
//!
//! ```text
//! options ─▶ environment ─▶ profile of the configuration file ─▶ what follows from cloud and region
//!        └──────────────┴──────────────────────────────┴─▶ a cloud of clouds.yaml, right behind the place that names it
//! ```

mod file;
mod identity;
mod layers;
mod names;
mod openstack;
mod operator;

use std::path::{Path, PathBuf};
use std::time::Duration;

use ims::{ApiVersion, CloudService, WaitOptions};
use url::Url;

pub use identity::Identity;
use layers::{Layer, Layers};
use names::{Item, SPECS};

use crate::hint::{Hint, Problem};

/// What the caller says about the cloud. All of it is optional: the environment and the
/// configuration files are asked for the rest.
#[derive(Clone, Debug, Default)]
pub struct CloudOptions {
    /// Name of the public cloud.
    pub cloud: Option<String>,
    /// The region's name.
    pub region: Option<String>,
    /// Profile of the configuration file.
    pub profile: Option<String>,
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// Cloud of OpenStack's `clouds.yaml`.
    pub os_cloud: Option<String>,
    /// Whether to use the keys of the agency that this server runs with.
    pub agency: bool,
    /// The identity service.
    pub iam_endpoint: Option<Url>,
    /// The image service.
    pub ims_endpoint: Option<Url>,
    /// The object storage.
    pub obs_endpoint: Option<Url>,
    /// Release of the image service's calls: `v2` or `v2.1`.
    pub api_version: Option<String>,
    /// Whether the bucket is part of the path instead of the host name.
    pub path_style: bool,
    /// Whether addresses without TLS may be on other machines.
    pub allow_http: bool,
    /// The project's id.
    pub project_id: Option<String>,
    /// Use a sandbox in this process instead; everything above is ignored then.
    pub sandbox: Option<SandboxDir>,
}

/// Where a sandbox in this process keeps its objects, images and keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SandboxDir {
    /// In a temporary directory, removed at the end.
    Temporary,
    /// In this directory, which stays.
    Kept(PathBuf),
}

impl SandboxDir {
    /// The directory that stays.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Temporary => None,
            Self::Kept(dir) => Some(dir),
        }
    }
}

/// Everything needed to talk to one region of one cloud.
#[derive(Clone, Debug)]
pub struct Cloud {
    /// The public cloud; `None` for private installations and the sandbox.
    pub provider: Option<ims::Cloud>,
    /// The region's name.
    pub region: String,
    /// Release of the image service's calls.
    pub api_version: ApiVersion,
    /// The identity service.
    pub iam: Url,
    /// The image service.
    pub ims: Url,
    /// The object storage.
    pub obs: Url,
    /// Whether the bucket is part of the path instead of the host name.
    pub path_style: bool,
    /// Whether addresses without TLS may be on other machines.
    pub allow_http: bool,
    /// The project, where it is given by id.
    pub project_id: Option<String>,
    /// The project, where it is given by name.
    pub project_name: Option<String>,
    /// Enterprise project of new images.
    pub enterprise_project_id: Option<String>,
    /// The credentials.
    pub identity: Identity,
}

impl Cloud {
    /// How often to ask for a job: often enough not to slow down a service on this machine.
    #[must_use]
    pub fn patience(&self) -> WaitOptions {
        let usual = WaitOptions::default();
        if !net::http::is_loopback(&self.ims) {
            return usual;
        }
        WaitOptions {
            first: Duration::from_millis(100),
            max: Duration::from_secs(1),
            ..usual
        }
    }
}

/// Reads a variable; empty counts as unset, as shells leave it after `export X=`.
pub trait Environment {
    /// The value of `name`; `None` when it is unset or empty.
    fn get(&self, name: &str) -> Option<String>;
}

/// The process's own environment.
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }
}

/// What is missing or wrong, all of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Missing(pub Vec<Problem>);

impl IntoIterator for Missing {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// A setting as it is used, fit for showing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// What it is called in the configuration file.
    pub name: &'static str,
    /// Secrets are masked.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// [`CloudOptions`].
    Options,
    /// Elsewhere, in words: a variable, a file, another setting.
    Elsewhere(String),
}

/// What would be used and where each value comes from, even when something is missing.
#[derive(Debug)]
pub struct Resolved {
    /// The cloud, or what is missing.
    pub cloud: Result<Cloud, Missing>,
    /// The settings that were found.
    pub settings: Vec<Setting>,
}

/// The configuration file that would be read, whether it is there or not.
#[must_use]
pub fn config_path(args: &CloudOptions, env: &dyn Environment) -> Option<PathBuf> {
    file::location(args.config.as_deref(), env).map(|location| location.path)
}

/// Resolves `args` against the environment and the files.
///
/// # Errors
/// Everything that is missing or wrong, together.
pub fn resolve(args: &CloudOptions, env: &dyn Environment) -> Result<Cloud, Missing> {
    examine(args, env).cloud
}

/// The same for a command that talks to the object storage only. Keys need no other service, so its
/// address alone will do.
///
/// # Errors
/// Everything that is missing or wrong, together.
pub fn resolve_storage(args: &CloudOptions, env: &dyn Environment) -> Result<Cloud, Missing> {
    examine_for(args, env, Need::Storage).cloud
}

/// Which services a run uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    All,
    Storage,
}

/// What would be used, and where each value comes from.
#[must_use]
pub fn examine(args: &CloudOptions, env: &dyn Environment) -> Resolved {
    examine_for(args, env, Need::All)
}

fn examine_for(args: &CloudOptions, env: &dyn Environment, need: Need) -> Resolved {
    let mut missing = Vec::new();
    let layers = layers(args, env, &mut missing);
    let mut settings: Vec<Setting> = SPECS
        .iter()
        .filter_map(|spec| {
            let found = layers.get(spec.name)?;
            Some(Setting {
                name: spec.key,
                value: if spec.secret {
                    MASK.to_owned()
                } else {
                    shown(spec.key, found.value)
                },
                origin: found.place.origin(spec),
            })
        })
        .collect();
    // With a file that cannot be read, everything else that is missing may be in it.
    let cloud = if missing.is_empty() {
        build(&layers, need, &mut settings, &mut missing)
    } else {
        None
    };
    Resolved {
        cloud: cloud.filter(|_| missing.is_empty()).ok_or(Missing(missing)),
        settings,
    }
}

/// A documented configuration file.
pub const EXAMPLE: &str = include_str!("example.toml");

/// Shown in place of a secret.
const MASK: &str = "***";

/// A value without the password that an address may contain; the address may have no scheme.
fn shown(key: &str, value: &str) -> String {
    let url = match key.ends_with("_endpoint") {
        true => net::endpoint::parse(value),
        false => Url::parse(value).map_err(|error| error.to_string()),
    };
    match url {
        Ok(mut url) if url.password().is_some() => match url.set_password(Some(MASK)) {
            Ok(()) => url.to_string(),
            Err(()) => MASK.to_owned(),
        },
        // Not an address, so the end of a password in it cannot be found.
        Err(_) if key.ends_with("_endpoint") && value.contains('@') => MASK.to_owned(),
        _ => value.to_owned(),
    }
}

/// The places, the strongest first; collects what is wrong with the files.
fn layers(args: &CloudOptions, env: &dyn Environment, missing: &mut Vec<Problem>) -> Layers {
    let mut options = Layer::new(layers::Place::Options);
    let url = |url: &Option<Url>| url.as_ref().map(ToString::to_string);
    let on = |switch: bool| switch.then(|| "true".to_owned());
    for (name, value) in [
        (Item::Cloud, args.cloud.clone()),
        (Item::Region, args.region.clone()),
        (Item::ApiVersion, args.api_version.clone()),
        (Item::IamEndpoint, url(&args.iam_endpoint)),
        (Item::ImsEndpoint, url(&args.ims_endpoint)),
        (Item::ObsEndpoint, url(&args.obs_endpoint)),
        (Item::PathStyle, on(args.path_style)),
        (Item::AllowHttp, on(args.allow_http)),
        (Item::ProjectId, args.project_id.clone()),
        (Item::Agency, on(args.agency)),
        (Item::OsCloud, args.os_cloud.clone()),
    ] {
        options.set(name, value);
    }
    let mut environment = Layer::environment(env);
    let wanted = args.profile.clone().or_else(|| env.get("IMGFERRY_PROFILE"));
    // A requested profile wins over the cloud that OpenStack's own tools use.
    if wanted.is_some() {
        environment.remove(Item::OsCloud);
    }
    let mut list = vec![options, environment];
    let profile = file::location(args.config.as_deref(), env)
        .map(|location| file::profile(&location, wanted.as_deref()));
    match (profile, wanted) {
        (Some(Ok(profile)), _) => list.extend(profile),
        (Some(Err(error)), _) => missing.push(error.into()),
        (None, Some(name)) => missing.push(
            format!(
                "profile {name:?} is requested, but HOME is not set, so there is no configuration \
                 file"
            )
            .into(),
        ),
        (None, None) => {}
    }
    let named = list
        .iter()
        .enumerate()
        .find_map(|(at, layer)| Some((at, layer.get(Item::OsCloud)?.to_owned())));
    if let Some((at, name)) = named {
        match openstack::cloud(&name, env) {
            Ok(layer) => list.insert(at.saturating_add(1), layer),
            Err(error) => missing.push(error.into()),
        }
    }
    Layers(list)
}

/// The values with their types; adds those that follow from others to `settings`.
fn build(
    layers: &Layers,
    need: Need,
    settings: &mut Vec<Setting>,
    missing: &mut Vec<Problem>,
) -> Option<Cloud> {
    let allow_http = note(layers.is_on(Item::AllowHttp), missing);
    let path_style = note(layers.is_on(Item::PathStyle), missing);
    let identity = identity::choose(layers, allow_http.unwrap_or_default())
        .map(|chosen| {
            settings.push(Setting {
                name: "credentials",
                value: chosen.what.to_owned(),
                origin: match chosen.place {
                    layers::Place::Options => Origin::Options,
                    place => Origin::Elsewhere(place.to_string()),
                },
            });
            chosen.identity
        })
        .map_err(|problem| missing.push(problem))
        .ok();
    let region = note(region(layers), missing);
    let api_version = note(api_version(layers), missing);
    let given = layers.get(Item::Cloud).map(|found| found.value.parse());
    let given = note(
        given
            .transpose()
            .map_err(|e: ims::clouds::UnknownCloud| e.to_string()),
        missing,
    )?;
    let alone = need == Need::Storage
        && matches!(identity, Some(Identity::Keys(_)))
        && layers.get(Item::ObsEndpoint).is_some();
    let operator = match alone {
        true => None,
        false => note(operator::choose(layers, given, region.as_deref()), missing)?,
    };
    let provider = operator.map(|operator| operator.cloud).or(given);
    if let Some((cloud, by)) = operator.and_then(|operator| Some((operator.cloud, operator.by?))) {
        settings.push(Setting {
            name: "cloud",
            value: cloud.to_string(),
            origin: Origin::Elsewhere(by.to_owned()),
        });
    }
    let mut endpoint = |name, service| {
        let url = endpoint(layers, name, service, provider, region.as_deref(), settings);
        note(url.transpose()?, missing)
    };
    let iam = endpoint(Item::IamEndpoint, CloudService::Iam);
    let ims = endpoint(Item::ImsEndpoint, CloudService::Ims);
    let obs = endpoint(Item::ObsEndpoint, CloudService::Obs);
    // These services are not asked then; an address where the keys go anyway reveals nothing.
    let unasked = obs.clone().filter(|_| alone);
    let (iam, ims) = (iam.or_else(|| unasked.clone()), ims.or(unasked));
    let order = |name| SPECS.iter().position(|spec| spec.key == name);
    settings.sort_by_key(|setting| order(setting.name).unwrap_or(usize::MAX));
    let text = |name| layers.get(name).map(|found| found.value.to_owned());
    Some(Cloud {
        provider,
        region: region?,
        api_version: api_version?,
        iam: iam?,
        ims: ims?,
        obs: obs?,
        path_style: path_style?,
        allow_http: allow_http?,
        project_id: text(Item::ProjectId),
        project_name: text(Item::ProjectName),
        enterprise_project_id: text(Item::EnterpriseProjectId),
        identity: identity?,
    })
}

/// The value, or a note of what is wrong.
fn note<T>(result: Result<T, impl Into<Problem>>, missing: &mut Vec<Problem>) -> Option<T> {
    result.map_err(|what| missing.push(what.into())).ok()
}

fn region(layers: &Layers) -> Result<String, Problem> {
    let found = layers
        .get(Item::Region)
        .ok_or_else(|| Problem::new("no region is given", Hint::GiveRegion))?;
    if is_host_label(found.value) {
        let known = ims::Cloud::of_region(found.value);
        return Ok(known.map_or_else(|| found.value.to_owned(), |(_, region)| region));
    }
    Err(format!(
        "invalid region {:?}: expected a name such as eu-west-0",
        found.value
    )
    .into())
}

fn api_version(layers: &Layers) -> Result<ApiVersion, String> {
    match layers.get(Item::ApiVersion) {
        None => Ok(ApiVersion::V2),
        Some(found) => match found.value {
            "v2" => Ok(ApiVersion::V2),
            "v2.1" => Ok(ApiVersion::V2_1),
            other => Err(format!(
                "{} is {other:?}, expected v2 or v2.1",
                found.place.name(Item::ApiVersion)
            )),
        },
    }
}

/// The address of a service: given, or by cloud and region, if there is one.
fn endpoint(
    layers: &Layers,
    name: Item,
    service: CloudService,
    provider: Option<ims::Cloud>,
    region: Option<&str>,
    settings: &mut Vec<Setting>,
) -> Result<Option<Url>, String> {
    if let Some(found) = layers.get(name) {
        return net::endpoint::parse(found.value)
            .map(Some)
            .map_err(|e| format!("{} is not an address: {e}", found.place.name(name)));
    }
    let url = provider
        .zip(region)
        .and_then(|(provider, region)| provider.endpoint(service, region));
    if let (Some(url), Some(spec), Some(provider)) = (&url, name.spec(), provider) {
        settings.push(Setting {
            name: spec.key,
            value: url.to_string(),
            origin: Origin::Elsewhere(format!("region of {provider}")),
        });
    }
    Ok(url)
}

/// A region becomes part of host names, so it may contain nothing else.
fn is_host_label(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests;
