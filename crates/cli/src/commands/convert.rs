//! `imgferry convert`: a local image to ZVHD2 or raw.

use std::io::{self, IsTerminal, Write};

use ::convert::{
    CancelToken, Monitor, OutputFile, Overwrite, PlanOptions, Report, Sink, SinkError, Target,
};
use diskimg::units::human;
use serde_json::json;

use super::{identity, open};
use crate::args::{ConvertArgs, TargetFormat, WorkArgs};
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::progress::Progress;

pub(crate) fn run(args: &ConvertArgs, console: Console, cancel: &CancelToken) -> Outcome {
    let to_stdout = args.dst.as_os_str() == "-";
    let target = target(args);
    if to_stdout {
        refuse_stdout(target, console)?;
    }
    let opened = open(&args.src, &args.source.options(), console)?;
    let image = opened.image.as_ref();
    let plan = ::convert::plan(image, target, &options(&args.work))?;
    console.notice(&plan);
    let progress = Progress::new(console, "converting", image.virtual_size(), false);
    let monitor: &dyn Monitor = progress.as_ref();
    let report = if to_stdout {
        let mut sink = Stdout(io::stdout());
        let report = ::convert::to_zvhd2(image, &plan, identity(), &mut sink, monitor, cancel)?;
        sink.0.flush().map_err(|e| {
            Failure::from_error(Exit::Io, &e).context("standard output cannot be written")
        })?;
        report
    } else {
        let overwrite = if args.force {
            Overwrite::Replace
        } else {
            Overwrite::Refuse
        };
        let mut file = OutputFile::create_from(&args.src, &args.dst, overwrite)?;
        if args.no_sync {
            file = file.without_sync();
        }
        file.require_space(plan.least_output_bytes())?;
        let report = match target {
            Target::Zvhd2 => {
                ::convert::to_zvhd2(image, &plan, identity(), &mut file, monitor, cancel)?
            }
            Target::Raw => ::convert::to_raw(image, &plan, &file, monitor, cancel)?,
        };
        file.commit()?;
        report
    };
    progress.finish();
    let text = summary(&report);
    if to_stdout {
        console.notice(text);
        return Ok(());
    }
    console.result(
        format_args!("{}\n{text}", args.dst.display()),
        &json!({ "path": args.dst.display().to_string(), "plan": plan, "report": report }),
    )
}

/// The target format: as given, else by the extension of the target, else ZVHD2.
fn target(args: &ConvertArgs) -> Target {
    let by_extension = || match args.dst.extension()?.to_str()? {
        "raw" | "img" => Some(TargetFormat::Raw),
        _ => None,
    };
    match args.to.or_else(by_extension) {
        Some(TargetFormat::Raw) => Target::Raw,
        _ => Target::Zvhd2,
    }
}

fn refuse_stdout(target: Target, console: Console) -> Outcome {
    let refused = |message| Err(Failure::new(Exit::Refused, message));
    if console.json {
        return refused("--json and an image cannot both go to standard output");
    }
    if target == Target::Raw {
        return refused("raw goes to a file: its workers write at many places at once");
    }
    if io::stdout().is_terminal() {
        return refused("an image is not written to a terminal");
    }
    Ok(())
}

pub(crate) fn options(args: &WorkArgs) -> PlanOptions {
    PlanOptions {
        threads: args.threads.threads,
        level: args.level,
        memory: args.memory,
        ..PlanOptions::default()
    }
}

/// What was done, in figures.
pub(crate) fn summary(report: &Report) -> String {
    let seconds = report.elapsed.as_secs_f64();
    format!(
        "digest {}\nread {}, skipped {} without reading, found {} of zeros\nwrote {} in {seconds:.1} s",
        report.digest,
        human(report.read_bytes),
        human(report.skipped_bytes),
        human(report.zero_bytes),
        human(report.written_bytes),
    )
}

/// Standard output as a sink.
struct Stdout(io::Stdout);

impl Sink for Stdout {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        Ok(self.0.lock().write_all(bytes)?)
    }
}
