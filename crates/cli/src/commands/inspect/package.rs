//! A package: its machine, the machine's disks, and what an import would make of them.

use std::fmt::Write as _;

use ::convert::CancelToken;
use diskimg::partitions;
use diskimg::units::human;
use diskimg::{Format, OpenOptions, printable};
use ova::{Algorithm, Architecture, Disk, Firmware, Hints, Member, Package};
use serde::Serialize;

use ::import::Chosen;

use crate::console::Console;
use cloud::{Failure, Result};

/// The result, as it is in JSON. All sizes are bytes.
#[derive(Debug, Serialize)]
struct Report<'a> {
    path: String,
    /// `ova` for an archive, `ovf` for a directory.
    package: &'static str,
    machine: Machine<'a>,
    disks: Vec<Found>,
    members: &'a [Member],
    manifest: Manifest,
    signature: Signature,
    import: Import,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Machine<'a> {
    name: Option<&'a str>,
    firmware: Option<Firmware>,
    secure_boot: bool,
    architecture: Option<Architecture>,
    /// The words of the descriptor for the operating system.
    os: &'a [String],
    /// What they may mean.
    os_family: Option<&'static str>,
}

/// One disk of the machine.
#[derive(Debug, Serialize)]
struct Found {
    number: usize,
    member: String,
    place: String,
    /// Whether the machine starts from it, as far as the descriptor tells.
    system: bool,
    /// Bytes of the member.
    size: u64,
    /// What the descriptor says.
    capacity: Option<u64>,
    /// What is inside; `None` when it cannot be read.
    format: Option<Format>,
    virtual_size: Option<u64>,
    boot: Option<&'static str>,
    /// Why it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// What is known of the manifest. Digests of disks are verified when those are read.
#[derive(Debug, Serialize)]
struct Manifest {
    state: ManifestState,
    algorithms: Vec<Algorithm>,
    /// Disks of whose files it has all digests.
    covers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum ManifestState {
    Absent,
    /// The descriptor has the digest that it says.
    DescriptorMatches,
    /// It cannot be read, or the descriptor is another one.
    Wrong,
}

#[derive(Debug, Serialize)]
struct Signature {
    /// The certificate's member.
    certificate: Option<String>,
    /// Always false: nobody checks it.
    checked: bool,
}

/// What an import would do.
#[derive(Debug, Serialize)]
struct Import {
    possible: bool,
    system: Option<String>,
    data: Vec<String>,
    reason: Option<String>,
}

pub(super) fn run(
    package: &Package,
    options: &OpenOptions,
    console: Console,
    cancel: &CancelToken,
) -> Result {
    let mut warnings = package.warnings().to_vec();
    let mut disks = Vec::new();
    for (place, disk) in package.disks().iter().enumerate() {
        if cancel.is_cancelled() {
            return Err(::convert::Error::Cancelled.into());
        }
        let mut found = look(package, disk, options, &mut warnings);
        found.number = place + 1;
        found.system = place == package.system();
        disks.push(found);
    }
    let report = Report {
        path: printable(&package.path().to_string_lossy()),
        package: if package.is_archive() { "ova" } else { "ovf" },
        machine: machine(package.hints()),
        members: package.members(),
        manifest: manifest(package, &mut warnings),
        signature: Signature {
            certificate: package.certificate().map(printable),
            checked: false,
        },
        import: import(&disks),
        disks,
        warnings,
    };
    console.result(text(&report), &report)
}

fn machine(hints: &Hints) -> Machine<'_> {
    Machine {
        name: hints.name.as_deref(),
        firmware: hints.firmware,
        secure_boot: hints.secure_boot,
        architecture: hints.architecture,
        os: &hints.os,
        os_family: hints.os_family(),
    }
}

fn look(
    package: &Package,
    disk: &Disk,
    options: &OpenOptions,
    warnings: &mut Vec<String>,
) -> Found {
    let mut found = Found {
        number: 0,
        member: printable(&disk.member),
        place: disk.place.clone(),
        system: false,
        size: disk.size(),
        capacity: disk.capacity,
        format: None,
        virtual_size: None,
        boot: None,
        problem: None,
    };
    let chosen = Chosen::of(package, Some(&disk.member), options, true);
    let opened = chosen.and_then(|mut chosen| {
        let opened = chosen.open()?;
        let own = chosen.warnings.into_iter().skip(package.warnings().len());
        let inside = opened.image.details().warnings;
        let named = |warning| format!("{}: {warning}", found.member);
        warnings.extend(own.chain(inside).map(named));
        Ok(opened)
    });
    match opened {
        Ok(opened) => {
            found.format = Some(opened.format);
            found.virtual_size = Some(opened.image.virtual_size());
            let table = partitions::read(opened.image.as_ref());
            found.boot = table.ok().map(|table| table.boot.name());
        }
        Err(failure) => found.problem = Some(failure.line()),
    }
    found
}

fn manifest(package: &Package, warnings: &mut Vec<String>) -> Manifest {
    let mut state = Manifest {
        state: ManifestState::Absent,
        algorithms: Vec::new(),
        covers: Vec::new(),
        problem: None,
    };
    match package.manifest() {
        Ok(None) => {}
        Ok(Some(found)) => {
            state.state = ManifestState::DescriptorMatches;
            state.algorithms = found.algorithms();
            let covered = package.disks().iter();
            let covered = covered.filter(|disk| found.unlisted(disk).is_empty());
            state.covers = covered.map(|disk| printable(&disk.member)).collect();
            warnings.extend(found.warnings);
        }
        Err(error) => {
            state.state = ManifestState::Wrong;
            state.problem = Some(Failure::from(error).line());
        }
    }
    state
}

fn import(disks: &[Found]) -> Import {
    let members = |system: bool| {
        let disks = disks.iter().filter(move |disk| disk.system == system);
        disks.map(|disk| disk.member.clone())
    };
    let unreadable = disks.iter().find(|disk| disk.problem.is_some());
    let most = ims::rules::MAX_DATA_DISKS;
    let reason = match unreadable {
        Some(disk) => Some(format!("{} cannot be read", disk.member)),
        None if disks.len() > most + 1 => Some(format!(
            "{} disks are more than a system and {most} data disks; import them one by one",
            disks.len()
        )),
        None => None,
    };
    Import {
        possible: reason.is_none(),
        system: members(true).next(),
        data: members(false).collect(),
        reason,
    }
}

fn text(report: &Report<'_>) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<13} {value}");
    };
    row("package", &report.path);
    let machine = &report.machine;
    row("machine", machine.name.unwrap_or("without a name"));
    if let Some(firmware) = machine.firmware {
        row("firmware", &firmware.to_string());
    }
    if machine.architecture == Some(Architecture::Arm) {
        row("processors", "ARM");
    }
    if machine.secure_boot {
        row("secure boot", "on; the keys are not in the package");
    }
    if let Some(word) = machine.os.first() {
        let family = machine
            .os_family
            .map(|family| format!(" (perhaps {family})"));
        row("system", &format!("{word}{}", family.unwrap_or_default()));
    }
    for disk in &report.disks {
        row(&format!("disk {}", disk.number), &line(disk));
    }
    row("manifest", &of_manifest(&report.manifest));
    match &report.signature.certificate {
        Some(name) => row("signature", &format!("{name}: not checked")),
        None => row("signature", "none"),
    }
    row("import", &of_import(&report.import));
    for member in report.members {
        row(
            "member",
            &format!("{}, {}", member.name, human(member.size)),
        );
    }
    for warning in &report.warnings {
        row("warning", warning);
    }
    text.truncate(text.trim_end().len());
    text
}

