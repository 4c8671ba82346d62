//! The addresses of the services.

use url::Url;

use crate::clouds::{Cloud, CloudService};
use crate::error::{Error, ErrorKind, Result};

/// Base addresses of the services; a path in them is kept, as installations behind a gateway need
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// Identity service.
    pub iam: Url,
    /// Image service.
    pub ims: Url,
}

impl Endpoints {
    /// The addresses of a region of a public cloud.
    ///
    /// # Errors
    /// `Invalid` when `region` cannot be part of a host name.
    pub fn of(cloud: Cloud, region: &str) -> Result<Self> {
        let url = |service| {
            cloud.endpoint(service, region).ok_or_else(|| {
                Error::new(
                    ErrorKind::Invalid,
                    format!("invalid region {region:?}: expected a name such as eu-west-0"),
                )
            })
        };
        Ok(Self {
            iam: url(CloudService::Iam)?,
            ims: url(CloudService::Ims)?,
        })
    }
}

/// The service that a call addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Service {
    Iam,
    Ims,
}

/// `base` with `path` (starting with a slash) after its own path, and `query`.
pub(crate) fn join(base: &Url, path: &str, query: &[(&str, &str)]) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    let query = (!query.is_empty()).then(|| net::sign::encode_query(query));
    url.set_query(query.as_deref());
    url.set_fragment(None);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_become_hosts_and_nothing_else() {
        let endpoints = Endpoints::of(Cloud::Huawei, "cn-north-4").unwrap();
        assert_eq!(
            endpoints.ims.as_str(),
            "https://ims.cn-north-4.myhuaweicloud.com/"
        );
        for bad in ["", "a.b", "evil.example/", "a@b", "x:1"] {
            let error = Endpoints::of(Cloud::Otc, bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
        }
    }

    #[test]
    fn a_path_of_the_endpoint_is_kept() {
        let base = Url::parse("https://gw.example.com/cloud/?old=1#x").unwrap();
        assert_eq!(
            join(&base, "/v2/cloudimages", &[("id", "a b")]).as_str(),
            "https://gw.example.com/cloud/v2/cloudimages?id=a%20b"
        );
    }
}
