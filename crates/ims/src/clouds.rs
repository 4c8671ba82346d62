//! The public clouds of this family: how their services are called.
//!
//! Sources: "Regions and Endpoints" of Huawei Cloud, of Open Telekom Cloud and of Flexible Engine,
//! the Object Storage Service pages of eu-west-0 (whose host begins with `oss`), and the region
//! tables of Huawei Cloud's SDKs. The hosts of the Swiss Open Telekom Cloud and of SberCloud are
//! those that the Terraform providers of both name.
//!
//! Operators share software and not accounts: a key or a token of one must never reach another. So
//! a region that is not in the table belongs to nobody here.

use std::fmt;
use std::str::FromStr;

use url::Url;

use crate::value::is_host_label;

/// Regions of Huawei Cloud, as its SDKs list them.
const HUAWEI_REGIONS: [&str; 30] = [
    "cn-north-1",
    "cn-north-2",
    "cn-north-4",
    "cn-north-9",
    "cn-north-11",
    "cn-north-12",
    "cn-east-2",
    "cn-east-3",
    "cn-east-4",
    "cn-east-5",
    "cn-south-1",
    "cn-south-2",
    "cn-south-4",
    "cn-southwest-2",
    "cn-southwest-3",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "af-south-1",
    "af-north-1",
    "la-south-2",
    "la-north-2",
    "na-mexico-1",
    "sa-brazil-1",
    "tr-west-1",
    "me-east-1",
    "ae-ad-1",
    "my-kualalumpur-1",
];

/// A public cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cloud {
    /// Huawei Cloud, Chinese and international regions.
    Huawei,
    /// Huawei Cloud's European site (Dublin), with accounts of its own.
    HuaweiEu,
    /// Open Telekom Cloud.
    Otc,
    /// Swiss region of Open Telekom Cloud, with accounts of its own.
    OtcSwiss,
    /// Flexible Engine of Orange Business.
    FlexibleEngine,
    /// SberCloud (Cloud.ru Advanced).
    SberCloud,
}

/// A service with an address of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloudService {
    /// Identity.
    Iam,
    /// Images.
    Ims,
    /// Object storage.
    Obs,
}

struct Facts {
    name: &'static str,
    /// What follows the region in host names.
    domain: &'static str,
    /// What the identity service's host begins with.
    identity_host: &'static str,
    /// What the object storage's host begins with.
    storage_host: &'static str,
    /// Its regions; there may be newer ones.
    regions: &'static [&'static str],
}

