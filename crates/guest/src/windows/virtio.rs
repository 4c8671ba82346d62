//! The drivers of the cloud's disks and networks, and whether Windows starts them.

use super::registry::{CONTROL, Registry};
use super::services::{self, SERVICES, Service};
use crate::known::Known;
use crate::view::View;
use crate::{Facts, Judgement, Remedy, Rule, Seen, Severity, Source};

/// Windows 8 and Server 2012: from here on the boot loader finds drivers in `DriverDatabase`.
const DATABASE_SINCE: (u32, u32) = (6, 2);

/// The drivers for one kind of device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Virtio {
    /// Services that drive it.
    pub(crate) services: Vec<Service>,
    /// `DriverDatabase` names drivers for the device.
    pub(crate) database: bool,
    /// `CriticalDeviceDatabase` names a driver for the device.
    pub(crate) critical: bool,
}

/// A kind of device: the usual name of its driver, and its PCI identifiers.
struct Device {
    driver: &'static str,
    ids: [&'static str; 2],
}

const BLOCK: Device = Device {
    driver: "viostor",
    ids: ["1001", "1042"],
};
const SCSI: Device = Device {
    driver: "vioscsi",
    ids: ["1004", "1048"],
};
const NET: Device = Device {
    driver: "netkvm",
    ids: ["1000", "1041"],
};

/// The drivers of disks, of SCSI disks and of networks.
#[derive(Debug)]
pub(crate) struct Drivers {
    pub(crate) block: Known<Virtio>,
    pub(crate) scsi: Known<Virtio>,
    pub(crate) net: Known<Virtio>,
}

pub(super) fn collect(registry: &Registry, view: &View, directory: &str) -> Drivers {
    let of = |device| virtio(registry, view, directory, device);
    Drivers {
        block: of(&BLOCK),
        scsi: of(&SCSI),
        net: of(&NET),
    }
}

fn virtio(registry: &Registry, view: &View, directory: &str, device: &Device) -> Known<Virtio> {
    let infs = infs(registry, device)?;
    let critical = critical(registry, device)?;
    let mut names = vec![device.driver.to_owned()];
    names.extend(critical.iter().flatten().cloned());
    for inf in &infs {
        names.extend(services_of(registry, inf)?);
    }
    let mut found: Vec<Service> = Vec::new();
    for name in names {
        if found
            .iter()
            .any(|known| known.name.eq_ignore_ascii_case(&name))
        {
            continue;
        }
        found.extend(services::service(registry, view, directory, &name)?);
    }
    Ok(Virtio {
        services: found,
        database: !infs.is_empty(),
        critical: !critical.is_empty(),
    })
}

impl Device {
    /// Whether `id` is `prefix` with an identifier of the device, with or without a revision.
    fn is(&self, id: &str, prefix: &str) -> bool {
        let id = id.to_ascii_uppercase();
        self.ids.iter().any(|number| {
            id.strip_prefix(prefix)
                .and_then(|id| id.strip_prefix("VEN_1AF4&DEV_"))
                .and_then(|id| id.strip_prefix(number))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('&'))
        })
    }
}

/// The INF files that `DriverDatabase` names for the device.
fn infs(registry: &Registry, device: &Device) -> Known<Vec<String>> {
    let mut infs = Vec::new();
    let Some(pci) = registry.system(r"DriverDatabase\DeviceIds\PCI")? else {
        return Ok(infs);
    };
    for key in pci.keys()? {
        if device.is(&key.name, "") {
            let names = key.values()?.into_iter().map(|(name, _)| name);
            infs.extend(names.filter(|name| name.to_ascii_lowercase().ends_with(".inf")));
        }
    }
    infs.sort();
    infs.dedup();
    Ok(infs)
}

