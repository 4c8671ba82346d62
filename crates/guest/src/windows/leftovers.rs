//! What the old platform, pending work and the licence leave behind.

use super::product::VERSION_KEY;
use super::registry::{CONTROL, Registry, SOFTWARE};
use super::services::SERVICES;
use crate::known::Known;
use crate::view::View;
use crate::{Facts, Judgement, Remedy, Rule, Seen, Severity, Source};

const SESSION_MANAGER: &str = r"Control\Session Manager";
const TIME_ZONE: &str = r"Control\TimeZoneInformation";
const POLICY_HISTORY: &str = r"Microsoft\Windows\CurrentVersion\Group Policy\History";
const DEVICE_RESTRICTIONS: &str = r"Policies\Microsoft\Windows\DeviceInstall\Restrictions";
const REBOOT_KEYS: [&str; 2] = [
    r"Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending",
    r"Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired",
];
const UVP_VERSION: &str = "/Program Files (x86)/virtio/bin/version";
/// The first version of the UVP tools that does not leak memory.
const UVP_SOUND: [u32; 3] = [2, 5, 0];

/// Services of other platforms' tools, and whose they are.
const FOREIGN: &[(&str, &str)] = &[
    ("VMTools", "VMware Tools"),
    ("pvscsi", "VMware Tools"),
    ("vmxnet3ndis6", "VMware Tools"),
    ("xenbus", "Citrix or XenServer tools"),
    ("xenvbd", "Citrix or XenServer tools"),
    ("rhelscsi", "Red Hat's drivers for Xen"),
    ("prl_strg", "Parallels Tools"),
    ("prl_tools", "Parallels Tools"),
    ("VBoxGuest", "VirtualBox Guest Additions"),
    ("VBoxService", "VirtualBox Guest Additions"),
];

/// What is left.
#[derive(Debug)]
pub(crate) struct Leftovers {
    /// Keys that say that a restart is due.
    pub(crate) restart: Known<Vec<String>>,
    /// Keys of group policies.
    pub(crate) policies: Known<Vec<String>>,
    /// Services in [`FOREIGN`].
    pub(crate) foreign: Known<Vec<(&'static str, &'static str)>>,
    /// `RealTimeIsUniversal`.
    pub(crate) universal_clock: Known<Option<u32>>,
    /// Version of the UVP tools.
    pub(crate) uvp: Known<Option<String>>,
}

pub(super) fn collect(registry: &Registry, view: &View) -> Leftovers {
    Leftovers {
        restart: restart(registry),
        policies: policies(registry),
        foreign: foreign(registry),
        universal_clock: registry.control_number(TIME_ZONE, "RealTimeIsUniversal"),
        uvp: uvp(view),
    }
}

fn restart(registry: &Registry) -> Known<Vec<String>> {
    let mut keys = Vec::new();
    let renames = registry.control_texts(SESSION_MANAGER, "PendingFileRenameOperations")?;
    if !renames.is_empty() {
        keys.push(format!(
            r"{CONTROL}\{SESSION_MANAGER}\PendingFileRenameOperations"
        ));
    }
    for path in REBOOT_KEYS {
        if registry.software(path)?.is_some() {
            keys.push(format!(r"{SOFTWARE}\{path}"));
        }
    }
    Ok(keys)
}

fn policies(registry: &Registry) -> Known<Vec<String>> {
    let mut keys = Vec::new();
    if let Some(history) = registry.software(POLICY_HISTORY)?
        && history.keys()?.iter().any(|key| key.name.starts_with('{'))
    {
        keys.push(format!(r"{SOFTWARE}\{POLICY_HISTORY}"));
    }
    if registry.software(DEVICE_RESTRICTIONS)?.is_some() {
        keys.push(format!(r"{SOFTWARE}\{DEVICE_RESTRICTIONS}"));
    }
    Ok(keys)
}

