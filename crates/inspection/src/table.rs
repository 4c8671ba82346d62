//! What is known as a table for people.

use std::fmt::Write as _;

use diskimg::SnapshotInfo;
use diskimg::partitions::{Partition, PartitionTable, Scheme};
use diskimg::units::human;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::{Inspection, Verdict};

/// Names in the first column, values in the second; a name that is empty goes on with the row
/// above.
struct Rows(Vec<(&'static str, String)>);

impl Rows {
    fn add(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.push((name, value.into()));
    }
}

impl Inspection {
    /// What people read. If `is_guest_wanted`, a disk without a system is told what it lacks too.
    #[must_use]
    pub fn text(&self, is_guest_wanted: bool) -> String {
        let mut text = String::new();
        for (name, value) in self.rows() {
            let _ = writeln!(text, "{name:<13} {value}");
        }
        text.truncate(text.trim_end().len());
        match &self.guest {
            None => {}
            // A disk of data breaks most rules.
            Some(guest) if guest.os.is_none() && !is_guest_wanted => {
                let _ = write!(text, "\n\n{:<13} {}", "system", guest.no_system());
            }
            Some(guest) => {
                let _ = write!(text, "\n\n{guest}");
            }
        }
        text
    }

    /// Everything that is known of the file, in rows.
    pub(crate) fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = Rows(Vec::new());
        about_the_file(&mut rows, self);
        about_the_content(&mut rows, self);
        about_import(&mut rows, self);
        about_free_space(&mut rows, self);
        for warning in &self.details.warnings {
            rows.add("warning", warning);
        }
        rows.0
    }
}

/// What need not be copied, if that is worth a word.
fn about_free_space(rows: &mut Rows, inspection: &Inspection) {
    let Some(free) = inspection
        .free_space
        .as_ref()
        .filter(|free| free.is_worth_it())
    else {
        return;
    };
    let mut name = "free space";
    for volume in free.volumes.iter().filter(|volume| volume.stored > 0) {
        rows.add(std::mem::take(&mut name), volume.to_string());
    }
    rows.add("", free.advice());
}

fn about_the_file(rows: &mut Rows, inspection: &Inspection) {
    let details = &inspection.details;
    rows.add("image", &inspection.path);
    rows.add(
        "format",
        match &details.variant {
            Some(variant) => format!("{} ({variant})", details.format),
            None => details.format.to_string(),
        },
    );
    if let Some(creator) = &details.creator {
        rows.add("creator", creator);
    }
    rows.add(
        "virtual size",
        format!(
            "{} ({} bytes), min_disk {} GiB",
            human(inspection.virtual_size),
            inspection.virtual_size,
            inspection.min_disk
        ),
    );
    rows.add(
        "file size",
        format!(
            "{} ({} on disk)",
            human(inspection.file_size),
            human(inspection.bytes_on_disk)
        ),
    );
    rows.add("data", human(inspection.data_bytes));
    rows.add(
        "zero",
        format!(
            "{} marked as zero, {} not stored",
            human(inspection.zero_bytes),
            human(inspection.hole_bytes)
        ),
    );
    if inspection.elsewhere_bytes > 0 {
        rows.add(
            "other files",
            format!(
                "{} are not in this file but in those below, which were not opened",
                human(inspection.elsewhere_bytes)
            ),
        );
    }
    if let Some(size) = details.cluster_size {
        rows.add("cluster size", human(size));
    }
    if let Some(compression) = &details.compression {
        let how = match details.streamed {
            true => ", read front to back; an import of it cannot be resumed",
            false => "",
        };
        rows.add("compression", format!("{compression}{how}"));
    }
    if let Some(encryption) = &details.encryption {
        rows.add("encryption", encryption);
    }
    if let Some(dirty) = details.dirty {
        rows.add(
            "closed",
            if dirty {
                "no: the program that wrote it did not close it"
            } else {
                "cleanly"
            },
        );
    }
}

fn about_the_content(rows: &mut Rows, inspection: &Inspection) {
    let details = &inspection.details;
    for (at, reference) in details.refers_to.iter().enumerate() {
        let format = match (&reference.format, reference.bytes) {
            (Some(format), Some(bytes)) => format!(" ({format}, {})", human(bytes)),
            (Some(format), None) => format!(" ({format})"),
            (None, _) => " (format not declared)".to_owned(),
        };
        rows.add(
            if at == 0 { "needs" } else { "" },
            format!("{} {}{format}", reference.role, reference.name),
        );
    }
    for (at, snapshot) in details.snapshots.iter().enumerate() {
        rows.add(
            if at == 0 { "snapshots" } else { "" },
            describe_snapshot(snapshot),
        );
    }
    for (at, bitmap) in details.bitmaps.iter().enumerate() {
        let state = match (bitmap.in_use, bitmap.recording) {
            (true, _) => ", not saved",
            (false, true) => "",
            (false, false) => ", disabled",
        };
        let marked = match bitmap.marked_bytes {
            Some(bytes) => format!(", {} changed", human(bytes)),
            None => String::new(),
        };
        rows.add(
            if at == 0 { "bitmaps" } else { "" },
            format!(
                "{}: {} a bit{marked}{state}",
                bitmap.name,
                human(bitmap.granularity)
            ),
        );
    }
    if let Some(table) = &inspection.partitions {
        partitions(rows, table);
    }
}

fn describe_snapshot(snapshot: &SnapshotInfo) -> String {
    let created = i64::try_from(snapshot.created)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{} s after 1970", snapshot.created));
    let mut text = format!("{}: {}, taken {created}", snapshot.id, snapshot.name);
    if let Some(size) = snapshot.virtual_size {
        let _ = write!(text, ", disk of {}", human(size));
    }
    if snapshot.vm_state_bytes > 0 {
        let _ = write!(
            text,
            ", with {} of machine state",
            human(snapshot.vm_state_bytes)
        );
    }
    text
}

fn partitions(rows: &mut Rows, table: &PartitionTable) {
    let mut summary = table.scheme.name().to_owned();
    if matches!(table.scheme, Scheme::Mbr | Scheme::Gpt) {
        let _ = write!(summary, ", sectors of {} bytes", table.sector_size);
        if let Some(id) = &table.id {
            let _ = write!(summary, ", id {id}");
        }
    }
    if let Some(content) = &table.content {
        let _ = write!(summary, ": {}", content.kind);
        if let Some(label) = &content.label {
            let _ = write!(summary, " \"{label}\"");
        }
    }
    rows.add("partitions", summary);
    let cells: Vec<_> = table.entries.iter().map(partition).collect();
    let mut widths = [0; 4];
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let [number, start, size, kind] = widths;
    for [a, b, c, d, e] in &cells {
        let line = format!("{a:>number$}  {c:>size$} at {b:<start$}  {d:<kind$}  {e}");
        rows.add("", line.trim_end());
    }
    rows.add(
        "boot mode",
        format!("{}: {}", table.boot.name(), table.boot_reason),
    );
}

/// Number, start, size, type, and what it holds.
fn partition(entry: &Partition) -> [String; 5] {
    let mut rest = String::new();
    if let Some(label) = &entry.label {
        let _ = write!(rest, "\"{label}\" ");
    }
    if let Some(content) = &entry.content {
        rest.push_str(content.kind);
        if let Some(label) = &content.label {
            let _ = write!(rest, " \"{label}\"");
        }
    }
    let mut kind = entry.kind.to_owned();
    if entry.kind == "unknown" {
        let _ = write!(kind, " ({})", entry.type_id);
    }
    if entry.bootable {
        kind.push_str(", active");
    }
    [
        entry.number.to_string(),
        human(entry.start),
        human(entry.size),
        kind,
        rest.trim_end().to_owned(),
    ]
}

fn about_import(rows: &mut Rows, inspection: &Inspection) {
    let say = |verdict: &Verdict| {
        let answer = if verdict.possible { "yes" } else { "no" };
        format!("{answer}: {}", verdict.reason)
    };
    let quick = &inspection.quick_import;
    let converted = say(&quick.converted);
    rows.add("quick import", format!("after conversion, {converted}"));
    rows.add("", format!("as it is, {}", say(&quick.as_it_is)));
    rows.add("common import", say(&inspection.common_import.as_it_is));
}
