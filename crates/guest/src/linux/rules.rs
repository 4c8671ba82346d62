//! Rules about which system it is and which processor it is for.

use crate::linux::boot::rules::boot;
use crate::{Facts, Judgement, Os, Remedy, Rule, Seen, Severity, Source};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "inspect-no-os",
        severity: Severity::WillNotBoot,
        source: Source::Vendor,
        cite: "Huawei Cloud, Image Management Service, constraints of image files",
        text: "No operating system was found, and the disk is imported as a system disk.",
        remedy: Remedy::NONE,
        check: no_os,
    },
    Rule {
        id: "disk-multi-os",
        severity: Severity::Advice,
        source: Source::Peer,
        cite: "libguestfs, daemon/inspect.ml",
        text: "Several systems are on the disk. The one that starts by itself was looked into.",
        remedy: Remedy::NONE,
        check: several,
    },
    Rule {
        id: "arch-mismatch",
        severity: Severity::WillNotBoot,
        source: Source::Vendor,
        cite: "Huawei Cloud, Image Management Service, constraints of image files",
        text: "The system is for another processor than the cloud's machine has.",
        remedy: Remedy::NONE,
        check: mismatch,
    },
    Rule {
        id: "arch-32bit",
        severity: Severity::Degraded,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, constraints",
        text: "The kernel has 32 bits. Servers do not use more than 4 GB of their memory.",
        remedy: Remedy::NONE,
        check: narrow,
    },
    Rule {
        id: "cpu-level",
        severity: Severity::Advice,
        source: Source::Peer,
        cite: "virt-v2v(1)",
        text: "The system needs a processor of a certain level. Choose a flavor whose processors \
               have it.",
        remedy: Remedy::NONE,
        check: level,
    },
];

fn no_os(facts: &Facts, judgement: &mut Judgement) {
    if facts.wanted.data_disk || facts.os.is_some() {
        return;
    }
    match facts.unread().into_iter().next() {
        Some(reason) => judgement.unknown(reason),
        None => judgement.found(Severity::WillNotBoot, Seen::at("disk")),
    }
}

fn several(facts: &Facts, judgement: &mut Judgement) {
    let Some((first, others)) = facts.systems.split_first() else {
        return;
    };
    let differs =
        |other: &&crate::linux::identify::System| match (&first.machine_id, &other.machine_id) {
            (Some(a), Some(b)) => a != b,
            _ => (&first.id, &first.version) != (&other.id, &other.version),
        };
    if !others.iter().any(|other| differs(&other)) {
        return;
    }
    for system in std::iter::once(first).chain(others.iter().filter(differs)) {
        let volume = facts.volumes.get(system.volume);
        let name = volume.map(crate::volume::Volume::name).unwrap_or_default();
        let version = system.version.as_deref().unwrap_or_default();
        let text = format!("{} {version}", system.id);
        judgement.found(Severity::Advice, Seen::at(name).with(text.trim_end()));
    }
}

/// What the system is for: its kernel decides, else its programs.
fn machine(facts: &Facts) -> Option<(&str, Seen)> {
    let kernel = boot(facts).and_then(crate::linux::boot::LinuxBoot::kernel);
    if let Some((kernel, machine)) = kernel.and_then(|kernel| Some((kernel, kernel.machine?))) {
        return Some((machine, Seen::at(&kernel.path).with(machine)));
    }
    let machine = facts.os.as_ref()?.arch.as_deref()?;
    Some((machine, Seen::at("/bin").with(machine)))
}

fn mismatch(facts: &Facts, judgement: &mut Judgement) {
    if facts.wanted.data_disk || facts.os.is_none() {
        return;
    }
    let Some((machine, seen)) = machine(facts) else {
        judgement.unknown("which processor the system is for is not known");
        return;
    };
    let offered = match machine {
        "x86_64" | "i386" => "x86",
        "aarch64" => "arm",
        _ => "",
    };
    let wanted = facts.wanted.architecture.as_deref();
    if offered.is_empty() || wanted.is_some_and(|wanted| wanted != offered) {
        if !offered.is_empty() {
            judgement.note(format!("Its architecture is {offered}."));
        }
        judgement.found(Severity::WillNotBoot, seen);
    }
}

fn narrow(facts: &Facts, judgement: &mut Judgement) {
    if boot(facts).is_none() {
        return;
    }
    match machine(facts) {
        Some(("i386", seen)) => judgement.found(Severity::Degraded, seen),
        Some(_) => {}
        None => judgement.unknown("which processor the kernel is for is not known"),
    }
}

fn level(facts: &Facts, judgement: &mut Judgement) {
    const IDS: &[&str] = &["rhel", "centos", "rocky", "almalinux", "ol"];
    let Some(Os {
        id, version, arch, ..
    }) = &facts.os
    else {
        return;
    };
    let major = version
        .as_deref()
        .and_then(|version| version.split('.').next());
    let level = match major {
        Some("9") => "x86-64-v2",
        Some("10") => "x86-64-v3",
        _ => return,
    };
    if IDS.contains(&id.as_str()) && arch.as_deref() == Some("x86_64") && !facts.wanted.data_disk {
        judgement.note(format!("It is {level}."));
        let version = version.as_deref().unwrap_or_default();
        judgement.found(Severity::Advice, Seen::at("/etc/os-release").with(version));
    }
}

#[cfg(test)]
mod tests;