fn foreign(registry: &Registry) -> Known<Vec<(&'static str, &'static str)>> {
    let mut found = Vec::new();
    for &(name, whose) in FOREIGN {
        if registry.control(&format!(r"{SERVICES}\{name}"))?.is_some() {
            found.push((name, whose));
        }
    }
    Ok(found)
}

fn uvp(view: &View) -> Known<Option<String>> {
    let content = view.read(UVP_VERSION, 4096)?;
    Ok(content.map(|content| String::from_utf8_lossy(&content).trim().to_owned()))
}

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "windows-updates-pending",
        severity: Severity::Degraded,
        source: Source::Peer,
        cite: "virt-v2v, convert/convert_windows",
        text: "Updates wait for a restart. They would be finished by every server of the image, \
               or fail there.",
        remedy: Remedy {
            windows: &["shutdown /r /t 0", "shutdown /s /t 0"],
            ..Remedy::NONE
        },
        check: updates,
    },
    Rule {
        id: "windows-group-policy",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0113403127",
        text: "Group policies are in force. They can keep Windows from installing drivers for the \
               cloud's devices.",
        remedy: Remedy::NONE,
        check: policy,
    },
    Rule {
        id: "windows-foreign-tools",
        severity: Severity::Degraded,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0000001447815605",
        text: "Tools of another platform are installed. Uninstall them and restart before you \
               install the cloud's drivers.",
        remedy: Remedy::NONE,
        check: foreign_tools,
    },
    Rule {
        id: "windows-oem",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "Image Management Service API, constraints of image files",
        text: "The licence came with a machine. The cloud does not accept such systems, and their \
               activation is lost.",
        remedy: Remedy::NONE,
        check: oem,
    },
    Rule {
        id: "windows-evaluation",
        severity: Severity::Advice,
        source: Source::Own,
        cite: "",
        text: "This is an evaluation edition. It shuts down on its own when its time is over.",
        remedy: Remedy::NONE,
        check: evaluation,
    },
    Rule {
        id: "windows-32bit",
        severity: Severity::Degraded,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, constraints",
        text: "Windows is a 32-bit one: it does not use more than 4 GB of memory.",
        remedy: Remedy::NONE,
        check: narrow,
    },
    Rule {
        id: "windows-rtc",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0030730602",
        text: "Windows takes the hardware clock for local time, and the cloud's is in UTC: the \
               time is wrong until a time server corrects it.",
        remedy: Remedy {
            windows: &[concat!(
                r"reg add HKLM\SYSTEM\CurrentControlSet\Control\TimeZoneInformation",
                " /v RealTimeIsUniversal /t REG_DWORD /d 1 /f",
            )],
            ..Remedy::NONE
        },
        check: clock,
    },
    Rule {
        id: "windows-driver-leak",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "Huawei Cloud, Image Management Service, user guide",
        text: "The UVP VMTools are older than 2.5.0 and leak memory. Install a newer version.",
        remedy: Remedy::NONE,
        check: leak,
    },
    Rule {
        id: "windows-quick-import",
        severity: Severity::Degraded,
        source: Source::Vendor,
        cite: "terraform-provider-huaweicloud, ims_quickimport_system_image",
        text: "Huawei Cloud says that it no longer takes Windows by quick import. Its partners' \
               documents still describe it. Use common import if it is refused.",
        remedy: Remedy::NONE,
        check: quick_import,
    },
    Rule {
        id: "windows-registry-dirty",
        severity: Severity::Degraded,
        source: Source::Own,
        cite: "",
        text: "Changes of the registry wait in its logs, which are not read: what was read may be \
               out of date.",
        remedy: Remedy {
            windows: &["shutdown /s /t 0"],
            ..Remedy::NONE
        },
        check: registry_dirty,
    },
];

fn updates(facts: &Facts, judgement: &mut Judgement) {
    let keys = facts.windows.as_ref();
    let keys = keys.and_then(|it| judgement.known(&it.leftovers.restart));
    for key in keys.into_iter().flatten() {
        judgement.found(Severity::Degraded, Seen::at(key));
    }
}

