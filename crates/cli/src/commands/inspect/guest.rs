//! `imgferry inspect --guest`: the installed system, and what would keep its servers from working.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use ::guest::{Budget, Finding, How, Kernel, Named, Os, Place, Report, Seen, Severity, Wanted};
use diskimg::DiskImage;

use super::facts::Inspection;
use super::table;
use crate::console::Console;
use cloud::{Class, Failure, Result};

/// Places that are shown of one finding.
pub(super) const MAX_SEEN: usize = 8;

/// Looks into the disk, for whatever it is to become.
pub(super) fn look(image: &dyn DiskImage) -> Report {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let wanted = Wanted {
        now: now.map_or(0, |now| now.as_secs()),
        ..Wanted::default()
    };
    ::guest::inspect(image, wanted, &Budget::default())
}

/// Shows what was found. If it is `strict`, a disk that will not boot is a failure.
pub(super) fn show(inspection: &Inspection, strict: bool, console: Console) -> Result {
    let Some(report) = &inspection.guest else {
        return console.result(table::text(inspection), inspection);
    };
    let guest = match (&report.os, strict) {
        // A disk of data breaks most rules.
        (None, false) => format!("{:<13} {}", "system", nothing(report)),
        _ => text(report),
    };
    let text = format!("{}\n\n{guest}", table::text(inspection));
    let fatal = match strict {
        true => count(report, Severity::WillNotBoot),
        false => 0,
    };
    if fatal == 0 {
        return console.result(text, inspection);
    }
    let failure = Failure::new(
        Class::Refused,
        match fatal {
            1 => format!(
                "{}: a rule is broken that keeps servers from booting",
                inspection.path
            ),
            _ => format!(
                "{}: {fatal} rules are broken that keep servers from booting",
                inspection.path
            ),
        },
    );
    if console.json {
        return Err(failure.data("guest", report));
    }
    console.result(text, &())?;
    Err(failure)
}

/// What is said of a disk on which no system was found.
pub(super) fn nothing(report: &Report) -> String {
    let incomplete = report.unknown.iter();
    let reasons: Vec<&str> = incomplete
        .filter(|unknown| unknown.id == ::guest::INCOMPLETE)
        .map(|unknown| unknown.reason.as_str())
        .collect();
    match reasons.as_slice() {
        [] => "none found".to_owned(),
        reasons => format!("not known: {}", reasons.join("; ")),
    }
}

/// Lists the rules.
pub(super) fn rules(console: Console) -> Result {
    let rules: Vec<_> = ::guest::rules()
        .map(|rule| {
            serde_json::json!({
                "id": rule.id,
                "severity": rule.severity,
                "source": rule.source,
                "documents": rule.cite,
                "text": rule.text,
            })
        })
        .collect();
    let text: Vec<String> = ::guest::rules()
        .map(|rule| format!("{} ({})\n  {}", rule.id, rule.severity.name(), rule.text))
        .collect();
    console.result(text.join("\n"), &rules)
}

fn count(report: &Report, severity: Severity) -> usize {
    let findings = report.findings.iter();
    findings
        .filter(|finding| finding.severity == severity)
        .count()
}

/// The report for people: the system, what was found, worst first, and what is not known.
pub(crate) fn text(report: &Report) -> String {
    let mut text = String::new();
    for (name, value) in facts(report) {
        let _ = writeln!(text, "{name:<13} {value}");
    }
    for finding in &report.findings {
        add_finding(&mut text, finding);
    }
    for (reason, rules) in undecided(report) {
        let _ = write!(text, "\nundecided: {}\n  {reason}\n", rules.join(", "));
    }
    let _ = write!(text, "\n{}", summary(report));
    text
}

/// What is known of the system, in rows.
pub(super) fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    let mut row = |name, value| rows.push((name, value));
    row(
        "system",
        report.os.as_ref().map_or("none found".to_owned(), system),
    );
    for root in &report.roots {
        let version = root.version.as_deref().unwrap_or_default();
        let system = format!("{} {version}", root.id);
        row("root", format!("{} on {}", system.trim_end(), root.volume));
    }
    if let Some(named) = &report.os_version {
        row("os_version", os_version(named, report.os.as_ref()));
    }
    if !report.firmware.is_empty() {
        row("firmware", report.firmware.join(", "));
    }
    for found in &report.kernels {
        row("kernel", kernel(found));
    }
    rows
}

fn system(os: &Os) -> String {
    let mut parts = vec![os.name.clone().unwrap_or_else(|| os.id.clone())];
    if let Some(version) = &os.version {
        parts.push(format!("version {version}"));
    }
    parts.extend(os.edition.clone());
    parts.extend(os.build.map(|build| format!("build {build}")));
    parts.extend(os.arch.clone());
    parts.join(", ")
}

fn os_version(named: &Named, os: Option<&Os>) -> String {
    let choice = &named.choice;
    let how = match (choice.how, os.and_then(|os| os.version.as_ref())) {
        (How::Exact, _) => "exact".to_owned(),
        (How::Nearest, Some(version)) => format!("nearest to {version}"),
        (How::Nearest, None) => "nearest".to_owned(),
        (How::Other, _) => "the cloud has no name for the system".to_owned(),
    };
    let guess = match named.list {
        "region" => "",
        _ => "; a guess from public documents, the region decides",
    };
    format!("{} ({how}{guess})", choice.value)
}