fn line(disk: &Found) -> String {
    let mut line = format!("{}, {}", disk.member, disk.place);
    if let (Some(format), Some(size)) = (disk.format, disk.virtual_size) {
        let _ = write!(line, ", {format}, {} ({size} bytes)", human(size));
    } else if let Some(capacity) = disk.capacity {
        let _ = write!(line, ", {} by the descriptor", human(capacity));
    }
    if let Some(boot) = disk.boot {
        let _ = write!(line, ", boot {boot}");
    }
    if let Some(problem) = &disk.problem {
        let _ = write!(line, "; cannot be read: {problem}");
    }
    line
}

fn of_manifest(manifest: &Manifest) -> String {
    match (manifest.state, &manifest.problem) {
        (ManifestState::Absent, _) => "none; damage cannot be told".to_owned(),
        (ManifestState::Wrong, Some(problem)) => problem.clone(),
        (ManifestState::Wrong, None) => "wrong".to_owned(),
        (ManifestState::DescriptorMatches, _) => {
            let names: Vec<_> = manifest
                .algorithms
                .iter()
                .map(ToString::to_string)
                .collect();
            let weak = match manifest.algorithms.as_slice() {
                [Algorithm::Sha1] => " (shows accidents, not malice)",
                _ => "",
            };
            format!(
                "{}{weak}; the descriptor matches, disks are verified when they are read",
                names.join(", ")
            )
        }
    }
}

fn of_import(import: &Import) -> String {
    if let Some(reason) = &import.reason {
        return format!("not as a whole: {reason}");
    }
    let system = import.system.as_deref().unwrap_or("-");
    match import.data.as_slice() {
        [] => format!("{system} as the system disk"),
        data => format!(
            "{system} as the system disk, with {} as data disk{}",
            data.join(", "),
            if data.len() == 1 { "" } else { "s" }
        ),
    }
}