impl Cloud {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Huawei,
        Self::HuaweiEu,
        Self::Otc,
        Self::OtcSwiss,
        Self::FlexibleEngine,
        Self::SberCloud,
    ];

    const fn facts(self) -> Facts {
        let usual = Facts {
            name: "huawei",
            domain: "myhuaweicloud.com",
            identity_host: "iam",
            storage_host: "obs",
            regions: &HUAWEI_REGIONS,
        };
        match self {
            Self::Huawei => usual,
            // The SDKs' table has the image service under .com; the site's own services are under
            // .eu.
            Self::HuaweiEu => Facts {
                name: "huawei-eu",
                domain: "myhuaweicloud.eu",
                regions: &["eu-west-101"],
                ..usual
            },
            Self::Otc => Facts {
                name: "otc",
                domain: "otc.t-systems.com",
                regions: &["eu-de", "eu-nl"],
                ..usual
            },
            Self::OtcSwiss => Facts {
                name: "otc-swiss",
                domain: "sc.otc.t-systems.com",
                identity_host: "iam-pub",
                regions: &["eu-ch2"],
                ..usual
            },
            Self::FlexibleEngine => Facts {
                name: "flexible-engine",
                domain: "prod-cloud-ocb.orange-business.com",
                storage_host: "oss",
                regions: &["eu-west-0", "eu-west-1", "na-east-0"],
                ..usual
            },
            Self::SberCloud => Facts {
                name: "sbercloud",
                domain: "hc.sbercloud.ru",
                regions: &["ru-moscow-1"],
                ..usual
            },
        }
    }

    /// The name, as [`FromStr`] takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// Its regions that are known.
    #[must_use]
    pub const fn regions(self) -> &'static [&'static str] {
        self.facts().regions
    }

    /// The cloud that a known region belongs to, and the region as it is spelled there: consoles
    /// show some in capitals.
    #[must_use]
    pub fn of_region(region: &str) -> Option<(Self, String)> {
        let region = region.to_ascii_lowercase();
        let listed = Self::ALL
            .into_iter()
            .find(|cloud| cloud.regions().contains(&region.as_str()));
        // Huawei's European site counts its regions from eu-west-101 on.
        let number = region.strip_prefix("eu-west-1");
        let is_european = number
            .is_some_and(|rest| rest.len() == 2 && rest.bytes().all(|byte| byte.is_ascii_digit()));
        let cloud = listed.or_else(|| is_european.then_some(Self::HuaweiEu))?;
        Some((cloud, region))
    }

    /// The cloud whose domain `host` is in.
    #[must_use]
    pub fn of_host(host: &str) -> Option<Self> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let inside = |cloud: &Self| {
            host.strip_suffix(cloud.facts().domain)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        // The domain of the Swiss cloud is inside that of the German one.
        let clouds = Self::ALL.into_iter().filter(inside);
        clouds.max_by_key(|cloud| cloud.facts().domain.len())
    }

    /// A caution about its addresses, if there is one.
    #[must_use]
    pub const fn caution(self) -> Option<&'static str> {
        match self {
            Self::OtcSwiss | Self::SberCloud => Some(
                "its addresses were found in public configurations, not in the operator's \
                 documentation; \
                 compare them with your console",
            ),
            Self::Huawei | Self::HuaweiEu | Self::Otc | Self::FlexibleEngine => None,
        }
    }

    /// The address of a service in `region`; `None` when `region` cannot be part of a host name.
    #[must_use]
    pub fn endpoint(self, service: CloudService, region: &str) -> Option<Url> {
        let facts = self.facts();
        let host = match service {
            CloudService::Iam => facts.identity_host,
            CloudService::Ims => "ims",
            CloudService::Obs => facts.storage_host,
        };
        Url::parse(&format!("https://{host}.{region}.{}", facts.domain))
            .ok()
            .filter(|_| is_host_label(region))
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no cloud has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown cloud {0:?}, expected one of {names}", names = names())]
pub struct UnknownCloud(String);

fn names() -> String {
    Cloud::ALL.map(Cloud::name).join(", ")
}

impl FromStr for Cloud {
    type Err = UnknownCloud;

    fn from_str(text: &str) -> Result<Self, UnknownCloud> {
        Self::ALL
            .into_iter()
            .find(|cloud| cloud.name() == text)
            .ok_or_else(|| UnknownCloud(text.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cloud_has_the_documented_addresses() {
        use CloudService::{Iam, Ims, Obs};
        for (cloud, region, service, expected) in [
            (
                "huawei",
                "cn-north-4",
                Iam,
                "iam.cn-north-4.myhuaweicloud.com",
            ),
            (
                "huawei",
                "ap-southeast-3",
                Ims,
                "ims.ap-southeast-3.myhuaweicloud.com",
            ),
            (
                "huawei",
                "la-south-2",
                Obs,
                "obs.la-south-2.myhuaweicloud.com",
            ),
            (
                "huawei-eu",
                "eu-west-101",
                Iam,
                "iam.eu-west-101.myhuaweicloud.eu",
            ),
            (
                "huawei-eu",
                "eu-west-101",
                Obs,
                "obs.eu-west-101.myhuaweicloud.eu",
            ),
            (
                "otc-swiss",
                "eu-ch2",
                Iam,
                "iam-pub.eu-ch2.sc.otc.t-systems.com",
            ),
            (
                "otc-swiss",
                "eu-ch2",
                Obs,
                "obs.eu-ch2.sc.otc.t-systems.com",
            ),
            (
                "sbercloud",
                "ru-moscow-1",
                Obs,
                "obs.ru-moscow-1.hc.sbercloud.ru",
            ),
            ("otc", "eu-de", Iam, "iam.eu-de.otc.t-systems.com"),
            ("otc", "eu-nl", Ims, "ims.eu-nl.otc.t-systems.com"),
            ("otc", "eu-de", Obs, "obs.eu-de.otc.t-systems.com"),
            (
                "flexible-engine",
                "eu-west-0",
                Iam,
                "iam.eu-west-0.prod-cloud-ocb.orange-business.com",
            ),
            (
                "flexible-engine",
                "eu-west-0",
                Obs,
                "oss.eu-west-0.prod-cloud-ocb.orange-business.com",
            ),
        ] {
            let url = cloud
                .parse::<Cloud>()
                .unwrap()
                .endpoint(service, region)
                .unwrap();
            assert_eq!(url.as_str(), format!("https://{expected}/"));
        }
    }

    #[test]
    fn known_regions_belong_to_one_cloud_however_they_are_spelled() {
        for (typed, cloud, region) in [
            ("eu-de", Cloud::Otc, "eu-de"),
            ("EU-DE", Cloud::Otc, "eu-de"),
            ("eu-nl", Cloud::Otc, "eu-nl"),
            ("eu-ch2", Cloud::OtcSwiss, "eu-ch2"),
            ("eu-west-0", Cloud::FlexibleEngine, "eu-west-0"),
            ("eu-west-1", Cloud::FlexibleEngine, "eu-west-1"),
            ("na-east-0", Cloud::FlexibleEngine, "na-east-0"),
            ("eu-west-101", Cloud::HuaweiEu, "eu-west-101"),
            ("Eu-West-102", Cloud::HuaweiEu, "eu-west-102"),
            ("ru-moscow-1", Cloud::SberCloud, "ru-moscow-1"),
            ("cn-north-4", Cloud::Huawei, "cn-north-4"),
            ("AP-Southeast-3", Cloud::Huawei, "ap-southeast-3"),
        ] {
            let found = Cloud::of_region(typed);
            assert_eq!(found, Some((cloud, region.to_owned())), "{typed}");
        }
        let all: Vec<&str> = Cloud::ALL
            .into_iter()
            .flat_map(Cloud::regions)
            .copied()
            .collect();
        for region in &all {
            assert_eq!(
                all.iter().filter(|other| *other == region).count(),
                1,
                "{region}"
            );
        }
    }

    #[test]
    fn a_region_that_is_not_known_belongs_to_nobody() {
        for region in [
            "moon-1",
            "",
            "eu-west-10",
            "eu-west-1x1",
            "eu-west-1000",
            "eu-ch1",
            "ru-moscow-2",
        ] {
            assert_eq!(Cloud::of_region(region), None, "{region}");
        }
    }

    #[test]
    fn a_host_belongs_to_the_cloud_whose_domain_it_is_in() {
        for (host, cloud) in [
            ("iam.eu-de.otc.t-systems.com", Some(Cloud::Otc)),
            ("iam-pub.eu-ch2.sc.otc.t-systems.com", Some(Cloud::OtcSwiss)),
            ("OBS.cn-north-4.myhuaweicloud.com.", Some(Cloud::Huawei)),
            ("obs.eu-west-101.myhuaweicloud.eu", Some(Cloud::HuaweiEu)),
            ("evilmyhuaweicloud.com", None),
            ("myhuaweicloud.com.example.org", None),
            ("localhost", None),
        ] {
            assert_eq!(Cloud::of_host(host), cloud, "{host}");
        }
    }

    #[test]
    fn a_region_cannot_smuggle_another_host_in() {
        for cloud in Cloud::ALL {
            for region in ["", "a.b", "evil.example/", "a@b", "x:1", "a b"] {
                assert_eq!(cloud.endpoint(CloudService::Obs, region), None, "{region}");
            }
        }
        assert!("aws".parse::<Cloud>().is_err());
    }
}
