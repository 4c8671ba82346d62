//! The public clouds of this family: how their services are called.
//!
//! Sources: "Regions and Endpoints" of Huawei Cloud, of Open Telekom Cloud and of Flexible Engine, the Object Storage
//! Service pages of eu-west-0 (whose host begins with `oss`), and the region tables of Huawei Cloud's SDKs.

use std::fmt;
use std::str::FromStr;

use url::Url;

use crate::endpoint::is_host_label;

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
    /// Flexible Engine of Orange Business.
    FlexibleEngine,
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
    /// What the object storage's host begins with.
    storage_host: &'static str,
    /// Regions that belong to this cloud only; others of the same cloud may be newer than this list.
    regions: &'static [&'static str],
}

impl Cloud {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Huawei,
        Self::HuaweiEu,
        Self::Otc,
        Self::FlexibleEngine,
    ];

    const fn facts(self) -> Facts {
        match self {
            Self::Huawei => Facts {
                name: "huawei",
                domain: "myhuaweicloud.com",
                storage_host: "obs",
                regions: &[],
            },
            // The SDKs' table has the image service under .com; the site's own services are under .eu.
            Self::HuaweiEu => Facts {
                name: "huawei-eu",
                domain: "myhuaweicloud.eu",
                storage_host: "obs",
                regions: &["eu-west-101"],
            },
            Self::Otc => Facts {
                name: "otc",
                domain: "otc.t-systems.com",
                storage_host: "obs",
                regions: &["eu-de", "eu-nl"],
            },
            Self::FlexibleEngine => Facts {
                name: "flexible-engine",
                domain: "prod-cloud-ocb.orange-business.com",
                storage_host: "oss",
                regions: &["eu-west-0", "eu-west-1", "na-east-0"],
            },
        }
    }

    /// The name, as [`FromStr`] takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// The cloud that a region belongs to: known ones by name, all others to Huawei Cloud, which has by far the
    /// most.
    #[must_use]
    pub fn of_region(region: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|cloud| cloud.facts().regions.contains(&region))
            .unwrap_or(Self::Huawei)
    }

    /// The address of a service in `region`; `None` when `region` cannot be part of a host name.
    #[must_use]
    pub fn endpoint(self, service: CloudService, region: &str) -> Option<Url> {
        let facts = self.facts();
        let host = match service {
            CloudService::Iam => "iam",
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
#[error("{0:?} is no cloud's name, expected huawei, huawei-eu, otc or flexible-engine")]
pub struct UnknownCloud(String);

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
    fn regions_of_the_smaller_clouds_name_their_cloud() {
        for (region, cloud) in [
            ("eu-de", Cloud::Otc),
            ("eu-nl", Cloud::Otc),
            ("eu-west-0", Cloud::FlexibleEngine),
            ("eu-west-101", Cloud::HuaweiEu),
            ("cn-north-4", Cloud::Huawei),
            ("moon-1", Cloud::Huawei),
        ] {
            assert_eq!(Cloud::of_region(region), cloud, "{region}");
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
