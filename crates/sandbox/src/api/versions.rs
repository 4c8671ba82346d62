//! The names of operating systems that the sandbox's region has.
//!
//! Source: IMS API reference, "Values of Related Parameters" of 2023, with some newer systems as
//! later releases spell them.

use axum::Json;
use axum::extract::Query;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ApiError;

/// Platforms, each with its names, the newest first.
const PLATFORMS: &[(&str, &[&str])] = &[
    (
        "Windows",
        &[
            "Windows Server 2022 Standard 64bit",
            "Windows Server 2019 Datacenter 64bit",
            "Windows Server 2019 Standard 64bit",
            "Windows 10 64bit",
            "Windows Server 2016 Standard 64bit",
            "Windows Server 2016 Datacenter 64bit",
            "Windows Server 2012 R2 Standard 64bit",
            "Windows Server 2012 Essentials R2 64bit",
            "Windows Server 2012 R2 Datacenter 64bit",
            "Windows Server 2012 Datacenter 64bit",
            "Windows Server 2012 Standard 64bit",
            "Windows Server 2008 R2 WEB 64bit",
            "Windows Server 2008 R2 Standard 64bit",
            "Windows Server 2008 R2 Enterprise 64bit",
            "Windows Server 2008 R2 Datacenter 64bit",
        ],
    ),
    (
        "SUSE",
        &[
            "SUSE Linux Enterprise Server 15 SP1 64bit",
            "SUSE Linux Enterprise Server 15 64bit",
            "SUSE Linux Enterprise Server 12 SP5 64bit",
            "SUSE Linux Enterprise Server 12 SP3 64bit",
            "SUSE Linux Enterprise Server 12 SP2 64bit",
            "SUSE Linux Enterprise Server 12 SP1 64bit",
            "SUSE Linux Enterprise Server 12 64bit",
            "SUSE Linux Enterprise Server 11 SP4 64bit",
            "SUSE Linux Enterprise Server 11 SP3 64bit",
            "SUSE Linux Enterprise Server 11 SP3 32bit",
            "SUSE Linux Enterprise Server 11 SP1 64bit",
        ],
    ),
    (
        "Oracle Linux",
        &[
            "Oracle Linux Server release 7.6 64bit",
            "Oracle Linux Server release 7.5 64bit",
            "Oracle Linux Server release 7.4 64bit",
            "Oracle Linux Server release 7.3 64bit",
            "Oracle Linux Server release 7.2 64bit",
            "Oracle Linux Server release 7.1 64bit",
            "Oracle Linux Server release 7.0 64bit",
            "Oracle Linux Server release 6.10 64bit",
            "Oracle Linux Server release 6.9 64bit",
            "Oracle Linux Server release 6.8 64bit",
            "Oracle Linux Server release 6.7 64bit",
            "Oracle Linux Server release 6.5 64bit",
        ],
    ),
    (
        "Red Hat",
        &[
            "Red Hat Linux Enterprise 8.0 64bit",
            "Red Hat 7.6 64bit",
            "Red Hat Linux Enterprise 7.5 64bit",
            "Red Hat Linux Enterprise 7.4 64bit",
            "Red Hat Linux Enterprise 7.3 64bit",
            "Red Hat Linux Enterprise 7.2 64bit",
            "Red Hat Linux Enterprise 7.1 64bit",
            "Red Hat Linux Enterprise 7.0 64bit",
            "Red Hat Linux Enterprise 6.10 64bit",
            "Red Hat Linux Enterprise 6.9 64bit",
            "Red Hat Linux Enterprise 6.8 64bit",
            "Red Hat Linux Enterprise 6.7 64bit",
            "Red Hat Linux Enterprise 6.6 64bit",
            "Red Hat Linux Enterprise 6.6 32bit",
            "Red Hat Linux Enterprise 6.5 64bit",
            "Red Hat Linux Enterprise 6.4 64bit",
            "Red Hat Linux Enterprise 6.4 32bit",
        ],
    ),
    (
        "Ubuntu",
        &[
            "Ubuntu 22.04 server 64bit",
            "Ubuntu 20.04 server 64bit",
            "Ubuntu 19.04 server 64bit",
            "Ubuntu 18.04 server 64bit",
            "Ubuntu 16.04 server 64bit",
            "Ubuntu 14.04.4 server 64bit",
            "Ubuntu 14.04.4 server 32bit",
            "Ubuntu 14.04.3 server 64bit",
            "Ubuntu 14.04.3 server 32bit",
            "Ubuntu 14.04.1 server 64bit",
            "Ubuntu 14.04.1 server 32bit",
            "Ubuntu 14.04 server 64bit",
            "Ubuntu 14.04 server 32bit",
        ],
    ),
    (
        "openSUSE",
        &[
            "openSUSE 42.3 64bit",
            "openSUSE 42.2 64bit",
            "openSUSE 42.1 64bit",
            "openSUSE 15.1 64bit",
            "openSUSE 15.0 64bit",
            "openSUSE 13.2 64bit",
            "openSUSE 11.3 64bit",
        ],
    ),
    (
        "CentOS",
        &[
            "CentOS 7.9 64bit",
            "CentOS 7.8 64bit",
            "CentOS 8.0 64bit",
            "CentOS 7.7 64bit",
            "CentOS 7.6 64bit",
            "CentOS 7.5 64bit",
            "CentOS 7.4 64bit",
            "CentOS 7.3 64bit",
            "CentOS 7.2 64bit",
            "CentOS 7.1 64bit",
            "CentOS 7.0 64bit",
            "CentOS 7.0 32bit",
            "CentOS 6.10 64bit",
            "CentOS 6.10 32bit",
            "CentOS 6.9 64bit",
            "CentOS 6.9 32bit",
            "CentOS 6.8 64bit",
            "CentOS 6.7 64bit",
            "CentOS 6.7 32bit",
            "CentOS 6.6 64bit",
            "CentOS 6.6 32bit",
            "CentOS 6.5 64bit",
            "CentOS 6.5 32bit",
            "CentOS 6.4 64bit",
            "CentOS 6.4 32bit",
            "CentOS 6.3 64bit",
            "CentOS 6.3 32bit",
        ],
    ),
    (
        "Debian",
        &[
            "Debian GNU/Linux 12.0.0 64bit",
            "Debian GNU/Linux 11.1.0 64bit",
            "Debian GNU/Linux 10.0.0 64bit",
            "Debian GNU/Linux 9.3.0 64bit",
            "Debian GNU/Linux 9.0.0 64bit",
            "Debian GNU/Linux 8.8.0 64bit",
            "Debian GNU/Linux 8.7.0 64bit",
            "Debian GNU/Linux 8.6.0 64bit",
            "Debian GNU/Linux 8.5.0 64bit",
            "Debian GNU/Linux 8.4.0 64bit",
            "Debian GNU/Linux 8.2.0 64bit",
            "Debian GNU/Linux 8.1.0 64bit",
        ],
    ),
    (
        "Fedora",
        &[
            "Fedora 30 64bit",
            "Fedora 28 64bit",
            "Fedora 27 64bit",
            "Fedora 26 64bit",
            "Fedora 25 64bit",
            "Fedora 24 64bit",
            "Fedora 23 64bit",
            "Fedora 22 64bit",
        ],
    ),
    (
        "EulerOS",
        &[
            "EulerOS 2.9 64bit",
            "EulerOS 2.5 64bit",
            "EulerOS 2.3 64bit",
            "EulerOS 2.2 64bit",
            "EulerOS 2.1 64bit",
        ],
    ),
    (
        "CoreOS",
        &["CoreOS 1068.10.0", "CoreOS 1010.5.0", "CoreOS 1298.6.0"],
    ),
    ("openEuler", &["openEuler 20.03 64bit"]),
    ("Other", &["Other Linux(64 bit)", "Other Windows(64 bit)"]),
];

