//! `imgferry inspect`: what an image is, from its metadata alone.

use std::fmt::Write as _;

use diskimg::units::{GIB, TIB, human};
use diskimg::{Details, DiskImageExt, ExtentKind, Opened};
use serde::Serialize;

use crate::args::InspectArgs;
use crate::console::Console;
use crate::exit::Outcome;

/// Largest disk that a quick import takes, in bytes.
const QUICK_IMPORT_MAX: u64 = TIB;

#[derive(Debug, Serialize)]
struct Inspection {
    /// As people read it: bytes that are no text are replaced.
    path: String,
    #[serde(flatten)]
    details: Details,
    /// Bytes.
    virtual_size: u64,
    /// GiB, for `--min-disk`.
    min_disk: u64,
    /// Bytes.
    file_size: u64,
    /// Bytes.
    bytes_on_disk: u64,
    /// Bytes of the virtual disk that the metadata says hold data.
    data_bytes: u64,
    /// Bytes that the metadata says are zero.
    zero_bytes: u64,
    /// Bytes that are not stored.
    hole_bytes: u64,
    quick_import: Eligibility,
}

#[derive(Debug, Serialize)]
struct Eligibility {
    possible: bool,
    reason: String,
}

pub(crate) fn run(args: &InspectArgs, console: Console) -> Outcome {
    // Warnings are part of the result here, so they are not told apart from it.
    let opened = ::convert::open_with(&args.image, &args.source.options())?;
    let inspection = inspect(args.image.display().to_string(), &opened)?;
    console.result(inspection.table(), &inspection)
}

fn inspect(path: String, opened: &Opened) -> Outcome<Inspection> {
    let image = opened.image.as_ref();
    let virtual_size = image.virtual_size();
    let [mut data_bytes, mut zero_bytes, mut hole_bytes] = [0; 3];
    for extent in image.all_extents() {
        let extent = extent?;
        let sum: &mut u64 = match extent.kind {
            ExtentKind::Data => &mut data_bytes,
            ExtentKind::Zero => &mut zero_bytes,
            ExtentKind::Hole => &mut hole_bytes,
        };
        *sum = sum.saturating_add(extent.len);
    }
    let possible = virtual_size <= QUICK_IMPORT_MAX;
    Ok(Inspection {
        path,
        details: image.details(),
        virtual_size,
        min_disk: virtual_size.div_ceil(GIB),
        file_size: opened.file_len,
        bytes_on_disk: opened.bytes_on_disk,
        data_bytes,
        zero_bytes,
        hole_bytes,
        quick_import: Eligibility {
            possible,
            reason: format!(
                "a quick import takes disks of up to {}, this one has {}",
                human(QUICK_IMPORT_MAX),
                human(virtual_size)
            ),
        },
    })
}

impl Inspection {
    fn table(&self) -> String {
        let details = &self.details;
        let mut rows = vec![("image", self.path.clone())];
        let format = match &details.variant {
            Some(variant) => format!("{} ({variant})", details.format),
            None => details.format.to_string(),
        };
        rows.push(("format", format));
        rows.push((
            "virtual size",
            format!(
                "{} ({} bytes), min_disk {} GiB",
                human(self.virtual_size),
                self.virtual_size,
                self.min_disk
            ),
        ));
        rows.push((
            "file size",
            format!(
                "{} ({} on disk)",
                human(self.file_size),
                human(self.bytes_on_disk)
            ),
        ));
        rows.push(("data", human(self.data_bytes)));
        rows.push((
            "zero",
            format!(
                "{} marked as zero, {} not stored",
                human(self.zero_bytes),
                human(self.hole_bytes)
            ),
        ));
        if let Some(creator) = &details.creator {
            rows.push(("creator", creator.clone()));
        }
        if let Some(size) = details.cluster_size {
            rows.push(("cluster size", human(size)));
        }
        if let Some(compression) = &details.compression {
            rows.push(("compression", compression.clone()));
        }
        let quick = if self.quick_import.possible {
            "yes"
        } else {
            "no"
        };
        rows.push((
            "quick import",
            format!("{quick}: {}", self.quick_import.reason),
        ));
        for warning in &details.warnings {
            rows.push(("warning", warning.clone()));
        }
        let mut table = String::new();
        for (name, value) in rows {
            let _ = writeln!(table, "{name:<13} {value}");
        }
        table.truncate(table.trim_end().len());
        table
    }
}
