//! What was found on the disk: collected once, judged by rules that know no file system.
//!
//! Each area keeps its facts, their collector and its rules in one module.

use serde::Serialize;

use crate::Family;
use crate::known::Known;
use crate::volume::Volume;

/// What the image is to become, as far as the user has said.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// `bios` or `uefi`.
    pub firmware: Option<String>,
    /// `x86` or `arm`.
    pub architecture: Option<String>,
    /// The operating system's name, verbatim.
    pub os_version: Option<String>,
    /// The names of operating systems that the region offers; empty when it was not asked.
    pub os_versions: Vec<String>,
    /// Those of them that it offers for UEFI; empty when it was not asked.
    pub uefi_os_versions: Vec<String>,
    /// The disk holds data only; no system is expected.
    pub data_disk: bool,
    /// The target is Huawei Cloud itself, not a partner's.
    pub huawei_cloud: bool,
    /// The image is for flavors whose hypervisor is Xen.
    pub xen: bool,
    /// Seconds since 1970, for what expires.
    pub now: u64,
}

/// Where a fact comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Path in the guest.
    pub path: String,
    /// Key of the value.
    pub key: String,
    /// The value, printable.
    pub value: String,
}

/// The operating system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Os {
    /// `Linux`, `Windows` or `Other`.
    #[serde(rename = "type")]
    pub kind: String,
    /// As in os-release: `debian`, `rhel`, `opensuse-leap`; `windows`.
    pub id: String,
    /// As it calls itself: `Debian GNU/Linux 12 (bookworm)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The words of `ID_LIKE`.
    #[serde(skip)]
    pub like: Vec<String>,
    /// As exact as the release files say: `12.5`, `22.04.4`, `7.9`; of Windows `2019`, `11`.
    pub version: Option<String>,
    /// Of Windows: `Standard`, `Datacenter`, …
    pub edition: Option<String>,
    /// Of Windows: the number that tells its release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<u32>,
    /// `x86_64`, `aarch64`, `i386`, …
    pub arch: Option<String>,
    /// `systemd`, `upstart`, `sysvinit`, `openrc`, `busybox`.
    #[serde(skip)]
    pub init: Option<String>,
    /// What says so.
    pub evidence: Vec<Evidence>,
}

/// Everything that is known about the disk and the system on it.
#[derive(Debug, Default)]
pub struct Facts {
    /// What the image is to become.
    pub wanted: Wanted,
    /// The operating system that the default boot entry starts.
    pub os: Option<Os>,
    /// The disk's volumes.
    pub(crate) volumes: Vec<Volume>,
    /// Index of the volume with the root.
    pub(crate) root: Option<usize>,
    /// Bytes that are free there, where it is known.
    pub(crate) free: Option<u64>,
    /// What the system that is started mounts where: indexes of volumes.
    pub(crate) mounted: Vec<(Vec<u8>, usize)>,
    /// What could not be looked into, beside volumes.
    pub(crate) incomplete: Vec<String>,
    /// How the disk is divided.
    pub(crate) table: Option<diskimg::partitions::PartitionTable>,
    /// The backup of a GPT is where it belongs.
    pub(crate) gpt_backup: Option<Known<bool>>,
    /// What a BIOS finds.
    pub(crate) bios: Option<Known<crate::start::bios::Bios>>,
    /// What UEFI finds.
    pub(crate) efi: Option<crate::start::efi::Efi>,
    /// How a Linux starts.
    pub(crate) linux_boot: Option<crate::linux::boot::LinuxBoot>,
    /// How a Linux is configured.
    pub(crate) linux: Option<crate::linux::config::Config>,
    /// The systems on the disk, the chosen one first.
    pub(crate) systems: Vec<crate::linux::identify::System>,
    /// The Windows that is started.
    pub(crate) windows: Option<crate::windows::Windows>,
}

impl Facts {
    /// How the Linux is configured that servers will run; a data disk runs none.
    pub(crate) fn configured(&self) -> Option<&crate::linux::config::Config> {
        self.linux.as_ref().filter(|_| !self.wanted.data_disk)
    }

    /// Whether the system is mended with the tools of its family's early releases.
    pub fn is_old(&self) -> bool {
        let Some(os) = &self.os else {
            return false;
        };
        let last = OLD.iter().find(|(ids, _)| ids.contains(&os.id.as_str()));
        let version = os.version.as_deref().map(crate::linux::numbers);
        let major = version.and_then(|numbers| numbers.first().copied());
        last.zip(major)
            .is_some_and(|((_, last), major)| major <= *last)
    }

    /// The family of the system, for the commands that mend it.
    pub fn family(&self) -> Family {
        let Some(os) = &self.os else {
            return Family::Other;
        };
        // Kylin has editions of either kind; its packages tell.
        let packages = os.like.first().filter(|like| *like == "debian");
        let like = os.like.iter().map(String::as_str);
        packages
            .map(String::as_str)
            .into_iter()
            .chain(std::iter::once(os.id.as_str()))
            .chain(like)
            .find_map(family)
            .unwrap_or(Family::Other)
    }
}

/// The last releases with the old GRUB and without systemd.
const OLD: &[(&[&str], u64)] = &[
    (&["rhel", "centos", "ol", "scientific"], 6),
    (&["sles", "sled", "sles_sap"], 11),
    (&["opensuse"], 12),
];

/// The family that a word of `ID` or `ID_LIKE` belongs to.
fn family(word: &str) -> Option<Family> {
    const RED_HAT: &[&str] = &[
        "rhel",
        "centos",
        "fedora",
        "rocky",
        "almalinux",
        "ol",
        "euleros",
        "openeuler",
        "hce",
        "kylin",
        "neokylin",
        "anolis",
        "alinux",
        "tencentos",
        "opencloudos",
        "amzn",
        "redhat",
        "scientific",
        "uos",
    ];
    const SUSE: &[&str] = &["sles", "sled", "sles_sap", "suse", "opensuse"];
    let word = word.to_ascii_lowercase();
    match word.as_str() {
        "windows" => Some(Family::Windows),
        "debian" | "ubuntu" => Some(Family::Debian),
        word if RED_HAT.contains(&word) => Some(Family::RedHat),
        word if SUSE.contains(&word) || word.starts_with("opensuse") => Some(Family::Suse),
        _ => None,
    }
}