fn kernel(kernel: &Kernel) -> String {
    let version = kernel.version.as_deref().unwrap_or("of unknown version");
    let default = if kernel.default { " (default)" } else { "" };
    let virtio = &kernel.virtio;
    let mut places: Vec<(Place, Vec<&str>)> = Vec::new();
    for (name, place) in [
        ("blk", virtio.blk),
        ("net", virtio.net),
        ("scsi", virtio.scsi),
        ("pci", virtio.pci),
    ] {
        match places.iter_mut().find(|(known, _)| *known == place) {
            Some((_, names)) => names.push(name),
            None => places.push((place, vec![name])),
        }
    }
    let places: Vec<String> = places
        .iter()
        .map(|(place, names)| format!("{} {}", names.join(", "), where_it_is(*place)))
        .collect();
    format!("{version}{default}; virtio: {}", places.join("; "))
}

fn where_it_is(driver: Place) -> &'static str {
    match driver {
        Place::Builtin => "built in",
        Place::Initramfs => "in the initramfs",
        Place::Module => "not in the initramfs",
        Place::Missing => "missing",
        Place::Unknown => "not known",
    }
}

fn add_finding(text: &mut String, finding: &Finding) {
    let _ = writeln!(text, "\n{}: {}", finding.severity.name(), finding.id);
    let _ = writeln!(text, "  {}", finding.why);
    for seen in finding.seen.iter().take(MAX_SEEN) {
        let _ = writeln!(text, "  seen: {}", place(seen));
    }
    let more = finding.seen.len().saturating_sub(MAX_SEEN);
    if more > 0 {
        let _ = writeln!(text, "  seen: {more} more, which --json lists");
    }
    for command in &finding.fix {
        let _ = writeln!(text, "  fix:  {command}");
    }
}

pub(super) fn place(seen: &Seen) -> String {
    let mut place = seen.path.clone();
    if let Some(line) = seen.line {
        let _ = write!(place, ":{line}");
    }
    if let Some(text) = &seen.text {
        let _ = write!(place, ": {text}");
    }
    place
}

/// Rules that could not be decided, together where they have one reason.
pub(super) fn undecided(report: &Report) -> BTreeMap<&str, Vec<&str>> {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for rule in &report.unknown {
        reasons.entry(&rule.reason).or_default().push(rule.id);
    }
    reasons
}

/// How many rules are broken, by severity, and how many are undecided.
pub(super) fn summary(report: &Report) -> String {
    let mut counts: Vec<String> = Severity::ALL
        .iter()
        .map(|severity| (count(report, *severity), severity.name()))
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    if !report.unknown.is_empty() {
        counts.push(format!("{} undecided", report.unknown.len()));
    }
    if counts.is_empty() {
        counts.push("nothing found".to_owned());
    }
    format!("checked {} rules: {}", report.rules, counts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::guest::{Choice, Source, Unknown, Virtio};

    fn finding(severity: Severity, seen: usize) -> Finding {
        Finding {
            id: "linux-fstab-by-name",
            severity,
            source: Source::Vendor,
            seen: (1..=seen)
                .map(|line| Seen {
                    path: "/etc/fstab".into(),
                    line: u32::try_from(line).ok(),
                    text: Some("/dev/sda1 /boot".into()),
                })
                .collect(),
            why: "The name changes.".into(),
            fix: vec!["blkid".into()],
        }
    }

    #[test]
    fn findings_say_where_why_and_what_to_type() {
        let report = Report {
            findings: vec![finding(Severity::WillNotBoot, 1)],
            rules: 7,
            ..Report::default()
        };
        assert_eq!(
            text(&report),
            "system        none found\n\
             \n\
             will not boot: linux-fstab-by-name\n\
             \x20 The name changes.\n\
             \x20 seen: /etc/fstab:1: /dev/sda1 /boot\n\
             \x20 fix:  blkid\n\
             \n\
             checked 7 rules: 1 will not boot"
        );
    }

    #[test]
    fn of_many_places_the_rest_is_counted() {
        let report = Report {
            findings: vec![finding(Severity::Degraded, MAX_SEEN + 3)],
            ..Report::default()
        };
        assert_eq!(text(&report).matches("  seen: ").count(), MAX_SEEN + 1);
        assert!(text(&report).contains("  seen: 3 more, which --json lists\n"));
    }

    #[test]
    fn undecided_rules_stand_together_by_reason_and_are_never_passed_over() {
        let unknown = |id, reason: &str| Unknown {
            id,
            reason: reason.into(),
        };
        let report = Report {
            unknown: vec![
                unknown("a", "gone"),
                unknown("b", "torn"),
                unknown("c", "gone"),
            ],
            rules: 3,
            ..Report::default()
        };
        let text = text(&report);
        assert!(text.contains("\nundecided: a, c\n  gone\n"), "{text}");
        assert!(text.ends_with("checked 3 rules: 3 undecided"), "{text}");
    }

    #[test]
    fn drivers_of_a_kernel_stand_together_by_place() {
        let found = Kernel {
            version: Some("6.1.0".into()),
            default: true,
            virtio: Virtio {
                blk: Place::Initramfs,
                net: Place::Module,
                scsi: Place::Initramfs,
                pci: Place::Builtin,
            },
        };
        assert_eq!(
            kernel(&found),
            "6.1.0 (default); virtio: blk, scsi in the initramfs; net not in the initramfs; \
             pci built in"
        );
    }

    #[test]
    fn a_name_from_the_documents_is_called_a_guess() {
        let named = |list| Named {
            choice: Choice {
                value: "Debian GNU/Linux 12.0.0 64bit".into(),
                how: How::Nearest,
            },
            list,
        };
        let os = Os {
            version: Some("12.5".into()),
            ..Os::default()
        };
        assert_eq!(
            os_version(&named("region"), Some(&os)),
            "Debian GNU/Linux 12.0.0 64bit (nearest to 12.5)"
        );
        assert!(os_version(&named("documents"), Some(&os)).contains("guess"));
    }
}
