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
    let identity = identity(env).map_err(|what| missing.push(what));
    let region = args
        .region
        .clone()
        .filter(|region| is_host_label(region))
        .ok_or_else(|| {
            missing.push(match &args.region {
                None => "no region: give --region or set HW_REGION_NAME".to_owned(),
                Some(region) => {
                    format!("region {region:?} is not a region's name, such as eu-west-0")
                }
            });
        });
    let (Ok(identity), Ok(region)) = (identity, region) else {
        return Err(Missing(missing));
    };
    let mut endpoint = |given: &Option<Url>, service: &str| match given {
        Some(url) => Ok(url.clone()),
        None => Url::parse(&format!("https://{service}.{region}.myhuaweicloud.com")).map_err(|e| {
            missing.push(format!("region {region:?} makes no {service} address: {e}"))
        }),
    };
    match (
        endpoint(&args.iam_endpoint, "iam"),
        endpoint(&args.ims_endpoint, "ims"),
        endpoint(&args.obs_endpoint, "obs"),
    ) {
        (Ok(iam), Ok(ims), Ok(obs)) => Ok(Cloud {
            iam,
            ims,
            obs,
            path_style: args.path_style,
            allow_http: args.allow_http,
            project_id: args.project_id.clone(),
            identity,
            region,
        }),
        _ => Err(Missing(missing)),
    }
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
    fn a_region_cannot_smuggle_another_host_in() {
        let env = HashMap::from([("HW_ACCESS_KEY", "a"), ("HW_SECRET_KEY", "b")]);
        for region in ["evil.example/", "a@b", "x:80", ""] {
            assert!(resolve(&args(Some(region)), &env).is_err(), "{region}");
        }
    }
}
