//! The system on the disk: what it needs to boot, and what it says of itself.

use std::time::{SystemTime, UNIX_EPOCH};

use ::guest::{Budget, Finding, Report, Severity, Wanted};
use cloud::{Failure, ImportHint, Problem};
use diskimg::{DiskImage, Format};
use ims::{Architecture, Firmware, ImageKind, QuickImport};

use super::checks::Findings;
use super::source::Input;
use super::spec::{GuestCheck, ImportSpec};

/// Looks into the disk in `input`, fills in what the user has not said of it, and adds what is
/// wrong to `findings`.
pub(crate) fn look(
    spec: &ImportSpec,
    request: &mut QuickImport,
    input: &Input,
    cloud: Option<ims::Cloud>,
    findings: &mut Findings,
) -> Option<Report> {
    if spec.guest_check == GuestCheck::Off {
        return None;
    }
    if input.opened.image.details().streamed {
        if request.kind != ImageKind::DataImage {
            findings.warnings.push(
                "the system on the disk was not checked: the disk is read front to back".to_owned(),
            );
        }
        return None;
    }
    let report = inspect(spec, request.kind, input.opened.image.as_ref(), cloud);
    fill_in(request, &report);
    judge(&report, spec, findings);
    Some(report)
}

fn inspect(
    spec: &ImportSpec,
    kind: ImageKind,
    image: &dyn DiskImage,
    cloud: Option<ims::Cloud>,
) -> Report {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let wanted = Wanted {
        firmware: spec.firmware.map(|firmware| match firmware {
            Firmware::Bios => "bios".to_owned(),
            Firmware::Uefi => "uefi".to_owned(),
        }),
        architecture: spec.architecture.map(|architecture| match architecture {
            Architecture::X86 => "x86".to_owned(),
            Architecture::Arm => "arm".to_owned(),
        }),
        os_version: spec.os_version.clone(),
        data_disk: kind == ImageKind::DataImage,
        huawei_cloud: matches!(cloud, Some(ims::Cloud::Huawei | ims::Cloud::HuaweiEu)),
        now: now.map(|now| now.as_secs()).unwrap_or_default(),
        ..Wanted::default()
    };
    ::guest::inspect(image, wanted, &Budget::default())
}

/// Fills in what the user has not said and the disk says.
fn fill_in(request: &mut QuickImport, report: &Report) {
    if request.kind == ImageKind::DataImage {
        return;
    }
    let named = report.os_version.as_ref();
    request.os_version = request
        .os_version
        .take()
        .or_else(|| named.map(|named| named.choice.value.clone()));
    let arm = report
        .os
        .as_ref()
        .is_some_and(|os| os.arch.as_deref() == Some("aarch64"));
    if arm {
        request.architecture.get_or_insert(Architecture::Arm);
    } else if report.firmware == ["uefi"] {
        // ARM knows no other.
        request.firmware.get_or_insert(Firmware::Uefi);
    }
}

/// Adds what `report` says to `findings`.
fn judge(report: &Report, spec: &ImportSpec, findings: &mut Findings) {
    for unknown in &report.unknown {
        if unknown.id == ::guest::INCOMPLETE {
            findings.warnings.push(format!(
                "the system on the disk was not checked completely: {}",
                unknown.reason
            ));
        }
    }
    let is_allowed = |id: &str| {
        let skipped = |check: &str| spec.skip_checks.iter().any(|skipped| skipped == check);
        spec.allowed_rules.iter().any(|allowed| allowed == id)
            || (id == "boot-firmware-mismatch" && skipped("boot-mode"))
    };
    let mut advice = Vec::new();
    for finding in &report.findings {
        let told = sentence(finding);
        if finding.severity == Severity::Advice {
            advice.push(finding.id);
        } else if is_allowed(finding.id) {
            findings.warnings.push(format!("{told}; it is allowed"));
        } else if spec.registers() && rejects(spec.guest_check, finding.severity) {
            findings.problems.push(Problem::new(told, hint(finding)));
        } else {
            findings.warnings.push(told);
        }
    }
    if !advice.is_empty() {
        findings
            .warnings
            .push(format!("{}{}", ::guest::ADVICE, advice.join(", ")));
    }
}

/// The failure of an import with `problems`; programs that read it find `report` in it, and the
/// format and the size of the disk.
pub(crate) fn rejected(
    problems: Vec<Problem>,
    report: Option<&Report>,
    disk: Option<(Format, u64)>,
) -> Failure {
    let mut failure = cloud::rejected(problems);
    if let Some(report) = report {
        failure = failure.data("guest", report);
    }
    if let Some((format, virtual_size)) = disk {
        failure = failure.data("format", &format.to_string());
        failure = failure.data("virtual_size", &virtual_size);
    }
    failure
}

/// Whether a finding of this severity rejects the disk.
fn rejects(check: GuestCheck, severity: Severity) -> bool {
    match check {
        GuestCheck::Strict => severity < Severity::Advice,
        GuestCheck::Default => severity == Severity::WillNotBoot,
        GuestCheck::Warn | GuestCheck::Off => false,
    }
}

/// What is wrong, where, and under which name the rule is known.
fn sentence(finding: &Finding) -> String {
    let seen: Vec<String> = finding.seen.iter().take(SHOWN).map(place).collect();
    let more = match finding.seen.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let seen = match seen.is_empty() {
        true => String::new(),
        false => format!(": {}{more}", seen.join(", ")),
    };
    let why = finding.why.trim_end_matches('.');
    format!("{why} {}{seen}", ::guest::tag(finding.id, finding.severity))
}

/// Places that a sentence names.
const SHOWN: usize = 3;

fn place(seen: &::guest::Seen) -> String {
    let line = seen.line.map(|line| format!(" line {line}"));
    let text = seen.text.as_ref().map(|text| format!(" ({text})"));
    format!(
        "{}{}{}",
        seen.path,
        line.unwrap_or_default(),
        text.unwrap_or_default()
    )
}

fn hint(finding: &Finding) -> ImportHint {
    ImportHint::MendGuest {
        commands: finding.fix.clone(),
        rule: finding.id,
    }
}
