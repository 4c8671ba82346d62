//! Where the cloud is and who we are: flags over environment, resolved once into plain data.

use net::secret::{AccessKey, SecretString};
use url::Url;

use crate::args::CloudArgs;

/// Everything needed to talk to one region of one cloud.
#[derive(Clone, Debug)]
pub(crate) struct Cloud {
    pub(crate) region: String,
    pub(crate) iam: Url,
    pub(crate) ims: Url,
    pub(crate) obs: Url,
    pub(crate) path_style: bool,
    pub(crate) allow_http: bool,
    pub(crate) project_id: Option<String>,
    pub(crate) identity: Identity,
}

/// Credentials, as found in the environment.
#[derive(Clone, Debug)]
pub(crate) enum Identity {
    /// Signs every request.
    Key(AccessKey),
    /// Gets a token, and temporary keys for the object storage.
    Password {
        user: String,
        password: SecretString,
        domain: String,
    },
}

/// Reads a variable; empty counts as unset, as shells leave it after `export X=`.
pub(crate) trait Environment {
    fn get(&self, name: &str) -> Option<String>;
}

/// The process's own environment.
pub(crate) struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }
}

/// What is missing, each with how to give it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Missing(pub(crate) Vec<String>);

/// Resolves `args` against `env`.
pub(crate) fn resolve(args: &CloudArgs, env: &dyn Environment) -> Result<Cloud, Missing> {
    let mut missing = Vec::new();
    let identity = note(identity(env), &mut missing);
    let region = note(region(args, env), &mut missing);
    let mut endpoint = |given: &Option<Url>, service: &str| {
        note(
            endpoint(given.as_ref(), env, service, region.as_deref()).transpose()?,
            &mut missing,
        )
    };
    let iam = endpoint(&args.iam_endpoint, "iam");
    let ims = endpoint(&args.ims_endpoint, "ims");
    let obs = endpoint(&args.obs_endpoint, "obs");
    match (identity, region, iam, ims, obs) {
        (Some(identity), Some(region), Some(iam), Some(ims), Some(obs)) => Ok(Cloud {
            region,
            iam,
            ims,
            obs,
            path_style: args.path_style || is_true(env.get("IMGFERRY_PATH_STYLE").as_deref()),
            allow_http: args.allow_http,
            project_id: args.project_id.clone().or_else(|| env.get("HW_PROJECT_ID")),
            identity,
        }),
        _ => Err(Missing(missing)),
    }
}

/// The value, or a note of what is wrong.
fn note<T>(result: Result<T, String>, missing: &mut Vec<String>) -> Option<T> {
    result.map_err(|what| missing.push(what)).ok()
}

fn region(args: &CloudArgs, env: &dyn Environment) -> Result<String, String> {
    let region = args
        .region
        .clone()
        .or_else(|| env.get("HW_REGION_NAME"))
        .ok_or("no region: give --region or set HW_REGION_NAME")?;
    if is_host_label(&region) {
        return Ok(region);
    }
    Err(format!(
        "region {region:?} is not a region's name, such as eu-west-0"
    ))
}

/// The address of a service: given, in the environment, or by the region, if there is one.
fn endpoint(
    given: Option<&Url>,
    env: &dyn Environment,
    service: &str,
    region: Option<&str>,
) -> Result<Option<Url>, String> {
    if let Some(url) = given {
        return Ok(Some(url.clone()));
    }
    let variable = format!("IMGFERRY_{}_ENDPOINT", service.to_ascii_uppercase());
    if let Some(text) = env.get(&variable) {
        return Url::parse(&text)
            .map(Some)
            .map_err(|e| format!("{variable} is no address, such as https://host: {e}"));
    }
    region
        .map(|region| Url::parse(&format!("https://{service}.{region}.myhuaweicloud.com")))
        .transpose()
        .map_err(|e| format!("the region makes no {service} address: {e}"))
}

/// Switches in the environment are on unless they say no.
fn is_true(value: Option<&str>) -> bool {
    value.is_some_and(|value| {
        !matches!(
            value.to_ascii_lowercase().as_str(),
            "0" | "false" | "no" | "off"
        )
    })
}

