//! `imgferry inspect --check`: the file against the rules of its format.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use ::convert::CancelToken;
use diskimg::{CheckReport, Finding, ReadAt, Severity, printable};
use obs::ObjectSource;
use serde::Serialize;

use ::import::{Chosen, SourceDisk, check_disk, stopping};

use crate::args::InspectArgs;
use crate::console::Console;
use cloud::{Class, Failure, Result};

/// The result, as it is in JSON.
#[derive(Debug, Serialize)]
struct Checked<'a> {
    path: String,
    #[serde(flatten)]
    report: &'a CheckReport,
    /// Whether everything was looked at, and no error found.
    sound: bool,
}

/// Checks `disk`, or the one that was chosen of the package there.
pub(super) fn file(
    disk: &SourceDisk,
    args: &InspectArgs,
    chosen: Option<&Chosen>,
    console: Console,
    cancel: &CancelToken,
) -> Result {
    let report = match chosen {
        Some(disk) => disk.check(&|| cancel.is_cancelled())?,
        None => check_disk(disk, &args.source.options(), cancel)?,
    };
    let name = chosen.map_or_else(|| disk.name(), |disk| disk.name.clone());
    show(&name, &report, console)
}

/// Checks `object`, of which that may fetch all.
pub(super) fn object(
    object: Arc<ObjectSource>,
    args: &InspectArgs,
    console: Console,
    cancel: &CancelToken,
) -> Result {
    let name = object.name().to_owned();
    let source: Arc<dyn ReadAt> = object;
    let cancelled = || cancel.is_cancelled();
    let options = stopping(&args.source.options(), cancel);
    let report = diskimg::check_source(&source, &options, &zvhd2::DRIVERS, &cancelled)
        .map_err(|error| error.in_file(&name))?;
    show(&name, &report, console)
}

fn show(path: &Path, report: &CheckReport, console: Console) -> Result {
    if report.cancelled {
        return Err(::convert::Error::Cancelled.into());
    }
    let checked = Checked {
        path: printable(&path.to_string_lossy()),
        report,
        sound: report.is_sound(),
    };
    if report.errors == 0 {
        return console.result(text(&checked), &checked);
    }
    let failure = Failure::new(
        Class::Refused,
        format!(
            "{}: the format's rules are broken in {} place{}",
            checked.path,
            report.errors,
            if report.errors == 1 { "" } else { "s" }
        ),
    )
    .hint("the disk may be damaged: look for another copy, or repair a copy of the file with the program that wrote it");
    if console.json {
        return Err(failure.data("check", &checked));
    }
    console.result(text(&checked), &())?;
    Err(failure)
}

fn text(checked: &Checked<'_>) -> String {
    let report = checked.report;
    let mut text = format!("{} ({})\n", checked.path, report.format);
    for finding in &report.findings {
        let _ = writeln!(text, "{}", line(finding));
    }
    if report.cut {
        let _ = writeln!(
            text,
            "more were found: {} of each kind are listed",
            diskimg::MAX_LISTED
        );
    }
    for skipped in &report.skipped {
        let _ = writeln!(text, "not checked: {skipped}");
    }
    let counted = |count: u64, what: &str| {
        let plural = if count == 1 { "" } else { "s" };
        format!("{count} {what}{plural}")
    };
    let _ = write!(
        text,
        "{}, {}",
        counted(report.errors, "error"),
        counted(report.warnings, "warning")
    );
    text
}

fn line(finding: &Finding) -> String {
    let severity = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let place = match finding.offset {
        Some(offset) => format!("{} at offset {offset:#x}", finding.structure),
        None => finding.structure.to_owned(),
    };
    format!(
        "{severity:<7} {place}: {} ({})",
        finding.message, finding.rule
    )
}