/// The services that the driver package of `inf` installs.
fn services_of(registry: &Registry, inf: &str) -> Known<Vec<String>> {
    let Some(key) = registry.system(&format!(r"DriverDatabase\DriverInfFiles\{inf}"))? else {
        return Ok(Vec::new());
    };
    let mut packages = key.texts("Active")?;
    packages.extend(key.texts("")?);
    packages.dedup();
    let mut services = Vec::new();
    for package in packages {
        let path = format!(r"DriverDatabase\DriverPackages\{package}\Configurations");
        for section in registry.system(&path)?.iter().map(|key| key.keys()) {
            for section in section? {
                services.extend(section.text("Service")?);
            }
        }
    }
    Ok(services)
}

/// The services that `CriticalDeviceDatabase` names for the device, one for each of its entries.
fn critical(registry: &Registry, device: &Device) -> Known<Vec<Option<String>>> {
    let Some(database) = registry.control(r"Control\CriticalDeviceDatabase")? else {
        return Ok(Vec::new());
    };
    let mut services = Vec::new();
    for key in database.keys()? {
        if device.is(&key.name, "PCI#") {
            services.push(key.text("Service")?);
        }
    }
    Ok(services)
}

const INSTALL: Remedy = Remedy {
    windows: &[
        "pnputil /add-driver viostor.inf /install",
        r"reg add HKLM\SYSTEM\CurrentControlSet\Services\viostor /v Start /t REG_DWORD /d 0 /f",
        r"reg delete HKLM\SYSTEM\CurrentControlSet\Services\viostor\StartOverride /f",
    ],
    ..Remedy::NONE
};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "windows-virtio-block",
        severity: Severity::WillNotBoot,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0000001841305273 and 0047501112",
        text: "Windows has no driver for the cloud's disks and stops with a blue screen. Install \
               the virtio-win guest tools on the source machine, best with a virtio disk attached.",
        remedy: INSTALL,
        check: block,
    },
    Rule {
        id: "windows-virtio-block-start",
        severity: Severity::WillNotBoot,
        source: Source::Peer,
        cite: "virtio-win/virtio-win-guest-tools-installer#61, \
               kubevirt/containerized-data-importer#4023",
        text: "The driver for the cloud's disks is installed but is not started at boot. Windows \
               leaves it so when it is installed while no such disk is attached.",
        remedy: Remedy {
            windows: &[
                concat!(
                    r"reg add HKLM\SYSTEM\CurrentControlSet\Services\{service}",
                    " /v Start /t REG_DWORD /d 0 /f",
                ),
                r"reg delete HKLM\SYSTEM\CurrentControlSet\Services\{service}\StartOverride /f",
            ],
            ..Remedy::NONE
        },
        check: block_start,
    },
    Rule {
        id: "windows-virtio-block-binding",
        severity: Severity::WillNotBoot,
        source: Source::Peer,
        cite: "virt-v2v, convert/windows_virtio",
        text: "The driver for the cloud's disks is installed, but the registry does not assign it \
               to them, so Windows does not find its disk.",
        remedy: INSTALL,
        check: block_binding,
    },
    Rule {
        id: "windows-virtio-scsi",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0000001841305273",
        text: "Windows cannot start from disks of type SCSI, which some flavors have: their driver \
               vioscsi is missing or not started at boot.",
        remedy: Remedy {
            windows: &["pnputil /add-driver vioscsi.inf /install"],
            ..Remedy::NONE
        },
        check: scsi,
    },
    Rule {
        id: "windows-virtio-net",
        severity: Severity::NoNetwork,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0000001841305273",
        text: "Windows has no driver for the cloud's network. Install the virtio-win guest tools.",
        remedy: Remedy {
            windows: &["pnputil /add-driver netkvm.inf /install"],
            ..Remedy::NONE
        },
        check: net,
    },
];

/// The key of a service, as reports name it.
fn key(name: &str) -> String {
    format!(r"{CONTROL}\{SERVICES}\{name}")
}

/// Nothing drives the device: what is missing.
fn missing(virtio: &Virtio, device: &Device) -> Option<Vec<Seen>> {
    if virtio.services.iter().any(|service| service.present) {
        return None;
    }
    if virtio.services.is_empty() {
        return Some(vec![Seen::at(key(device.driver)).with("missing")]);
    }
    let files = virtio.services.iter().map(|service| &service.file);
    Some(files.map(|file| Seen::at(file).with("missing")).collect())
}