/// A region becomes part of host names, so it may hold nothing else.
fn is_host_label(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn identity(env: &dyn Environment) -> Result<Identity, String> {
    match (env.get("HW_ACCESS_KEY"), env.get("HW_SECRET_KEY")) {
        (Some(id), Some(secret)) => {
            return Ok(Identity::Key(AccessKey {
                id,
                secret: secret.into(),
                session_token: env.get("HW_SECURITY_TOKEN").map(Into::into),
            }));
        }
        (Some(_), None) => return Err("HW_ACCESS_KEY is set, HW_SECRET_KEY is not".into()),
        (None, Some(_)) => return Err("HW_SECRET_KEY is set, HW_ACCESS_KEY is not".into()),
        (None, None) => {}
    }
    match (
        env.get("HW_USER_NAME"),
        env.get("HW_USER_PASSWORD"),
        env.get("HW_DOMAIN_NAME"),
    ) {
        (Some(user), Some(password), Some(domain)) => Ok(Identity::Password {
            user,
            password: password.into(),
            domain,
        }),
        (None, None, _) => Err("no credentials: set HW_ACCESS_KEY and HW_SECRET_KEY, \
             or HW_USER_NAME, HW_USER_PASSWORD and HW_DOMAIN_NAME"
            .into()),
        (user, password, domain) => {
            let unset: Vec<_> = [
                ("HW_USER_NAME", user.is_none()),
                ("HW_USER_PASSWORD", password.is_none()),
                ("HW_DOMAIN_NAME", domain.is_none()),
            ]
            .into_iter()
            .filter_map(|(name, unset)| unset.then_some(name))
            .collect();
            Err(format!(
                "to sign in by password, set {} too",
                unset.join(" and ")
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    impl Environment for HashMap<&str, &str> {
        fn get(&self, name: &str) -> Option<String> {
            HashMap::get(self, name).map(|value| (*value).to_owned())
        }
    }

    fn args(region: Option<&str>) -> CloudArgs {
        CloudArgs {
            region: region.map(Into::into),
            iam_endpoint: None,
            ims_endpoint: None,
            obs_endpoint: None,
            path_style: false,
            allow_http: false,
            project_id: None,
            sandbox: None,
        }
    }

    #[test]
    fn everything_missing_is_told_at_once() {
        let Missing(missing) = resolve(&args(None), &HashMap::new()).unwrap_err();
        assert_eq!(missing.len(), 2, "{missing:?}");
    }

    #[test]
    fn half_a_key_pair_is_named() {
        let env = HashMap::from([("HW_ACCESS_KEY", "a")]);
        let Missing(missing) = resolve(&args(Some("eu-west-0")), &env).unwrap_err();
        assert_eq!(missing, ["HW_ACCESS_KEY is set, HW_SECRET_KEY is not"]);
    }

    #[test]
    fn endpoints_follow_the_region_unless_given() {
        let env = HashMap::from([("HW_ACCESS_KEY", "a"), ("HW_SECRET_KEY", "hunter2")]);
        let mut args = args(Some("eu-west-0"));
        args.obs_endpoint = Url::parse("https://oss.example.org").ok();
        let cloud = resolve(&args, &env).unwrap();
        assert_eq!(
            cloud.iam.as_str(),
            "https://iam.eu-west-0.myhuaweicloud.com/"
        );
        assert_eq!(cloud.obs.as_str(), "https://oss.example.org/");
        assert!(!format!("{cloud:?}").contains("hunter2"));
    }

    #[test]
    fn flags_win_over_the_environment() {
        let env = HashMap::from([
            ("HW_ACCESS_KEY", "a"),
            ("HW_SECRET_KEY", "b"),
            ("HW_REGION_NAME", "eu-de"),
            ("IMGFERRY_IAM_ENDPOINT", "https://iam.example.org"),
            ("IMGFERRY_IMS_ENDPOINT", "https://ims.example.org"),
            ("IMGFERRY_PATH_STYLE", "1"),
        ]);
        let mut args = args(None);
        args.ims_endpoint = Url::parse("https://flag.example.org").ok();
        let cloud = resolve(&args, &env).unwrap();
        assert_eq!(cloud.region, "eu-de");
        assert_eq!(cloud.iam.as_str(), "https://iam.example.org/");
        assert_eq!(cloud.ims.as_str(), "https://flag.example.org/");
        assert!(cloud.path_style);
    }

    #[test]
    fn a_broken_address_in_the_environment_is_named() {
        let env = HashMap::from([
            ("HW_ACCESS_KEY", "a"),
            ("HW_SECRET_KEY", "b"),
            ("IMGFERRY_OBS_ENDPOINT", "nonsense"),
        ]);
        let Missing(missing) = resolve(&args(Some("eu-de")), &env).unwrap_err();
        assert!(missing[0].contains("IMGFERRY_OBS_ENDPOINT"), "{missing:?}");
    }

    #[test]
    fn a_region_cannot_smuggle_another_host_in() {
        let env = HashMap::from([("HW_ACCESS_KEY", "a"), ("HW_SECRET_KEY", "b")]);
        for region in ["evil.example/", "a@b", "x:80", ""] {
            assert!(resolve(&args(Some(region)), &env).is_err(), "{region}");
        }
    }
}
