//! Everything that can be refused, before the first byte is uploaded.

use std::path::Path;

use cloud::{Hint, ImportHint, Problem};
use diskimg::Format;
use diskimg::contradiction;
use diskimg::partitions::{BootMode, PartitionTable};
use ims::rules::{CommonFile, Rule, Violation, rule};
use ims::{Architecture, Firmware, ImageKind, QuickImport};

use super::spec::ImportSpec;

/// Problems and warnings of an import, collected.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<String>,
}

impl Findings {
    fn violations(&mut self, violations: Vec<Violation>) {
        for violation in violations {
            let code = violation.code.map(|code| format!(" ({code})"));
            self.problems.push(Problem::new(
                format!("{}{}", violation.message, code.unwrap_or_default()),
                ImportHint::Correct {
                    how: violation.hint,
                    field: violation.field,
                },
            ));
        }
    }

    /// Adds others.
    pub(crate) fn add(&mut self, more: Self) {
        self.problems.extend(more.problems);
        self.warnings.extend(more.warnings);
    }

    fn warn_of(&mut self, request: &QuickImport, cloud: Option<ims::Cloud>) {
        let warnings = request.warnings_on(cloud).into_iter();
        self.warnings
            .extend(warnings.map(|warning| warning.message));
    }

    /// A rule that is broken: a problem, or a warning if the user skips the rule.
    pub(super) fn broken(
        &mut self,
        id: &str,
        skipped: &[String],
        message: &str,
        hint: impl Into<Hint>,
    ) {
        let code = rule(id).and_then(|rule: &Rule| rule.code);
        let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
        if skipped.iter().any(|skipped| skipped == id) {
            self.warnings
                .push(format!("{message}{code}; the check {id} is skipped"));
            return;
        }
        let mut skippable = ims::rules::skippable();
        let hint = match skippable.find(|skippable| *skippable == id) {
            Some(id) => Hint::OrSkipCheck(Box::new(hint.into()), id),
            None => hint.into(),
        };
        self.problems
            .push(Problem::new(format!("{message}{code}"), hint));
    }
}

/// The rules of quick import, held against the request; and what the service takes, but the user
/// should think about.
pub(crate) fn local(
    request: &QuickImport,
    virtual_size: u64,
    cloud: Option<ims::Cloud>,
) -> Findings {
    let mut findings = Findings::default();
    findings.violations(request.violations_on(virtual_size, cloud));
    findings.warn_of(request, cloud);
    findings
}

/// The rules for an object that nobody registers: those of the bucket and the key.
pub(crate) fn unregistered(request: &QuickImport) -> Findings {
    let mut findings = Findings::default();
    let mut violations = request.field_violations();
    violations.retain(|violation| violation.field.starts_with("image_url"));
    findings.violations(violations);
    findings
}

/// The same with the rules for files that the service converts.
pub(crate) fn common(
    request: &QuickImport,
    file: &CommonFile,
    cloud: Option<ims::Cloud>,
    findings: &mut Findings,
) {
    findings.violations(request.common_violations_on(file, cloud));
    findings.warn_of(request, cloud);
}

