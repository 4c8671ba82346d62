//! The report for people.

use std::collections::BTreeMap;
use std::fmt;

use super::{INCOMPLETE, Kernel, Named, Place, Report};
use crate::{Finding, How, Os, Seen, Severity};

/// Places that are shown of one finding.
const MAX_SEEN: usize = 8;

/// The system, what was found, worst first, and what is not known.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.rows() {
            writeln!(f, "{name:<13} {value}")?;
        }
        for finding in &self.findings {
            write!(f, "\n{finding}")?;
        }
        for (reason, rules) in self.undecided() {
            write!(f, "\nundecided: {}\n  {reason}\n", rules.join(", "))?;
        }
        write!(f, "\n{}", self.summary())
    }
}

impl Report {
    /// What is known of the system, in rows of a name and a value.
    #[must_use]
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = Vec::new();
        let mut row = |name, value| rows.push((name, value));
        row(
            "system",
            self.os.as_ref().map_or("none found".to_owned(), system),
        );
        for root in &self.roots {
            let version = root.version.as_deref().unwrap_or_default();
            let system = format!("{} {version}", root.id);
            row("root", format!("{} on {}", system.trim_end(), root.volume));
        }
        if let Some(named) = &self.os_version {
            row("os_version", os_version(named, self.os.as_ref()));
        }
        if !self.firmware.is_empty() {
            row("firmware", self.firmware.join(", "));
        }
        for found in &self.kernels {
            row("kernel", kernel(found));
        }
        rows
    }

    /// What is said of a disk on which no system was found.
    #[must_use]
    pub fn no_system(&self) -> String {
        let incomplete = self.unknown.iter();
        let reasons: Vec<&str> = incomplete
            .filter(|unknown| unknown.id == INCOMPLETE)
            .map(|unknown| unknown.reason.as_str())
            .collect();
        match reasons.as_slice() {
            [] => "none found".to_owned(),
            reasons => format!("not known: {}", reasons.join("; ")),
        }
    }

    /// Rules that could not be decided, together where they have one reason.
    #[must_use]
    pub fn undecided(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for rule in &self.unknown {
            reasons.entry(&rule.reason).or_default().push(rule.id);
        }
        reasons
    }

    /// How many rules are broken in this way.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        let findings = self.findings.iter();
        findings
            .filter(|finding| finding.severity == severity)
            .count()
    }

    /// How many rules are broken, by severity, and how many are undecided.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut counts: Vec<String> = Severity::ALL
            .iter()
            .map(|severity| (self.count(*severity), severity.name()))
            .filter(|(count, _)| *count > 0)
            .map(|(count, name)| format!("{count} {name}"))
            .collect();
        if !self.unknown.is_empty() {
            counts.push(format!("{} undecided", self.unknown.len()));
        }
        if counts.is_empty() {
            counts.push("nothing found".to_owned());
        }
        format!("checked {} rules: {}", self.rules, counts.join(", "))
    }
}

impl Finding {
    /// The places to show, and how many more there are.
    #[must_use]
    pub fn places(&self) -> (&[Seen], usize) {
        let (shown, more) = self.seen.split_at(self.seen.len().min(MAX_SEEN));
        (shown, more.len())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.severity.name(), self.id)?;
        writeln!(f, "  {}", self.why)?;
        let (shown, more) = self.places();
        for seen in shown {
            writeln!(f, "  seen: {seen}")?;
        }
        if more > 0 {
            writeln!(f, "  seen: {more} more, which --json lists")?;
        }
        for line in &self.fix {
            match line.strip_prefix("# ") {
                Some(prose) => writeln!(f, "  note: {prose}")?,
                None => writeln!(f, "  fix:  {line}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(text) = &self.text {
            write!(f, ": {text}")?;
        }
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Choice, Source, Unknown, Virtio};

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
            fix: vec!["# Find its UUID:".into(), "blkid".into()],
            mended_by: crate::MendedBy::Tool,
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
            report.to_string(),
            "system        none found\n\
             \n\
             will not boot: linux-fstab-by-name\n\
             \x20 The name changes.\n\
             \x20 seen: /etc/fstab:1: /dev/sda1 /boot\n\
             \x20 note: Find its UUID:\n\
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
        assert_eq!(report.to_string().matches("  seen: ").count(), MAX_SEEN + 1);
        assert!(
            report
                .to_string()
                .contains("  seen: 3 more, which --json lists\n")
        );
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
        let text = report.to_string();
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