/// Drivers are there, and none is started at boot: how they are started.
fn late(virtio: &Virtio) -> Vec<(&Service, Seen)> {
    let services = || virtio.services.iter().filter(|service| service.present);
    if services().any(Service::starts_at_boot) {
        return Vec::new();
    }
    services()
        .map(|service| {
            let seen = match (service.start, service.overridden) {
                (Some(0), Some(start)) => {
                    Seen::at(key(&service.name) + r"\StartOverride").with(format!("0 = {start}"))
                }
                (Some(start), _) => Seen::at(key(&service.name)).with(format!("Start = {start}")),
                (None, _) => Seen::at(key(&service.name)).with("Start is missing"),
            };
            (service, seen)
        })
        .collect()
}

/// The registry does not lead from the device to its driver: where it would.
fn unbound(kernel: Option<(u32, u32)>, virtio: &Virtio, device: &Device) -> Option<Seen> {
    let [first, _] = device.ids;
    let (bound, key) = match kernel {
        Some(version) if version < DATABASE_SINCE => (
            virtio.critical,
            format!(r"{CONTROL}\Control\CriticalDeviceDatabase\PCI#VEN_1AF4&DEV_{first}"),
        ),
        kernel => (
            virtio.database || (kernel.is_none() && virtio.critical),
            format!(r"HKLM\SYSTEM\DriverDatabase\DeviceIds\PCI\VEN_1AF4&DEV_{first}"),
        ),
    };
    (!bound).then(|| Seen::at(key).with("missing"))
}

fn block(facts: &Facts, judgement: &mut Judgement) {
    let Some(virtio) = facts
        .windows
        .as_ref()
        .and_then(|it| judgement.known(&it.drivers.block))
    else {
        return;
    };
    for seen in missing(virtio, &BLOCK).into_iter().flatten() {
        judgement.found(Severity::WillNotBoot, seen);
    }
}

fn block_start(facts: &Facts, judgement: &mut Judgement) {
    let Some(virtio) = facts
        .windows
        .as_ref()
        .and_then(|it| judgement.known(&it.drivers.block))
    else {
        return;
    };
    for (service, seen) in late(virtio) {
        judgement.word("service", &service.name, "NAME");
        judgement.found(Severity::WillNotBoot, seen);
    }
}

fn block_binding(facts: &Facts, judgement: &mut Judgement) {
    let Some(windows) = &facts.windows else {
        return;
    };
    let Some(virtio) = judgement.known(&windows.drivers.block) else {
        return;
    };
    if missing(virtio, &BLOCK).is_none()
        && let Some(seen) = unbound(windows.kernel(), virtio, &BLOCK)
    {
        judgement.found(Severity::WillNotBoot, seen);
    }
}

fn scsi(facts: &Facts, judgement: &mut Judgement) {
    let Some(windows) = &facts.windows else {
        return;
    };
    let Some(virtio) = judgement.known(&windows.drivers.scsi) else {
        return;
    };
    let problems = missing(virtio, &SCSI).unwrap_or_else(|| {
        let late = late(virtio).into_iter().map(|(_, seen)| seen);
        late.chain(unbound(windows.kernel(), virtio, &SCSI))
            .collect()
    });
    for seen in problems {
        judgement.found(Severity::Advice, seen);
    }
}

fn net(facts: &Facts, judgement: &mut Judgement) {
    let Some(virtio) = facts
        .windows
        .as_ref()
        .and_then(|it| judgement.known(&it.drivers.net))
    else {
        return;
    };
    for seen in missing(virtio, &NET).into_iter().flatten() {
        judgement.found(Severity::NoNetwork, seen);
    }
    let present = || virtio.services.iter().filter(|service| service.present);
    if present().all(Service::disabled) {
        for service in present() {
            let seen = Seen::at(key(&service.name)).with("Start = 4");
            judgement.found(Severity::NoNetwork, seen);
        }
    }
}

#[cfg(test)]
mod tests;