/// Holds what the disk begins with against what is asked for: whether a machine could start it, by
/// which firmware, and whether all of it is there.
pub(crate) fn disk(
    found: diskimg::Result<PartitionTable>,
    (virtual_size, inspected): (u64, bool),
    request: &QuickImport,
    spec: &ImportSpec,
    findings: &mut Findings,
) {
    let is_system = request.kind != ImageKind::DataImage;
    let mut table = match found {
        Ok(table) => table,
        // A disk without a table that can be read may still boot.
        Err(error) if is_system => {
            findings.warnings.push(format!(
                "how the disk boots could not be determined: {error}"
            ));
            return;
        }
        Err(_) => return,
    };
    findings.warnings.append(&mut table.warnings);
    // A disk that only holds data is read by systems of all kinds, and one that is not registered
    // by nobody yet.
    let strict = is_system && spec.registers();
    let mut held = |id: &str, problem: String, hint: Hint| match strict {
        true => findings.broken(id, &spec.skip_checks, &problem, hint),
        false => findings.warnings.push(problem),
    };
    if let Some(problem) = table.size_problem(virtual_size) {
        held(
            "disk-whole",
            problem,
            "copy or download the file again".into(),
        );
    }
    if let Some(problem) = table.sector_problem() {
        let hint = "copy the partitions to a disk with sectors of 512 bytes, or rewrite the partition table for them";
        held("sector-size", problem, hint.into());
    }
    if !is_system {
        return;
    }
    if table.is_blank() {
        let problem = "the disk has no partition table, no file system and no boot code, so no machine starts from it";
        let hint = ImportHint::ImportAsDataImage;
        held("disk-content", problem.to_owned(), hint.into());
        return;
    }
    if strict && !inspected {
        firmware(&table, request, &spec.skip_checks, findings);
    }
}

/// Holds the firmware that is asked for, or assumed by the service, against the disk's partition
/// table.
fn firmware(
    table: &PartitionTable,
    request: &QuickImport,
    skipped: &[String],
    findings: &mut Findings,
) {
    let arm = request.architecture == Some(Architecture::Arm);
    let assumed = if arm { Firmware::Uefi } else { Firmware::Bios };
    let firmware = request.firmware.unwrap_or(assumed);
    match (table.boot, firmware) {
        (BootMode::Unknown, _) if !table.boot_code => findings.warnings.push(format!(
            "nothing on the disk can be started: {}",
            table.boot_reason
        )),
        (BootMode::Uefi, Firmware::Bios) if request.firmware.is_none() => {
            findings.warnings.push(
                "the disk has an EFI system partition and nothing that a BIOS starts, and the service assumes a BIOS unless the firmware uefi is asked for"
                    .to_owned(),
            );
        }
        (BootMode::Uefi, Firmware::Bios) => findings.broken(
            "boot-mode",
            skipped,
            "the firmware is bios, the disk has an EFI system partition and nothing that a BIOS starts",
            ImportHint::UseFirmware {
                firmware: "uefi",
                or: None,
            },
        ),
        (BootMode::Bios, Firmware::Uefi) => findings.broken(
            "boot-mode",
            skipped,
            &format!(
                "the firmware is uefi{}, the disk has no EFI system partition, but what a BIOS starts",
                if request.firmware.is_none() {
                    " (ARM knows no other)"
                } else {
                    ""
                }
            ),
            ImportHint::UseFirmware {
                firmware: "bios",
                or: Some("convert the guest to UEFI first"),
            },
        ),
        (BootMode::Both | BootMode::Unknown, _)
        | (BootMode::Uefi, Firmware::Uefi)
        | (BootMode::Bios, Firmware::Bios) => {}
    }
}

/// A warning when the name of the object promises another format than the one that it gets.
pub(crate) fn key(request: &QuickImport, format: Format, findings: &mut Findings) {
    let key = &request.image_url.key;
    if let Some(warning) = contradiction(Path::new(key), format) {
        findings.warnings.push(format!("the key {key}: {warning}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_rule_that_is_skipped_is_a_warning() {
        let mut findings = Findings::default();
        findings.broken("quota", &[], "49 of 49 images are used", "delete some");
        let skip = Hint::OrSkipCheck(Box::new("delete some".into()), "quota");
        let used = Problem::new("49 of 49 images are used (IMG.0015)", skip);
        assert_eq!(findings.problems, [used]);
        findings.broken("bucket-region", &[], "elsewhere", "another");
        let elsewhere = Problem::new("elsewhere (IMG.0058)", "another");
        assert_eq!(findings.problems[1], elsewhere);
        findings.broken("quota", &["quota".to_owned()], "used up", "delete some");
        assert_eq!(findings.problems.len(), 2);
        assert_eq!(
            findings.warnings,
            ["used up (IMG.0015); the check quota is skipped"]
        );
    }
}
