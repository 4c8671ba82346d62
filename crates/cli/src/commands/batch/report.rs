//! The report of a run, written where it was asked for.

use std::path::Path;

use ::batch::BatchReport;
use ::convert::{OutputFile, Overwrite};
use diskimg::text::shown;

use crate::args::BatchRunArgs;
use cloud::{Class, Failure, Result};

/// Refuses reports that could not be written, before the run that they are about.
pub(super) fn check(args: &BatchRunArgs) -> Result {
    for path in [&args.report, &args.report_json].into_iter().flatten() {
        begin(path)?;
    }
    Ok(())
}

/// The file of a report, which nobody sees before it is complete.
fn begin(path: &Path) -> Result<OutputFile> {
    OutputFile::create(path, Overwrite::Replace).map_err(|error| {
        Failure::from(error).context(format!("the report {} cannot be written", shown(path)))
    })
}

/// Writes the files that were asked for; each appears complete or not at all.
pub(super) fn write(args: &BatchRunArgs, report: &BatchReport) -> Result {
    let mut first = Ok(());
    let mut keep = |written: Result| {
        if let (Ok(()), Err(failure)) = (&first, written) {
            first = Err(failure);
        }
    };
    if let Some(path) = &args.report {
        keep(write_file(path, ::batch::report::html(report).as_bytes()));
    }
    if let Some(path) = &args.report_json {
        let text = ::batch::report::json(report).map_err(|error| {
            Failure::from_error(Class::Io, &error).context("the report has no JSON form")
        });
        keep(text.and_then(|text| write_file(path, text.as_bytes())));
    }
    first
}

fn write_file(path: &Path, bytes: &[u8]) -> Result {
    let write = || -> Result {
        let file = OutputFile::create(path, Overwrite::Replace)?;
        file.write_at(0, bytes)?;
        Ok(file.commit()?)
    };
    write()
        .map_err(|failure| failure.context(format!("the report {} cannot be written", shown(path))))
}