fn policy(facts: &Facts, judgement: &mut Judgement) {
    let keys = facts.windows.as_ref();
    let keys = keys.and_then(|it| judgement.known(&it.leftovers.policies));
    for key in keys.into_iter().flatten() {
        judgement.found(Severity::Advice, Seen::at(key));
    }
}

fn foreign_tools(facts: &Facts, judgement: &mut Judgement) {
    let found = facts.windows.as_ref();
    let found = found.and_then(|it| judgement.known(&it.leftovers.foreign));
    for (name, whose) in found.into_iter().flatten() {
        let seen = Seen::at(format!(r"{CONTROL}\{SERVICES}\{name}")).with(whose);
        judgement.found(Severity::Degraded, seen);
    }
}

/// A value of the key that says which Windows it is.
fn version(name: &str) -> Seen {
    Seen::at(format!(r"{SOFTWARE}\{VERSION_KEY}\{name}"))
}

fn oem(facts: &Facts, judgement: &mut Judgement) {
    let Some(product) = facts
        .windows
        .as_ref()
        .and_then(|it| judgement.known(&it.product))
    else {
        return;
    };
    if product.id.as_ref().is_some_and(|id| id.contains("OEM")) {
        // The identifier itself is the customer's.
        judgement.found(Severity::Advice, version("ProductId").with("OEM"));
    }
}

fn evaluation(facts: &Facts, judgement: &mut Judgement) {
    let Some(product) = facts
        .windows
        .as_ref()
        .and_then(|it| judgement.known(&it.product))
    else {
        return;
    };
    if let Some(id) = &product.edition
        && ["Eval", "EvalCor", "EvalCore"]
            .iter()
            .any(|end| id.ends_with(end))
    {
        judgement.found(Severity::Advice, version("EditionID").with(id));
    }
}

fn narrow(facts: &Facts, judgement: &mut Judgement) {
    let arch = facts.os.as_ref().and_then(|os| os.arch.as_deref());
    if facts.windows.is_some() && arch == Some("i386") {
        judgement.found(
            Severity::Degraded,
            Seen::at("System32/ntoskrnl.exe").with("i386"),
        );
    }
}

fn clock(facts: &Facts, judgement: &mut Judgement) {
    let Some(windows) = &facts.windows else {
        return;
    };
    if let Some(universal) = judgement.known(&windows.leftovers.universal_clock)
        && *universal != Some(1)
    {
        let seen = Seen::at(format!(r"{CONTROL}\{TIME_ZONE}"));
        judgement.found(Severity::Advice, seen.with("RealTimeIsUniversal is not 1"));
    }
}

fn leak(facts: &Facts, judgement: &mut Judgement) {
    let Some(windows) = &facts.windows else {
        return;
    };
    let Some(Some(version)) = judgement.known(&windows.leftovers.uvp) else {
        return;
    };
    let numbers: Option<Vec<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
    match numbers {
        Some(numbers) if numbers.as_slice() < UVP_SOUND.as_slice() => {
            judgement.found(Severity::Advice, Seen::at(UVP_VERSION).with(version));
        }
        Some(_) => {}
        None => judgement.unknown(format!("{UVP_VERSION} does not hold a version")),
    }
}

fn quick_import(facts: &Facts, judgement: &mut Judgement) {
    if facts.windows.is_some() && facts.wanted.huawei_cloud {
        let name = facts.os.as_ref().and_then(|os| os.name.as_deref());
        judgement.found(Severity::Degraded, Seen::at(name.unwrap_or("Windows")));
    }
}

fn registry_dirty(facts: &Facts, judgement: &mut Judgement) {
    for (path, flushed) in facts.windows.iter().flat_map(|it| &it.hives) {
        match flushed {
            Ok(true) => {}
            Ok(false) => judgement.unknown(format!(
                "changes of {path} wait in its logs, which are not read"
            )),
            Err(reason) => judgement.unknown(reason.clone()),
        }
    }
}

#[cfg(test)]
mod tests;