#[derive(Deserialize)]
pub(super) struct VersionQuery {
    tag: Option<String>,
}

/// What a tag filters by.
struct Filter {
    arm: bool,
    uefi: bool,
}

impl Filter {
    /// `tag=uefi,x86`: every word counts.
    fn parse(tag: Option<&str>) -> Result<Self, ApiError> {
        let mut filter = Self {
            arm: false,
            uefi: false,
        };
        for word in tag
            .unwrap_or_default()
            .split(',')
            .filter(|word| !word.is_empty())
        {
            match word {
                "arm" => filter.arm = true,
                "uefi" => filter.uefi = true,
                "x86" | "bios" => {}
                _ => {
                    return Err(ApiError::ims(
                        "IMG.0001",
                        "The tag is none of bios, uefi, x86 and arm.",
                    ));
                }
            }
        }
        Ok(filter)
    }

    /// 32-bit systems and Windows do not run on ARM; 32-bit ones do not boot by UEFI.
    fn takes(&self, version: &str) -> bool {
        let wide = !version.ends_with("32bit");
        (wide || !(self.arm || self.uefi)) && !(self.arm && is_windows(version))
    }
}

fn is_windows(version: &str) -> bool {
    version.contains("Windows")
}

/// The region's names of operating systems.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    PLATFORMS
        .iter()
        .flat_map(|(_, versions)| versions.iter().copied())
}

