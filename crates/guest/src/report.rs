//! What an inspection found, for people and programs.

mod text;

use serde::Serialize;

use crate::{Choice, Facts, Finding, Os, Unknown};

/// The report about one disk.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The system that is started, if one was found.
    pub os: Option<Os>,
    /// The cloud's name of it.
    pub os_version: Option<Named>,
    /// Every firmware that finds a boot loader: `bios`, `uefi`.
    pub firmware: Vec<&'static str>,
    /// All systems, the one that is started first.
    pub roots: Vec<Root>,
    /// Partitions, logical volumes and arrays.
    #[serde(skip)]
    pub volumes: Vec<Held>,
    /// Kernels of a Linux.
    pub kernels: Vec<Kernel>,
    /// Broken rules, worst first.
    pub findings: Vec<Finding>,
    /// Rules that could not be decided.
    pub unknown: Vec<Unknown>,
    /// What the inspection cost.
    pub cost: Cost,
    /// Whether the disk was held against the rules for data alone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub data_disk: bool,
    /// How many rules the disk was held against.
    #[serde(skip)]
    pub rules: usize,
}

/// The cloud's name of a system, and where it comes from.
#[derive(Clone, Debug, Serialize)]
pub struct Named {
    /// The name, and how near it is.
    #[serde(flatten)]
    pub choice: Choice,
    /// `region`: the region's own list; `documents`: the list in public documents.
    pub list: &'static str,
}

/// A system on the disk.
#[derive(Clone, Debug, Serialize)]
pub struct Root {
    /// The volume that holds it.
    pub volume: String,
    /// As in os-release; `windows`.
    pub id: String,
    /// Its version, if it is known.
    pub version: Option<String>,
}

/// A volume, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// As findings name it.
    pub volume: String,
    /// Bytes.
    pub size: u64,
    /// A file system, swap, a volume of LVM, …
    pub content: String,
    /// Of the content.
    pub label: Option<String>,
    /// Of the content, as `blkid` prints it.
    pub uuid: Option<String>,
    /// Why it could not be opened.
    pub closed: Option<String>,
}

/// An installed kernel.
#[derive(Clone, Debug, Serialize)]
pub struct Kernel {
    /// As `uname -r` prints it.
    pub version: Option<String>,
    /// The default boot entry starts it.
    pub default: bool,
    /// Where it has the drivers of the cloud's devices.
    pub virtio: Virtio,
}

/// Where a kernel has the drivers of the cloud's devices.
#[derive(Clone, Debug, Serialize)]
pub struct Virtio {
    /// Disks.
    pub blk: Place,
    /// Networks.
    pub net: Place,
    /// SCSI disks.
    pub scsi: Place,
    /// The bus of them all.
    pub pci: Place,
}

/// Where a kernel has a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// In the kernel itself.
    Builtin,
    /// In the initramfs.
    Initramfs,
    /// A file on the root file system alone.
    Module,
    /// Nowhere.
    Missing,
    /// It could not be read.
    Unknown,
}

/// What an inspection cost.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Cost {
    /// Bytes read from the image.
    pub bytes_read: u64,
    /// Milliseconds.
    pub ms: u64,
}

impl Report {
    /// The report of a disk that could not be looked into at all.
    pub(crate) fn undone(reason: impl Into<String>) -> Self {
        Self {
            unknown: vec![Unknown {
                id: INCOMPLETE,
                reason: reason.into(),
            }],
            ..Self::default()
        }
    }

    /// Holds `facts` against every rule.
    pub(crate) fn judge(facts: &Facts) -> Self {
        let mut report = Self {
            os: facts.os.clone(),
            os_version: facts.os.as_ref().and_then(|os| named(os, facts)),
            firmware: facts.firmwares(),
            roots: roots(facts),
            volumes: facts.volumes.iter().map(held).collect(),
            kernels: kernels(facts),
            data_disk: facts.wanted.data_disk,
            ..Self::default()
        };
        let rules = crate::rules().filter(|rule| !facts.wanted.data_disk || is_about_data(rule.id));
        for rule in rules {
            let (findings, unknown) = rule.judge(facts);
            report.findings.extend(findings);
            report.unknown.extend(unknown);
            report.rules += 1;
        }
        report.findings.sort_by_key(|finding| finding.severity);
        report
    }
}

/// Name of the rule about what could not be looked into.
pub const INCOMPLETE: &str = "inspect-incomplete";

/// Whether a disk that is imported for its data only is held against a rule.
fn is_about_data(id: &str) -> bool {
    id == "cloud-data-disk" || id == INCOMPLETE || id.starts_with("fs-")
}

fn named(os: &Os, facts: &Facts) -> Option<Named> {
    let offer = crate::names::Offer::of(facts);
    Some(Named {
        choice: offer.choose(os)?,
        list: if offer.region { "region" } else { "documents" },
    })
}

fn roots(facts: &Facts) -> Vec<Root> {
    let root = |system: &crate::linux::identify::System| {
        Some(Root {
            volume: facts.volumes.get(system.volume)?.name(),
            id: crate::text::printable(&system.id),
            version: system.version.as_deref().map(crate::text::printable),
        })
    };
    facts.systems.iter().filter_map(root).collect()
}

fn held(volume: &crate::volume::Volume) -> Held {
    use crate::text::printable;
    Held {
        volume: volume.name(),
        size: volume.size,
        content: volume.content.to_string(),
        label: volume.label.as_ref().map(printable),
        uuid: volume.uuid.as_ref().map(printable),
        closed: volume.closed.as_ref().map(printable),
    }
}

fn kernels(facts: &Facts) -> Vec<Kernel> {
    let Some(boot) = &facts.linux_boot else {
        return Vec::new();
    };
    let kernels = boot.kernels.as_deref().unwrap_or_default();
    let kernel = |(index, kernel): (usize, &crate::linux::kernel::Kernel)| Kernel {
        version: kernel.version.as_deref().map(crate::text::printable),
        default: boot.default_kernel == Some(index),
        virtio: Virtio {
            blk: place(kernel, "virtio_blk"),
            net: place(kernel, "virtio_net"),
            scsi: place(kernel, "virtio_scsi"),
            pci: place(kernel, "virtio_pci"),
        },
    };
    kernels.iter().enumerate().map(kernel).collect()
}

fn place(kernel: &crate::linux::kernel::Kernel, driver: &str) -> Place {
    use crate::linux::kernel::Driver;
    match kernel.driver(driver) {
        Ok(Driver::BuiltIn) => Place::Builtin,
        Ok(Driver::Missing) => Place::Missing,
        Ok(Driver::Module) if kernel.brings(driver) == Ok(true) => Place::Initramfs,
        Ok(Driver::Module) => Place::Module,
        Err(_) => Place::Unknown,
    }
}
