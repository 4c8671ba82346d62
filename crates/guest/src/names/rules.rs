//! Rules about the name that the cloud is told.

use super::meaning::Meaning;
use super::{Choice, How, Offer};
use crate::{Facts, Judgement, Os, Remedy, Rule, Seen, Severity, Source};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "cloud-os-unsupported",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0030713198 and 0030713143",
        text: "The cloud has no name for this system. It is registered as one of the others, and \
               nobody but you vouches that its drivers fit.",
        remedy: Remedy::NONE,
        check: unsupported,
    },
    Rule {
        id: "cloud-os-version-differs",
        severity: Severity::Degraded,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0030713193",
        text: "The name that you gave means another system than the one on the disk. Servers may \
               misbehave, and quick import corrects nothing.",
        remedy: Remedy::NONE,
        check: differs,
    },
    Rule {
        id: "cloud-data-disk",
        severity: Severity::Advice,
        source: Source::Own,
        cite: "",
        text: "The disk is imported as a data image, and a system is installed on it. If servers \
               are to start from it, import it as a system image.",
        remedy: Remedy::NONE,
        check: data_disk,
    },
    Rule {
        id: "boot-firmware-os",
        severity: Severity::Degraded,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0170853315",
        text: "The region does not offer this operating system for UEFI.",
        remedy: Remedy::NONE,
        check: firmware,
    },
    Rule {
        id: "windows-version",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0030713198",
        text: "This release of Windows, or this edition of it, is not in the cloud's list.",
        remedy: Remedy::NONE,
        check: windows,
    },
];

/// The system that the disk is to start, if any.
fn system(facts: &Facts) -> Option<&Os> {
    facts.os.as_ref().filter(|_| !facts.wanted.data_disk)
}

/// What says which system it is.
fn seen(os: &Os) -> Seen {
    match os.evidence.first() {
        Some(evidence) => Seen::at(&evidence.path).with(match &os.name {
            Some(name) => name,
            None => &evidence.value,
        }),
        None => Seen::at(&os.id),
    }
}

fn unsupported(facts: &Facts, judgement: &mut Judgement) {
    let Some(os) = system(facts) else { return };
    match Offer::of(facts).choose(os) {
        Some(Choice { how, .. }) if how != How::Other => {}
        Some(Choice { value, .. }) => {
            judgement.note(format!("The name for it is {value:?}."));
            judgement.found(Severity::Advice, seen(os));
        }
        None => judgement.found(Severity::Advice, seen(os)),
    }
}

fn differs(facts: &Facts, judgement: &mut Judgement) {
    let (Some(os), Some(given)) = (system(facts), &facts.wanted.os_version) else {
        return;
    };
    let Some(given_means) = Meaning::of_name(given) else {
        return judgement.unknown(format!("what {given:?} means is not known"));
    };
    let same = match Meaning::of_os(os) {
        _ if given_means.is_other() => given_means.is_of_type(&os.kind),
        Some(found) => found.family == given_means.family && found.release == given_means.release,
        // A known family without a version, or one that has no names.
        None => false,
    };
    if !same {
        judgement.found(Severity::Degraded, Seen::at("--os-version").with(given));
        if let Some(choice) = Offer::of(facts).choose(os) {
            judgement.note(format!(
                "The name for what is on the disk is {:?}.",
                choice.value
            ));
        }
    }
}

fn data_disk(facts: &Facts, judgement: &mut Judgement) {
    if let Some(os) = &facts.os
        && facts.wanted.data_disk
    {
        judgement.found(Severity::Advice, seen(os));
    }
}

fn firmware(facts: &Facts, judgement: &mut Judgement) {
    let wanted = &facts.wanted;
    let Some(os) = system(facts).filter(|_| facts.firmware() == Some("uefi")) else {
        return;
    };
    if wanted.uefi_os_versions.is_empty() {
        return judgement.unknown("the region was not asked what it offers for UEFI");
    }
    let chosen = wanted
        .os_version
        .clone()
        .or_else(|| Some(Offer::of(facts).choose(os)?.value));
    if let Some(name) = chosen
        && !wanted.uefi_os_versions.contains(&name)
    {
        judgement.found(Severity::Degraded, Seen::at("os_version").with(name));
    }
}

fn windows(facts: &Facts, judgement: &mut Judgement) {
    let Some(os) = system(facts).filter(|os| os.kind == "Windows") else {
        return;
    };
    match Offer::of(facts).choose(os) {
        Some(Choice {
            how: How::Exact, ..
        }) => {}
        _ => judgement.found(Severity::Advice, seen(os)),
    }
}

#[cfg(test)]
mod tests;