/// Whether the region has this name.
pub(super) fn is_known(version: &str) -> bool {
    names().any(|known| known == version)
}

/// What names of operating systems begin with, in lower case, and the platform that images of them
/// show.
///
/// Source: IMS API reference, `__platform` of "Querying Images"; openEuler from later releases.
const BEGINNINGS: &[(&str, &str)] = &[
    ("windows", "Windows"),
    ("ubuntu", "Ubuntu"),
    ("red hat", "Red Hat"),
    ("redhat", "Red Hat"),
    ("suse", "SUSE"),
    ("centos", "CentOS"),
    ("debian", "Debian"),
    ("opensuse", "OpenSUSE"),
    ("oracle", "Oracle Linux"),
    ("fedora", "Fedora"),
    ("coreos", "CoreOS"),
    ("euleros", "EulerOS"),
    ("openeuler", "openEuler"),
];

/// The platform of an operating system.
pub(super) fn platform(os_version: Option<&str>) -> &'static str {
    let version = os_version.unwrap_or_default().to_lowercase();
    let found = BEGINNINGS
        .iter()
        .find(|(start, _)| version.starts_with(start));
    found.map_or("Other", |(_, platform)| platform)
}

/// Whether an operating system has 32 or 64 bits.
pub(super) fn bits(os_version: Option<&str>) -> &'static str {
    match os_version.is_some_and(|version| version.contains("32bit")) {
        true => "32",
        false => "64",
    }
}

/// GET /v1/cloudimages/os_version.
pub(super) async fn os_versions(
    Query(query): Query<VersionQuery>,
) -> Result<Json<Value>, ApiError> {
    let filter = Filter::parse(query.tag.as_deref())?;
    let platforms = PLATFORMS.iter().filter_map(|(platform, versions)| {
        let list: Vec<Value> = versions
            .iter()
            .filter(|version| filter.takes(version))
            .map(|version| {
                json!({
                    "platform": platform,
                    "os_version_key": version,
                    "os_version": version,
                    "os_bit": if version.ends_with("32bit") { "32" } else { "64" },
                    "os_type": if is_windows(version) { "Windows" } else { "Linux" },
                })
            })
            .collect();
        (!list.is_empty()).then(|| json!({"platform": platform, "version_list": list}))
    });
    Ok(Json(Value::Array(platforms.collect())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_version_has_the_platform_that_it_is_listed_under() {
        for (group, versions) in PLATFORMS {
            for version in *versions {
                let found = platform(Some(version));
                assert!(found.eq_ignore_ascii_case(group), "{version}: {found}");
            }
        }
        assert_eq!(
            platform(Some("Redhat Linux Enterprise 7.5 64bit")),
            "Red Hat"
        );
        assert_eq!(platform(None), "Other");
        assert_eq!(bits(Some("CentOS 7.0 32bit")), "32");
    }
}
